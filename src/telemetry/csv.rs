//! History as CSV, in either of two shapes, told apart by the header.
//!
//! ```text
//! vm,metric,at,value                    vm,at,cpu,memory,disk,net
//! web-01,cpu,2026-11-22T14:30:00Z,0.42  web-01,1795357800,0.42,0.61,81000,12000
//! ```
//!
//! Columns stand in any order; the wide shape may have any of the metrics' names. A time is RFC 3339 or whole unix
//! seconds. Values are in the metric's unit, ratios 0 to 1; an empty value is a gap. Samples may be at any spacing of
//! up to an hour and come out at steps of 300 s (see `resample`).

use std::{
    cell::Cell,
    collections::HashMap,
    fmt::Display,
    io::{self, Read},
    rc::Rc,
};

use super::{
    ImportedSeries,
    resample::{Point, resample, usual_spacing},
};
use crate::{
    metrics::Metric,
    problem::Problem,
    units::{Timestamp, printable},
};

/// Caps on what one file can make the reader hold.
const MAX_VALUES: usize = 50_000_000;
const MAX_STEPS: usize = 100_000_000;
const MAX_SERIES: usize = 200_000;
const MAX_ROW_BYTES: u64 = 64 * 1024;
const MAX_NAME_BYTES: usize = 256;
/// Bad rows that are told of one by one.
const MAX_BAD_ROWS: usize = 1000;

/// A ratio may be this much over 1 by rounding, and is then 1.
const RATIO_TOLERANCE: f32 = 1.01;

/// Reads a whole file; `name` is how errors call it. Series come out sorted by VM and metric.
///
/// # Errors
/// At the first thing that is wrong, with its line and column; nothing is taken then.
pub fn read(reader: impl Read, name: &str) -> Result<Vec<ImportedSeries>, Problem> {
    read_with(reader, name, BadRows::Refuse).map(|read| read.series)
}

/// What becomes of rows that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRows {
    /// The first one is an error.
    Refuse,
    /// They are left out and told of.
    Skip,
}

/// A file, and how it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadCsv {
    pub series: Vec<ImportedSeries>,
    /// What each series was in the file, in the same order.
    pub sources: Vec<SeriesSource>,
    /// The first of the rows that were left out, by line and column.
    pub bad_rows: Vec<String>,
    pub bad_row_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesSource {
    /// The usual distance of its samples.
    pub spacing_seconds: u32,
    pub samples: usize,
}

/// As [`read`], and with what was left out.
///
/// # Errors
/// When the file as a whole is of no use, and at the first bad row where those are refused.
pub fn read_with(reader: impl Read, name: &str, bad_rows: BadRows) -> Result<ReadCsv, Problem> {
    gather(reader, bad_rows)
        .and_then(Gathered::into_series)
        .map_err(|error| {
            Problem::usage(
                format!(
                    "The history in {} was not imported; nothing was taken.",
                    printable(name)
                ),
                error.to_string(),
                error.next_step(),
            )
        })
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum BadCsv {
    #[error("line {line}, column {column} ({field}): {why}")]
    Field {
        line: u64,
        column: usize,
        field: String,
        why: String,
    },
    #[error("line {line}: {why}")]
    Line { line: u64, why: String },
    #[error("the {metric} of {vm} that begins in line {line}: {why}")]
    Series {
        vm: String,
        metric: &'static str,
        line: u64,
        why: String,
    },
    #[error("it holds more than {limit}")]
    TooLarge { limit: String },
    #[error("it holds no values")]
    Empty,
    #[error("no row of it can be read; the first: {first}")]
    OnlyBad { first: String },
    #[error("it could not be read: {0}")]
    Unreadable(io::Error),
}

impl BadCsv {
    const fn next_step(&self) -> &'static str {
        match self {
            Self::Field { .. } | Self::Line { .. } => {
                "Correct that place in the file and import it again."
            }
            Self::Series { .. } => {
                "Leave that series out or bring it closer together, and import again."
            }
            Self::TooLarge { .. } => "Split the file by VM and import the parts one after another.",
            Self::Empty | Self::OnlyBad { .. } => {
                "Give it a header of vm,metric,at,value or vm,at and metrics, and a line for each sample."
            }
            Self::Unreadable(_) => "Check the file and import it again.",
        }
    }
}

