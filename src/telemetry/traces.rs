//! Load traces of many VMs, and the moments at which forecasts of them are to be judged.
//!
//! ```text
//! vm_load.csv(.gz): vm,k,cpu_pct,mem_pct,…      origins.csv: series,origin,h,thr_p95,thr_cap
//!                   web01,0,12.5,48.1,…                      web01:cpu_pct,6623,288,7.0,80.0
//! ```
//!
//! `k` counts steps of 300 s; every column after `vm` and `k` is a metric, and `vm:column` names a series. An absent
//! row or an empty value is a gap. `origin` is the index of the last known sample, `h` the steps to be forecast.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use csv::StringRecord;

use crate::{
    metrics::Series,
    problem::Problem,
    units::{Timestamp, printable},
};

pub const STEP_SECONDS: u32 = 300;

/// Caps on what files can make the reader hold.
const MAX_STEPS: usize = 1_000_000;
const MAX_VALUES: usize = 200_000_000;
const MAX_ORIGINS: usize = 10_000_000;
const MAX_BYTES: u64 = 8 << 30;
const MAX_HORIZON_STEPS: usize = 14 * 288;

/// Step 0: any Thursday at midnight will do, as no model looks at the date.
const START: Timestamp = Timestamp::from_secs(0);

/// Where a forecast is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub series: String,
    /// Index of the last known sample.
    pub index: usize,
    pub horizon_steps: usize,
    /// `thr_p95` and `thr_cap`.
    pub limits: [Option<f64>; 2],
}

/// All series of a folder with traces, by `vm:column`; all are equally long.
///
/// # Errors
/// Where there is no such file, and at the first thing in it that is wrong.
pub fn read(folder: &Path) -> Result<BTreeMap<String, Series>, Problem> {
    let plain = folder.join("vm_load.csv");
    let packed = folder.join("vm_load.csv.gz");
    let (path, reader): (PathBuf, Box<dyn Read>) = if plain.exists() {
        let file = open(&plain)?;
        (plain, Box::new(file))
    } else {
        let file = open(&packed)?;
        let unpacked = flate2::read::MultiGzDecoder::new(BufReader::new(file));
        (packed, Box::new(unpacked))
    };
    read_load(reader.take(MAX_BYTES)).map_err(|wrong| wrong.in_file(&path))
}

/// The moments to judge at; each must lie in one of `traces`.
///
/// # Errors
/// Where the file cannot be read, and at the first thing in it that is wrong.
pub fn read_origins(
    path: &Path,
    traces: &BTreeMap<String, Series>,
) -> Result<Vec<Origin>, Problem> {
    let file = open(path)?;
    origins(file.take(MAX_BYTES), traces).map_err(|wrong| wrong.in_file(path))
}

fn open(path: &Path) -> Result<File, Problem> {
    File::open(path).map_err(|error| {
        Problem::usage(
            format!("{} was not read.", shown(path)),
            error.to_string(),
            "Name a folder that holds vm_load.csv or vm_load.csv.gz, and a file of origins.",
        )
    })
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// What is wrong, and in which line.
#[derive(Debug)]
struct Wrong {
    line: Option<u64>,
    why: String,
}

impl Wrong {
    fn new(why: impl Display) -> Self {
        Self {
            line: None,
            why: why.to_string(),
        }
    }

    fn at(self, row: &StringRecord) -> Self {
        Self {
            line: row.position().map(csv::Position::line),
            ..self
        }
    }

    fn in_file(self, path: &Path) -> Problem {
        let line = self
            .line
            .map_or_else(String::new, |line| format!("Line {line}: "));
        Problem::usage(
            format!("{} was not taken.", shown(path)),
            format!("{line}{}", self.why),
            "Correct the file and try again.",
        )
    }
}

impl From<csv::Error> for Wrong {
    fn from(error: csv::Error) -> Self {
        Self::new(error)
    }
}

fn column(header: &StringRecord, name: &str) -> Result<usize, Wrong> {
    let found = header.iter().position(|column| column.trim() == name);
    found.ok_or_else(|| Wrong::new(format!("there is no column `{name}`")))
}

fn number<T: std::str::FromStr>(text: &str, column: &str) -> Result<T, Wrong> {
    text.trim().parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        Wrong::new(format!("`{}` is no {column}", printable(&text)))
    })
}

