//! `types`: which types the VMs are of, by which rule, and what the middle VM of each will do.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    context::Context,
    json::{ProfileJson, TypeJson, TypesJson},
    output::{self, Listing},
    parse, policy,
    together::{STEP_SECONDS, measured},
};
use crate::{
    engine::{
        handle::Handle,
        snapshot::{Snapshot, VmView},
    },
    forecast::{
        Model,
        aggregate::{OfType, TypeProfile, has_own_history},
    },
    inventory::PowerState,
    metrics::{Metric, Series},
    policy::types::{TypeRule, type_of},
    problem::Problem,
};

/// More of a type than this tell little more of it, and each is read.
const MOST_PROFILED: usize = 12;

/// List the types of VMs with the rule that names each and the peak its middle VM will have
#[derive(Args)]
pub struct Types {
    /// Of the peak: cpu, memory, disk or net
    #[arg(long, default_value = "cpu", value_parser = parse::metric)]
    metric: Metric,
    /// How far ahead the peak is looked for
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = parse::seconds)]
    horizon: u32,
    #[arg(long)]
    json: bool,
}

impl Types {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (settings, _) = policy::read(context)?;
        let (session, now) = context.settled()?;
        let mut members: BTreeMap<&str, Vec<&VmView>> = BTreeMap::new();
        for view in now.vms.iter().filter(|view| view.vm.owner.is_none()) {
            let of_type = members.entry(&view.vm.instance_type).or_default();
            of_type.push(view);
        }
        let waiting = output::spinner("reading history");
        let types: Result<Vec<TypeJson>, Problem> = members
            .into_iter()
            .map(|(name, views)| {
                Ok(TypeJson {
                    name,
                    rule: rule_of(&settings.types, name, &views),
                    vms: views.len(),
                    vcpus: views.iter().map(|view| u64::from(view.vm.vcpus)).sum(),
                    memory_bytes: views.iter().map(|view| view.vm.memory_bytes).sum(),
                    profile: self.profile(&session.handle, &now, name, &views)?,
                })
            })
            .collect();
        waiting.finish_and_clear();
        let mut types = types?;
        types.sort_by_key(|one| std::cmp::Reverse(one.vms));
        if self.json {
            return output::json(&TypesJson {
                metric: self.metric,
                unit: self.metric.unit(),
                horizon_seconds: self.horizon,
                types,
            });
        }
        self.show(&types)
    }

    fn profile(
        &self,
        handle: &Handle,
        now: &Snapshot,
        name: &str,
        views: &[&VmView],
    ) -> Result<Option<ProfileJson>, Problem> {
        let mut known: Vec<Series> = Vec::new();
        let running = |view: &&&VmView| view.vm.state == PowerState::Running;
        for view in views.iter().filter(running).take(MOST_PROFILED) {
            let series = measured(handle, now, view, self.metric)?;
            if has_own_history(&series) {
                known.push(series);
            }
        }
        let members: Vec<OfType> = known
            .iter()
            .map(|series| OfType { size: 1.0, series })
            .collect();
        let steps = (self.horizon / STEP_SECONDS).max(1) as usize;
        let nothing_own = Series {
            start: now.at,
            step_seconds: STEP_SECONDS,
            values: Vec::new(),
        };
        // Too few of a type, or none that can be forecast: there is no profile, and none is made up.
        let predicted = TypeProfile::of(&members).and_then(|profile| {
            profile.predict(Model::LIVE.forecaster(), name, 1.0, &nothing_own, steps)
        });
        let Ok(predicted) = predicted else {
            return Ok(None);
        };
        let peak = predicted
            .points
            .iter()
            .max_by(|a, b| a.mean.total_cmp(&b.mean));
        Ok(peak.map(|peak| ProfileJson {
            vms: members.len(),
            peak: peak.mean,
            peak_lower: peak.lower,
            peak_upper: peak.upper,
            peak_at: peak.at,
        }))
    }

    fn show(&self, types: &[TypeJson]) -> Result<(), Problem> {
        let peak = format!(">{} peak", self.metric.name());
        let mut listing = Listing::new(&[
            "type", "rule", ">vms", ">vcpus", ">memory", &peak, ">from", ">to", "at",
        ]);
        for one in types {
            let value = |of: fn(&ProfileJson) -> f32| {
                let profile = one.profile.as_ref();
                output::or_dash(profile.map(|p| output::value(self.metric, f64::from(of(p)))))
            };
            listing.row([
                one.name.into(),
                one.rule
                    .map_or_else(|| "size".to_owned(), |rule| rule.to_string())
                    .into(),
                one.vms.to_string().into(),
                one.vcpus.to_string().into(),
                output::bytes(one.memory_bytes).into(),
                value(|profile| profile.peak).into(),
                value(|profile| profile.peak_lower).into(),
                value(|profile| profile.peak_upper).into(),
                output::or_dash(one.profile.as_ref().map(|p| output::moment(p.peak_at))).into(),
            ]);
        }
        listing.show_or("No VMs. Connect a platform: `shadowcast source add URI`.")
    }
}

/// The rule that calls these VMs so, counted from 1. An engine that was started with other settings may go by others.
fn rule_of(rules: &[TypeRule], name: &str, views: &[&VmView]) -> Option<usize> {
    let found = type_of(rules, &views.first()?.vm);
    (found.name == name)
        .then_some(found.rule)?
        .map(|rule| rule + 1)
}
