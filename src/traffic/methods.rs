//! Services that a copy may only read: a map of the balancer leads GET and HEAD to a backend of their own, where the
//! copy stands, and everything else to the backend of the primaries alone.
//!
//! The rule that goes by the map must stand in the balancer's configuration; what the map says can be changed at run
//! time. Without an entry a request goes to the primaries, so an empty map is safe.

/// What changes nothing.
pub const READS: [&str; 2] = ["GET", "HEAD"];

/// An entry of a map: a method, and the backend that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub method: String,
    pub backend: String,
}

/// The methods whose entries are still missing for just [`READS`] to lead to `backend`.
///
/// # Errors
/// Says which entry leads where it must not.
pub fn missing(entries: &[Entry], backend: &str) -> Result<Vec<&'static str>, String> {
    for Entry {
        method,
        backend: to,
    } in entries
    {
        let reads = READS.contains(&method.as_str());
        if to == backend && !reads {
            return Err(format!("{method} leads to {to}, where a copy would stand"));
        }
        if to != backend && reads {
            return Err(format!("{method} leads to {to} and not to {backend}"));
        }
    }
    let known = |wanted: &str| entries.iter().any(|entry| entry.method == wanted);
    Ok(READS.into_iter().filter(|wanted| !known(wanted)).collect())
}

/// What must stand in `haproxy.cfg` for it, for people. `primaries` is the backend that there was before.
pub fn configuration(map: &str, backend: &str) -> String {
    format!(
        "Let its frontend route by method, with these four lines in haproxy.cfg (PRIMARIES is its default_backend, which \
         stays as it is), and reload:
    use_backend %[method,map({map},PRIMARIES)]
    backend {backend}
        balance roundrobin
        server NAME ADDRESS:PORT weight 100 check
Write `GET {backend}` and `HEAD {backend}` into {map}, and map the service to {backend} with --method-map {map}. Where \
         all requests may go to a copy, map it as --stateless."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(of: &[(&str, &str)]) -> Vec<Entry> {
        let entry = |(method, backend): &(&str, &str)| Entry {
            method: (*method).to_owned(),
            backend: (*backend).to_owned(),
        };
        of.iter().map(entry).collect()
    }

    #[test]
    fn only_reads_lead_to_the_copy() {
        let missing = |of: &[(&str, &str)]| missing(&entries(of), "reads");
        assert_eq!(missing(&[]), Ok(vec!["GET", "HEAD"]));
        assert_eq!(
            missing(&[("GET", "reads"), ("POST", "all")]),
            Ok(vec!["HEAD"])
        );
        assert_eq!(missing(&[("HEAD", "reads"), ("GET", "reads")]), Ok(vec![]));
        for wrong in [
            &[("GET", "reads"), ("POST", "reads")][..],
            &[("get", "reads")],
            &[("GET", "all")],
            &[("", "reads")],
        ] {
            assert!(missing(wrong).is_err(), "{wrong:?}");
        }
    }
}
