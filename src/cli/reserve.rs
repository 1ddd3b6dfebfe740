//! `reserve`: a part of a pool kept for shadows.

use clap::{Args, Subcommand};

use super::{
    context::{Context, ask_and_say, operator},
    json, names,
    output::{self, Listing, Text},
    parse,
};
use crate::{
    engine::{command::Command, snapshot::ReservationView},
    problem::Problem,
    reservation::{NPlusOne, Room},
    units::{Timestamp, printable},
};

/// Keep a part of a pool's memory and CPUs for shadows
///
/// Shadows of this pool then get that much and no more. It is kept by this console alone: VMs that others start there
/// can still take it, which is told as short.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Reserve {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    set: Option<Set>,
}

#[derive(Subcommand)]
enum Verb {
    List(List),
    Release(Release),
}

#[derive(Args)]
struct Set {
    /// The pool, by name or id
    pool: String,
    /// Of its memory and CPUs, for example 10%
    #[arg(value_parser = parse::share)]
    share: f64,
    /// When it ends by itself: a length of time such as 8h, or a moment such as 2026-11-30T06:00:00Z
    #[arg(long, value_name = "T", value_parser = until)]
    until: Option<Until>,
}

/// List what is kept, who uses it, and what it costs idle
#[derive(Args)]
struct List {
    #[arg(long)]
    json: bool,
}

/// End a pool's reservation; its shadows stay
#[derive(Args)]
struct Release {
    /// The pool, by name or id
    pool: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    At(Timestamp),
    In(u32),
}

fn until(text: &str) -> Result<Until, String> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(Until::At(at));
    }
    (parse::seconds(text).map(Until::In))
        .map_err(|_| "an end is written `8h`, `2days` or `2026-11-30T06:00:00Z`".to_owned())
}

impl Reserve {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match (&self.verb, &self.set) {
            (Some(Verb::List(verb)), _) => verb.run(context),
            (Some(Verb::Release(verb)), _) => verb.run(context),
            (None, Some(set)) => set.run(context),
            (None, None) => Err(Problem::usage(
                "Nothing was reserved.",
                "no pool and no share were named",
                "`shadowcast reserve POOL 10%`, or `shadowcast reserve list`.",
            )),
        }
    }
}

impl Set {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let until = self.until.map(|until| match until {
            Until::At(at) => at,
            Until::In(seconds) => now.at.plus_secs(i64::from(seconds)),
        });
        ask_and_say(
            &session.handle,
            Command::Reserve {
                pool: names::pool(&now, &self.pool)?,
                share: self.share,
                until,
                by: operator(),
            },
        )
    }
}

impl Release {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        // A pool that is no longer read can still be released, by its id.
        let kept = (now.reservations.iter()).find(|view| view.reserved.pool.as_str() == self.pool);
        let pool = match kept {
            Some(view) => view.reserved.pool.clone(),
            None => names::pool(&now, &self.pool)?,
        };
        let by = operator();
        ask_and_say(&session.handle, Command::ReserveRelease { pool, by })
    }
}

impl List {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::reservations(&now));
        }
        let mut listing = Listing::new(&[
            "pool", ">share", ">kept", ">taken", ">idle", ">short", "n+1", "until", "by", "used by",
        ]);
        for view in &now.reservations {
            let reserved = &view.reserved;
            let bytes = |count: fn(&Room) -> u64| {
                output::or_dash(view.room.as_ref().map(|room| output::bytes(count(room))))
            };
            let short = view.room.is_some_and(|room| room.short_bytes > 0);
            let short_text = bytes(|room| room.short_bytes);
            listing.row([
                (&reserved.pool).into(),
                output::percent(reserved.share).into(),
                bytes(|room| room.memory_bytes).into(),
                bytes(|room| room.taken_bytes).into(),
                idle(view).into(),
                if short {
                    Text::bad(short_text)
                } else {
                    short_text.into()
                },
                n_plus_one(view.room.as_ref()),
                output::or_dash(reserved.until.map(output::moment)).into(),
                printable(&reserved.by).into(),
                users(view).into(),
            ]);
        }
        listing.show_or("Nothing is reserved. Keep room: `shadowcast reserve POOL 10%`.")
    }
}

/// What it costs: memory and CPUs that nobody uses.
fn idle(view: &ReservationView) -> String {
    output::or_dash(view.room.map(|room| {
        format!(
            "{}, {:.1} CPUs",
            output::bytes(room.idle_bytes),
            room.idle_cpus
        )
    }))
}

fn n_plus_one(room: Option<&Room>) -> Text {
    match room.map(|room| room.n_plus_one) {
        None => output::or_dash(None::<String>).into(),
        Some(NPlusOne::Kept) => Text::good("kept"),
        Some(NPlusOne::Broken) => Text::bad("broken"),
        Some(NPlusOne::OneHost) => Text::warn("one host"),
    }
}

fn users(view: &ReservationView) -> String {
    let names: Vec<String> = (view.users.iter())
        .map(|user| printable(&user.vm_name))
        .collect();
    if names.is_empty() {
        "nobody".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_moment_or_a_length_of_time() {
        assert_eq!(until("8h"), Ok(Until::In(28_800)));
        let moment = Timestamp::from_secs(60);
        assert_eq!(until("1970-01-01T00:01:00Z"), Ok(Until::At(moment)));
        assert!(until("tomorrow").is_err());
    }
}
