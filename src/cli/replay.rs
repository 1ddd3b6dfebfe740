//! `replay`: what would have been proposed in the past, when, and with what result.

use clap::Args;

use super::{
    context::{Context, unexpected},
    json::{ReplayJson, ReplaySummary, ReplaysJson},
    names,
    output::{self, Listing, Text},
    parse::{self, Since},
    policy,
};
use crate::{
    calendar::Affecting,
    engine::{
        command::{Answer, Command},
        handle::Handle,
        snapshot::{OperationState, Snapshot, VmView},
    },
    forecast::HISTORY_SECONDS,
    metrics::{Metric, Series},
    policy::Settings,
    problem::Problem,
    shadow::{
        PlanKind, ready,
        replay::{
            LOOKS_BACK_SECONDS, Load, Raised, ReplayInput, ReplayPolicy, Replayed, Verdict, replay,
        },
    },
    units::{ServiceName, Timestamp},
};

/// What forecasts are made of.
const SERIES_STEP_SECONDS: u32 = 300;

/// Put the live decision back to the past: what would have been proposed, when, and with what result
///
/// At each moment only what had been measured by then is known, as means of 5 minutes. Nobody approves: a proposal
/// stands until its need has passed, and is true where a limit is crossed within the horizon of the settings.
#[derive(Args)]
pub struct Replay {
    /// From when on: 24h, 7days, or a moment in RFC 3339
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = parse::since)]
    from: Since,
    /// Until when, written the same way [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse::since)]
    to: Option<Since>,
    /// VM by name or id, as often as wanted; all of them where none is named
    #[arg(long, value_name = "VM")]
    vm: Vec<String>,
    /// Between two decisions, in whole steps of 5 minutes
    #[arg(long, default_value = "5min", value_name = "TIME", value_parser = parse::seconds)]
    step: u32,
    #[arg(long)]
    json: bool,
}

/// The span that is replayed, and by which terms.
struct Terms {
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
    step_seconds: u32,
    settings: Settings,
    policy: ReplayPolicy,
}

impl Replay {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (settings, _) = policy::read(context)?;
        let (session, now) = context.settled()?;
        let terms = self.terms(settings, &now)?;
        let views: Vec<&VmView> = if self.vm.is_empty() {
            now.vms
                .iter()
                .filter(|view| view.vm.owner.is_none())
                .collect()
        } else {
            let named = self.vm.iter().map(|word| names::vm(&now, word));
            named.collect::<Result<_, _>>()?
        };
        let waiting = output::spinner("deciding on the past");
        let replayed: Result<Vec<_>, Problem> = views
            .into_iter()
            .map(|view| Ok((view, one(&session.handle, &now, view, &terms)?)))
            .collect();
        waiting.finish_and_clear();
        let replayed = replayed?;
        let summary = ReplaySummary::of(
            replayed.iter().map(|(_, replayed)| replayed),
            terms.step_seconds,
        );
        if self.json {
            return output::json(&ReplaysJson {
                from: terms.from,
                to: terms.to,
                step_seconds: terms.step_seconds,
                summary: &summary,
                vms: replayed
                    .iter()
                    .map(|(view, replayed)| ReplayJson::of(view, replayed))
                    .collect(),
            });
        }
        show(&replayed, &summary)
    }

    fn terms(&self, settings: Settings, snapshot: &Snapshot) -> Result<Terms, Problem> {
        let now = snapshot.at;
        let from = self.from.before(now);
        let to = self.to.map_or(now, |to| to.before(now)).min(now);
        if from >= to {
            return Err(Problem::usage(
                "Nothing was replayed.",
                format!("{from} is not before {to}"),
                "Give a --from that lies before --to and before now.",
            ));
        }
        let policy = ReplayPolicy {
            need: settings.need_policy(ready_seconds(snapshot)),
            hold: settings.hold_policy(),
            sizing: settings.sizing_policy(),
            thresholds: settings.thresholds(),
        };
        let steps = self.step.div_ceil(SERIES_STEP_SECONDS);
        Ok(Terms {
            from,
            to,
            now,
            step_seconds: steps.saturating_mul(SERIES_STEP_SECONDS),
            settings,
            policy,
        })
    }
}

/// What a shadow needs on this fleet, by the operations that are remembered.
fn ready_seconds(now: &Snapshot) -> u32 {
    let mut made: Vec<(Timestamp, u32)> = now
        .operations
        .iter()
        .filter(|operation| {
            operation.kind == PlanKind::Create && operation.state == OperationState::Done
        })
        .filter_map(|operation| {
            let ended_at = operation.ended_at?;
            let seconds = ended_at.secs_since(operation.started_at);
            Some((ended_at, u32::try_from(seconds).ok()?))
        })
        .collect();
    made.sort_by_key(|(ended_at, _)| std::cmp::Reverse(*ended_at));
    ready::ready_seconds(made.into_iter().map(|(_, seconds)| seconds))
}