/// Where the columns are.
struct Header {
    names: Vec<String>,
    vm: usize,
    at: usize,
    shape: Shape,
}

enum Shape {
    Long { metric: usize, value: usize },
    Wide(Vec<(usize, Metric)>),
}

impl Header {
    fn parse(record: &::csv::StringRecord) -> Result<Self, BadCsv> {
        let names: Vec<String> = record
            .iter()
            // A file from a spreadsheet may begin with a byte order mark.
            .map(|name| {
                name.trim_start_matches('\u{feff}')
                    .trim()
                    .to_ascii_lowercase()
            })
            .collect();
        let wrong = |column: usize, why: String| BadCsv::Field {
            line: 1,
            column: column + 1,
            field: "header".to_owned(),
            why,
        };
        for (column, name) in names.iter().enumerate() {
            if names[..column].contains(name) {
                return Err(wrong(column, format!("`{}` stands twice", printable(name))));
            }
            let is_known = matches!(&**name, "vm" | "at" | "metric" | "value")
                || Metric::from_name(name).is_some();
            if !is_known {
                return Err(wrong(
                    column,
                    format!("no column is called `{}`", printable(name)),
                ));
            }
        }
        let find = |wanted: &str| names.iter().position(|name| name == wanted);
        let need = |wanted: &str| {
            find(wanted).ok_or_else(|| BadCsv::Line {
                line: 1,
                why: format!("the header has no column `{wanted}`"),
            })
        };
        let metrics: Vec<(usize, Metric)> = names
            .iter()
            .enumerate()
            .filter_map(|(column, name)| Some((column, Metric::from_name(name)?)))
            .collect();
        let (vm, at) = (need("vm")?, need("at")?);
        let shape = match (find("metric").or(find("value")), metrics.first()) {
            (Some(_), Some((column, _))) => {
                return Err(wrong(
                    *column,
                    "a metric's own column does not go with `metric` and `value`".into(),
                ));
            }
            (None, Some(_)) => Shape::Wide(metrics),
            (_, None) => Shape::Long {
                metric: need("metric")?,
                value: need("value")?,
            },
        };
        Ok(Self {
            names,
            vm,
            at,
            shape,
        })
    }
}

/// Samples of one VM and metric in the order of the file.
struct Samples {
    vm: String,
    metric: Metric,
    /// Of its first sample.
    line: u64,
    points: Vec<Point>,
}

#[derive(Default)]
struct Gathered {
    index: HashMap<String, [Option<usize>; Metric::COUNT]>,
    series: Vec<Samples>,
    values: usize,
    bad_rows: Vec<String>,
    bad_row_count: usize,
}

impl Gathered {
    fn put(&mut self, vm: &str, metric: Metric, line: u64, point: Point) -> Result<(), BadCsv> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(too_large(MAX_VALUES, "values"));
        }
        // Looked up first: almost every row belongs to a VM that is known, and needs no copy of its name.
        if !self.index.contains_key(vm) {
            self.index.insert(vm.to_owned(), [None; Metric::COUNT]);
        }
        let known = self
            .index
            .get_mut(vm)
            .and_then(|slots| slots.get_mut(metric.index()));
        let Some(slot) = known else { return Ok(()) };
        let position = *slot.get_or_insert(self.series.len());
        if position == self.series.len() {
            if position == MAX_SERIES {
                return Err(too_large(MAX_SERIES, "series"));
            }
            self.series.push(Samples {
                vm: vm.to_owned(),
                metric,
                line,
                points: Vec::new(),
            });
        }
        self.series[position].points.push(point);
        Ok(())
    }

    fn into_series(mut self) -> Result<ReadCsv, BadCsv> {
        if self.series.is_empty() {
            return Err(match self.bad_rows.into_iter().next() {
                Some(first) => BadCsv::OnlyBad { first },
                None => BadCsv::Empty,
            });
        }
        self.series
            .sort_by(|left, right| (&left.vm, left.metric).cmp(&(&right.vm, right.metric)));
        let mut steps = 0;
        let mut read = ReadCsv {
            bad_rows: self.bad_rows,
            bad_row_count: self.bad_row_count,
            ..ReadCsv::default()
        };
        for mut samples in self.series {
            let series = resample(&mut samples.points).map_err(|why| BadCsv::Series {
                vm: printable(&samples.vm),
                metric: samples.metric.name(),
                line: samples.line,
                why: why.to_string(),
            })?;
            steps += series.values.len();
            if steps > MAX_STEPS {
                return Err(too_large(MAX_STEPS, "steps of 300 s"));
            }
            // It is sorted now.
            read.sources.push(SeriesSource {
                spacing_seconds: usual_spacing(&samples.points),
                samples: samples.points.len(),
            });
            read.series.push(ImportedSeries {
                vm: samples.vm,
                metric: samples.metric,
                series,
            });
        }
        Ok(read)
    }
}

