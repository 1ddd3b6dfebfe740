//! `shadow create|list|show|sync|refresh|promote|commit|rollback|retire` and those of [`prove`]: shadows by hand. What
//! changes something prints its plan and asks.

use clap::{Args, Subcommand};

use super::{
    ask,
    context::{Context, operator, unexpected},
    decide, follow,
    json::{self, ProposalJson, ShadowJson},
    names,
    output::{self, Listing, Text},
    parse, proposals, prove,
};
use crate::{
    engine::{
        command::{Answer, Command},
        snapshot::{PromotionView, ShadowState, ShadowView, Snapshot},
        thread::Session,
    },
    problem::Problem,
    shadow::{Check, CheckOutcome, PlanKind, Proposal},
    units::{ShadowId, Timestamp, printable},
};

mod promotion;

/// Shadows by hand
#[derive(Subcommand)]
pub enum Shadow {
    Create(Create),
    List(List),
    Show(Show),
    Sync(Sync),
    Promote(promotion::Promote),
    Commit(promotion::Commit),
    Rollback(promotion::Rollback),
    Points(prove::Points),
    Pin(prove::Pin),
    Unpin(prove::Unpin),
    Validate(prove::Validate),
    Proofs(prove::Proofs),
    Refresh(Refresh),
    Retire(Retire),
}

impl Shadow {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Create(verb) => verb.run(context),
            Self::List(verb) => verb.run(context),
            Self::Show(verb) => verb.run(context),
            Self::Sync(verb) => verb.run(context),
            Self::Promote(verb) => verb.run(context),
            Self::Commit(verb) => verb.run(context),
            Self::Rollback(verb) => verb.run(context),
            Self::Points(verb) => verb.run(context),
            Self::Pin(verb) => verb.run(context),
            Self::Unpin(verb) => verb.run(context),
            Self::Validate(verb) => verb.run(context),
            Self::Proofs(verb) => verb.run(context),
            Self::Refresh(verb) => verb.run(context),
            Self::Retire(verb) => verb.run(context),
        }
    }
}

/// How a plan that was printed becomes an approval.
#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag of the command line"
)]
struct Consent {
    /// Approve the printed plan without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Follow to the end also where a running engine carries it out
    #[arg(long)]
    follow: bool,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

impl Consent {
    /// Has the plan made; one that is only to be looked at is not kept.
    fn ask(&self, session: &Session, command: Command) -> Result<(), Problem> {
        let command = if self.dry_run {
            Command::DryRun {
                of: Box::new(command),
            }
        } else {
            command
        };
        match session.handle.ask(command)? {
            Answer::Proposal { proposal } => self.carry_out(session, &proposal),
            other => Err(unexpected(&other)),
        }
    }

    /// Prints the plan; approves exactly that plan where the operator wants it.
    fn carry_out(&self, session: &Session, proposal: &Proposal) -> Result<(), Problem> {
        if self.json {
            output::json(&ProposalJson::from(proposal))?;
        } else {
            proposals::show(proposal, session.handle.snapshot().at)?;
        }
        if self.dry_run {
            return Ok(());
        }
        let without = || {
            let (id, digest) = (&proposal.id, &proposal.digest);
            format!("Approve it: `shadowcast approve {id} --digest {digest}`, or give --yes.")
        };
        if let Some(check) = blocking(proposal) {
            return Err(Problem::refused(
                "The plan was not carried out; nothing was changed.",
                printable(&check.text),
                "Remove what stands against it, and plan it again.",
            ));
        }
        if !self.yes && !approved(proposal, without)? {
            output::note("Nothing was changed.");
            return Ok(());
        }
        let answer = session.handle.ask(Command::Approve {
            proposal: proposal.id.clone(),
            digest: proposal.digest.clone(),
            by: operator(),
        })?;
        // stdout has its one document already.
        if let (true, Answer::Started { operation }) = (self.json, &answer) {
            output::note(format!("Operation {operation} has started."));
            if session.attached && !self.follow {
                return Ok(());
            }
            return follow::to_the_end(session, operation, follow::Wanted::Done).map(drop);
        }
        decide::after(session, answer, self.follow, false)
    }
}

fn blocking(proposal: &Proposal) -> Option<&Check> {
    (proposal.checks.iter()).find(|check| check.outcome == CheckOutcome::Blocks)
}

/// What stops a primary, or loses what a promoted VM accepted, is typed and not nodded through.
fn approved(proposal: &Proposal, without: impl Fn() -> String) -> Result<bool, Problem> {
    let plan = &proposal.plan;
    match plan.kind {
        PlanKind::Promote | PlanKind::Rollback | PlanKind::Commit => ask::typed(
            "Carry out this plan? Type the VM's name:",
            &plan.vm_name,
            without,
        ),
        _ => ask::yes("Carry out this plan?", without),
    }
}

/// Plan a shadow of a VM, show the plan with its digest, and create it
#[derive(Args)]
pub struct Create {
    /// VM by name or id
    vm: String,
    /// Where to place it; the least disruptive pool is taken where it is left out
    #[arg(long)]
    pool: Option<String>,
    /// Recovery point objective, for example 60s
    #[arg(long, value_name = "TIME", value_parser = parse::seconds)]
    rpo: Option<u32>,
    /// The part of the VM's traffic that it takes over, for example 25%; 0% keeps it powered off
    #[arg(long, value_parser = parse::share)]
    share: Option<f64>,
    #[command(flatten)]
    consent: Consent,
}

impl Create {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let vm = names::vm(&now, &self.vm)?.vm.id.clone();
        let pool = (self.pool.as_deref())
            .map(|word| names::pool(&now, word))
            .transpose()?;
        let command = Command::ShadowPropose {
            vm,
            pool,
            rpo_seconds: self.rpo,
            share: self.share,
        };
        self.consent.ask(&session, command)
    }
}