fn read_load(reader: impl Read) -> Result<BTreeMap<String, Series>, Wrong> {
    let mut rows = csv::Reader::from_reader(reader);
    let header = rows.headers()?.clone();
    let (vm, step) = (column(&header, "vm")?, column(&header, "k")?);
    let metrics: Vec<(usize, &str)> = header
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != vm && *index != step)
        .collect();
    if metrics.is_empty() {
        return Err(Wrong::new("there is no column with a metric"));
    }
    let mut load: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
    let (mut steps, mut values) = (0, 0);
    let mut row = StringRecord::new();
    while rows.read_record(&mut row)? {
        let mut take = || -> Result<(), Wrong> {
            let index: usize = number(&row[step], "step `k`")?;
            if index >= MAX_STEPS {
                return Err(Wrong::new(format!(
                    "k is {index}, at most {MAX_STEPS} are read"
                )));
            }
            steps = steps.max(index + 1);
            if !load.contains_key(&row[vm]) {
                load.insert(row[vm].to_owned(), vec![Vec::new(); metrics.len()]);
            }
            let Some(columns) = load.get_mut(&row[vm]) else {
                return Ok(());
            };
            for ((place, name), known) in metrics.iter().zip(columns) {
                if row[*place].trim().is_empty() {
                    continue;
                }
                let value: f32 = number(&row[*place], name)?;
                if !value.is_finite() || value < 0.0 {
                    return Err(Wrong::new(format!("{name} is {value}")));
                }
                if known.len() <= index {
                    values += index + 1 - known.len();
                    known.resize(index + 1, f32::NAN);
                }
                known[index] = value;
            }
            if values > MAX_VALUES {
                return Err(Wrong::new(format!("more than {MAX_VALUES} values")));
            }
            Ok(())
        };
        take().map_err(|wrong| wrong.at(&row))?;
    }
    if load.len() * metrics.len() * steps > MAX_VALUES {
        return Err(Wrong::new(format!("more than {MAX_VALUES} values")));
    }
    let mut traces = BTreeMap::new();
    for (vm, columns) in load {
        for ((_, name), mut values) in metrics.iter().zip(columns) {
            values.resize(steps, f32::NAN);
            let series = Series {
                start: START,
                step_seconds: STEP_SECONDS,
                values,
            };
            traces.insert(format!("{vm}:{name}"), series);
        }
    }
    Ok(traces)
}

