//! `source add|list|test|arm|disarm|remove`: connections to platforms and balancers.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    context::{Context, ask_and_say, unexpected},
    json,
    output::{self, Listing, Text},
};
use crate::{
    engine::{
        command::{Answer, Command},
        snapshot::SourceView,
    },
    inventory::Role,
    problem::Problem,
    units::SourceName,
};

/// Connections to platforms and balancers; a new one is read-only until it is armed
#[derive(Subcommand)]
pub enum Source {
    Add(Add),
    List(List),
    Test(Test),
    Arm(Arm),
    Disarm(Disarm),
    Remove(Remove),
}

impl Source {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Add(verb) => verb.run(context),
            Self::List(verb) => verb.run(context),
            Self::Test(verb) => verb.run(context),
            Self::Arm(verb) => set_armed(context, &verb.name, true),
            Self::Disarm(verb) => set_armed(context, &verb.name, false),
            Self::Remove(verb) => verb.run(context),
        }
    }
}

/// Connect a platform or a balancer, read-only
#[derive(Args)]
pub struct Add {
    /// For example qemu:///system, qemu+ssh://user@host/system, test:///default, haproxy+unix:///run/haproxy/admin.sock, prometheus+http://host:9090
    uri: String,
    /// How it is called from now on
    #[arg(long)]
    name: Option<String>,
    /// What it may be used for
    #[arg(long, default_value = "both")]
    role: RoleWord,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleWord {
    /// VMs run here and may get shadows elsewhere
    Primary,
    /// Shadows may be placed here
    Secondary,
    Both,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Primary => Self::Primary,
            RoleWord::Secondary => Self::Secondary,
            RoleWord::Both => Self::Both,
        }
    }
}

impl Add {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let session = context.open()?;
        ask_and_say(
            &session.handle,
            Command::SourceAdd {
                uri: self.uri.clone(),
                name: self.name.as_deref().map(SourceName::from),
                role: self.role.into(),
            },
        )
    }
}

/// List the sources and how they do
#[derive(Args)]
pub struct List {
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::sources(&now));
        }
        let mut listing = Listing::new(&[
            "name",
            "kind",
            "role",
            "may act",
            ">vms",
            ">hung",
            "last answer",
            ">took",
            "uri",
            "error",
        ]);
        for source in &now.sources {
            let answered = source.last_ok.map(|at| output::relative(at, now.at));
            listing.row([
                (&source.name).into(),
                output::word(&source.kind).into(),
                output::word(&source.role).into(),
                armed_text(source),
                source.vms.into(),
                source.hung.len().into(),
                output::or_dash(answered).into(),
                format!("{} ms", source.last_millis).into(),
                (&source.uri).into(),
                Text::bad(wrong_with(source)),
            ]);
        }
        listing.show_or("No sources. Connect one: `shadowcast source add URI`.")
    }
}

fn wrong_with(source: &SourceView) -> &str {
    let wrong = source.error.as_ref().or(source.held_elsewhere.as_ref());
    wrong.map_or("", String::as_str)
}

fn armed_text(source: &SourceView) -> Text {
    if source.armed {
        Text::warn("armed")
    } else {
        "read-only".into()
    }
}

/// Say what works, what is missing and what permission lacks; changes nothing
#[derive(Args)]
pub struct Test {
    /// An address, or the name of a source
    uri: String,
    #[arg(long)]
    json: bool,
}

impl Test {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let session = context.open()?;
        let examination = match session.handle.ask(Command::SourceTest {
            uri: self.uri.clone(),
        })? {
            Answer::Examined { examination } => examination,
            other => return Err(unexpected(&other)),
        };
        if self.json {
            output::json(&examination)?;
        } else {
            output::line(&format!(
                "{}, answered in {} ms",
                examination.platform, examination.millis
            ))?;
            let mut listing = Listing::new(&["", "finding"]);
            for finding in &examination.findings {
                let mark = match (finding.works, finding.needed) {
                    (true, _) => Text::good("works"),
                    (false, true) => Text::bad("lacks"),
                    (false, false) => Text::warn("note"),
                };
                listing.row([mark, (&finding.text).into()]);
            }
            listing.show_or("It answered, and nothing more was found out.")?;
        }
        let lacking = (examination.findings.iter())
            .filter(|finding| finding.needed && !finding.works)
            .count();
        if lacking == 0 {
            return Ok(());
        }
        Err(Problem::failed(
            "Shadows cannot be made with this source as it is.",
            format!("{lacking} of the things that they need do not work; they are listed above."),
            "Put them right and test again. Watching it works without them.",
        ))
    }
}

/// Let the engine act on a source
#[derive(Args)]
pub struct Arm {
    name: String,
}

/// Make a source read-only again
#[derive(Args)]
pub struct Disarm {
    name: String,
}

fn set_armed(context: &Context, name: &str, armed: bool) -> Result<(), Problem> {
    let session = context.open()?;
    ask_and_say(
        &session.handle,
        Command::SourceArm {
            name: SourceName::from(name),
            armed,
        },
    )
}

/// Forget a source; the platform is not touched
#[derive(Args)]
pub struct Remove {
    name: String,
}

impl Remove {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let session = context.open()?;
        ask_and_say(
            &session.handle,
            Command::SourceRemove {
                name: SourceName::from(&*self.name),
            },
        )
    }
}
