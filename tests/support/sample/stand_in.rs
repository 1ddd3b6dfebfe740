//! The stand-in for the engine.

use std::sync::Arc;

use super::{adjusted, detail, forecast_record, runway_report};
use shadowcast::{
    engine::{
        command::{Answer, Command, Reply},
        handle::{Handle, Request},
        preview::{SettingsPreview, StateCount, Verdict, VmPreview},
        snapshot::{ForecastRecord, Snapshot},
    },
    health::HealthState,
    hypervisor::{Examination, Finding},
    policy::{
        DEFAULT_TOML, Settings,
        edit::{self, Difference},
    },
    problem::Problem,
};
use tokio::sync::{mpsc, watch};

/// Stands in for the engine: holds the snapshot, answers facts, writes down commands.
pub struct StandIn {
    snapshots: watch::Sender<Arc<Snapshot>>,
    requests: mpsc::Receiver<Request>,
    /// Everything that was asked, except histories.
    pub commands: Vec<Command>,
    /// Answers the next commands that are not facts, first in first out; `Done` else.
    pub replies: Vec<Reply>,
    /// How many histories were asked for.
    pub details_asked: usize,
    /// What the record of forecasts is, in place of the sample's.
    pub record: Option<Result<ForecastRecord, Problem>>,
}

pub fn stand_in(snapshot: Snapshot) -> (Handle, StandIn) {
    let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
    let (sender, requests) = mpsc::channel(256);
    (
        Handle::new(receiver, sender),
        StandIn {
            snapshots,
            requests,
            commands: Vec::new(),
            replies: Vec::new(),
            details_asked: 0,
            record: None,
        },
    )
}

impl StandIn {
    /// Changes the snapshot and publishes it as a newer one.
    pub fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::clone(&self.snapshots.borrow());
        change(&mut snapshot);
        snapshot.version += 1;
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Answers what has been asked so far.
    pub fn answer(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.handle(request);
        }
    }

    /// Answers until the window is gone.
    pub fn serve(mut self) {
        while let Some(request) = self.requests.blocking_recv() {
            self.handle(request);
        }
    }

    fn handle(&mut self, request: Request) {
        let reply = match &request.command {
            Command::VmDetail {
                vm,
                metric,
                past_seconds,
                horizon_seconds,
            } => {
                self.details_asked += 1;
                let now = self.snapshots.borrow().clone();
                now.vm(vm).map_or_else(
                    || {
                        Err(shadowcast::problem::Problem::failed(
                            "No history.",
                            "The VM is not there.",
                            "Choose another.",
                        ))
                    },
                    |view| {
                        Ok(Answer::VmDetail {
                            detail: Arc::new(detail(
                                view,
                                *metric,
                                *past_seconds,
                                *horizon_seconds,
                            )),
                        })
                    },
                )
            }
            Command::ForecastRecord { metric, .. } => {
                let now = self.snapshots.borrow().clone();
                let record = match &self.record {
                    Some(record) => record.clone(),
                    None => Ok(forecast_record(&now, *metric)),
                };
                record.map(|record| Answer::ForecastRecord {
                    record: Arc::new(record),
                })
            }
            Command::Runway { of, metric, .. } => {
                let now = self.snapshots.borrow().clone();
                runway_report(&now, of, *metric).map(|report| Answer::Runway {
                    report: Arc::new(report),
                })
            }
            Command::Settings => Ok(Answer::Settings {
                file: "settings.toml".to_owned(),
                text: DEFAULT_TOML.to_owned(),
            }),
            Command::SettingsPreview { text } => {
                Settings::parse(text, "settings.toml").map(|after| {
                    let changed = edit::differences(&Settings::default(), &after);
                    let preview = Box::new(settings_preview(changed));
                    Answer::SettingsPreview { preview }
                })
            }
            command => {
                self.commands.push(command.clone());
                if self.replies.is_empty() {
                    self.carry_out(command)
                } else {
                    self.replies.remove(0)
                }
            }
        };
        // A window that has closed in the meantime needs no answer.
        drop(request.reply.send(reply));
    }

    fn carry_out(&self, command: &Command) -> Reply {
        match command {
            Command::ProposalAdjust { proposal, share } => {
                self.publish(|now| {
                    for open in &mut now.proposals {
                        if open.id == *proposal {
                            *open = Arc::new(adjusted(open, *share));
                        }
                    }
                });
                let now = self.snapshots.borrow().clone();
                now.proposals
                    .iter()
                    .find(|open| open.id == *proposal)
                    .map(|open| Answer::Proposal {
                        proposal: Arc::clone(open),
                    })
                    .ok_or_else(|| shadowcast::problem::Problem::failed("a", "b", "c"))
            }
            Command::SourceTest { .. } => Ok(Answer::Examined {
                examination: examination(),
            }),
            Command::SourceAdd { .. } => Ok(Answer::Examined {
                examination: examination(),
            }),
            _ => Ok(Answer::Done {
                text: "Done.".to_owned(),
            }),
        }
    }
}

fn settings_preview(changed: Vec<Difference>) -> SettingsPreview {
    let verdict = |score, state, needs_shadow| Verdict {
        score: Some(score),
        state,
        needs_shadow,
    };
    SettingsPreview {
        changed,
        vms: vec![VmPreview {
            vm: super::vm_id("cart-api-03"),
            name: "cart-api-03".to_owned(),
            before: verdict(88, HealthState::Ok, false),
            after: verdict(44, HealthState::Critical, true),
        }],
        states: vec![StateCount {
            state: HealthState::Critical,
            before: 2,
            after: 3,
        }],
        needs_before: 2,
        needs_after: 3,
        forecasts_follow: false,
    }
}

pub fn examination() -> Examination {
    Examination {
        platform: "libvirt 9.0.0, QEMU 7.2.22".to_owned(),
        findings: [
            (true, true, "answers, 38 VMs seen"),
            (true, true, "statistics of all VMs in one call"),
            (true, true, "checkpoints and backup jobs"),
            (
                false,
                false,
                "no guest agent in 4 VMs: their points are as after a power cut",
            ),
        ]
        .map(|(works, needed, text)| Finding {
            works,
            needed,
            text: text.to_owned(),
        })
        .to_vec(),
        millis: 14,
    }
}
