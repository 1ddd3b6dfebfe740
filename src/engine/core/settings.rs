//! The settings while the engine runs: what a change would do, and the change itself.

use super::{Core, Effect, Failure, Outcome, ReplyTo, VmRecord, vms};
use crate::{
    engine::{
        command::{Answer, Reply},
        preview::{SettingsPreview, StateCount, Verdict, VmPreview},
        snapshot::TimelineKind,
    },
    health::{HealthScore, HealthState, Thresholds},
    inventory::PowerState,
    policy::{
        Settings,
        edit::{self, Difference},
    },
    problem::Problem,
    shadow::need::{self, NeedPolicy},
    units::{Timestamp, VmId},
};

const NOT_SET: &str = "The settings were not changed.";
/// More VMs than this are counted and not listed.
const MAX_LISTED: usize = 500;
const STATES: [HealthState; 5] = [
    HealthState::Ok,
    HealthState::Watch,
    HealthState::Risk,
    HealthState::Critical,
    HealthState::Unknown,
];

/// What one side of a comparison goes by.
struct Side<'a> {
    settings: &'a Settings,
    thresholds: Thresholds,
    policy: NeedPolicy,
}

impl<'a> Side<'a> {
    fn new(settings: &'a Settings, ready_seconds: u32) -> Self {
        Self {
            settings,
            thresholds: settings.thresholds(),
            policy: settings.need_policy(ready_seconds),
        }
    }
}

impl Core {
    pub(super) fn preview_settings(&self, at: Timestamp, text: &str) -> Reply {
        let wanted = Settings::parse(text, &self.settings_file.name)?;
        let changed = edit::differences(&self.settings, &wanted);
        let ready_seconds = self.need_policy().ready_seconds;
        let before = Side::new(&self.settings, ready_seconds);
        let after = Side::new(&wanted, ready_seconds);
        let mut preview = SettingsPreview {
            forecasts_follow: changed.iter().any(changes_forecasts),
            changed,
            states: STATES
                .map(|state| StateCount {
                    state,
                    before: 0,
                    after: 0,
                })
                .to_vec(),
            ..SettingsPreview::default()
        };
        for (id, record) in &self.vms {
            if record.vm.state != PowerState::Running || record.vm.owner.is_some() {
                continue;
            }
            let vm = VmPreview {
                vm: id.clone(),
                name: record.vm.name.clone(),
                before: self.verdict(at, id, record, &before),
                after: self.verdict(at, id, record, &after),
            };
            for count in &mut preview.states {
                count.before += u32::from(count.state == vm.before.state);
                count.after += u32::from(count.state == vm.after.state);
            }
            preview.needs_before += u32::from(vm.before.needs_shadow);
            preview.needs_after += u32::from(vm.after.needs_shadow);
            if vm.before != vm.after {
                preview.vms.push(vm);
            }
        }
        preview
            .vms
            .sort_by_key(|vm| (!vm.after.needs_shadow, vm.after.score, vm.name.clone()));
        preview.vms.truncate(MAX_LISTED);
        Ok(Answer::SettingsPreview {
            preview: Box::new(preview),
        })
    }

    fn verdict(&self, at: Timestamp, id: &VmId, record: &VmRecord, side: &Side) -> Verdict {
        let limits = vms::limits_by(side.settings, &record.vm);
        let lag = self.shadow_lag(at, id);
        let health = vms::health_of(record, &limits, lag, &side.thresholds, at);
        let state = health.score.map_or(HealthState::Unknown, |score| {
            side.thresholds.states.of(score)
        });
        let health = HealthScore { state, ..health };
        let needed = need::need(&self.need_input(at, record, &health), &side.policy);
        Verdict {
            score: health.score,
            state,
            needs_shadow: needed.is_some() && self.shadow_of(id).is_none(),
        }
    }

    /// What stands in `text`, where it may take the place of `was`.
    pub(super) fn check_settings(&self, was: &str, text: &str) -> Result<Settings, Problem> {
        if was != self.settings_file.text {
            return Err(Problem::refused(
                NOT_SET,
                "they were changed by somebody else meanwhile",
                "Look at them again and repeat your change.",
            ));
        }
        Settings::parse(text, &self.settings_file.name)
    }

    #[allow(clippy::too_many_arguments)] // what was asked, and what came of it
    pub(super) fn settings_kept(
        &mut self,
        at: Timestamp,
        to: ReplyTo,
        text: String,
        settings: Settings,
        by: &str,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let reply = match result {
            Ok(_) => Ok(self.take_settings(at, text, settings, by, out)),
            Err(failure) => Err(Problem::failed(
                NOT_SET,
                failure.why,
                "Mend that, and repeat your change; where the file was edited by hand, start the engine again.",
            )),
        };
        out.push(Effect::Reply { to, reply });
    }

    fn take_settings(
        &mut self,
        at: Timestamp,
        text: String,
        settings: Settings,
        by: &str,
        out: &mut Vec<Effect>,
    ) -> Answer {
        let changed = edit::differences(&self.settings, &settings);
        // What the threads were started with stays as it was until they are started anew.
        self.settings = Settings {
            sampling: self.settings.sampling.clone(),
            history: self.settings.history.clone(),
            prometheus: self.settings.prometheus.clone(),
            ..settings
        };
        self.settings_file.text = text;
        self.forecast.wanted |= changed.iter().any(changes_forecasts);
        let ids: Vec<VmId> = self.vms.keys().cloned().collect();
        for id in &ids {
            self.score(at, id);
        }
        self.views.vms = None;
        let told: Vec<String> = changed.iter().map(told).collect();
        let text = if told.is_empty() {
            format!("{by} changed nothing in the settings but their words")
        } else {
            format!("{by} changed the settings: {}", told.join(", "))
        };
        self.event(
            at,
            TimelineKind::Decision,
            text.clone(),
            None,
            None,
            false,
            out,
        );
        Answer::Done { text }
    }
}

fn changes_forecasts(difference: &Difference) -> bool {
    ["limits.", "vm.", "forecast.horizon_hours", "types"]
        .iter()
        .any(|part| difference.key.starts_with(part))
}

fn told(difference: &Difference) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
    let later = if difference.at_restart {
        " (from the next start on)"
    } else {
        ""
    };
    format!(
        "{} {} → {}{later}",
        difference.key,
        value(&difference.before),
        value(&difference.after)
    )
}
