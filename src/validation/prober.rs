//! Puts a probe to the network, with a deadline, no redirects, no proxy and a cap on what is read.

use std::{
    io::Read,
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use super::{Held, Page, Probe, Prober, Verdict};
use crate::units::printable;

/// A health page is small; what is larger is not read.
const BODY_CAP_BYTES: u64 = 64 << 10;

/// The real network.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkProber;

impl Prober for NetworkProber {
    fn probe(&self, probe: &Probe, timeout: Duration) -> Verdict {
        let start = Instant::now();
        let outcome = match probe {
            Probe::Tcp { address, port } => knock(address, *port, timeout),
            Probe::Http {
                address,
                port,
                path,
            } => get(address, *port, path, timeout),
        };
        let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (passed, seen) = match outcome {
            Ok(seen) => (true, seen),
            Err(seen) => (false, seen),
        };
        Verdict {
            passed,
            millis,
            seen: printable(&seen),
        }
    }

    fn page(
        &self,
        address: &str,
        port: u16,
        path: &str,
        timeout: Duration,
    ) -> Result<Page, String> {
        fetch(address, port, path, timeout)
    }

    fn hold(&self, address: &str, port: u16, timeout: Duration) -> Result<Box<dyn Held>, String> {
        let stream = open(address, port, timeout)?;
        Ok(Box::new(Open { _stream: stream }))
    }
}

struct Open {
    _stream: TcpStream,
}

impl Held for Open {}

fn knock(address: &str, port: u16, timeout: Duration) -> Result<String, String> {
    open(address, port, timeout).map(|_| "connected".to_owned())
}

fn open(address: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let addresses = (address, port)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + timeout;
    let mut seen = "the name has no address".to_owned();
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no answer in time".to_owned());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => seen = error.to_string(),
        }
    }
    Err(seen)
}

/// Passes on 2xx and 3xx, as HAProxy's own checks do.
fn get(address: &str, port: u16, path: &str, timeout: Duration) -> Result<String, String> {
    let page = fetch(address, port, path, timeout)?;
    let seen = format!("HTTP {}", page.status);
    if (200..400).contains(&page.status) {
        Ok(seen)
    } else {
        Err(seen)
    }
}

fn fetch(address: &str, port: u16, path: &str, timeout: Duration) -> Result<Page, String> {
    let url = url(address, port, path)?;
    let client = http_client(timeout).map_err(|error| error.to_string())?;
    let response = client.get(url).send().map_err(|error| cause(&error))?;
    let status = response.status().as_u16();
    // An answer is whole only when its body came too.
    let mut body = Vec::new();
    response
        .take(BODY_CAP_BYTES)
        .read_to_end(&mut body)
        .map_err(|error| format!("HTTP {status}, then {error}"))?;
    Ok(Page {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// An HTTP client with a deadline, and without redirects and proxies: what is asked for is what answers.
///
/// # Errors
/// When there is no thread left for it, or the system's certificates cannot be read.
pub fn http_client(timeout: Duration) -> reqwest::Result<reqwest::blocking::Client> {
    choose_tls();
    reqwest::blocking::Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// Says which cryptography reqwest uses; every client needs it chosen first, also one that never speaks TLS.
pub fn choose_tls() {
    // Chosen once for the process; that it is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Builds the address part by part, so that no part can pass for another.
fn url(address: &str, port: u16, path: &str) -> Result<reqwest::Url, String> {
    let mut url = reqwest::Url::parse("http://localhost/").map_err(|error| error.to_string())?;
    let host = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    url.set_host(Some(&host))
        .map_err(|error| format!("not an address: {error}"))?;
    url.set_port(Some(port))
        .map_err(|()| "the address takes no port".to_owned())?;
    let (path, query) = path
        .split_once('?')
        .map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    Ok(url)
}

/// The innermost cause: reqwest's own text names only the address.
pub fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::mpsc,
        thread,
    };

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// Answers one request with `answer` and gives the request's first line.
    fn server(answer: &'static str) -> (u16, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            (&stream).write_all(answer.as_bytes()).unwrap();
            tell.send(first).unwrap();
        });
        (port, told)
    }

    fn http(port: u16, path: &str, timeout: Duration) -> Verdict {
        NetworkProber.probe(
            &Probe::Http {
                address: "127.0.0.1".to_owned(),
                port,
                path: path.to_owned(),
            },
            timeout,
        )
    }

    #[test]
    fn an_answer_passes_and_an_error_does_not() {
        let (port, told) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let verdict = http(port, "/health?deep=1", TIMEOUT);
        assert!(verdict.passed, "{verdict:?}");
        assert_eq!(verdict.seen, "HTTP 200");
        assert_eq!(
            told.recv().unwrap().trim_end(),
            "GET /health?deep=1 HTTP/1.1"
        );
        let (port, _told) = server("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        let verdict = http(port, "/", TIMEOUT);
        assert_eq!((verdict.passed, &*verdict.seen), (false, "HTTP 503"));
    }

    #[test]
    fn a_redirect_is_an_answer_and_is_not_followed() {
        let (port, _told) = server(
            "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n",
        );
        let verdict = http(port, "/", TIMEOUT);
        assert_eq!((verdict.passed, &*verdict.seen), (true, "HTTP 302"));
    }

    #[test]
    fn a_body_that_breaks_off_and_silence_do_not_pass() {
        let (port, _told) = server("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
        assert!(!http(port, "/", TIMEOUT).passed);

        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let verdict = http(port, "/", Duration::from_millis(200));
        assert_eq!(
            (verdict.passed, &*verdict.seen),
            (false, "no answer in time")
        );
    }

    #[test]
    fn a_port_is_open_or_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let probe = Probe::Tcp {
            address: "127.0.0.1".to_owned(),
            port,
        };
        assert!(NetworkProber.probe(&probe, TIMEOUT).passed);
        drop(listener);
        let verdict = NetworkProber.probe(&probe, TIMEOUT);
        assert!(!verdict.passed);
        assert!(verdict.seen.contains("refused"), "{verdict:?}");
    }

    #[test]
    fn no_part_of_an_address_passes_for_another() {
        let url = url("127.0.0.1", 80, "/x@evil:1/#\r\nHost: y?q").unwrap();
        assert_eq!((url.host_str(), url.port()), (Some("127.0.0.1"), None));
        for address in ["user@127.0.0.1", "a/b", "", "a b"] {
            assert!(super::url(address, 80, "/").is_err(), "{address}");
        }
    }
}
