//! `show stat`, read by column name: what a newer HAProxy adds does not matter, what an older one lacks is a gap.

use std::collections::{HashMap, HashSet};

use crate::{
    traffic::{BackendInfo, DirectorError, ServerStats},
    units::Weight,
};

/// Caps what a broken or hostile answer can make us keep.
const MAX_ROWS: usize = 100_000;
/// Columns that nothing can be read without.
const NEEDED: [&str; 5] = ["pxname", "svname", "type", "status", "weight"];

#[derive(Debug, PartialEq)]
pub(super) struct Server {
    pub(super) stats: ServerStats,
    /// Taken out by an operator, or not yet let in.
    pub(super) in_maintenance: bool,
}

#[derive(Debug, PartialEq)]
pub(super) struct Table {
    pub(super) servers: Vec<Server>,
    pub(super) backends: Vec<BackendInfo>,
}

impl Table {
    pub(super) fn server(&self, backend: &str, server: &str) -> Option<&Server> {
        self.servers
            .iter()
            .find(|found| found.stats.backend == backend && found.stats.server == server)
    }
}

/// Reads the CSV that `show stat` answers.
pub(super) fn parse(answer: &str) -> Result<Table, DirectorError> {
    let garbled = |why: String| DirectorError::Garbled(format!("show stat: {why}"));
    let text = answer
        .trim()
        .strip_prefix("# ")
        .ok_or_else(|| garbled("no header".to_owned()))?;
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(text.as_bytes());
    let columns: HashMap<String, usize> = reader
        .headers()
        .map_err(|error| garbled(error.to_string()))?
        .iter()
        .enumerate()
        .map(|(index, name)| (name.to_owned(), index))
        .collect();
    if let Some(missing) = NEEDED.iter().find(|name| !columns.contains_key(**name)) {
        return Err(garbled(format!("no column {missing}")));
    }

    let mut table = Table {
        servers: Vec::new(),
        backends: Vec::new(),
    };
    let mut cookies = HashSet::new();
    for (number, record) in reader.records().enumerate() {
        let record = record.map_err(|error| garbled(error.to_string()))?;
        if number >= MAX_ROWS {
            return Err(garbled(format!("more than {MAX_ROWS} rows")));
        }
        let row = Row {
            record: &record,
            columns: &columns,
        };
        match row.text("type") {
            "1" => table.backends.push(backend(&row)),
            "2" => {
                if !row.text("cookie").is_empty() {
                    cookies.insert(row.text("pxname").to_owned());
                }
                table.servers.push(server(&row).map_err(garbled)?);
            }
            _ => {}
        }
    }
    for backend in &mut table.backends {
        backend.sticky |= cookies.contains(&backend.name);
    }
    Ok(table)
}

/// The names in the answer of `show table`; a backend's stick table bears the backend's name.
pub(super) fn table_names(answer: &str) -> HashSet<String> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("# table: "))
        .filter_map(|line| line.split(',').next())
        .map(str::to_owned)
        .collect()
}

struct Row<'a> {
    record: &'a csv::StringRecord,
    columns: &'a HashMap<String, usize>,
}

impl Row<'_> {
    fn text(&self, column: &str) -> &str {
        self.columns
            .get(column)
            .and_then(|index| self.record.get(*index))
            .unwrap_or_default()
    }

    fn number(&self, column: &str) -> Option<u64> {
        self.text(column).parse().ok()
    }
}

fn backend(row: &Row) -> BackendInfo {
    let algorithm = row.text("algo");
    BackendInfo {
        name: row.text("pxname").to_owned(),
        algorithm: algorithm.to_owned(),
        // `first` and the hashes look dynamic to HAProxy or may be, and still do not follow weights.
        dynamic_weights: matches!(algorithm, "roundrobin" | "leastconn" | "random"),
        sticky: !row.text("cookie").is_empty(),
    }
}

