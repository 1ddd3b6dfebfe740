//! `lab up|surge|status|down`: two real libvirt hosts, guests, HAProxy and load on this machine, connected as sources.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    context::{Context, operator, settle, unexpected},
    follow, history,
    output::{self, Listing, Text},
    parse,
};
use crate::{
    engine::{
        command::{Answer, Command},
        handle::Handle,
        snapshot::{ShadowView, Snapshot},
        thread::Session,
    },
    inventory::Role,
    lab::{self, LabOptions, LabService, LabStatus},
    problem::Problem,
    telemetry::csv,
    units::{ServiceName, SourceName},
};

/// The lab's HAProxy, as it is called among the sources.
const BALANCER: &str = "balancer";

/// Two real libvirt hosts, tiny guests, HAProxy and load on this machine, connected as sources
#[derive(Subcommand)]
pub enum Lab {
    Up(Up),
    Surge(Surge),
    Status(Status),
    Down(Down),
    #[command(hide = true)]
    Load(Load),
}

impl Lab {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Up(verb) => verb.run(context),
            Self::Surge(verb) => verb.run(),
            Self::Status(verb) => verb.run(),
            Self::Down(verb) => verb.run(context),
            Self::Load(verb) => lab::run_load(&verb.place.dir()),
        }
    }
}

#[derive(Args)]
struct Place {
    /// Where the lab lives; a short path, as it holds sockets [default: /tmp/sc-lab-UID]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Place {
    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(lab::default_dir)
    }
}

/// Start the lab, connect and arm its hosts and its balancer, map its services, import two weeks of history
///
/// What runs already is kept, so that it may be called again.
#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    place: Place,
    /// How many guests, 3 to 12
    #[arg(long, default_value_t = 3, value_name = "N")]
    guests: u8,
    /// What the guests' usual load grows from
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// One more guest, whose disk is too old to be replicated by increments
    #[arg(long)]
    old_disk: bool,
    #[arg(long)]
    json: bool,
}

impl Up {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let mut options = LabOptions::new(self.place.dir()).map_err(|error| {
            Problem::failed(
                "The lab was not started.",
                format!("This program's own path is not known: {error}."),
                "Start it by its full path.",
            )
        })?;
        options.guests = self.guests;
        options.seed = self.seed;
        options.old_disk = self.old_disk;
        let (session, _) = context.settled()?;
        let status = lab::up(&options, &|step| output::note(step))?;
        connect(&session.handle, &status)?;
        self.import_history(&session.handle)?;
        settle(&session.handle)?;
        if self.json {
            return output::json(&status);
        }
        show(&status)?;
        output::note(
            "`shadowcast lab surge` raises the load; then `shadowcast proposals` shows what to do about it.",
        );
        Ok(())
    }

    fn import_history(&self, handle: &Handle) -> Result<(), Problem> {
        output::note("importing two weeks of history");
        let mut rows = Vec::new();
        let now = handle.snapshot().at;
        lab::history_csv(&self.place.dir(), &mut rows, now)?;
        let taken = history::import(handle, csv::read(&*rows, "the lab")?)?;
        for vm in taken.unknown_vms {
            output::note(format!(
                "! The engine has not seen {vm} yet; its history was left out."
            ));
        }
        Ok(())
    }
}

/// Makes the lab's parts sources of the engine; what is connected already stays as it is.
fn connect(handle: &Handle, status: &LabStatus) -> Result<(), Problem> {
    let known = handle.snapshot();
    for (name, uri, role) in parts(status) {
        if !is_connected(&known, &name, uri)? {
            output::note(format!("connecting {name}"));
            done(handle.ask(Command::SourceAdd {
                uri: uri.to_owned(),
                name: Some(name.clone()),
                role,
            })?)?;
        }
        done(handle.ask(Command::SourceArm { name, armed: true })?)?;
    }
    // Members are given by name, so the guests must have been seen.
    settle(handle)?;
    for service in &status.services {
        done(handle.ask(mapping(service))?)?;
    }
    Ok(())
}

fn parts(status: &LabStatus) -> Vec<(SourceName, &str, Role)> {
    let hosts = (status.hosts.iter())
        .map(|host| (SourceName::new(&*host.name), host.uri.as_str(), host.role));
    let balancer =
        (status.haproxy_uri.as_deref()).map(|uri| (SourceName::from(BALANCER), uri, Role::Both));
    hosts.chain(balancer).collect()
}

fn is_connected(known: &Snapshot, name: &SourceName, uri: &str) -> Result<bool, Problem> {
    match known.sources.iter().find(|source| source.name == *name) {
        None => Ok(false),
        Some(source) if source.uri == uri => Ok(true),
        Some(source) => Err(Problem::refused(
            "The lab runs, but was not connected.",
            format!("There is another source called {name}: {}.", source.uri),
            format!(
                "Remove it (`shadowcast source remove {name}`) or use another --data-dir, then `lab up` again."
            ),
        )),
    }
}

