//! What is asked for each metric, and whose an answer is.
//!
//! Every query gives, for a moment, the mean of the 5 minutes before it, one series for each VM. The defaults know the
//! libvirt exporters (kumina's and its forks: inovex, Tinkoff, Alekseii's) and node_exporter inside the guests; where both
//! answer, the host's view is taken and the guest's fills what is missing.

use std::collections::{BTreeMap, HashMap};

use super::wire::Found;
use crate::{
    metrics::{Metric, Series},
    units::{Timestamp, VmId},
};

/// Seconds from one value to the next, and the window that a value is the mean of.
pub const STEP_SECONDS: u32 = 300;

/// A ratio may be this much over 1: counters run a little ahead of the clock. More means percent, or another metric.
const MAX_RATIO: f64 = 2.0;

/// Labels that name a VM, the surest first.
const LABELS: [&str; 9] = [
    "uuid",
    "domain_uuid",
    "instance_id",
    "vm",
    "domain",
    "instance_name",
    "name",
    "nodename",
    "instance",
];

/// The default queries of a metric, the surest first. Metrics of the balancer have none.
pub const fn defaults(metric: Metric) -> &'static [&'static str] {
    match metric {
        Metric::Cpu => &[
            "sum by (domain) (rate(libvirt_domain_info_cpu_time_seconds_total[5m])) / max by (domain) (libvirt_domain_info_virtual_cpus)",
            "1 - avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))",
        ],
        Metric::Memory => &[
            "1 - max by (domain) (avg_over_time(libvirt_domain_memory_stats_usable_bytes[5m])) / max by (domain) (avg_over_time(libvirt_domain_memory_stats_available_bytes[5m]))",
            "1 - max by (instance) (avg_over_time(node_memory_MemAvailable_bytes[5m])) / max by (instance) (avg_over_time(node_memory_MemTotal_bytes[5m]))",
        ],
        Metric::Disk => &[
            "sum by (domain) (rate(libvirt_domain_block_stats_read_bytes_total[5m])) + sum by (domain) (rate(libvirt_domain_block_stats_write_bytes_total[5m]))",
            "sum by (instance) (rate(node_disk_read_bytes_total[5m])) + sum by (instance) (rate(node_disk_written_bytes_total[5m]))",
        ],
        Metric::Net => &[
            "sum by (domain) (rate(libvirt_domain_interface_stats_receive_bytes_total[5m])) + sum by (domain) (rate(libvirt_domain_interface_stats_transmit_bytes_total[5m]))",
            "sum by (instance) (rate(node_network_receive_bytes_total{device!=\"lo\"}[5m])) + sum by (instance) (rate(node_network_transmit_bytes_total{device!=\"lo\"}[5m]))",
        ],
        Metric::Steal => &[
            "avg by (domain) (rate(libvirt_domain_vcpu_delay_seconds_total[5m]))",
            "avg by (instance) (rate(node_cpu_seconds_total{mode=\"steal\"}[5m]))",
        ],
        Metric::Response | Metric::Errors | Metric::Requests => &[],
    }
}

/// The VMs that answers are told apart by.
pub struct Known {
    by_uuid: HashMap<String, VmId>,
    /// `None`: more than one VM has this name.
    by_name: HashMap<String, Option<VmId>>,
}

impl Known {
    pub fn new(vms: &[(VmId, String)]) -> Self {
        let mut known = Self {
            by_uuid: HashMap::new(),
            by_name: HashMap::new(),
        };
        for (id, name) in vms {
            known
                .by_uuid
                .insert(id.uuid().to_ascii_lowercase(), id.clone());
            known
                .by_name
                .entry(name.clone())
                .and_modify(|known| *known = None)
                .or_insert_with(|| Some(id.clone()));
        }
        known
    }

    /// Whose a series is, by the first label that names a VM.
    pub fn vm(&self, labels: &BTreeMap<String, String>) -> Option<&VmId> {
        LABELS.iter().find_map(|label| {
            let value = labels.get(*label)?;
            let found = |text: &str| {
                let uuid = self.by_uuid.get(&text.to_ascii_lowercase());
                uuid.or_else(|| self.by_name.get(text)?.as_ref())
            };
            // node_exporter's `instance` is a host and a port, and the host may carry its domain.
            let host = value.rsplit_once(':').map_or(&**value, |(host, _)| host);
            found(value).or_else(|| found(host)).or_else(|| {
                (*label == "instance" || *label == "nodename")
                    .then(|| found(host.split('.').next()?))?
            })
        })
    }
}

/// What became of one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    pub series: Vec<(VmId, Series)>,
    /// What a series calls itself that belongs to no VM.
    pub unmatched: Vec<String>,
    /// Second series of a VM; the first one was taken.
    pub doubles: usize,
    /// Values that cannot be this metric's, such as percent.
    pub out_of_range: usize,
}