fn too_large(limit: usize, of: &str) -> BadCsv {
    BadCsv::TooLarge {
        limit: format!("{limit} {of}"),
    }
}

fn gather(reader: impl Read, bad_rows: BadRows) -> Result<Gathered, BadCsv> {
    let row_bytes = Rc::new(Cell::new(0));
    let mut csv = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(RowLimit {
            inner: reader,
            row_bytes: Rc::clone(&row_bytes),
        });
    let mut record = ::csv::StringRecord::new();
    let mut header = None;
    let mut gathered = Gathered::default();
    loop {
        let taken = match csv.read_record(&mut record) {
            Ok(false) => return Ok(gathered),
            Ok(true) => match &header {
                None => {
                    header = Some(Header::parse(&record)?);
                    Ok(())
                }
                Some(header) => row(header, &record, &mut gathered),
            },
            Err(error) => Err(unreadable(error)),
        };
        row_bytes.set(0);
        match taken {
            // What is wrong with a row says nothing of the next one; a bad header or reader does.
            Err(error @ (BadCsv::Field { .. } | BadCsv::Line { .. }))
                if bad_rows == BadRows::Skip && header.is_some() =>
            {
                gathered.bad_row_count += 1;
                if gathered.bad_rows.len() < MAX_BAD_ROWS {
                    gathered.bad_rows.push(error.to_string());
                }
            }
            taken => taken?,
        }
    }
}

fn row(
    header: &Header,
    record: &::csv::StringRecord,
    gathered: &mut Gathered,
) -> Result<(), BadCsv> {
    let line = record.position().map_or(0, ::csv::Position::line);
    let field = |column: usize| record.get(column).unwrap_or_default().trim();
    let wrong = |column: usize, why: String| BadCsv::Field {
        line,
        column: column + 1,
        field: header.names[column].clone(),
        why,
    };
    let vm = field(header.vm);
    if vm.is_empty() {
        return Err(wrong(header.vm, "a VM's name or id is missing".into()));
    }
    if vm.len() > MAX_NAME_BYTES {
        return Err(wrong(
            header.vm,
            format!("a name of more than {MAX_NAME_BYTES} bytes"),
        ));
    }
    let at = seconds(field(header.at)).map_err(|why| wrong(header.at, why))?;
    let mut put = |metric: Metric, column: usize| {
        let text = field(column);
        if text.is_empty() {
            return Ok(());
        }
        let value = value(metric, text).map_err(|why| wrong(column, why))?;
        gathered.put(vm, metric, line, (at, value))
    };
    match &header.shape {
        Shape::Long { metric, value } => {
            let name = field(*metric).to_ascii_lowercase();
            let known = Metric::from_name(&name).ok_or_else(|| {
                let names = Metric::ALL.map(Metric::name).join(", ");
                wrong(
                    *metric,
                    format!(
                        "no metric is called `{}`; there are {names}",
                        shortened(&name)
                    ),
                )
            })?;
            put(known, *value)
        }
        Shape::Wide(metrics) => metrics
            .iter()
            .try_for_each(|(column, metric)| put(*metric, *column)),
    }
}

/// RFC 3339 or unix seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let seconds = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        text.parse::<i64>().unwrap_or(i64::MAX)
    } else {
        Timestamp::parse(text)
            .ok_or_else(|| {
                format!(
                    "`{}` is neither a time like 2026-11-22T14:30:00Z nor unix seconds",
                    shortened(text)
                )
            })?
            .as_secs()
    };
    u32::try_from(seconds).map_err(|_| {
        format!(
            "`{}` is not between 1970 and 2106 in seconds (milliseconds?)",
            shortened(text)
        )
    })
}

