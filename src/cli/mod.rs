//! The command line: one file a verb.
//!
//! ```text
//! words ──clap──▶ Verb ──▶ Context.settled() ──▶ Snapshot ──▶ table, or json (one document)
//!                   └────▶ Handle.ask(Command) ─▶ Answer ──▶ follow until the operation has ended
//! ```
//!
//! What is asked for goes to stdout; progress, notes and errors go to stderr. A verb never decides anything that the
//! engine decides as well: it asks, and shows the answer or the [`Problem`].

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{engine::thread::Session, problem::Problem};

mod accuracy;
mod agent;
mod ask;
mod backtest;
mod completions;
mod context;
mod decide;
mod events;
mod follow;
mod forecast;
mod freeze;
mod health;
mod history;
pub mod json;
mod lab;
mod names;
mod operations;
mod output;
mod parse;
mod policy;
mod pools;
mod proposals;
mod prove;
mod replay;
mod reserve;
mod runway;
mod service;
mod shadow;
mod simulate;
mod source;
mod together;
mod traffic;
mod types;
mod vms;
mod watchdog;

use context::{Context, Demo, Global};

/// Opens the console. `main` hands it in, as the window's room stands after this one.
pub type Window = fn(Session) -> Result<(), Problem>;

/// Sees load coming and has a synchronised, tested copy of the right VM ready before it is needed.
///
/// Without a verb the console opens. Every verb works on the same engine and data folder as the console: it attaches
/// to the engine that runs, or runs one itself until it is done.
#[derive(Parser)]
#[command(
    name = "shadowcast",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 platform not reached, 5 needs an answer."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    demo: Demo,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    Agent(agent::Agent),
    #[command(subcommand)]
    Source(source::Source),
    Pools(pools::Pools),
    Vms(vms::Vms),
    Vm(vms::OneVm),
    Types(types::Types),
    Services(service::List),
    #[command(subcommand)]
    Service(service::Service),
    History(history::History),
    #[command(subcommand)]
    Events(events::Events),
    Forecast(forecast::Forecast),
    Accuracy(accuracy::Accuracy),
    Runway(runway::Runway),
    Health(health::Health),
    Backtest(backtest::Backtest),
    Replay(replay::Replay),
    Proposals(proposals::Proposals),
    Proposal(proposals::OneProposal),
    Approve(decide::Approve),
    Reject(decide::Reject),
    Snooze(decide::Snooze),
    Operations(operations::Operations),
    Operation(operations::OneOperation),
    Cancel(operations::Cancel),
    Resume(operations::Resume),
    #[command(subcommand)]
    Shadow(shadow::Shadow),
    #[command(subcommand)]
    Traffic(traffic::Traffic),
    #[command(subcommand)]
    Policy(policy::Policy),
    Reserve(reserve::Reserve),
    Freeze(freeze::Freeze),
    Thaw(freeze::Thaw),
    #[command(subcommand)]
    Lab(lab::Lab),
    Simulate(simulate::Simulate),
    Completions(completions::Completions),
    Man(completions::Man),
    #[command(subcommand, hide = true)]
    Watchdog(watchdog::Watchdog),
}

/// Reads the arguments, does what they say, and returns the exit code that scripts rely on.
pub fn run(window: Window) -> u8 {
    let cli = match Cli::command()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version come here too, with code 0. A closed pipe leaves nobody to tell.
            let _ = usage.print();
            return u8::try_from(usage.exit_code()).unwrap_or(2);
        }
    };
    let context = Context::new(&cli.global, &cli.demo);
    let done = match cli.verb {
        Some(verb) => verb.run(&context),
        None => context.open().and_then(window),
    };
    match done {
        Ok(()) => 0,
        Err(problem) => {
            output::problem(&problem);
            problem.kind.exit_code()
        }
    }
}

impl Verb {
    fn run(self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Agent(_) => agent::Agent::run(context),
            Self::Source(verb) => verb.run(context),
            Self::Pools(verb) => verb.run(context),
            Self::Vms(verb) => verb.run(context),
            Self::Vm(verb) => verb.run(context),
            Self::Types(verb) => verb.run(context),
            Self::Services(verb) => verb.run(context),
            Self::Service(verb) => verb.run(context),
            Self::History(verb) => verb.run(context),
            Self::Events(verb) => verb.run(context),
            Self::Forecast(verb) => verb.run(context),
            Self::Accuracy(verb) => verb.run(context),
            Self::Runway(verb) => verb.run(context),
            Self::Health(verb) => verb.run(context),
            Self::Backtest(verb) => verb.run(),
            Self::Replay(verb) => verb.run(context),
            Self::Proposals(verb) => verb.run(context),
            Self::Proposal(verb) => verb.run(context),
            Self::Approve(verb) => verb.run(context),
            Self::Reject(verb) => verb.run(context),
            Self::Snooze(verb) => verb.run(context),
            Self::Operations(verb) => verb.run(context),
            Self::Operation(verb) => verb.run(context),
            Self::Cancel(verb) => verb.run(context),
            Self::Resume(verb) => verb.run(context),
            Self::Shadow(verb) => verb.run(context),
            Self::Traffic(verb) => verb.run(context),
            Self::Policy(verb) => verb.run(context),
            Self::Reserve(verb) => verb.run(context),
            Self::Freeze(_) => freeze::Freeze::run(context),
            Self::Thaw(_) => freeze::Thaw::run(context),
            Self::Lab(verb) => verb.run(context),
            Self::Simulate(verb) => verb.run(),
            Self::Completions(verb) => verb.run(),
            Self::Man(verb) => verb.run(),
            Self::Watchdog(verb) => verb.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn demo_flags_need_the_demo() {
        assert!(Cli::try_parse_from(["shadowcast", "--seed", "3"]).is_err());
        assert!(Cli::try_parse_from(["shadowcast", "--demo", "--seed", "3", "vms"]).is_ok());
    }

    #[test]
    fn global_flags_stand_before_and_after_the_verb() {
        for words in [
            ["shadowcast", "--data-dir", "/d", "vms", "--json"],
            ["shadowcast", "vms", "--json", "--data-dir", "/d"],
        ] {
            assert!(Cli::try_parse_from(words).is_ok(), "{words:?}");
        }
    }
}