/// Makes series of an answer. A value stands for the 5 minutes before its moment; what is no number is a gap.
pub fn take(
    metric: Metric,
    found: Vec<Found>,
    known: &Known,
    start: Timestamp,
    end: Timestamp,
) -> Taken {
    let mut taken = Taken::default();
    let mut seen = std::collections::HashSet::new();
    let step = i64::from(STEP_SECONDS);
    let steps = (end.secs_since(start) / step).max(0) as usize;
    for one in found {
        let Some(vm) = known.vm(&one.labels) else {
            taken.unmatched.push(name_of(&one.labels));
            continue;
        };
        if !seen.insert(vm.clone()) {
            taken.doubles += 1;
            continue;
        }
        let mut values = vec![f32::NAN; steps];
        for (at, text) in &one.values {
            let Some(value) = text.parse::<f64>().ok().filter(|value| value.is_finite()) else {
                continue;
            };
            let index = (*at as i64 - step - start.as_secs()).div_euclid(step);
            let Some(place) = usize::try_from(index)
                .ok()
                .and_then(|index| values.get_mut(index))
            else {
                continue;
            };
            match in_range(metric, value) {
                Some(value) => *place = value as f32,
                None => taken.out_of_range += 1,
            }
        }
        if values.iter().any(|value| value.is_finite()) {
            let series = Series {
                start,
                step_seconds: STEP_SECONDS,
                values,
            };
            taken.series.push((vm.clone(), series));
        }
    }
    taken
}

fn in_range(metric: Metric, value: f64) -> Option<f64> {
    // A difference of two rates is a hair under zero now and then.
    let value = if (-1e-6..0.0).contains(&value) {
        0.0
    } else {
        value
    };
    if value < 0.0 {
        return None;
    }
    if metric.unit() == "ratio" {
        return (value <= MAX_RATIO).then_some(value.min(1.0));
    }
    Some(value)
}

fn name_of(labels: &BTreeMap<String, String>) -> String {
    let named = LABELS
        .iter()
        .find_map(|label| Some((*label, labels.get(*label)?)));
    match named {
        Some((label, value)) => super::wire::shortened(&format!("{label}={value}")),
        None => "a series without a label that names a VM".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(label: &str, value: &str, values: &[(i64, &str)]) -> Found {
        Found {
            labels: BTreeMap::from([(label.to_owned(), value.to_owned())]),
            values: values
                .iter()
                .map(|(at, text)| (*at as f64, (*text).to_owned()))
                .collect(),
        }
    }

    fn known() -> Known {
        Known::new(&[
            ("a/0000-1".into(), "web".to_owned()),
            ("a/0000-2".into(), "db".to_owned()),
            ("b/0000-3".into(), "db".to_owned()),
        ])
    }

    #[test]
    fn a_series_finds_its_vm_by_uuid_name_or_instance() {
        let vm = |label: &str, value: &str| {
            known()
                .vm(&found(label, value, &[]).labels)
                .map(ToString::to_string)
        };
        assert_eq!(vm("uuid", "0000-3").as_deref(), Some("b/0000-3"));
        assert_eq!(vm("domain", "web").as_deref(), Some("a/0000-1"));
        assert_eq!(vm("instance", "web:9100").as_deref(), Some("a/0000-1"));
        assert_eq!(
            vm("instance", "web.example.net:9100").as_deref(),
            Some("a/0000-1")
        );
        assert_eq!(vm("domain", "db"), None, "two VMs are called so");
        assert_eq!(vm("job", "web"), None);
    }

    #[test]
    fn a_value_stands_for_the_minutes_before_it_and_nonsense_is_counted() {
        let answer = vec![
            found(
                "domain",
                "web",
                &[(900, "0.5"), (1200, "NaN"), (1500, "1.2"), (1800, "55")],
            ),
            found("instance", "web:9100", &[(900, "0.9")]),
            found("domain", "x\u{202e}y", &[(900, "0.9")]),
        ];
        let taken = take(
            Metric::Cpu,
            answer,
            &known(),
            Timestamp::from_secs(600),
            Timestamp::from_secs(1800),
        );
        assert_eq!(taken.series.len(), 1);
        let series = &taken.series[0].1;
        assert_eq!(series.start, Timestamp::from_secs(600));
        assert_eq!(format!("{:?}", series.values), "[0.5, NaN, 1.0, NaN]");
        assert_eq!((taken.doubles, taken.out_of_range), (1, 1));
        assert_eq!(taken.unmatched, ["domain=x\\u{202e}y"]);
    }
}