fn mapping(service: &LabService) -> Command {
    Command::ServiceMap {
        name: ServiceName::new(&*service.name),
        kind: service.kind,
        director: Some(BALANCER.into()),
        backend: service.backend.clone(),
        members: service.members.clone(),
        guest_port: service.guest_port,
        guest_address: None,
        probe_path: service.probe_path.clone(),
        outbound_allowed: false,
        method_map: service.method_map.clone(),
    }
}

fn done(answer: Answer) -> Result<(), Problem> {
    match answer {
        Answer::Done { text } => {
            tracing::info!("{text}");
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}

/// Raise the load above the usual curve, so that a real crossing comes
#[derive(Args)]
pub struct Surge {
    #[command(flatten)]
    place: Place,
    /// 1 is the usual; each whole number above adds one daily peak of load
    #[arg(long, default_value_t = lab::DEFAULT_SURGE)]
    factor: f64,
    /// For how long; until it is set to 1 again where it is left out
    #[arg(long = "for", value_name = "TIME", value_parser = parse::seconds)]
    for_seconds: Option<u32>,
}

impl Surge {
    fn run(&self) -> Result<(), Problem> {
        let length = self.for_seconds.map(u64::from);
        lab::surge(&self.place.dir(), self.factor, length)?;
        output::line(&format!(
            "The load is the usual curve plus {} daily peaks{}.",
            self.factor - 1.0,
            length.map_or_else(String::new, |length| format!(
                ", for {}",
                output::seconds(length)
            ))
        ))
    }
}

/// Show what of the lab runs
#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

impl Status {
    fn run(&self) -> Result<(), Problem> {
        let status = lab::status(&self.place.dir())?;
        if self.json {
            return output::json(&status);
        }
        show(&status)
    }
}

fn show(status: &LabStatus) -> Result<(), Problem> {
    let mut listing = Listing::new(&["part", "name", "runs", "where"]);
    let runs = |running: bool| {
        if running {
            Text::good("yes")
        } else {
            Text::bad("no")
        }
    };
    for host in &status.hosts {
        listing.row([
            format!("host, {}", output::word(&host.role)).into(),
            (&host.name).into(),
            runs(host.running),
            (&host.uri).into(),
        ]);
    }
    for guest in &status.guests {
        listing.row([
            "guest".into(),
            (&guest.name).into(),
            runs(guest.running),
            (&guest.address).into(),
        ]);
    }
    for service in &status.services {
        listing.row([
            format!("service, {}", output::word(&service.kind)).into(),
            (&service.name).into(),
            "".into(),
            (&service.url).into(),
        ]);
    }
    listing.show_or("There is no lab. `shadowcast lab up` starts one.")?;
    if let Some(rate) = status.load_requests_per_second {
        let surge = (status.surge.as_ref()).map_or_else(String::new, |surge| {
            format!(", surge {} times the usual", surge.factor)
        });
        output::line(&format!("load: {rate:.1} requests/s{surge}"))?;
    }
    Ok(())
}

/// Retire the lab's shadows, stop it, remove its files, and forget its sources; other sources stay
#[derive(Args)]
pub struct Down {
    #[command(flatten)]
    place: Place,
}

impl Down {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let dir = self.place.dir();
        let status = lab::status(&dir)?;
        // Its processes go whether or not an engine can be asked; what was not forgotten is told afterwards.
        let forgotten = if status.hosts.is_empty() {
            Ok(())
        } else {
            forget(context, &status)
        };
        lab::down(&dir)?;
        output::line("The lab is down; nothing of it is left.")?;
        forgotten
    }
}

fn forget(context: &Context, status: &LabStatus) -> Result<(), Problem> {
    let (session, known) = context.settled()?;
    let ours = |uri: &str| parts(status).iter().any(|(_, part, _)| *part == uri);
    let sources: Vec<&SourceName> = (known.sources.iter())
        .filter(|source| ours(&source.uri))
        .map(|source| &source.name)
        .collect();
    for shadow in &known.shadows {
        if sources.contains(&&shadow.vm.source()) {
            retire(&session, shadow)?;
        }
    }
    for view in &known.services {
        if sources.contains(&&view.service.director) {
            done(session.handle.ask(Command::ServiceRemove {
                name: view.service.name.clone(),
            })?)?;
        }
    }
    for name in sources {
        done(
            session
                .handle
                .ask(Command::SourceRemove { name: name.clone() })?,
        )?;
    }
    Ok(())
}

/// While its hosts still run: an engine that has lost them could neither retire the shadow nor forget it.
fn retire(session: &Session, shadow: &ShadowView) -> Result<(), Problem> {
    let planned = session.handle.ask(Command::ShadowRetire {
        shadow: shadow.id.clone(),
    })?;
    let Answer::Proposal { proposal } = planned else {
        return Err(unexpected(&planned));
    };
    let started = session.handle.ask(Command::Approve {
        proposal: proposal.id.clone(),
        digest: proposal.digest.clone(),
        by: operator(),
    })?;
    let Answer::Started { operation } = started else {
        return Err(unexpected(&started));
    };
    follow::to_the_end(session, &operation, follow::Wanted::Done).map(drop)
}

/// The load generator's body; `lab up` starts it
#[derive(Args)]
pub struct Load {
    #[command(flatten)]
    place: Place,
}
