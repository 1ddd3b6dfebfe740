//! The steps by which a shadow takes its primary's place, and gives it back.

use super::Performer;
use crate::{
    engine::core::Failure,
    hypervisor::{Hypervisor, PlatformError},
    shadow::{
        ShadowSpec,
        promotion::{Fence, FenceFrom, PromotionStep},
    },
    units::{SourceName, Weight},
};

/// The guest's time to shut down where the way back stops a primary again.
const STOP_GRACE_SECONDS: u32 = 20;

impl Performer {
    pub(super) fn promotion(&self, step: &PromotionStep) -> Result<String, Failure> {
        match step {
            PromotionStep::SetWeight {
                director,
                backend,
                server,
                weight,
                ..
            } => self.weight(director, backend, server, *weight)?,
            PromotionStep::PausePrimary { fence } => {
                self.primary(fence)?.ensure_paused(fence)?;
                return Ok(format!("at {}", self.clock.now()));
            }
            PromotionStep::FencePrimary { fence, from } => {
                self.primary(fence)?.ensure_fenced(fence, *from)?;
                return Ok(format!("seen off at {}", self.clock.now()));
            }
            PromotionStep::StartPrimary { fence } => {
                self.primary(fence)?.ensure_unfenced(fence)?;
            }
            PromotionStep::RedefineShadow { spec, .. } => self.define(spec)?,
            PromotionStep::RemoveVolumes {
                owner,
                pool,
                storage,
                volumes,
            } => {
                self.hypervisor(&pool.source())?
                    .ensure_volumes_absent(owner, pool, storage, volumes)?;
            }
            // Done by being written down; a point needs its manifest.
            PromotionStep::CatchUp { .. }
            | PromotionStep::AttestFenced { .. }
            | PromotionStep::Rehold { .. }
            | PromotionStep::PointOfNoReturn
            | PromotionStep::OpenCommitWindow { .. }
            | PromotionStep::Commit { .. }
            | PromotionStep::EndPromotion { .. } => {}
        }
        Ok(String::new())
    }

    pub(super) fn undo_promotion(&self, step: &PromotionStep) -> Result<(), Failure> {
        match step {
            PromotionStep::SetWeight {
                director,
                backend,
                server,
                previous_weight,
                ..
            } => self.weight(director, backend, server, *previous_weight),
            PromotionStep::PausePrimary { fence } | PromotionStep::FencePrimary { fence, .. } => {
                match self.primary(fence)?.ensure_unfenced(fence) {
                    // It never came under the fence: somebody else's affair from the start.
                    Ok(()) | Err(PlatformError::NotOurs { .. }) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            PromotionStep::StartPrimary { fence } => {
                let grace_seconds = STOP_GRACE_SECONDS;
                let from = FenceFrom::Running { grace_seconds };
                Ok(self.primary(fence)?.ensure_fenced(fence, from)?)
            }
            PromotionStep::RedefineShadow { spec, previous, .. } => {
                self.define(previous)?;
                self.remove_new_overlays(spec, previous)
            }
            _ => Ok(()),
        }
    }

    fn primary(&self, fence: &Fence) -> Result<std::sync::Arc<dyn Hypervisor>, Failure> {
        self.hypervisor(&fence.vm.source())
    }

    fn weight(
        &self,
        director: &SourceName,
        backend: &str,
        server: &str,
        weight: Weight,
    ) -> Result<(), Failure> {
        Ok(self
            .director(director)?
            .ensure_weights(backend, &[(server.to_owned(), weight)])?)
    }

    fn remove_new_overlays(&self, new: &ShadowSpec, kept: &ShadowSpec) -> Result<(), Failure> {
        let gone: Vec<String> = (new.overlays.iter().map(|overlay| &overlay.volume))
            .filter(|volume| {
                kept.overlays
                    .iter()
                    .all(|overlay| overlay.volume != **volume)
            })
            .cloned()
            .collect();
        Ok(self.hypervisor(&new.pool.source())?.ensure_volumes_absent(
            &new.owner,
            &new.pool,
            &new.storage,
            &gone,
        )?)
    }
}
