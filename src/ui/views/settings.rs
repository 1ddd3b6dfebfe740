//! Settings: what the deciders go by, changed with its effect on the fleet in view before it holds.

use std::collections::BTreeMap;

use eframe::egui::{DragValue, Rect, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2};

use crate::{
    engine::{
        command::{Answer, Command, Reply},
        preview::SettingsPreview,
    },
    policy::{
        Settings,
        edit::{self, Change},
    },
    ui::{
        pass::Pass,
        theme,
        widgets::{button, text},
    },
    units::printable,
};

mod rows;
mod side;

use rows::{GROUPS, Row};

const SIDE: f32 = 392.0;
const MARGIN: f32 = 20.0;
const FIGURE: f32 = 116.0;
const ROW: f32 = 40.0;

#[derive(Default)]
pub struct SettingsView {
    /// The file as the engine goes by it.
    kept: Option<Kept>,
    asked: bool,
    /// By key, on the screen's scale.
    drafts: BTreeMap<&'static str, f64>,
    preview: Preview,
    /// Why it could not be read, or was not kept.
    wrong: Option<String>,
}

struct Kept {
    file: String,
    text: String,
    values: toml::Value,
    defaults: toml::Value,
}

/// How far the preview of the drafts is.
#[derive(Default)]
enum Preview {
    #[default]
    None,
    /// The drafts have changed since it was asked for.
    Due,
    Asked {
        text: String,
        outdated: bool,
    },
    There {
        text: String,
        preview: Box<SettingsPreview>,
    },
}

/// A setting on the screen's scale.
pub(in crate::ui::views) fn figure(settings: &toml::Value, row: &Row) -> Option<f64> {
    let value = row
        .key
        .split('.')
        .try_fold(settings, |value, part| value.get(part))?;
    let value = value
        .as_float()
        .or_else(|| value.as_integer().map(|value| value as f64))?;
    Some(value * row.unit.scale())
}

/// What `value` on the screen is in the file.
fn change(row: &Row, value: f64) -> Change {
    let value = value / row.unit.scale();
    let written = if row.unit.is_whole() {
        format!("{value:.0}")
    } else {
        // Three more digits than are shown, without the tail of binary fractions.
        let value = (value * 1e5).round() / 1e5;
        format!("{value:?}")
    };
    Change {
        key: row.key.to_owned(),
        value: Some(written),
    }
}

impl SettingsView {
    pub fn answered(&mut self, command: &Command, reply: &Reply) {
        match (command, reply) {
            (Command::Settings, Ok(Answer::Settings { file, text })) => self.read(file, text),
            (Command::SettingsPreview { text }, reply) => self.previewed(text, reply),
            (Command::SettingsSet { .. }, Ok(_)) => {
                self.drafts.clear();
                self.preview = Preview::None;
                self.wrong = None;
                self.asked = false;
            }
            (Command::SettingsSet { .. } | Command::Settings, Err(problem)) => {
                self.wrong = Some(format!("{} {}", problem.why, problem.next));
                // Somebody else may have changed them: what is drafted stays and is put on what is there now.
                self.asked = matches!(command, Command::Settings);
            }
            _ => {}
        }
    }

    fn read(&mut self, file: &str, text: &str) {
        let read = Settings::parse(text, file).and_then(|settings| {
            let value = |settings: &Settings| {
                toml::Value::try_from(settings).map_err(|error| {
                    crate::problem::Problem::failed(
                        "The settings were not shown.",
                        error.to_string(),
                        "Read them with `shadowcast policy show`.",
                    )
                })
            };
            Ok(Kept {
                file: file.to_owned(),
                text: text.to_owned(),
                values: value(&settings)?,
                defaults: value(&Settings::default())?,
            })
        });
        match read {
            Ok(kept) => {
                self.kept = Some(kept);
                if !self.drafts.is_empty() {
                    self.preview = Preview::Due;
                }
            }
            Err(problem) => self.wrong = Some(problem.why),
        }
    }

