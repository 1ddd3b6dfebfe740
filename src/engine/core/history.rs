//! Bringing history: who is meant, and from where.

use super::{Core, Document, Effect, Fetch, ReplyTo, sources::no_source};
use crate::{
    engine::command::Answer,
    metrics::Metric,
    problem::Problem,
    telemetry::prometheus::backfill::Wanted,
    units::{SourceName, Timestamp, VmId},
};

/// Metrics that are brought where none is named.
const USUAL: [Metric; 5] = [
    Metric::Cpu,
    Metric::Memory,
    Metric::Disk,
    Metric::Net,
    Metric::Steal,
];

impl Core {
    /// One slice of a back-fill; whoever asked asks again until it is finished.
    #[allow(clippy::too_many_arguments)] // what a back-fill is asked by
    pub(super) fn backfill(
        &mut self,
        to: ReplyTo,
        source: &SourceName,
        since_seconds: u32,
        vms: &[String],
        metrics: &[Metric],
        query: Option<&str>,
        out: &mut Vec<Effect>,
    ) {
        match self.plan_backfill(source, since_seconds, vms, metrics, query) {
            Ok(fetch) => out.push(Effect::Fetch { to, fetch }),
            Err(problem) => out.push(Effect::Reply {
                to,
                reply: Err(problem),
            }),
        }
    }

    fn plan_backfill(
        &self,
        source: &SourceName,
        since_seconds: u32,
        vms: &[String],
        metrics: &[Metric],
        query: Option<&str>,
    ) -> Result<Fetch, Problem> {
        let what = "No history was brought.";
        let known = self
            .sources
            .get(source)
            .ok_or_else(|| no_source(what, source))?;
        if !known.config.is_history() {
            return Err(Problem::usage(
                what,
                format!("{source} is no Prometheus server"),
                "Add one: `shadowcast source add prometheus+http://host:9090 --name prom`.",
            ));
        }
        if self.vms.is_empty() {
            return Err(Problem::failed(
                what,
                "no VM is known yet, so nothing can be matched",
                "Add the source that has the VMs first; `shadowcast vms` shows them.",
            ));
        }
        let only = vms
            .iter()
            .map(|vm| self.find_vm(what, vm))
            .collect::<Result<Vec<VmId>, Problem>>()?;
        if query.is_some() && metrics.len() != 1 {
            return Err(Problem::usage(
                what,
                "a query stands for one metric",
                "Name it: --metric cpu --query '…'.",
            ));
        }
        let metrics = if metrics.is_empty() {
            &USUAL[..]
        } else {
            metrics
        };
        let own = |metric: Metric| {
            let set = self.settings.prometheus.queries.get(metric.name());
            query.map(str::to_owned).or_else(|| set.cloned())
        };
        let wanted = Wanted::new(metrics, own, since_seconds);
        if wanted.queries.is_empty() {
            return Err(Problem::usage(
                what,
                "there is no usual query for that metric",
                "Give one: --query '…', or [prometheus.queries] in the settings.",
            ));
        }
        Ok(Fetch::Backfill {
            source: source.clone(),
            uri: known.config.uri.clone(),
            wanted,
            only,
            vms: (self.vms.iter())
                .map(|(id, record)| (id.clone(), record.vm.name.clone()))
                .collect(),
        })
    }

    pub(super) fn backfilled(&mut self, at: Timestamp, name: &SourceName, out: &mut Vec<Effect>) {
        let Some(source) = self.sources.get_mut(name) else {
            return;
        };
        source.config.last_backfill = Some(at);
        out.push(Effect::Put(Document::Source(source.config.clone())));
    }

    /// A server that only keeps history was looked at.
    pub(super) fn looked_at(
        &mut self,
        at: Timestamp,
        name: &SourceName,
        error: Option<String>,
        millis: u64,
        out: &mut Vec<Effect>,
    ) {
        self.source_answered(at, name, error, millis, out);
    }

    pub(super) fn never_armed(what: &str, name: &SourceName) -> Result<Answer, Problem> {
        Err(Problem::refused(
            what,
            format!("{name} only keeps history and is only ever read"),
            "Arm the sources that VMs run on.",
        ))
    }
}