fn one(handle: &Handle, now: &Snapshot, view: &VmView, terms: &Terms) -> Result<Replayed, Problem> {
    let events = events(now, view, terms);
    let mut measured: Vec<(Metric, f64, Series)> = Vec::new();
    for metric in Metric::FORECAST {
        // Without a limit nothing can be crossed.
        let Some(limit) = limit(view, metric, &terms.settings) else {
            continue;
        };
        let series = history(handle, view, metric, terms, events.is_empty())?;
        if series.values.iter().any(|value| value.is_finite()) {
            measured.push((metric, limit, series));
        }
    }
    let loads: Vec<Load> = measured
        .iter()
        .map(|(metric, limit, series)| Load {
            metric: *metric,
            series,
            limit: *limit,
        })
        .collect();
    let service = now
        .services
        .iter()
        .map(|view| &view.service)
        .find(|service| service.members.iter().any(|member| member.vm == view.vm.id));
    let input = ReplayInput {
        vm: &view.vm,
        service,
        events: &events,
        loads: &loads,
        from: terms.from,
        to: terms.to,
        step_seconds: terms.step_seconds,
    };
    Ok(replay(&input, &terms.policy))
}

/// What the calendar of today says of the VM, from as far back as events are learned from.
fn events(now: &Snapshot, view: &VmView, terms: &Terms) -> Vec<Affecting> {
    let back = i64::try_from(LOOKS_BACK_SECONDS).unwrap_or(i64::MAX);
    let ahead = i64::from(terms.policy.need.horizon_seconds);
    let (from, to) = (terms.from.plus_secs(-back), terms.to.plus_secs(ahead));
    let services: Vec<&ServiceName> = now
        .services
        .iter()
        .map(|view| &view.service)
        .filter(|service| service.members.iter().any(|member| member.vm == view.vm.id))
        .map(|service| &service.name)
        .collect();
    now.calendar
        .iter()
        .filter(|known| known.event.affects(&view.vm, &services))
        .filter_map(|known| Affecting::of(&known.event, from, to))
        .collect()
}

/// The limit that the engine goes by now; the settings' where it has no forecast.
fn limit(view: &VmView, metric: Metric, settings: &Settings) -> Option<f64> {
    let own = settings.limits_of(&view.vm.name);
    let set = match metric {
        Metric::Cpu => own.cpu,
        Metric::Memory => own.memory,
        Metric::Disk => own.disk_bytes_per_sec,
        Metric::Net => own.net_bytes_per_sec,
        _ => None,
    };
    set.or_else(|| view.outlook(metric)?.limit.map(f64::from))
}

/// What forecasts at the first moment look back on, until the horizon of the last.
fn history(
    handle: &Handle,
    view: &VmView,
    metric: Metric,
    terms: &Terms,
    without_events: bool,
) -> Result<Series, Problem> {
    let before = if without_events {
        HISTORY_SECONDS
    } else {
        LOOKS_BACK_SECONDS
    };
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let after = i64::from(terms.policy.need.horizon_seconds);
    let step = i64::from(SERIES_STEP_SECONDS);
    let start = terms.from.plus_secs(-before).as_secs().div_euclid(step) * step;
    let answer = handle.ask(Command::History {
        vm: view.vm.id.clone(),
        metric,
        from: Timestamp::from_secs(start),
        to: terms.to.plus_secs(after).min(terms.now),
        step_seconds: Some(SERIES_STEP_SECONDS),
    })?;
    match answer {
        Answer::History { series } => Ok(series),
        other => Err(unexpected(&other)),
    }
}

fn show(replayed: &[(&VmView, Replayed)], summary: &ReplaySummary) -> Result<(), Problem> {
    let mut listing = Listing::new(&["vm", "proposed", "urgency", ">share", "why", "result"]);
    for (view, replayed) in replayed {
        for raised in &replayed.raised {
            listing.row([
                (&view.vm.name).into(),
                output::moment(raised.at).into(),
                output::word(&raised.urgency).into(),
                output::percent(raised.share).into(),
                (&raised.why).into(),
                result(raised),
            ]);
        }
    }
    listing.show_or("Nothing would have been proposed.")?;
    let lead = summary
        .median_lead_seconds
        .map_or_else(String::new, |lead| {
            format!(", median lead {}", output::seconds(u64::from(lead)))
        });
    output::line(&format!(
        "{} proposals: {} crossed, {} false alarms, {} not yet known",
        summary.proposals, summary.crossed, summary.false_alarms, summary.not_yet_known
    ))?;
    output::line(&format!(
        "{} crossings, {} of them without a proposal{lead}",
        summary.crossings, summary.missed
    ))?;
    output::line(&match summary.false_alarms_per_vm_day {
        Some(rate) => format!(
            "{rate:.3} false alarms per VM-day over {:.1} VM-days that could be decided on",
            summary.vm_days
        ),
        None => "too little was measured to decide on anything".to_owned(),
    })
}

fn result(raised: &Raised) -> Text {
    match raised.result {
        Verdict::Crossed { lead_seconds: 0 } => Text::warn("over the limit already"),
        Verdict::Crossed { lead_seconds } => Text::good(format!(
            "crossed {} later",
            output::seconds(u64::from(lead_seconds))
        )),
        Verdict::FalseAlarm => Text::bad("false alarm"),
        Verdict::NotYetKnown => "not yet known".into(),
    }
}