fn value(metric: Metric, text: &str) -> Result<f32, String> {
    let value = text
        .parse::<f32>()
        .ok()
        .filter(|value| value.is_finite())
        .ok_or_else(|| {
            format!(
                "`{}` is not a number; leave it empty for a gap",
                shortened(text)
            )
        })?;
    if value < 0.0 {
        return Err(format!("{value} is negative"));
    }
    if metric.unit() == "ratio" {
        if value > RATIO_TOLERANCE {
            return Err(format!(
                "{} is a ratio from 0 to 1, and this is {value} (percent?)",
                metric.name()
            ));
        }
        return Ok(value.min(1.0));
    }
    Ok(value)
}

/// Outside text as a message can bear it.
fn shortened(text: &str) -> String {
    let mut start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    printable(&start)
}

fn unreadable(error: ::csv::Error) -> BadCsv {
    let line = |position: Option<&::csv::Position>| position.map_or(0, ::csv::Position::line);
    let at = |position: Option<&::csv::Position>, why: &dyn Display| BadCsv::Line {
        line: line(position),
        why: why.to_string(),
    };
    match error.kind() {
        ::csv::ErrorKind::Utf8 { pos, err } => BadCsv::Field {
            line: line(pos.as_ref()),
            column: err.field() + 1,
            field: "text".to_owned(),
            why: "not UTF-8".to_owned(),
        },
        ::csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => at(
            pos.as_ref(),
            &format!("{len} fields where the header has {expected_len}"),
        ),
        _ => {
            let text = error.to_string();
            match error.into_kind() {
                ::csv::ErrorKind::Io(error) => BadCsv::Unreadable(error),
                _ => BadCsv::Unreadable(io::Error::other(text)),
            }
        }
    }
}

