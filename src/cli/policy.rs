//! `policy show|preview|set`: the settings in force, what others would change, and changing them.

use std::io::ErrorKind;

use clap::{Args, Subcommand};

use super::{
    ask,
    context::{Context, ask_and_say, operator, unexpected},
    output::{self, Listing},
};
use crate::{
    engine::{
        command::{Answer, Command},
        handle::Handle,
        preview::{SettingsPreview, Verdict},
    },
    policy::{
        Settings,
        edit::{self, Change},
    },
    problem::Problem,
    units::printable,
};

/// VMs of a preview that a table shows.
const SHOWN: usize = 20;

/// Thresholds, limits, gates and intervals
#[derive(Subcommand)]
pub enum Policy {
    Show(Show),
    Preview(Preview),
    Set(Set),
}

/// Show the settings in force, with the file's name on stderr
#[derive(Args)]
pub struct Show {
    #[arg(long)]
    json: bool,
}

impl Policy {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Show(verb) => verb.run(context),
            Self::Preview(verb) => verb.run(context),
            Self::Set(verb) => verb.run(context),
        }
    }
}

impl Show {
    /// Needs no engine: the file is all there is.
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (settings, told) = read(context)?;
        output::note(told);
        if self.json {
            return output::json(&settings);
        }
        let text = toml::to_string(&settings).map_err(|error| {
            Problem::failed(
                "The settings were not shown.",
                error.to_string(),
                "Ask for them with --json.",
            )
        })?;
        output::write(&text)
    }
}

/// Settings to change.
#[derive(Args)]
struct Changes {
    /// Such as health.threshold=60 or 'vm."web 1".cpu=0.7'
    #[arg(value_name = "KEY=VALUE", value_parser = change, required_unless_present = "unset")]
    set: Vec<Change>,
    /// Take a key out, so that its default holds
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
}

fn change(word: &str) -> Result<Change, String> {
    let (key, value) = word.split_once('=').ok_or("give it as KEY=VALUE")?;
    Ok(Change {
        key: key.trim().to_owned(),
        value: Some(value.to_owned()),
    })
}

impl Changes {
    /// The file as it is and as it would be, and what that changes.
    fn preview(&self, handle: &Handle) -> Result<(String, String, SettingsPreview), Problem> {
        let (file, was) = match handle.ask(Command::Settings)? {
            Answer::Settings { file, text } => (file, text),
            other => return Err(unexpected(&other)),
        };
        let unset = self.unset.iter().map(|key| Change {
            key: key.clone(),
            value: None,
        });
        let changes: Vec<Change> = self.set.iter().cloned().chain(unset).collect();
        let text = edit::edit(&was, &file, &changes)?;
        match handle.ask(Command::SettingsPreview { text: text.clone() })? {
            Answer::SettingsPreview { preview } => Ok((was, text, *preview)),
            other => Err(unexpected(&other)),
        }
    }
}

/// Say what other settings would change: scores, states, who would need a shadow
#[derive(Args)]
pub struct Preview {
    #[command(flatten)]
    changes: Changes,
    #[arg(long)]
    json: bool,
}

impl Preview {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, _now) = context.settled()?;
        let (_, _, preview) = self.changes.preview(&session.handle)?;
        if self.json {
            output::json(&preview)
        } else {
            show(&preview)
        }
    }
}

/// Change settings: shows what that changes, asks, and writes the file; its comments stay
#[derive(Args)]
pub struct Set {
    #[command(flatten)]
    changes: Changes,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Set {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, _now) = context.settled()?;
        let (was, text, preview) = self.changes.preview(&session.handle)?;
        show(&preview)?;
        if preview.changed.is_empty() {
            return Ok(());
        }
        let without = || "Give --yes.".to_owned();
        if !self.yes && !ask::yes("Change the settings so?", without)? {
            return output::line("Nothing was changed.");
        }
        let command = Command::SettingsSet {
            was,
            text,
            by: operator(),
        };
        ask_and_say(&session.handle, command)
    }
}

fn show(preview: &SettingsPreview) -> Result<(), Problem> {
    let dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
    let mut keys = Listing::new(&["setting", "now", "then", "holds"]);
    for one in &preview.changed {
        let holds = if one.at_restart {
            "once the engine is started anew"
        } else {
            "at once"
        };
        keys.row([
            printable(&one.key).into(),
            printable(&dash(&one.before)).into(),
            printable(&dash(&one.after)).into(),
            holds.into(),
        ]);
    }
    keys.show_or("That is what they say already.")?;
    if preview.changed.is_empty() {
        return Ok(());
    }
    let states: Vec<String> = preview
        .states
        .iter()
        .filter(|count| count.before != count.after)
        .map(|count| {
            let state = output::word(&count.state);
            format!("{state} {} → {}", count.before, count.after)
        })
        .collect();
    if preview.needs_before != preview.needs_after {
        let (before, after) = (preview.needs_before, preview.needs_after);
        output::line(&format!("VMs that need a shadow: {before} → {after}"))?;
    }
    if !states.is_empty() {
        output::line(&format!("states: {}", states.join(", ")))?;
    }
    if preview.forecasts_follow {
        output::line("Forecasts are held against the new limits in their next round.")?;
    }
    let mut vms = Listing::new(&["vm", "now", "then"]);
    for vm in preview.vms.iter().take(SHOWN) {
        vms.row([
            printable(&vm.name).into(),
            verdict(vm.before).into(),
            verdict(vm.after).into(),
        ]);
    }
    vms.show_or("No VM's score or need changes with it.")?;
    if preview.vms.len() > SHOWN {
        let more = preview.vms.len() - SHOWN;
        output::line(&format!("and {more} more: --json lists up to 500"))?;
    }
    Ok(())
}

fn verdict(verdict: Verdict) -> String {
    let needs = if verdict.needs_shadow {
        ", needs a shadow"
    } else {
        ""
    };
    let score = output::or_dash(verdict.score);
    format!("{score} {}{needs}", output::word(&verdict.state))
}

/// The settings in force, and where they come from.
pub(super) fn read(context: &Context) -> Result<(Settings, String), Problem> {
    let file = &context.options()?.settings_file;
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok((Settings::parse(&text, &name)?, format!("from {name}"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((
            Settings::default(),
            format!("defaults; {name} is not there yet"),
        )),
        Err(error) => Err(Problem::failed(
            format!("The settings in {name} were not read."),
            error.to_string(),
            "Make the file readable, or name another with --config.",
        )),
    }
}