    fn previewed(&mut self, of: &str, reply: &Reply) {
        let Preview::Asked { text, outdated } = &self.preview else {
            return;
        };
        if text != of {
            return;
        }
        let outdated = *outdated;
        match reply {
            Ok(Answer::SettingsPreview { preview }) => {
                self.wrong = None;
                self.preview = Preview::There {
                    text: of.to_owned(),
                    preview: preview.clone(),
                };
            }
            Err(problem) => {
                self.wrong = Some(problem.why.clone());
                self.preview = Preview::None;
            }
            Ok(_) => {}
        }
        if outdated {
            self.preview = Preview::Due;
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
        if !self.asked && pass.blocked.is_none() {
            self.asked = true;
            pass.out.push(Command::Settings);
        }
        let tokens = theme::of(ui);
        let side = Rect::from_min_max(pos2(rect.right() - SIDE, rect.top()), rect.max);
        let main = Rect::from_min_max(rect.min, side.left_bottom());
        text::vline(ui, side.left(), rect.y_range().into(), tokens.line);
        ui.painter()
            .rect_filled(side.with_min_x(side.left() + 1.0), 0, tokens.panel);
        self.list(ui, main);
        self.side(ui, side, pass);
        self.ask_for_preview(pass);
    }

    fn list(&mut self, ui: &mut Ui, rect: Rect) {
        let tokens = theme::of(ui);
        let inside = rect.shrink2(vec2(MARGIN, 0.0));
        let mut child = ui.new_child(UiBuilder::new().id_salt("settings").max_rect(inside));
        child.add_space(16.0);
        let Some(kept) = &self.kept else {
            text::wrapped(
                &mut child,
                "The settings are being read.",
                theme::regular(13.0),
                tokens.dim,
            );
            return;
        };
        let before = self.drafts.clone();
        let drafts = &mut self.drafts;
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show(&mut child, |ui| {
                for group in &GROUPS {
                    text::wrapped(ui, group.name, theme::semibold(15.0), tokens.hi);
                    if !group.means.is_empty() {
                        text::wrapped(ui, group.means, theme::regular(12.5), tokens.dim);
                    }
                    ui.add_space(6.0);
                    for row in group.rows {
                        one(ui, row, kept, drafts);
                    }
                    ui.add_space(20.0);
                }
                let file = format!(
                    "These and all others stand in {}. Intervals, history and Prometheus are changed there, and hold \
                     from the engine's next start.",
                    printable(&kept.file)
                );
                text::wrapped(ui, &file, theme::regular(12.0), tokens.dim);
                ui.add_space(20.0);
            });
        if *drafts != before {
            self.preview = match std::mem::take(&mut self.preview) {
                Preview::Asked { text, .. } => Preview::Asked {
                    text,
                    outdated: true,
                },
                _ => Preview::Due,
            };
        }
    }

    fn ask_for_preview(&mut self, pass: &mut Pass<'_>) {
        if !matches!(self.preview, Preview::Due) || pass.blocked.is_some() {
            return;
        }
        if self.drafts.is_empty() {
            self.preview = Preview::None;
            self.wrong = None;
            return;
        }
        let Some(kept) = &self.kept else {
            return;
        };
        let changes: Vec<Change> = rows::all()
            .filter_map(|row| Some(change(row, *self.drafts.get(row.key)?)))
            .collect();
        match edit::edit(&kept.text, &kept.file, &changes) {
            Ok(text) => {
                pass.out
                    .push(Command::SettingsPreview { text: text.clone() });
                self.preview = Preview::Asked {
                    text,
                    outdated: false,
                };
            }
            Err(problem) => {
                self.wrong = Some(problem.why);
                self.preview = Preview::None;
            }
        }
    }
}

/// One setting: its name, what it means, its figure, and the way back to its default.
fn one(ui: &mut Ui, row: &'static Row, kept: &Kept, drafts: &mut BTreeMap<&'static str, f64>) {
    let tokens = theme::of(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    let y = rect.center().y;
    text::hline(ui, rect.x_range().into(), rect.bottom(), tokens.line);
    let Some(before) = figure(&kept.values, row) else {
        return;
    };
    let drafted = drafts.contains_key(row.key);
    let mut value = drafts.get(row.key).copied().unwrap_or(before);
    let ink = if drafted { tokens.accent } else { tokens.text };
    text::left(ui, rect.left(), y, row.name, theme::medium(13.0), ink);
    let spot = Rect::from_min_size(
        pos2(rect.right() - FIGURE - 12.0, rect.top() + 5.0),
        vec2(FIGURE, ROW - 11.0),
    );
    let default = figure(&kept.defaults, row);
    let reset = default.filter(|default| (default - value).abs() > 1e-6);
    let right = spot.left() - 104.0;
    text::fit(
        ui,
        rect.left() + 168.0,
        y,
        right - rect.left() - 176.0,
        row.means,
        theme::regular(12.5),
        tokens.dim,
    );
    let decimals = if row.unit.is_whole() { 0 } else { 2 };
    let drag = DragValue::new(&mut value)
        .range(row.least..=row.most)
        .speed((row.most - row.least).min(400.0) / 400.0)
        .min_decimals(0)
        .max_decimals(decimals)
        .suffix(row.unit.suffix())
        .update_while_editing(false);
    let response = ui
        .scope_builder(UiBuilder::new().id_salt(row.key).max_rect(spot), |ui| {
            ui.put(spot, drag)
        })
        .inner;
    response.widget_info(|| {
        let mut info = WidgetInfo::drag_value(true, value);
        info.label = Some(format!("{}: {}", row.key, row.name));
        info
    });
    response.on_hover_text(row.key);
    if let Some(default) = reset {
        let words = format!("default {}{}", short(default), row.unit.suffix());
        let link = ui
            .scope_builder(UiBuilder::new().id_salt((row.key, "default")), |ui| {
                button::link(
                    ui,
                    pos2(spot.left() - 10.0, y),
                    eframe::egui::Align2::RIGHT_CENTER,
                    &words,
                )
            })
            .inner;
        if link.clicked() {
            value = default;
        }
    }
    if (value - before).abs() > 1e-6 {
        drafts.insert(row.key, value);
    } else {
        drafts.remove(row.key);
    }
}

fn short(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    format!("{rounded}")
}
