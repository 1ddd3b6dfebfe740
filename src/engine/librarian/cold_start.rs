//! A VM whose own history does not carry a forecast yet is forecast by others of its instance type, and says so.

use super::{Desk, HISTORY_SECONDS, OwnHistory};
use crate::{
    calendar::{
        Affecting,
        uplift::{self, Learned},
    },
    engine::core::Kin,
    forecast::{
        Model, NotReady, Predicted,
        aggregate::{OfType, TypeProfile, has_own_history},
    },
    metrics::{Metric, Series},
    units::{SourceName, Timestamp, VmId},
};

/// A profile of a type is a mean over days: it need not be newer.
const KEPT_SECONDS: i64 = 900;

/// What a type does, as it was last looked at; `None` where too few of it are known.
#[derive(Default)]
pub(super) struct Profiles(
    std::collections::HashMap<(SourceName, String, Metric), (Timestamp, Option<TypeProfile>)>,
);

impl Desk {
    /// The forecast of `training`, or that of its type where it is too short for one.
    #[allow(clippy::too_many_arguments)] // what a forecast is made of
    pub(super) fn predict(
        &mut self,
        vm: &VmId,
        metric: Metric,
        now: Timestamp,
        steps: usize,
        training: &Series,
        events: &[Affecting],
        kin: &Kin,
        own: &OwnHistory,
    ) -> Result<(Predicted, Vec<Learned>), NotReady> {
        let model = Model::LIVE.forecaster();
        let made = if training.values.is_empty() {
            Err(NotReady::NoHistory)
        } else {
            // What cannot be read of long ago is not learned from; the rest still tells.
            let older = self
                .older(vm, metric, now, events, own)
                .unwrap_or_else(|problem| {
                    tracing::debug!(%vm, %problem, "nothing older");
                    None
                });
            uplift::predict(model, training, older.as_ref(), steps, events)
        };
        let Err(reason @ (NotReady::NoHistory | NotReady::TooShort { .. })) = made else {
            return made;
        };
        let profile = self.profile(vm, metric, now, kin, own);
        // What events do to the type, they do to the VM.
        let knowing = uplift::Knowing { model, events };
        let by_type = profile.and_then(|profile| {
            let predicted = profile
                .predict(&knowing, &kin.type_name, 1.0, training, steps)
                .ok()?;
            let end = predicted.points.last().map_or(now, |last| last.at);
            Some((predicted, uplift::learned(&profile.series, events, end)))
        });
        by_type.ok_or(reason)
    }

    fn profile(
        &mut self,
        vm: &VmId,
        metric: Metric,
        now: Timestamp,
        kin: &Kin,
        own: &OwnHistory,
    ) -> Option<TypeProfile> {
        let key = (vm.source(), kin.type_name.clone(), metric);
        if let Some((made, profile)) = self.profiles.0.get(&key)
            && now.secs_since(*made) < KEPT_SECONDS
        {
            return profile.clone();
        }
        let mut known = Vec::new();
        for other in kin.vms.iter().filter(|other| *other != vm) {
            // One that cannot be read is missed; the others still tell what the type does.
            if let Ok(series) = self.training(other, metric, now, HISTORY_SECONDS, own)
                && has_own_history(&series)
            {
                known.push(series);
            }
        }
        let members: Vec<OfType<'_>> = known
            .iter()
            .map(|series| OfType { size: 1.0, series })
            .collect();
        let profile = TypeProfile::of(&members).ok();
        self.profiles.0.insert(key, (now, profile.clone()));
        profile
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        calendar::Window,
        engine::librarian::tests::{NOW, desk},
    };

    /// `days` of a daily course at `level`, up to `now`.
    fn course(now: Timestamp, days: i64, level: f32, seed: u64) -> Series {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = now.floor_to(300).plus_secs(-days * 86_400);
        let values = (0..days * 288)
            .map(|step| {
                let angle = step as f32 / 288.0 * std::f32::consts::TAU;
                level * (1.0 - 0.5 * angle.cos()) + (random.f32() - 0.5) * 0.01
            })
            .collect();
        Series {
            start,
            step_seconds: 300,
            values,
        }
    }

    #[test]
    fn a_new_vm_is_forecast_by_its_type_until_it_has_a_history_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let now = NOW;
        let mut desk = desk(folder.path());
        let vms: Vec<VmId> = ["dc/1", "dc/2", "dc/3", "dc/4"].map(VmId::from).to_vec();
        for (seed, vm) in vms[..3].iter().enumerate() {
            let series = course(now, 14, 0.3, seed as u64);
            desk.metrics()
                .unwrap()
                .import(vm, Metric::Cpu, &series)
                .unwrap();
        }
        let kin = Kin {
            type_name: "2 vCPU, 4 GiB".to_owned(),
            vms: Arc::new(vms.clone()),
        };
        let mut ask_with = |vm: &VmId, kin: &Kin, events: &[Affecting]| {
            let training = desk
                .training(vm, Metric::Cpu, now, HISTORY_SECONDS, &None)
                .unwrap();
            desk.predict(vm, Metric::Cpu, now, 288, &training, events, kin, &None)
        };
        let mut ask = |vm: &VmId, kin: &Kin| ask_with(vm, kin, &[]);
        let (young, _) = ask(&vms[3], &kin).unwrap();
        assert_eq!(young.model, "like 3 VMs of type 2 vCPU, 4 GiB");
        assert!(
            (young.points[144].mean - 0.45).abs() < 0.05,
            "{:?}",
            young.points[144]
        );
        let (old, _) = ask(&vms[0], &kin).unwrap();
        assert_eq!(old.model, "mix");
        // Two of a type are none.
        let few = Kin {
            type_name: "8 vCPU, 4 GiB".to_owned(),
            vms: Arc::new(vms[1..].to_vec()),
        };
        assert!(matches!(ask(&vms[3], &few), Err(NotReady::NoHistory)));
        // What a planner expects of an event is put into what the type tells as well.
        let noon = Window {
            from: now.floor_to(300).plus_secs(43_200),
            to: now.floor_to(300).plus_secs(46_800),
        };
        let sale = Affecting {
            event: "e-1".into(),
            name: "Sale".to_owned(),
            expected_factor: Some(1.5),
            exclude: false,
            windows: vec![noon],
        };
        let (told, learned) = ask_with(&vms[3], &kin, &[sale]).unwrap();
        let ratio = told.points[146].mean / young.points[146].mean;
        assert!((ratio - 1.5).abs() < 0.01, "{ratio}");
        assert_eq!(learned[0].ahead, [noon]);
    }
}
