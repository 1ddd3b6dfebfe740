//! The steps of a promotion in words.

use super::wording::{bytes, duration, held, overlays};
use crate::{
    shadow::promotion::{FenceFrom, PromotionStep},
    units::printable,
};

pub(super) fn describe(step: &PromotionStep) -> String {
    match step {
        PromotionStep::CatchUp { number, .. } => {
            format!("Bring over what the primary wrote since, as recovery point {number}")
        }
        PromotionStep::SetWeight { server, weight, .. } if weight.0 == 0 => {
            format!("Give {} no new requests", printable(server))
        }
        PromotionStep::SetWeight { server, weight, .. } => {
            format!("Give {} the weight {}", printable(server), weight.0)
        }
        PromotionStep::PausePrimary { .. } => {
            "Pause the primary, with its mark and autostart off: from here on it serves nobody"
                .to_owned()
        }
        PromotionStep::FencePrimary { from, .. } => match from {
            FenceFrom::Paused => "Power the primary off, and see that it is off".to_owned(),
            FenceFrom::Running { grace_seconds } => format!(
                "Shut the old primary down, power off after {grace_seconds} s, and see that it is off"
            ),
        },
        PromotionStep::StartPrimary { .. } => {
            "Start the primary again, with autostart as it was".to_owned()
        }
        PromotionStep::AttestFenced {
            statement,
            point_at,
            ..
        } => format!(
            "Go by your word that the primary is off (\"{}\"); what it wrote after {point_at} is lost",
            printable(statement)
        ),
        PromotionStep::Rehold { hold, .. } => format!("Reserve {} in all", held(hold)),
        PromotionStep::RedefineShadow { spec, point, .. } => format!(
            "Define {} on {} with {} vCPU and {}, on fresh overlays of recovery point {point}",
            spec.name,
            spec.pool,
            spec.vcpus,
            bytes(spec.memory_bytes)
        ),
        PromotionStep::PointOfNoReturn => {
            "From here on only forward: what is written now would be lost on the way back"
                .to_owned()
        }
        PromotionStep::OpenCommitWindow { promotion } => format!(
            "Open the commit window: for {} it can be rolled back",
            duration(i64::from(promotion.window_seconds))
        ),
        PromotionStep::Commit { .. } => {
            "Close the window: the shadow stays in its primary's place, which stays off".to_owned()
        }
        PromotionStep::EndPromotion { .. } => "Note that the promotion was taken back".to_owned(),
        PromotionStep::RemoveVolumes { volumes, .. } => format!(
            "Remove {} that nothing stands on any more",
            if volumes.len() == 1 {
                "an overlay".to_owned()
            } else {
                format!("{} overlays", volumes.len())
            }
        ),
    }
}

pub(super) fn command_text(step: &PromotionStep) -> String {
    match step {
        PromotionStep::CatchUp { vm, number, .. } => {
            format!("virDomainBackupBegin {vm} since the newest checkpoint; point {number}")
        }
        PromotionStep::SetWeight {
            backend,
            server,
            weight,
            ..
        } => format!(
            "set weight {}/{} {}",
            printable(backend),
            printable(server),
            weight.0
        ),
        PromotionStep::PausePrimary { fence } => format!(
            "virDomainSetMetadata {vm} fence of {}; virDomainSetAutostart {vm} 0; virDomainSuspend {vm}",
            fence.shadow,
            vm = fence.vm
        ),
        PromotionStep::FencePrimary { fence, from } => match from {
            FenceFrom::Paused => format!("virDomainDestroy {}", fence.vm),
            FenceFrom::Running { grace_seconds } => format!(
                "virDomainSetMetadata {vm} fence of {}; virDomainSetAutostart {vm} 0; virDomainShutdown {vm}, after \
                 {grace_seconds} s virDomainDestroy",
                fence.shadow,
                vm = fence.vm
            ),
        },
        PromotionStep::StartPrimary { fence } => format!(
            "virDomainCreate {vm}; virDomainSetAutostart {vm} as its mark says; virDomainSetMetadata {vm} without it",
            vm = fence.vm
        ),
        PromotionStep::RedefineShadow { spec, .. } => format!(
            "virStorageVolCreateXML {}; virDomainDefineXML {} uuid {}",
            overlays(spec),
            spec.name,
            spec.uuid
        ),
        PromotionStep::Rehold { hold, .. } => {
            format!("ledger hold {} {}", hold.operation, held(hold))
        }
        PromotionStep::RemoveVolumes {
            storage, volumes, ..
        } => format!(
            "virStorageVolDelete {} {}",
            printable(storage),
            volumes.join(" ")
        ),
        PromotionStep::AttestFenced { .. }
        | PromotionStep::PointOfNoReturn
        | PromotionStep::OpenCommitWindow { .. }
        | PromotionStep::Commit { .. }
        | PromotionStep::EndPromotion { .. } => "journal only".to_owned(),
    }
}

pub(super) fn undo_text(step: &PromotionStep) -> String {
    match step {
        PromotionStep::CatchUp { .. } => "Nothing to take back: the point stays".to_owned(),
        PromotionStep::SetWeight {
            server,
            previous_weight,
            ..
        } => format!(
            "Give {} its weight of {} again",
            printable(server),
            previous_weight.0
        ),
        PromotionStep::PausePrimary { .. } => {
            "Let the primary run on; autostart as it was, its mark goes".to_owned()
        }
        PromotionStep::FencePrimary { .. } => "Start the primary again".to_owned(),
        PromotionStep::StartPrimary { .. } => "Shut the primary down again".to_owned(),
        PromotionStep::Rehold { previous, .. } => format!("Reserve {} again", held(previous)),
        PromotionStep::RedefineShadow {
            previous,
            previous_point,
            ..
        } => format!(
            "Define {} as it was, on recovery point {previous_point}",
            previous.name
        ),
        PromotionStep::PointOfNoReturn
        | PromotionStep::OpenCommitWindow { .. }
        | PromotionStep::Commit { .. }
        | PromotionStep::EndPromotion { .. }
        | PromotionStep::RemoveVolumes { .. } => {
            "Only forward: `shadow rollback` is a plan of its own".to_owned()
        }
        PromotionStep::AttestFenced { .. } => {
            "Nothing to take back: it is only written down".to_owned()
        }
    }
}
