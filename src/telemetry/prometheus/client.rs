//! Asks a server, and sends samples to one that is to keep them.

use std::{io::Read, time::Duration};

use reqwest::{
    Url,
    blocking::{Client, RequestBuilder},
};

use super::{
    PrometheusError,
    backfill::{MAX_POINTS, Slice},
    queries::STEP_SECONDS,
    remote_write,
    wire::{self, Found},
};
use crate::{
    metrics::{Metric, Series},
    units::{Timestamp, VmId},
    validation::prober::{cause, http_client},
};

/// What the address of such a source begins with.
pub const SCHEME: &str = "prometheus+";
const TIMEOUT: Duration = Duration::from_mins(1);
/// For a look at whether it is there.
const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

pub struct Prometheus {
    base: Url,
    client: Client,
}

impl Prometheus {
    /// For an address like `prometheus+http://host:9090`; a path before `/api/v1` may follow. Nothing is asked yet.
    ///
    /// # Errors
    /// When it is no such address.
    pub fn at(uri: &str) -> Result<Self, PrometheusError> {
        let bad = |why: &str| PrometheusError::BadAddress(why.to_owned());
        let address = uri
            .strip_prefix(SCHEME)
            .ok_or_else(|| bad("the address must be like prometheus+http://host:9090"))?;
        let mut base =
            Url::parse(address).map_err(|error| PrometheusError::BadAddress(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(bad(
                "only prometheus+http:// and prometheus+https:// are known",
            ));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(bad(
                "an address is shown and kept in the clear, so it takes no password; put a proxy before the server that adds it",
            ));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("the address takes no query"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client =
            http_client(TIMEOUT).map_err(|error| PrometheusError::Unreachable(cause(&error)))?;
        Ok(Self { base, client })
    }

    /// What answers there.
    ///
    /// # Errors
    /// When nothing does, or no such server.
    pub fn version(&self) -> Result<String, PrometheusError> {
        let request = self.client.get(self.url("api/v1/status/buildinfo")?);
        let (status, body) = send(request.timeout(SHORT_TIMEOUT))?;
        wire::version(status, &body)
    }

    /// # Errors
    /// When nobody answers, the server refuses, or its answer is too large or no answer.
    pub fn slice(&self, slice: &Slice) -> Result<Vec<Found>, PrometheusError> {
        self.range(&slice.query, slice.start, slice.end, STEP_SECONDS)
    }

    /// Values of the steps from `start` to `end`; the one at a moment is of the step that ends there.
    ///
    /// # Errors
    /// As [`Prometheus::slice`].
    pub fn range(
        &self,
        query: &str,
        start: Timestamp,
        end: Timestamp,
        step_seconds: u32,
    ) -> Result<Vec<Found>, PrometheusError> {
        let step = i64::from(step_seconds);
        let form = [
            ("query", query.to_owned()),
            ("start", (start.as_secs() + step).to_string()),
            ("end", end.as_secs().to_string()),
            ("step", step.to_string()),
        ];
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form)
            .finish();
        let request = self
            .client
            .post(self.url("api/v1/query_range")?)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let (status, body) = send(request)?;
        wire::matrix(status, &body)
    }

    /// Our own samples of one metric, as they were sent there; gaps where it has none.
    ///
    /// # Errors
    /// As [`Prometheus::slice`].
    pub fn series(
        &self,
        vm: &VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: u32,
    ) -> Result<Series, PrometheusError> {
        let step_seconds = step_seconds.max(1);
        let step = i64::from(step_seconds);
        let start = from.floor_to(step_seconds);
        let steps = to.secs_since(start).max(0) / step + 1;
        let query = remote_write::query(vm, metric, step_seconds);
        let mut values = vec![f32::NAN; steps as usize];
        // Long spans in pieces that the server answers.
        for first in (0..steps).step_by(MAX_POINTS as usize - 1) {
            let last = (first + i64::from(MAX_POINTS) - 1).min(steps);
            let (begin, end) = (start.plus_secs(first * step), start.plus_secs(last * step));
            for (at, text) in self
                .range(&query, begin, end, step_seconds)?
                .iter()
                .flat_map(|found| &found.values)
            {
                let index = (*at as i64 - step - start.as_secs()).div_euclid(step);
                let place = usize::try_from(index)
                    .ok()
                    .and_then(|index| values.get_mut(index));
                let value = text.parse::<f32>().ok().filter(|value| value.is_finite());
                if let (Some(place), Some(value)) = (place, value) {
                    *place = value;
                }
            }
        }
        Ok(Series {
            start,
            step_seconds,
            values,
        })
    }

    /// Hands over what `remote_write::encode` packed.
    ///
    /// # Errors
    /// When nobody answers, or the server does not take it.
    pub fn write(&self, body: Vec<u8>) -> Result<(), PrometheusError> {
        let request = self
            .client
            .post(self.url("api/v1/write")?)
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(body);
        match send(request)? {
            (200..300, _) => Ok(()),
            // Too much at once: later it may take it.
            (429, body) => Err(PrometheusError::Unreachable(
                wire::refusal(429, &body).to_string(),
            )),
            (status @ 500.., body) => Err(PrometheusError::Unreachable(
                wire::refusal(status, &body).to_string(),
            )),
            (status, body) => Err(wire::refusal(status, &body)),
        }
    }

    fn url(&self, path: &str) -> Result<Url, PrometheusError> {
        self.base
            .join(path)
            .map_err(|error| PrometheusError::BadAddress(error.to_string()))
    }
}

fn send(request: RequestBuilder) -> Result<(u16, Vec<u8>), PrometheusError> {
    let lost = |error: &dyn std::fmt::Display| {
        PrometheusError::Unreachable(wire::shortened(&error.to_string()))
    };
    let response = request.send().map_err(|error| lost(&cause(&error)))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    response
        .take(MAX_ANSWER_BYTES + 1)
        .read_to_end(&mut body)
        .map_err(|error| lost(&error))?;
    if body.len() as u64 > MAX_ANSWER_BYTES {
        return Err(PrometheusError::TooLarge(format!(
            "more than {} MiB",
            MAX_ANSWER_BYTES >> 20
        )));
    }
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_it_says_and_carries_no_secret() {
        for good in [
            "prometheus+http://host:9090",
            "prometheus+https://mimir/prometheus",
        ] {
            let server = Prometheus::at(good).unwrap();
            let url = server.url("api/v1/query_range").unwrap();
            assert!(url.as_str().ends_with("/api/v1/query_range"), "{url}");
        }
        let below = Prometheus::at("prometheus+http://h/prometheus").unwrap();
        assert_eq!(
            below.url("api/v1/x").unwrap().path(),
            "/prometheus/api/v1/x"
        );
        for bad in [
            "http://host:9090",
            "prometheus+ftp://host",
            "prometheus+http://user:secret@host",
            "prometheus+http://host/?a=b",
            "prometheus+",
        ] {
            assert!(
                matches!(Prometheus::at(bad), Err(PrometheusError::BadAddress(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn nobody_there_is_unreachable() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = Prometheus::at(&format!("prometheus+http://127.0.0.1:{port}")).unwrap();
        assert!(matches!(
            server.version(),
            Err(PrometheusError::Unreachable(_))
        ));
    }
}