fn origins(reader: impl Read, traces: &BTreeMap<String, Series>) -> Result<Vec<Origin>, Wrong> {
    let mut rows = csv::Reader::from_reader(reader);
    let header = rows.headers()?.clone();
    let [series, origin, horizon] = ["series", "origin", "h"].map(|name| column(&header, name));
    let (series, origin, horizon) = (series?, origin?, horizon?);
    let limits = ["thr_p95", "thr_cap"].map(|name| column(&header, name).ok());
    let mut found = Vec::new();
    let mut row = StringRecord::new();
    while rows.read_record(&mut row)? {
        let take = || -> Result<Origin, Wrong> {
            let name = &row[series];
            let Some(trace) = traces.get(name) else {
                return Err(Wrong::new(format!(
                    "no trace is called {}",
                    printable(name)
                )));
            };
            let index: usize = number(&row[origin], "origin")?;
            if index >= trace.values.len() {
                let last = trace.values.len().saturating_sub(1);
                return Err(Wrong::new(format!(
                    "the traces end at step {last}, before {index}"
                )));
            }
            let horizon_steps: usize = number(&row[horizon], "horizon `h`")?;
            if !(1..=MAX_HORIZON_STEPS).contains(&horizon_steps) {
                let most = MAX_HORIZON_STEPS;
                return Err(Wrong::new(format!(
                    "h is {horizon_steps}, not in 1 to {most}"
                )));
            }
            let limit = |place: Option<usize>| -> Result<Option<f64>, Wrong> {
                let text = place.map_or("", |place| row[place].trim());
                if text.is_empty() {
                    return Ok(None);
                }
                let limit: f64 = number(text, "threshold")?;
                Ok(limit.is_finite().then_some(limit))
            };
            Ok(Origin {
                series: name.to_owned(),
                index,
                horizon_steps,
                limits: [limit(limits[0])?, limit(limits[1])?],
            })
        };
        found.push(take().map_err(|wrong| wrong.at(&row))?);
        if found.len() > MAX_ORIGINS {
            return Err(Wrong::new(format!("more than {MAX_ORIGINS} origins")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: &str = "vm,k,cpu_pct,net\na,0,1.5,3\nb,2,4,\na,1,,5\n";

    #[test]
    fn gaps_stay_gaps_and_all_series_are_equally_long() {
        let traces = read_load(LOAD.as_bytes()).unwrap();
        let names: Vec<&String> = traces.keys().collect();
        assert_eq!(names, ["a:cpu_pct", "a:net", "b:cpu_pct", "b:net"]);
        let known = |name: &str| -> Vec<Option<f32>> {
            let values = traces[name].values.iter();
            values
                .map(|value| value.is_finite().then_some(*value))
                .collect()
        };
        assert_eq!(known("a:cpu_pct"), [Some(1.5), None, None]);
        assert_eq!(known("a:net"), [Some(3.0), Some(5.0), None]);
        assert_eq!(known("b:cpu_pct"), [None, None, Some(4.0)]);
        assert_eq!(known("b:net"), [None; 3]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let wrong = |text: &str| read_load(text.as_bytes()).unwrap_err();
        assert_eq!(wrong("vm,step,cpu\n").why, "there is no column `k`");
        let bad = wrong("vm,k,cpu\na,0,1\na,1,hot\n");
        assert_eq!((bad.line, bad.why.as_str()), (Some(3), "`hot` is no cpu"));
        assert_eq!(wrong("vm,k,cpu\na,0,NaN\n").why, "cpu is NaN");
        assert_eq!(wrong("vm,k,cpu\na,0,-1\n").why, "cpu is -1");
        assert_eq!(wrong("vm,k,cpu\na,-1,1\n").why, "`-1` is no step `k`");
        assert!(wrong("vm,k,cpu\na,99999999,1\n").why.contains("at most"));
        assert!(wrong("vm,k,cpu\na,1\n").why.contains("fields"));
        let problem = bad.in_file(Path::new("vm_load.csv"));
        assert_eq!(problem.why, "Line 3: `hot` is no cpu");
    }

    #[test]
    fn an_origin_lies_in_its_trace() {
        let traces = read_load(LOAD.as_bytes()).unwrap();
        let of = |rows: &str| {
            origins(
                format!("series,origin,h,thr_p95\n{rows}").as_bytes(),
                &traces,
            )
        };
        let found = of("a:net,1,12,\na:net,2,288,7.5\n").unwrap();
        assert_eq!((found[0].index, found[0].limits), (1, [None, None]));
        assert_eq!(
            (found[1].horizon_steps, found[1].limits),
            (288, [Some(7.5), None])
        );
        for bad in [
            "c:net,1,12,\n",
            "a:net,3,12,\n",
            "a:net,1,0,\n",
            "a:net,1,99999,\n",
            "a:net,1,12,x\n",
        ] {
            assert_eq!(of(bad).unwrap_err().line, Some(2), "{bad}");
        }
    }
}
