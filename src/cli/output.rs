//! How answers look: tables with units on stdout for people, one JSON document for scripts, the rest on stderr.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{
    engine::snapshot::Snapshot,
    health::HealthState,
    metrics::Metric,
    problem::Problem,
    units::{Timestamp, printable},
};

fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

pub fn colours_on_stderr() -> bool {
    colours_wanted() && io::stderr().is_terminal()
}

fn colours_on_stdout() -> bool {
    colours_wanted() && io::stdout().is_terminal()
}

/// Writes to stdout. A reader that has gone away (`| head`) wants no more, which is no error.
pub fn write(text: &str) -> Result<(), Problem> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Problem::failed(
            "The answer was not written.",
            error.to_string(),
            "Check where the output goes and ask again.",
        )),
        _ => Ok(()),
    }
}

/// One line for people; outside text in it is made safe to show.
pub fn line(text: &str) -> Result<(), Problem> {
    write(&format!("{}\n", printable(text)))
}

/// One document for scripts.
pub fn json(document: &impl Serialize) -> Result<(), Problem> {
    let text = serde_json::to_string_pretty(document).map_err(|error| {
        Problem::failed(
            "The answer was not written.",
            error.to_string(),
            "Ask again without --json.",
        )
    })?;
    write(&format!("{text}\n"))
}

/// A remark beside the answer.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(&text.to_string()));
}