/// Plan the end of a shadow, show the plan with its digest, and carry it out
#[derive(Args)]
pub struct Retire {
    /// Shadow by id or name, or its VM
    shadow: String,
    #[command(flatten)]
    consent: Consent,
}

impl Retire {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let shadow = names::shadow(&now, &self.shadow)?.id.clone();
        self.consent.ask(&session, Command::ShadowRetire { shadow })
    }
}

/// Plan a serving shadow's start on a newer recovery point, show the plan with its digest, and carry it out
///
/// What the shadow wrote while it served is discarded.
#[derive(Args)]
pub struct Refresh {
    /// Shadow by id or name, or its VM
    shadow: String,
    /// The recovery point by its number; the newest where it is left out
    #[arg(long, value_name = "ID")]
    point: Option<u64>,
    #[command(flatten)]
    consent: Consent,
}

impl Refresh {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let shadow = names::shadow(&now, &self.shadow)?.id.clone();
        let point = self.point;
        self.consent
            .ask(&session, Command::ShadowRefresh { shadow, point })
    }
}

/// List the shadows with their lag and their share
#[derive(Args)]
pub struct List {
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::shadows(&now));
        }
        let mut listing = Listing::new(&[
            "id", "vm", "name", "pool", "state", ">lag", ">behind", ">rpo", ">points", "proof",
            ">share",
        ]);
        for view in &now.shadows {
            listing.row([
                (&view.id).into(),
                (&view.vm_name).into(),
                (&view.name).into(),
                (&view.pool).into(),
                state_text(view),
                lag_text(view),
                output::or_dash(view.lag_bytes.map(output::bytes)).into(),
                output::seconds(u64::from(view.rpo_seconds)).into(),
                view.points.len().into(),
                last_proof_text(view, now.at),
                output::percent(view.traffic_share).into(),
            ]);
        }
        listing.show_or("No shadows. `shadowcast shadow create VM` plans one.")
    }
}

fn state_text(view: &ShadowView) -> Text {
    let word = output::word(&view.state);
    match view.state {
        ShadowState::Replicating | ShadowState::Serving => Text::good(word),
        ShadowState::Stalled => Text::bad(word),
        ShadowState::Creating
        | ShadowState::Retiring
        | ShadowState::Promoted
        | ShadowState::Committed => word.into(),
    }
}

/// The age of the newest proof, beside the objective that it is about.
fn last_proof_text(view: &ShadowView, now: Timestamp) -> Text {
    match &view.last_proof {
        _ if view.proving => "proving".into(),
        None => output::UNKNOWN.into(),
        Some(mark) if mark.passed => Text::good(output::relative(mark.at, now)),
        Some(mark) => Text::bad(format!("FAILED {}", output::relative(mark.at, now))),
    }
}

fn lag_text(view: &ShadowView) -> Text {
    match view.lag_seconds {
        None => output::UNKNOWN.into(),
        Some(lag) if lag > u64::from(view.rpo_seconds) => Text::bad(output::seconds(lag)),
        Some(lag) => output::seconds(lag).into(),
    }
}

