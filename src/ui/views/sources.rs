//! Sources: the connections, each read-only until it is armed; and the first run, when there is none.

use eframe::egui::{
    Align2, CornerRadius, Rect, ScrollArea, Sense, Stroke, StrokeKind, Ui, UiBuilder, pos2, vec2,
};
use egui_material_icons::icons;

use super::{history_import::HistoryImport, source_list};
use crate::ui::widgets::field::text_field;
use crate::{
    engine::command::{Answer, Command, Reply},
    hypervisor::Examination,
    inventory::Role,
    problem::Problem,
    ui::{
        files::Ask,
        pass::{Go, Pass, Screen},
        theme::{self, radius},
        widgets::{
            button::{self, Button, Look},
            status::{self, Tone},
            text,
        },
    },
    units::{SourceName, printable},
};

/// What a test or an addition came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Tested {
    Asked,
    Found(Examination),
    Added,
    Failed(Problem),
}

pub struct SourcesView {
    import: HistoryImport,
    uri: String,
    name: String,
    role: Role,
    tested: Option<Tested>,
    /// The source that is asked about before it is removed.
    pub removing: Option<SourceName>,
    /// What the newest test of a listed source found, by its address.
    pub listed: Vec<(String, Tested)>,
}

impl SourcesView {
    pub fn new(ask: Ask) -> Self {
        Self {
            import: HistoryImport::new(ask),
            uri: String::new(),
            name: String::new(),
            role: Role::default(),
            tested: None,
            removing: None,
            listed: Vec::new(),
        }
    }

