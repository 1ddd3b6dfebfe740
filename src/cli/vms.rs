//! `vms`, `vm NAME`: inventory with the newest readings.

use clap::Args;

use super::{
    context::Context,
    json::{self, OneVmJson},
    names,
    output::{self, Listing},
};
use crate::{
    engine::snapshot::{Snapshot, VmView},
    inventory::size_name,
    metrics::Metric,
    problem::Problem,
};

/// List every VM with its newest readings
#[derive(Args)]
pub struct Vms {
    #[arg(long)]
    json: bool,
}

impl Vms {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::vms(&now));
        }
        let mut listing = Listing::new(&[
            "name", "pool", "state", "type", ">cpu", ">memory", ">steal", ">health", "crosses",
            "sampled", "shadow",
        ]);
        for view in now.vms.iter() {
            let crosses = (view.first_crossing())
                .and_then(|outlook| outlook.crosses_at)
                .map(|at| output::relative(at, now.at));
            let sampled = view.sampled_at.map(|at| output::relative(at, now.at));
            listing.row([
                (&view.vm.name).into(),
                (&view.vm.pool).into(),
                output::word(&view.vm.state).into(),
                (&view.vm.instance_type).into(),
                output::percent_or_dash(view.values[Metric::Cpu.index()]).into(),
                output::percent_or_dash(view.values[Metric::Memory.index()]).into(),
                output::percent_or_dash(view.values[Metric::Steal.index()]).into(),
                output::health_text(view.health.state, output::or_dash(view.health.score)),
                crosses.unwrap_or_default().into(),
                output::or_dash(sampled).into(),
                (view.shadow.as_ref())
                    .map_or_else(String::new, ToString::to_string)
                    .into(),
            ]);
        }
        listing.show_or("No VMs. Connect a platform: `shadowcast source add URI`.")
    }
}

/// Show one VM: disks, readings, outlook, health
#[derive(Args)]
pub struct OneVm {
    /// VM by name or id
    name: String,
    #[arg(long)]
    json: bool,
}

impl OneVm {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        let view = names::vm(&now, &self.name)?;
        if self.json {
            return output::json(&OneVmJson::from(view));
        }
        facts(view)?;
        disks(view)?;
        readings(view, &now)
    }
}

fn facts(view: &VmView) -> Result<(), Problem> {
    let vm = &view.vm;
    let agent = if vm.has_agent { "answers" } else { "none" };
    let mut facts = vec![
        ("name", vm.name.clone()),
        ("id", vm.id.to_string()),
        ("pool", vm.pool.to_string()),
        ("host", vm.host.clone()),
        ("state", output::word(&vm.state)),
        ("type", vm.instance_type.clone()),
        ("size", size_name(vm.vcpus, vm.memory_bytes)),
        ("memory", output::bytes(vm.memory_bytes)),
        ("guest agent", agent.to_owned()),
        (
            "health",
            format!(
                "{} ({})",
                output::or_dash(view.health.score),
                output::word(&view.health.state)
            ),
        ),
    ];
    if let Some(shadow) = &view.shadow {
        facts.push(("shadow", shadow.to_string()));
    }
    if let Some(proposal) = &view.proposal {
        facts.push(("proposal", proposal.to_string()));
    }
    if let Some(withheld) = &view.withheld {
        facts.push(("withheld", withheld.to_string()));
    }
    if !vm.foreign_jobs.is_empty() {
        facts.push(("others' jobs", vm.foreign_jobs.join(", ")));
    }
    for label in &vm.labels {
        facts.push(("label", format!("{} = {}", label.key, label.value)));
    }
    for (name, fact) in facts {
        output::line(&format!("{name:<14}{fact}"))?;
    }
    Ok(())
}

fn disks(view: &VmView) -> Result<(), Problem> {
    let mut listing = Listing::new(&["disk", "format", ">size", ">used", ">limit", "path"]);
    for disk in &view.vm.disks {
        let format = match &disk.compat {
            Some(compat) => format!("{} {compat}", output::word(&disk.format)),
            None => output::word(&disk.format),
        };
        let limit = (disk.limit_bytes_per_sec).map(|limit| format!("{}/s", output::bytes(limit)));
        listing.row([
            (&disk.target).into(),
            format.into(),
            output::bytes(disk.capacity_bytes).into(),
            output::bytes(disk.allocated_bytes).into(),
            output::or_dash(limit).into(),
            (&disk.path).into(),
        ]);
    }
    listing.show_or("No disks.")
}

fn readings(view: &VmView, now: &Snapshot) -> Result<(), Problem> {
    let mut listing = Listing::new(&["metric", ">now", ">peak ahead", ">limit", "crosses"]);
    for metric in Metric::ALL {
        let shown = |value: f32| output::value(metric, f64::from(value));
        let outlook = view.outlook(metric);
        let crosses = outlook
            .and_then(|outlook| outlook.crosses_at)
            .map(|at| format!("{} ({})", output::moment(at), output::relative(at, now.at)));
        listing.row([
            metric.name().into(),
            output::or_dash(view.values[metric.index()].map(shown)).into(),
            output::or_dash(outlook.map(|outlook| shown(outlook.peak))).into(),
            output::or_dash(outlook.and_then(|outlook| outlook.limit).map(shown)).into(),
            crosses.unwrap_or_default().into(),
        ]);
    }
    listing.show()
}
