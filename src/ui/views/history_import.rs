//! History from a file: chosen, read beside the drawing thread, shown, and only then taken.

use std::{fs::File, path::Path, sync::mpsc};

use eframe::egui::{CornerRadius, Rect, Sense, Stroke, StrokeKind, Ui, UiBuilder, pos2, vec2};

use crate::{
    engine::{
        command::{Answer, Command, Reply},
        snapshot::Snapshot,
    },
    problem::Problem,
    telemetry::csv::{self, BadRows, ReadCsv},
    ui::{
        files::{self, Ask},
        format,
        pass::Pass,
        theme::{self, radius},
        widgets::{
            button::{Button, Look},
            text,
        },
    },
    units::{Timestamp, printable},
};

const FILE: files::Wanted = files::Wanted {
    title: "Import history",
    kind: "Tables",
    endings: &["csv", "txt"],
};
/// Names and rows that are told; the rest is counted.
const LISTED: usize = 4;

pub struct HistoryImport {
    ask: Ask,
    step: Step,
}

enum Step {
    Idle,
    Choosing(files::Asked),
    Reading(mpsc::Receiver<Result<Contents, Problem>>),
    Read(Box<Contents>),
    Sent(String),
    Done(String),
    Failed(Problem),
}

/// A file that has been read, and what of it belongs to whom.
struct Contents {
    name: String,
    read: ReadCsv,
    facts: Facts,
}

#[derive(Default)]
struct Facts {
    samples: usize,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    known: usize,
    unknown: Vec<String>,
}

impl Facts {
    fn of(read: &ReadCsv, now: &Snapshot) -> Self {
        let mut facts = Self {
            samples: read.sources.iter().map(|source| source.samples).sum(),
            from: read.series.iter().map(|one| one.series.start).min(),
            to: read.series.iter().map(|one| one.series.end()).max(),
            ..Self::default()
        };
        // Series come sorted by VM.
        let mut last = None;
        for one in &read.series {
            if last == Some(&one.vm) {
                continue;
            }
            last = Some(&one.vm);
            let named = |view: &&crate::engine::snapshot::VmView| {
                view.vm.name == one.vm || view.vm.id.as_str() == one.vm
            };
            if now.vms.iter().filter(named).count() == 1 {
                facts.known += 1;
            } else {
                facts.unknown.push(printable(&one.vm));
            }
        }
        facts
    }
}

impl HistoryImport {
    pub fn new(ask: Ask) -> Self {
        Self {
            ask,
            step: Step::Idle,
        }
    }

    pub fn answered(&mut self, command: &Command, reply: &Reply) {
        if !matches!(command, Command::HistoryImport { .. }) {
            return;
        }
        let Step::Sent(name) = &self.step else {
            return;
        };
        self.step = match reply {
            Ok(Answer::Imported {
                series, samples, ..
            }) => Step::Done(format!(
                "{} in {} taken from {name}. Forecasts follow in their next round.",
                format::plural(*samples, "sample", "samples"),
                format::plural(*series, "series", "series"),
            )),
            Ok(_) => return,
            Err(problem) => Step::Failed(problem.clone()),
        };
    }

    pub fn ui(&mut self, ui: &mut Ui, pass: &mut Pass<'_>) {
        self.follow(ui, pass);
        let tokens = theme::of(ui);
        let top = ui.cursor().top();
        let frame = ui.painter().add(eframe::egui::Shape::Noop);
        let wide = ui.available_width();
        let inside = Rect::from_min_size(
            pos2(ui.cursor().left() + 24.0, top + 20.0),
            vec2(wide - 48.0, f32::INFINITY),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("history import").max_rect(inside));
        self.card(&mut child, pass);
        let height = child.min_rect().bottom() + 20.0 - top;
        let (card, _) = ui.allocate_exact_size(vec2(wide, height), Sense::hover());
        ui.painter().set(
            frame,
            eframe::egui::epaint::RectShape::new(
                card,
                CornerRadius::same(radius::DIALOG),
                tokens.card,
                Stroke::new(1.0, tokens.line),
                StrokeKind::Inside,
            ),
        );
    }

    /// From one step to the next, as files are chosen and read.
    fn follow(&mut self, ui: &Ui, pass: &Pass<'_>) {
        match &self.step {
            Step::Choosing(dialog) => match dialog.poll() {
                None => {}
                Some(None) => self.step = Step::Idle,
                Some(Some(path)) => self.step = read_beside(&path, pass, ui.ctx()),
            },
            Step::Reading(told) => match told.try_recv() {
                Ok(Ok(contents)) => self.step = Step::Read(Box::new(contents)),
                Ok(Err(problem)) => self.step = Step::Failed(problem),
                Err(mpsc::TryRecvError::Empty) => {}
                Err(mpsc::TryRecvError::Disconnected) => {
                    self.step = Step::Failed(Problem::failed(
                        "The history was not imported; nothing was taken.",
                        "reading the file has ended without a result",
                        "Try it again, or use `shadowcast history import`.",
                    ));
                }
            },
            _ => {}
        }
    }