    pub fn answered(&mut self, command: &Command, reply: &Reply) {
        self.import.answered(command, reply);
        let (uri, own) = match command {
            Command::SourceAdd { uri, .. } => (uri, true),
            Command::SourceTest { uri } => (uri, *uri == self.uri.trim()),
            _ => return,
        };
        let outcome = match reply {
            Ok(Answer::Examined { examination }) => Tested::Found(examination.clone()),
            Ok(_) => Tested::Added,
            Err(problem) => Tested::Failed(problem.clone()),
        };
        if let Some(entry) = self.listed.iter_mut().find(|(of, _)| of == uri) {
            entry.1 = outcome.clone();
        }
        if own {
            if matches!(command, Command::SourceAdd { .. }) && reply.is_ok() {
                self.uri.clear();
                self.name.clear();
            }
            self.tested = Some(outcome);
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        let wide = (body.width() - 96.0).min(980.0);
        let left = (body.center().x - wide / 2.0).round();
        let first_run = pass.now.sources.is_empty();
        let area = Rect::from_min_max(pos2(left, body.top()), pos2(left + wide, body.bottom()));
        let mut child = ui.new_child(
            UiBuilder::new()
                .id_salt("scroll")
                .max_rect(area.expand2(vec2(8.0, 0.0))),
        );
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show(&mut child, |ui| {
                ui.add_space(if first_run { 72.0 } else { 32.0 });
                ui.set_max_width(wide);
                let (what, more) = if first_run {
                    (
                        "Connect a source",
                        "Shadowcast starts read-only. It can look, forecast and propose, and it changes nothing \
                         until you allow it.",
                    )
                } else {
                    (
                        "Sources",
                        "A source is read-only until it is armed. Only armed sources are ever changed.",
                    )
                };
                let tokens = theme::of(ui);
                text::wrapped(ui, what, theme::semibold(26.0), tokens.hi);
                ui.add_space(8.0);
                text::wrapped(ui, more, theme::regular(14.0), tokens.text);
                ui.add_space(24.0);
                if !first_run {
                    source_list::ui(ui, self, pass);
                    ui.add_space(28.0);
                }
                self.add_card(ui, first_run, pass);
                if first_run {
                    next_steps(ui);
                } else {
                    ui.add_space(28.0);
                    self.import.ui(ui, pass);
                }
                ui.add_space(40.0);
            });
    }

    fn add_card(&mut self, ui: &mut Ui, first_run: bool, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        let findings = match &self.tested {
            Some(Tested::Found(examination)) => examination.findings.len(),
            Some(Tested::Failed(_)) => 2,
            _ => 0,
        };
        let told = if self.tested.is_some() { 40.0 } else { 0.0 };
        let height = 222.0 + told + 26.0 * findings as f32;
        let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
        ui.painter().rect(
            card,
            CornerRadius::same(radius::DIALOG),
            tokens.card,
            Stroke::new(
                1.0,
                if first_run {
                    tokens.accent
                } else {
                    tokens.line
                },
            ),
            StrokeKind::Inside,
        );
        let inside = card.shrink(24.0);
        let y = inside.top() + 12.0;
        text::icon(
            ui.painter(),
            pos2(inside.left() + 12.0, y),
            icons::ICON_DNS.codepoint,
            24.0,
            tokens.accent,
        );
        text::left(
            ui,
            inside.left() + 36.0,
            y,
            if first_run {
                "A hypervisor or a balancer"
            } else {
                "Add a source"
            },
            theme::semibold(16.0),
            tokens.hi,
        );
        text::fit(
            ui,
            inside.left(),
            inside.top() + 42.0,
            inside.width(),
            "KVM and QEMU hosts through libvirt, over SSH or TLS; HAProxy by its socket",
            theme::regular(13.0),
            tokens.dim,
        );
        let row = inside.top() + 62.0;
        let name_wide = 200.0;
        let field = Rect::from_min_size(
            pos2(inside.left(), row),
            vec2(inside.width() - name_wide - 10.0, 38.0),
        );
        let response = text_field(
            ui,
            field,
            &mut self.uri,
            "Address",
            "qemu+ssh://user@host/system",
        );
        let name = Rect::from_min_max(
            pos2(field.right() + 10.0, row),
            pos2(inside.right(), row + 38.0),
        );
        text_field(ui, name, &mut self.name, "Name", "name, if you like");
        if response.changed() {
            self.tested = None;
        }
        text::fit(
            ui,
            inside.left(),
            row + 56.0,
            inside.width(),
            hint(self.uri.trim()),
            theme::regular(12.5),
            tokens.dim,
        );
        let buttons = row + 76.0;
        let x = button::segments(
            ui,
            pos2(inside.left(), buttons),
            36.0,
            &[
                (Role::Both, "VMs and shadows"),
                (Role::Primary, "VMs only"),
                (Role::Secondary, "Shadows only"),
            ],
            &mut self.role,
            true,
        );
        let asked = self.tested == Some(Tested::Asked);
        let off = if self.uri.trim().is_empty() {
            Some("Type the address first.")
        } else if asked {
            Some("It is being tested.")
        } else {
            pass.blocked
        };
        let main = Rect::from_min_size(pos2(x + 16.0, buttons), vec2(132.0, 36.0));
        let enter = response.lost_focus()
            && ui.input(|input| input.key_pressed(eframe::egui::Key::Enter))
            && off.is_none();
        if Button::new("Test and add", Look::Primary)
            .off(off)
            .put(ui, main)
            .clicked()
            || enter
        {
            self.tested = Some(Tested::Asked);
            let name = self.name.trim();
            pass.out.push(Command::SourceAdd {
                uri: self.uri.trim().to_owned(),
                name: (!name.is_empty()).then(|| SourceName::new(name)),
                role: self.role,
            });
            pass.go.push(Go::To(Screen::Sources));
        }
        let only = Rect::from_min_size(pos2(main.right() + 8.0, buttons), vec2(96.0, 36.0));
        if Button::new("Only test", Look::Secondary)
            .off(off)
            .put(ui, only)
            .clicked()
        {
            self.tested = Some(Tested::Asked);
            pass.out.push(Command::SourceTest {
                uri: self.uri.trim().to_owned(),
            });
        }
        let outcome = Rect::from_min_max(pos2(inside.left(), buttons + 48.0), inside.max);
        if let Some(tested) = &self.tested {
            found(ui, outcome, tested);
        }
    }
}

/// What the address needs on its host.
fn hint(uri: &str) -> &'static str {
    if uri.starts_with("qemu+ssh") {
        "Needs the libvirt group on the host, uses your SSH agent and known hosts."
    } else if uri.starts_with("qemu+tls") {
        "Needs client certificates in the usual places; the host's is verified."
    } else if uri.starts_with("haproxy") {
        "Needs the runtime API with level admin on its socket."
    } else if uri.starts_with("test:") {
        "libvirt's own test driver: nothing on it is real."
    } else if uri.starts_with("qemu:") {
        "A host on this machine; needs access to its libvirt socket."
    } else {
        "For example qemu:///system, qemu+ssh://…, qemu+tls://…, test:///default, haproxy+unix:///path."
    }
}