/// Show one shadow with its recovery points
#[derive(Args)]
pub struct Show {
    /// Shadow by id or name, or its VM
    shadow: String,
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        let view = names::shadow(&now, &self.shadow)?;
        if self.json {
            return output::json(&ShadowJson::from(view));
        }
        summary(view)?;
        let mut listing = prove::points_listing();
        for point in view.points.iter().rev() {
            listing.row([
                point.number.into(),
                output::moment(point.at).into(),
                output::relative(point.at, now.at).into(),
                output::word(&point.consistent).into(),
                output::bytes(point.stored_bytes).into(),
                prove::proof_text(point, now.at),
                prove::marks(view, point).into(),
            ]);
        }
        listing.show_or("No recovery point is complete yet.")
    }
}

fn summary(view: &ShadowView) -> Result<(), Problem> {
    output::line(&format!(
        "{} ({}), shadow of {} in {}: {}",
        view.name,
        view.id,
        view.vm_name,
        view.pool,
        output::word(&view.state)
    ))?;
    output::line(&format!(
        "size: {} vCPU, {} memory; method: {}; objective: {}",
        view.vcpus,
        output::bytes(view.memory_bytes),
        view.method,
        output::seconds(u64::from(view.rpo_seconds))
    ))?;
    output::line(&format!(
        "lag: {}, {} behind",
        output::or_dash(view.lag_seconds.map(output::seconds)),
        output::or_dash(view.lag_bytes.map(output::bytes))
    ))?;
    if let Some(stalled) = &view.stalled {
        output::line(&format!("stalled: {stalled}"))?;
    }
    if let Some(service) = &view.service {
        output::line(&format!(
            "traffic: {} of its VM's part of {service} ({} wanted)",
            output::percent(view.traffic_share),
            output::percent(view.wanted_share)
        ))?;
    }
    if let Some(promotion) = &view.promotion {
        promoted(promotion)?;
    }
    if let Some(breach) = (view.gate.as_ref()).and_then(|gate| gate.last_breach.as_ref()) {
        output::line(&format!("gate: {breach}"))?;
    }
    Ok(())
}

fn promoted(view: &PromotionView) -> Result<(), Problem> {
    let window = match view.committed_at {
        Some(at) => format!("committed {}", output::moment(at)),
        None => format!("can be rolled back until {}", output::moment(view.until)),
    };
    output::line(&format!(
        "promoted {} from point {}, {window}",
        output::moment(view.at),
        view.point
    ))?;
    if let Some(accepted) = view.accepted_bytes {
        output::line(&format!(
            "accepted since: {} on its disks",
            output::bytes(accepted)
        ))?;
    }
    if let Some(said) = &view.attestation {
        output::line(&format!(
            "on your word: \"{}\"; at most {} of writes were lost",
            printable(said),
            output::or_dash(view.lost_seconds.map(output::seconds))
        ))?;
    }
    Ok(())
}

/// Take a recovery point now, out of turn
#[derive(Args)]
pub struct Sync {
    /// Shadow by id or name, or its VM
    shadow: String,
}

impl Sync {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let view = names::shadow(&now, &self.shadow)?;
        let before = newest_point(view);
        match session.handle.ask(Command::ShadowSync {
            shadow: view.id.clone(),
        })? {
            Answer::Done { text } => output::line(&text)?,
            Answer::Started { .. } => {}
            other => return Err(unexpected(&other)),
        }
        if session.attached {
            return Ok(());
        }
        self.await_point(&session, &view.id, before)
    }

    /// The engine in this process must not end before the point is complete.
    fn await_point(
        &self,
        session: &Session,
        shadow: &ShadowId,
        before: Option<u64>,
    ) -> Result<(), Problem> {
        let of = |now: &Snapshot| now.shadows.iter().find(|view| view.id == *shadow).cloned();
        let waiting = output::spinner("taking a recovery point");
        let now = follow::until(&session.handle, |now| {
            of(now).is_none_or(|view| view.stalled.is_some() || newest_point(&view) > before)
        })?;
        waiting.finish_and_clear();
        let view = now.as_deref().and_then(of);
        match view {
            Some(view) if newest_point(&view) > before => output::line(&format!(
                "Point {} of {} is complete.",
                output::or_dash(newest_point(&view)),
                view.name
            )),
            other => Err(Problem::failed(
                "No recovery point was taken.",
                other
                    .and_then(|view| view.stalled)
                    .unwrap_or_else(|| "It was not waited for to the end.".to_owned()),
                format!(
                    "`shadowcast shadow show {}` says how it stands.",
                    self.shadow
                ),
            )),
        }
    }
}

fn newest_point(view: &ShadowView) -> Option<u64> {
    view.points.last().map(|point| point.number)
}