fn server(row: &Row) -> Result<Server, String> {
    let status = row.text("status");
    let place = || format!("{}/{}", row.text("pxname"), row.text("svname"));
    // `uweight` is what was set; `weight` shrinks while a server starts slowly.
    let weight = row
        .number("uweight")
        .or_else(|| row.number("weight"))
        .and_then(|weight| u16::try_from(weight).ok())
        .map(Weight)
        .filter(|weight| *weight <= Weight::MAX)
        .ok_or_else(|| format!("no weight of {}", place()))?;
    let failed = [row.number("econ"), row.number("eresp")]
        .into_iter()
        .flatten()
        .fold(0, u64::saturating_add);
    // A server's `req_tot` counts answers. A request that got none is in `econ` or `eresp`, and not in `hrsp_5xx`.
    let answered = row.number("req_tot");
    let requests_total = answered.map_or_else(
        || row.number("stot").unwrap_or(0),
        |answered| answered.saturating_add(failed),
    );
    // Until its first check has ended, HAProxy calls a new server UP.
    let unchecked = row.text("check_status").trim_start_matches("* ") == "INI";
    Ok(Server {
        in_maintenance: status.starts_with("MAINT"),
        stats: ServerStats {
            backend: row.text("pxname").to_owned(),
            server: row.text("svname").to_owned(),
            address: row.text("addr").to_owned(),
            weight,
            up: status == "no check" || (status.starts_with("UP") && !unchecked),
            status: status.to_owned(),
            sessions_now: row.number("scur").unwrap_or(0),
            requests_total,
            errors_total: row.number("hrsp_5xx").unwrap_or(0).saturating_add(failed),
            response_millis: response_millis(row, requests_total),
        },
    })
}

/// HTTP: waiting in the queue, connecting, and until the answer's head. TCP: the whole session.
fn response_millis(row: &Row, requests_total: u64) -> Option<f64> {
    if requests_total == 0 {
        return None;
    }
    let millis = if row.text("mode") == "tcp" {
        row.number("ttime")?
    } else {
        row.number("qtime")?
            .saturating_add(row.number("ctime")?)
            .saturating_add(row.number("rtime")?)
    };
    Some(millis as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "# pxname,svname,scur,stot,econ,eresp,status,weight,type,check_status,hrsp_5xx,req_tot,qtime,ctime,rtime,ttime,addr,cookie,mode,algo,uweight,";

    fn table(rows: &[&str]) -> Table {
        parse(&format!("{HEAD}\n{}\n\n", rows.join("\n"))).unwrap()
    }

    #[test]
    fn counters_of_a_server_are_told_apart() {
        let table = table(&[
            "be,sc1,2,25,3,2,UP,0,2,L7OK,4,20,1,2,30,90,127.0.0.1:81,,http,,25,",
            "be,BACKEND,0,0,0,0,UP,0,1,,0,0,0,0,0,0,,,http,roundrobin,,",
        ]);
        let server = &table.server("be", "sc1").unwrap().stats;
        assert_eq!(server.requests_total, 25, "answered and not answered");
        assert_eq!(server.errors_total, 9, "5xx and not answered");
        assert_eq!(
            server.weight,
            Weight(25),
            "what was set, not what counts now"
        );
        assert_eq!(server.response_millis, Some(33.0));
        assert!(server.up && server.sessions_now == 2);
        assert!(table.backends[0].dynamic_weights && !table.backends[0].sticky);
    }

    #[test]
    fn a_server_before_its_first_check_is_not_up() {
        let table = table(&[
            "be,sc1,0,0,0,0,UP 1/3,0,2,INI,0,0,0,0,0,0,127.0.0.1:81,,http,,0,",
            "be,sc2,0,0,0,0,UP,0,2,* L7OK,0,0,0,0,0,0,127.0.0.1:81,,http,,0,",
            "be,sc3,0,0,0,0,MAINT,0,2,,0,0,0,0,0,0,127.0.0.1:81,,http,,0,",
        ]);
        let up: Vec<_> = table.servers.iter().map(|server| server.stats.up).collect();
        assert_eq!(up, [false, true, false]);
        assert!(table.servers[2].in_maintenance);
        assert_eq!(
            table.servers[0].stats.response_millis, None,
            "no request, no response time"
        );
    }

    #[test]
    fn persistence_and_static_algorithms_are_seen() {
        let table = table(&[
            "be,s,0,0,0,0,no check,1,2,,0,0,0,0,0,0,127.0.0.1:81,p,http,,1,",
            "be,BACKEND,0,0,0,0,UP,1,1,,0,0,0,0,0,0,,,http,roundrobin,,",
            "st,BACKEND,0,0,0,0,UP,1,1,,0,0,0,0,0,0,,SRV,http,source,,",
        ]);
        assert!(table.backends.iter().all(|backend| backend.sticky));
        assert!(!table.backends[1].dynamic_weights);
        let names = table_names("# table: st2, type: ip, size:10240, used:0\n\n");
        assert!(names.contains("st2"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for answer in [
            "",
            "Permission denied\n",
            "# pxname,svname\nbe,x\n",
            &format!("{HEAD}\nbe,x,0,0,0,0,UP,many,2,,,,,,,,,,http,,999,\n"),
        ] {
            assert!(
                matches!(parse(answer), Err(DirectorError::Garbled(_))),
                "{answer}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(rows in "(?s).{0,400}") {
            let _ = parse(&rows);
            let _ = parse(&format!("{HEAD}\n{rows}"));
            let _ = table_names(&rows);
        }
    }
}
