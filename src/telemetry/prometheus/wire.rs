//! The HTTP API's answers. All of it is outside text: bounded, and shown escaped.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::PrometheusError;
use crate::units::printable;

/// Characters of a server's own error that are shown.
const MAX_ERROR_CHARS: usize = 300;
/// Series in one answer.
pub const MAX_SERIES: usize = 200_000;

/// One series of a matrix.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Found {
    #[serde(rename = "metric")]
    pub labels: BTreeMap<String, String>,
    /// Unix seconds, and the value as text; NaN and infinities have words of their own there.
    pub values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    data: serde_json::Value,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct Matrix {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Vec<Found>,
}

#[derive(Deserialize)]
struct MatrixAnswer {
    data: Matrix,
}

/// Reads the answer to `query_range`.
///
/// # Errors
/// The server's own error, or what cannot be read.
pub fn matrix(http_status: u16, body: &[u8]) -> Result<Vec<Found>, PrometheusError> {
    if http_status != 200 {
        return Err(refusal(http_status, body));
    }
    let answer: MatrixAnswer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        // It may be an error with a status of 200, as some proxies make it.
        Err(error) => {
            return Err(match serde_json::from_slice::<Answer>(body) {
                Ok(answer) if answer.status == "error" => refusal(http_status, body),
                _ => PrometheusError::Garbled(shortened(&error.to_string())),
            });
        }
    };
    if answer.data.result_type != "matrix" {
        return Err(PrometheusError::Garbled(format!(
            "a {} where a matrix was asked for",
            shortened(&answer.data.result_type)
        )));
    }
    if answer.data.result.len() > MAX_SERIES {
        return Err(PrometheusError::TooLarge(format!(
            "more than {MAX_SERIES} series"
        )));
    }
    Ok(answer.data.result)
}

/// The version that `status/buildinfo` tells.
///
/// # Errors
/// The server's own error, or what cannot be read.
pub fn version(http_status: u16, body: &[u8]) -> Result<String, PrometheusError> {
    if http_status != 200 {
        return Err(refusal(http_status, body));
    }
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| PrometheusError::Garbled(shortened(&error.to_string())))?;
    let version = answer.data["version"].as_str().unwrap_or("unknown version");
    Ok(shortened(version))
}

/// What the server says against it.
pub fn refusal(http_status: u16, body: &[u8]) -> PrometheusError {
    let said = match serde_json::from_slice::<Answer>(body) {
        Ok(answer) if !answer.error.is_empty() => {
            format!("{}: {}", answer.error_type, answer.error)
        }
        _ => String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned(),
    };
    let said = shortened(said.trim());
    let is_too_much = said.contains("too many samples")
        || said.contains("exceeded maximum resolution")
        || said.contains("limit");
    match http_status {
        422 | 413 if is_too_much => PrometheusError::TooLarge(said),
        400 if said.contains("exceeded maximum resolution") => PrometheusError::TooLarge(said),
        502..=504 => PrometheusError::Unreachable(format!("HTTP {http_status}: {said}")),
        _ => PrometheusError::Refused(format!("HTTP {http_status}: {said}")),
    }
}

pub(super) fn shortened(text: &str) -> String {
    let mut start: String = text.chars().take(MAX_ERROR_CHARS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    printable(&start)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_matrix_is_read_and_gaps_keep_their_words() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"domain":"web"},"values":[[1795305600,"0.25"],[1795305900.5,"NaN"],[1795306200,"+Inf"]]}]}}"#;
        let found = matrix(200, body).unwrap();
        assert_eq!(found[0].labels["domain"], "web");
        assert_eq!(found[0].values[1], (1_795_305_900.5, "NaN".to_owned()));
    }

    #[test]
    fn an_error_is_in_the_servers_own_words_and_escaped() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"1:5: parse error: \u202eunexpected\u001b[31m"}"#;
        let Err(PrometheusError::Refused(said)) = matrix(400, body) else {
            panic!("it was taken");
        };
        assert_eq!(
            said,
            "HTTP 400: bad_data: 1:5: parse error: \\u{202e}unexpected\\u{1b}[31m"
        );
        let too_much = br#"{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}"#;
        assert!(matches!(
            matrix(422, too_much),
            Err(PrometheusError::TooLarge(_))
        ));
        assert!(matches!(
            matrix(503, b"gateway"),
            Err(PrometheusError::Unreachable(_))
        ));
        assert!(matches!(
            matrix(200, b"<html>"),
            Err(PrometheusError::Garbled(_))
        ));
        assert!(matches!(
            matrix(200, body),
            Err(PrometheusError::Refused(_))
        ));
        let vector = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        assert!(matches!(
            matrix(200, vector),
            Err(PrometheusError::Garbled(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), status in 100..600_u16) {
            let _ = matrix(status, &bytes);
            let _ = version(status, &bytes);
        }
    }
}
