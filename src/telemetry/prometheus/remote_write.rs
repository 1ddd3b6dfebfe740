//! Our samples as Prometheus takes them: protobuf of the remote write protocol 0.1.0, packed by snappy. Pure.
//!
//! A series is called `shadowcast_vm_cpu_ratio` and the like, with the labels `vm` (`source/uuid`) and `source`.

use prost::Message;

use super::PrometheusError;
use crate::{metrics::Metric, metrics::Sample, units::VmId};

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub at_millis: i64,
}

/// What a metric is called over there.
pub const fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cpu => "shadowcast_vm_cpu_ratio",
        Metric::Memory => "shadowcast_vm_memory_ratio",
        Metric::Disk => "shadowcast_vm_disk_bytes_per_second",
        Metric::Net => "shadowcast_vm_net_bytes_per_second",
        Metric::Steal => "shadowcast_vm_steal_ratio",
        Metric::Response => "shadowcast_vm_response_milliseconds",
        Metric::Errors => "shadowcast_vm_errors_ratio",
        Metric::Requests => "shadowcast_vm_requests_per_second",
    }
}

/// The query that gives our own samples back: the mean of each step before its end.
pub fn query(vm: &VmId, metric: Metric, step_seconds: u32) -> String {
    // A quoted string of JSON is one of PromQL.
    let vm = serde_json::Value::from(vm.as_str());
    format!(
        "avg_over_time({}{{vm={vm}}}[{step_seconds}s])",
        name(metric)
    )
}

/// The body of one request; `None` where the samples hold no value.
///
/// # Errors
/// When it would be larger than snappy's blocks may be.
pub fn encode(samples: &[Sample]) -> Result<Option<Vec<u8>>, PrometheusError> {
    let mut timeseries = Vec::new();
    for sample in samples {
        for metric in Metric::ALL {
            let Some(value) = sample.get(metric).filter(|value| value.is_finite()) else {
                continue;
            };
            let label = |name: &str, value: &str| Label {
                name: name.to_owned(),
                value: value.to_owned(),
            };
            timeseries.push(TimeSeries {
                labels: vec![
                    label("__name__", name(metric)),
                    label("source", sample.vm.source().as_str()),
                    label("vm", sample.vm.as_str()),
                ],
                samples: vec![Value {
                    value: f64::from(value),
                    at_millis: sample.at.as_millis(),
                }],
            });
        }
    }
    if timeseries.is_empty() {
        return Ok(None);
    }
    snap::raw::Encoder::new()
        .compress_vec(&WriteRequest { timeseries }.encode_to_vec())
        .map(Some)
        .map_err(|error| PrometheusError::TooLarge(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    #[test]
    fn samples_are_written_as_the_protocol_says() {
        let mut sample = Sample {
            vm: "kvm/0000-1".into(),
            at: Timestamp(1_795_305_600_250),
            ..Sample::default()
        };
        assert_eq!(encode(std::slice::from_ref(&sample)).unwrap(), None);
        sample.values[Metric::Cpu.index()] = Some(0.25);
        sample.values[Metric::Net.index()] = Some(f32::NAN);
        let body = encode(&[sample]).unwrap().unwrap();
        let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let request = WriteRequest::decode(&*plain).unwrap();
        assert_eq!(request.timeseries.len(), 1);
        let series = &request.timeseries[0];
        let labels: Vec<(&str, &str)> = (series.labels.iter())
            .map(|label| (&*label.name, &*label.value))
            .collect();
        assert_eq!(
            labels,
            [
                ("__name__", "shadowcast_vm_cpu_ratio"),
                ("source", "kvm"),
                ("vm", "kvm/0000-1")
            ]
        );
        assert!(labels.is_sorted(), "the protocol wants them so");
        assert_eq!(series.samples[0].at_millis, 1_795_305_600_250);
        assert!((series.samples[0].value - 0.25).abs() < 1e-9);
    }

    #[test]
    fn no_name_of_a_vm_leaves_its_quotes() {
        let hostile = VmId::new("a/x\"} or up{a=\"\n");
        assert_eq!(
            query(&hostile, Metric::Cpu, 300),
            r#"avg_over_time(shadowcast_vm_cpu_ratio{vm="a/x\"} or up{a=\"\n"}[300s])"#
        );
    }
}