/// The findings of a test, one a line, or why there are none.
pub fn found(ui: &mut Ui, area: Rect, tested: &Tested) {
    let tokens = theme::of(ui);
    let line = |ui: &mut Ui, row: usize, tone: Tone, words: &str, strong: bool| {
        let y = area.top() + 12.0 + 26.0 * row as f32;
        status::paint(ui.painter(), pos2(area.left() + 7.0, y), 11.0, tone, tokens);
        let (font, ink) = if strong {
            (theme::medium(13.0), tokens.hi)
        } else {
            (theme::regular(13.0), tokens.text)
        };
        text::fit(
            ui,
            area.left() + 24.0,
            y,
            area.width() - 24.0,
            words,
            font,
            ink,
        );
    };
    match tested {
        Tested::Asked => line(ui, 0, Tone::None, "Testing the connection.", true),
        Tested::Added => line(ui, 0, Tone::Ok, "Added, read-only.", true),
        Tested::Found(examination) => {
            line(
                ui,
                0,
                Tone::Ok,
                &format!(
                    "{}, answers in {} ms",
                    printable(&examination.platform),
                    examination.millis
                ),
                true,
            );
            for (index, finding) in examination.findings.iter().enumerate() {
                let tone = match (finding.works, finding.needed) {
                    (true, _) => Tone::Ok,
                    (false, true) => Tone::Critical,
                    (false, false) => Tone::Watch,
                };
                line(ui, index + 1, tone, &printable(&finding.text), false);
            }
        }
        Tested::Failed(problem) => {
            line(ui, 0, Tone::Critical, &printable(&problem.what), true);
            for (index, words) in [&problem.why, &problem.next].into_iter().enumerate() {
                let y = area.top() + 12.0 + 26.0 * (index + 1) as f32;
                text::fit(
                    ui,
                    area.left() + 24.0,
                    y,
                    area.width() - 24.0,
                    &printable(words),
                    theme::regular(13.0),
                    tokens.text,
                );
            }
        }
    }
}

/// What follows the first source, honestly timed.
fn next_steps(ui: &mut Ui) {
    let tokens = theme::of(ui);
    ui.add_space(36.0);
    text::wrapped(ui, "What happens next", theme::medium(13.5), tokens.text);
    ui.add_space(12.0);
    let steps = [
        ("Look", "VMs, hosts and limits appear in Fleet.", "at once"),
        (
            "Learn",
            "History is gathered here, or brought with `shadowcast history import`.",
            "first forecast after hours, good after days",
        ),
        (
            "Propose",
            "Proposals appear in Now with their plan. Nothing can run on a read-only source.",
            "when a limit is about to be crossed",
        ),
        (
            "Act",
            "You arm each source that may be changed, and approve each plan.",
            "when you say so",
        ),
    ];
    for (index, (name, what, when)) in steps.into_iter().enumerate() {
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 52.0), Sense::hover());
        text::hline(ui, row.left()..=row.right(), row.top(), tokens.line);
        let y = row.center().y;
        let centre = pos2(row.left() + 14.0, y);
        if index + 1 < steps.len() {
            text::vline(ui, centre.x - 0.5, y + 12.0..=y + 40.0, tokens.line2);
        }
        ui.painter().circle(
            centre,
            12.0,
            if index == 0 {
                tokens.selected
            } else {
                tokens.raised
            },
            Stroke::new(
                1.0,
                if index == 0 {
                    tokens.accent
                } else {
                    tokens.line2
                },
            ),
        );
        text::paint(
            ui.painter(),
            centre,
            Align2::CENTER_CENTER,
            &(index + 1).to_string(),
            theme::medium(12.0),
            if index == 0 {
                tokens.accent
            } else {
                tokens.text
            },
        );
        text::left(
            ui,
            row.left() + 44.0,
            y,
            name,
            theme::semibold(13.5),
            tokens.hi,
        );
        let when = text::right(ui, row.right(), y, when, theme::regular(12.5), tokens.dim);
        text::fit(
            ui,
            row.left() + 124.0,
            y,
            when.rect.left() - row.left() - 140.0,
            what,
            theme::regular(13.5),
            tokens.text,
        );
    }
    let line = ui.cursor();
    text::hline(ui, line.left()..=line.right(), line.top(), tokens.line);
    ui.add_space(20.0);
    text::wrapped(
        ui,
        "No host at hand? `shadowcast --demo` opens a simulated fleet of 10,000 VMs in its own data folder.",
        theme::regular(13.5),
        tokens.dim,
    );
}