    fn card(&mut self, ui: &mut Ui, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        text::wrapped(ui, "Bring history", theme::semibold(16.0), tokens.hi);
        ui.add_space(4.0);
        let words = "A forecast needs days of load. Bring them as CSV, one row a sample or one column a VM, in any step; \
                     or add a Prometheus server as a source and back-fill from it with `shadowcast history backfill`.";
        text::wrapped(ui, words, theme::regular(13.0), tokens.dim);
        ui.add_space(10.0);
        match &self.step {
            Step::Idle => {}
            Step::Choosing(_) => remark(ui, "A file is being chosen."),
            Step::Reading(_) => remark(ui, "The file is being read."),
            Step::Sent(name) => remark(ui, &format!("{name} is being taken in.")),
            Step::Done(words) => {
                text::wrapped(ui, words, theme::regular(13.0), tokens.ok);
                ui.add_space(10.0);
            }
            Step::Failed(problem) => {
                let words = format!("{} {}. {}", problem.what, problem.why, problem.next);
                text::wrapped(
                    ui,
                    &printable(&words),
                    theme::regular(13.0),
                    tokens.critical,
                );
                ui.add_space(10.0);
            }
            Step::Read(contents) => preview(ui, contents, pass),
        }
        self.buttons(ui, pass);
    }

    fn buttons(&mut self, ui: &mut Ui, pass: &mut Pass<'_>) {
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::hover());
        let spot = |index: f32| {
            Rect::from_min_size(
                pos2(row.left() + index * 170.0, row.top()),
                vec2(160.0, 34.0),
            )
        };
        if let Step::Read(contents) = &mut self.step {
            let none = (contents.facts.known == 0).then_some("None of its VMs is known.");
            let take = Button::new("Take it in", Look::Secondary).off(pass.blocked.or(none));
            if take.put(ui, spot(0.0)).clicked() {
                let name = contents.name.clone();
                let rows = std::mem::take(&mut contents.read.series);
                pass.out.push(Command::HistoryImport { rows });
                self.step = Step::Sent(name);
                return;
            }
            let cancel = Button::new("Cancel", Look::Secondary).named("Cancel the import");
            if cancel.put(ui, spot(1.0)).clicked() {
                self.step = Step::Idle;
            }
            return;
        }
        let busy = match &self.step {
            Step::Choosing(_) => Some("A file is being chosen."),
            Step::Reading(_) | Step::Sent(_) => Some("A file is being read."),
            _ => None,
        };
        let choose = Button::new("Import history…", Look::Secondary).off(pass.blocked.or(busy));
        if choose.put(ui, spot(0.0)).clicked() {
            self.step = match files::Asked::open(&self.ask, FILE, ui.ctx()) {
                Ok(dialog) => Step::Choosing(dialog),
                Err(error) => Step::Failed(Problem::failed(
                    "No file can be chosen.",
                    error.to_string(),
                    "Use `shadowcast history import FILE`.",
                )),
            };
        }
    }
}

fn remark(ui: &mut Ui, words: &str) {
    let tokens = theme::of(ui);
    text::wrapped(ui, &printable(words), theme::regular(13.0), tokens.dim);
    ui.add_space(10.0);
}

fn read_beside(path: &Path, pass: &Pass<'_>, ctx: &eframe::egui::Context) -> Step {
    let (tell, told) = mpsc::channel();
    let (path, now, ctx) = (path.to_owned(), pass.now.clone(), ctx.clone());
    let reading = std::thread::Builder::new()
        .name("history import".to_owned())
        .spawn(move || {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = printable(&name);
            let read = File::open(&path)
                .map_err(|error| {
                    Problem::failed(
                        "The history was not imported; nothing was taken.",
                        error.to_string(),
                        "Choose a file that can be read.",
                    )
                })
                .and_then(|file| csv::read_with(file, &name, BadRows::Skip));
            let contents = read.map(|read| Contents {
                facts: Facts::of(&read, &now),
                name,
                read,
            });
            // The window may have been closed meanwhile.
            let _nobody_waits = tell.send(contents);
            ctx.request_repaint();
        });
    match reading {
        Ok(_) => Step::Reading(told),
        Err(error) => Step::Failed(Problem::failed(
            "The history was not imported; nothing was taken.",
            error.to_string(),
            "Try it again, or use `shadowcast history import`.",
        )),
    }
}

fn preview(ui: &mut Ui, contents: &Contents, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let facts = &contents.facts;
    text::pair(ui, "File", &contents.name, tokens.hi);
    let what = format!(
        "{} in {} of {}",
        format::plural(facts.samples, "sample", "samples"),
        format::plural(contents.read.series.len(), "series", "series"),
        format::plural(facts.known + facts.unknown.len(), "VM", "VMs"),
    );
    text::pair(ui, "Holds", &what, tokens.text);
    if let (Some(from), Some(to)) = (facts.from, facts.to) {
        let span = format!("{} to {}", pass.clock.full(from), pass.clock.full(to));
        text::pair(ui, "From and to", &span, tokens.text);
    }
    if !facts.unknown.is_empty() {
        let words = listed(&facts.unknown, facts.unknown.len());
        let words = format!("Left out, since no VM is called so: {words}.");
        text::wrapped(ui, &words, theme::regular(13.0), tokens.watch);
    }
    if contents.read.bad_row_count > 0 {
        let rows: Vec<String> = contents
            .read
            .bad_rows
            .iter()
            .map(|row| printable(row))
            .collect();
        let words = listed(&rows, contents.read.bad_row_count);
        let words = format!("Left out, since they cannot be read: {words}.");
        text::wrapped(ui, &words, theme::regular(13.0), tokens.watch);
    }
    ui.add_space(10.0);
}

/// The first of `words`, and how many more of `count` there are.
fn listed(words: &[String], count: usize) -> String {
    let shown = words.len().min(LISTED);
    let more = count.saturating_sub(shown);
    let first = words[..shown].join(", ");
    if more > 0 {
        format!("{first} and {more} more")
    } else {
        first
    }
}