/// Ends the input when a row does not end: a quote that is never closed would otherwise take the whole file in.
struct RowLimit<R> {
    inner: R,
    /// Read since the last row; set back by the loop over the rows.
    row_bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for RowLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.row_bytes.get() > MAX_ROW_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "a row of more than {} KiB (a quote that is not closed?)",
                    MAX_ROW_BYTES / 1024
                ),
            ));
        }
        let read = self.inner.read(buffer)?;
        self.row_bytes.set(self.row_bytes.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn imported(text: &str) -> Vec<ImportedSeries> {
        read(text.as_bytes(), "history.csv").unwrap()
    }

    fn why(text: &str) -> String {
        let problem = read(text.as_bytes(), "history.csv").unwrap_err();
        assert_eq!(
            problem.what,
            "The history in history.csv was not imported; nothing was taken."
        );
        problem.why
    }

    #[test]
    fn long_and_wide_say_the_same() {
        let long = imported(
            "vm,metric,at,value\n\
             b,cpu,1970-01-01T00:10:00Z,0.25\n\
             b,disk,600,4096\n\
             b,cpu,900,0.5\n\
             \"a, \"\"1\"\"\",cpu,600,1.001\n",
        );
        let wide = imported(
            "\u{feff}VM,at,disk,cpu\r\nb,600,4096,0.25\r\nb,900,,0.5\r\n\"a, \"\"1\"\"\",600,,1.0\r\n",
        );
        assert_eq!(long, wide);
        let named: Vec<_> = long.iter().map(|one| (&*one.vm, one.metric)).collect();
        assert_eq!(
            named,
            [
                ("a, \"1\"", Metric::Cpu),
                ("b", Metric::Cpu),
                ("b", Metric::Disk)
            ]
        );
        assert_eq!(long[1].series.values, [0.25, 0.5]);
        assert_eq!(long[1].series.start, Timestamp::from_secs(600));
        assert_eq!(long[1].series.step_seconds, 300);
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_column() {
        let long = "vm,metric,at,value\nweb,cpu,600,0.1\n";
        for (text, expected) in [
            (
                format!("{long}web,cpu,900,x\n"),
                "line 3, column 4 (value): `x` is not a number; leave it empty for a gap",
            ),
            (
                format!("{long}web,cpu,900,NaN\n"),
                "line 3, column 4 (value): `NaN` is not a number; leave it empty for a gap",
            ),
            (
                format!("{long}web,cpu,900,93\n"),
                "line 3, column 4 (value): cpu is a ratio from 0 to 1, and this is 93 (percent?)",
            ),
            (
                format!("{long}web,net,900,-1\n"),
                "line 3, column 4 (value): -1 is negative",
            ),
            (
                format!("{long}web,cpu,1795357800000,0\n"),
                "line 3, column 3 (at): `1795357800000` is not between 1970 and 2106 in seconds (milliseconds?)",
            ),
            (
                format!("{long}web,cpu,yesterday,0\n"),
                "line 3, column 3 (at): `yesterday` is neither a time like 2026-11-22T14:30:00Z nor unix seconds",
            ),
            (
                format!("{long}web,fan,900,0\n"),
                "line 3, column 2 (metric): no metric is called `fan`; there are cpu, memory, disk, net, steal, response, errors, requests",
            ),
            (
                format!("{long},cpu,900,0\n"),
                "line 3, column 1 (vm): a VM's name or id is missing",
            ),
            (
                format!("{long}web,cpu,900\n"),
                "line 3: 3 fields where the header has 4",
            ),
            (
                "vm,at,cpu,heat\n".to_owned(),
                "line 1, column 4 (header): no column is called `heat`",
            ),
            (
                "vm,at,cpu,cpu\n".to_owned(),
                "line 1, column 4 (header): `cpu` stands twice",
            ),
            (
                "vm,cpu\n".to_owned(),
                "line 1: the header has no column `at`",
            ),
            (
                "vm,at\n".to_owned(),
                "line 1: the header has no column `metric`",
            ),
            (
                "vm,at,metric,value,cpu\n".to_owned(),
                "line 1, column 5 (header): a metric's own column does not go with `metric` and `value`",
            ),
            (String::new(), "it holds no values"),
            ("vm,at,cpu\nweb,600,\n".to_owned(), "it holds no values"),
            (
                "vm,at,cpu\nweb,0,0\nweb,7200,0\n".to_owned(),
                "the cpu of web that begins in line 2: its samples are 7200 s apart; at most 3600 s can be brought to steps of 300 s",
            ),
        ] {
            assert_eq!(why(&text), expected, "{text}");
        }
    }

    #[test]
    fn bad_rows_are_left_out_and_named_where_that_is_asked() {
        let text =
            "vm,metric,at,value\nweb,cpu,600,0.1\nweb,cpu,900,x\nweb,cpu\nweb,cpu,1200,0.3\n";
        let read = read_with(text.as_bytes(), "history.csv", BadRows::Skip).unwrap();
        assert_eq!(read.series.len(), 1);
        assert_eq!(read.sources[0].samples, 2);
        assert_eq!(read.sources[0].spacing_seconds, 600);
        assert_eq!(
            read.bad_rows,
            [
                "line 3, column 4 (value): `x` is not a number; leave it empty for a gap",
                "line 4: 2 fields where the header has 4",
            ]
        );
        let only_bad = "vm,metric,at,value\nweb,cpu,900,x\n";
        let problem = read_with(only_bad.as_bytes(), "history.csv", BadRows::Skip).unwrap_err();
        assert!(
            problem.why.contains("line 3") || problem.why.contains("line 2"),
            "{}",
            problem.why
        );
    }

    #[test]
    fn hostile_text_is_escaped_and_an_open_quote_does_not_take_all() {
        let text = why("vm,metric,at,value\nweb,\"c\u{202e}pu\",600,0\n");
        assert!(text.contains("c\\u{202e}pu"), "{text}");
        let endless = io::Read::chain("vm,at,cpu\n\"".as_bytes(), io::repeat(b'x'));
        let problem = read(endless, "history.csv").unwrap_err();
        assert!(
            problem.why.contains("a quote that is not closed"),
            "{}",
            problem.why
        );
        let not_text = read(&b"vm,at,cpu\n\xff,600,0\n"[..], "history.csv").unwrap_err();
        assert_eq!(not_text.why, "line 2, column 1 (text): not UTF-8");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes[..], "history.csv");
        }

        #[test]
        fn nearly_right_text_is_taken_or_refused(
            rows in proptest::collection::vec("(a|b|),(cpu|net|x),[0-9]{1,11},-?[0-9.e]{0,5}", 0..20)
        ) {
            let text = format!("vm,metric,at,value\n{}\n", rows.join("\n"));
            if let Ok(all) = read(text.as_bytes(), "history.csv") {
                for one in all {
                    prop_assert!(one.series.values.iter().all(|value| !value.is_infinite()));
                    prop_assert!(one.series.coverage() > 0.0);
                }
            }
        }
    }
}