/// What did not happen, why, what to do now.
pub fn problem(problem: &Problem) {
    let (red, plain) = if colours_on_stderr() {
        ("\u{1b}[1;31m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    let _ = writeln!(
        io::stderr().lock(),
        "{red}error:{plain} {}\n  why: {}\n  now: {}",
        lines(&problem.what),
        lines(&problem.why),
        lines(&problem.next)
    );
}

/// Keeps line breaks, makes each line safe.
fn lines(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(printable)
        .collect::<Vec<_>>()
        .join("\n       ")
}

/// What is broken now, so that a table that lacks something says so.
pub fn alarms(snapshot: &Snapshot) {
    for alarm in &snapshot.alarms {
        note(format!("! {} {}", alarm.text, alarm.effect));
    }
    if snapshot.frozen {
        note("! Automation is frozen; `shadowcast thaw` lets it go on.");
    }
}

/// Shown on a terminal only.
pub fn spinner(text: &'static str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.set_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    spinner.set_message(text);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// A table whose numeric columns (a header that starts with `>`) are right-aligned.
pub struct Listing {
    table: Table,
    right: Vec<bool>,
    colours: bool,
}

impl Listing {
    pub fn new(headers: &[&str]) -> Self {
        let colours = colours_on_stdout();
        let right = headers
            .iter()
            .map(|header| header.starts_with('>'))
            .collect();
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if io::stdout().is_terminal() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        if !colours {
            table.force_no_tty();
        }
        table.set_header(headers.iter().map(|header| {
            let cell = Cell::new(header.trim_start_matches('>')).add_attribute(Attribute::Bold);
            if header.starts_with('>') {
                cell.set_alignment(CellAlignment::Right)
            } else {
                cell
            }
        }));
        Self {
            table,
            right,
            colours,
        }
    }

    pub fn row<I>(&mut self, texts: I)
    where
        I: IntoIterator<Item = Text>,
    {
        let right = &self.right;
        let colours = self.colours;
        self.table
            .add_row(texts.into_iter().enumerate().map(|(column, text)| {
                let mut cell = Cell::new(printable(&text.text));
                if right.get(column).copied().unwrap_or(false) {
                    cell = cell.set_alignment(CellAlignment::Right);
                }
                match text.tone {
                    Some(colour) if colours => cell.fg(colour),
                    _ => cell,
                }
            }));
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub fn show(&self) -> Result<(), Problem> {
        write(&format!("{}\n", self.table.trim_fmt()))
    }

    /// Shows the table, or says on stderr that there is nothing and what to do about it.
    pub fn show_or(&self, nothing: &str) -> Result<(), Problem> {
        if self.is_empty() {
            note(nothing);
            return Ok(());
        }
        self.show()
    }
}

/// One cell: its text, and a colour where it means good or bad.
pub struct Text {
    text: String,
    tone: Option<Color>,
}

impl Text {
    pub fn good(text: impl Into<String>) -> Self {
        Self::tinted(text, Color::Green)
    }

    pub fn warn(text: impl Into<String>) -> Self {
        Self::tinted(text, Color::Yellow)
    }

    pub fn bad(text: impl Into<String>) -> Self {
        Self::tinted(text, Color::Red)
    }

    fn tinted(text: impl Into<String>, colour: Color) -> Self {
        Self {
            text: text.into(),
            tone: Some(colour),
        }
    }
}

impl<T: Display> From<T> for Text {
    fn from(text: T) -> Self {
        Self {
            text: text.to_string(),
            tone: None,
        }
    }
}

/// What is not known is shown as a dash, never as zero.
pub const UNKNOWN: &str = "–";

pub fn or_dash<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

pub fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

pub fn percent_or_dash(ratio: Option<f32>) -> String {
    or_dash(ratio.map(|ratio| percent(f64::from(ratio))))
}

pub fn bytes(count: u64) -> String {
    BinaryBytes(count).to_string()
}

pub fn seconds(count: u64) -> String {
    humantime::format_duration(Duration::from_secs(count)).to_string()
}

/// A value in its metric's unit.
pub fn value(metric: Metric, value: f64) -> String {
    match metric.unit() {
        "ratio" => format!("{:.1} %", value * 100.0),
        "bytes_per_second" => format!("{}/s", bytes(value.max(0.0) as u64)),
        "milliseconds" => format!("{value:.1} ms"),
        _ => format!("{value:.1} /s"),
    }
}

/// A moment to the second, UTC.
pub fn moment(at: Timestamp) -> String {
    match jiff::Timestamp::from_second(at.as_secs()) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => at.to_string(),
    }
}

/// How far `at` is from `now`: `4s ago`, `in 11m`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let ahead = at.secs_since(now);
    let mut distance = ahead.unsigned_abs();
    // Two units are enough to decide by.
    if distance >= 86_400 {
        distance -= distance % 3600;
    } else if distance >= 3600 {
        distance -= distance % 60;
    }
    match ahead {
        0 => "now".to_owned(),
        1.. => format!("in {}", seconds(distance)),
        _ => format!("{} ago", seconds(distance)),
    }
}

/// A word as the JSON shows it, so that people and scripts read the same names.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => UNKNOWN.to_owned(),
    }
}

pub fn health_text(state: HealthState, text: String) -> Text {
    match state {
        HealthState::Ok => Text::good(text),
        HealthState::Watch | HealthState::Risk => Text::warn(text),
        HealthState::Critical => Text::bad(text),
        HealthState::Unknown => Text::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_in_time_reads_like_one() {
        let now = Timestamp::from_secs(1_000_000);
        assert_eq!(relative(now.plus_secs(-4), now), "4s ago");
        assert_eq!(relative(now.plus_secs(660), now), "in 11m");
        assert_eq!(relative(now.plus_secs(3 * 3600 + 61), now), "in 3h 1m");
        assert_eq!(relative(now, now), "now");
    }

    #[test]
    fn a_value_carries_its_unit() {
        assert_eq!(value(Metric::Cpu, 0.421), "42.1 %");
        assert_eq!(value(Metric::Disk, 2_097_152.0), "2.00 MiB/s");
        assert_eq!(value(Metric::Response, 12.34), "12.3 ms");
    }

    #[test]
    fn a_hostile_name_cannot_forge_a_row() {
        let mut listing = Listing::new(&["name", ">cpu"]);
        listing.row(["evil\nroot  99 %".into(), "1 %".into()]);
        let shown = listing.table.trim_fmt();
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(shown.contains("\\u{a}"), "{shown}");
    }
}
