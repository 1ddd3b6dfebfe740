//! One command over the UNIX socket or the loopback: deadlines on every step and a cap on the answer.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::{traffic::DirectorError, units::printable};

/// Ten thousand servers need about 6 MiB of `show stat`.
const ANSWER_CAP_BYTES: usize = 32 << 20;

/// Where the runtime API listens.
pub(super) enum Wire {
    Unix(PathBuf),
    Loopback(SocketAddr),
}

impl Wire {
    pub(super) fn parse(uri: &str) -> Result<Self, DirectorError> {
        let bad = |why: &str| DirectorError::BadAddress(format!("{}: {why}", printable(uri)));
        if let Some(path) = uri.strip_prefix("haproxy+unix://") {
            if !path.starts_with('/') {
                return Err(bad(
                    "the socket's path must be absolute: haproxy+unix:///run/…",
                ));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(address) = uri.strip_prefix("haproxy+tcp://") {
            let address: SocketAddr = address
                .trim_end_matches('/')
                .parse()
                .map_err(|_| bad("an IP address and a port are needed"))?;
            if !address.ip().is_loopback() {
                return Err(bad(
                    "the runtime API has no password, so TCP is taken on the loopback only; forward it through ssh",
                ));
            }
            return Ok(Self::Loopback(address));
        }
        Err(bad(
            "haproxy+unix:///path and haproxy+tcp://127.0.0.1:port are known",
        ))
    }

    /// Sends `command` and reads the whole answer before `deadline`.
    pub(super) fn ask(&self, command: &str, deadline: Instant) -> Result<String, DirectorError> {
        // The names in it were checked; this holds whatever a later caller forgets.
        if command.contains(['\n', '\r', ';', '<', '\0']) {
            return Err(DirectorError::BadName(printable(command)));
        }
        let line = format!("{command}\n");
        let answer = match self {
            Self::Unix(path) => exchange(&mut open_unix(path, deadline)?, &line, deadline),
            Self::Loopback(address) => {
                let mut stream =
                    TcpStream::connect_timeout(address, left(deadline)?).map_err(unreachable)?;
                exchange(&mut stream, &line, deadline)
            }
        }?;
        String::from_utf8(answer)
            .map_err(|_| DirectorError::Garbled("an answer that is not UTF-8".to_owned()))
    }
}

/// Connects without waiting: `UnixStream::connect` would block for ever on a stopped process with a full queue.
fn open_unix(path: &PathBuf, deadline: Instant) -> Result<UnixStream, DirectorError> {
    let named = |why: &dyn std::fmt::Display| {
        DirectorError::Unreachable(format!("{}: {why}", printable(&path.display().to_string())))
    };
    let address = SocketAddrUnix::new(path).map_err(|error| named(&error))?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|error| named(&error))?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break,
            Err(rustix::io::Errno::AGAIN) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(named(&error)),
        }
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).map_err(unreachable)?;
    Ok(stream)
}

fn exchange(
    stream: &mut impl Stream,
    line: &str,
    deadline: Instant,
) -> Result<Vec<u8>, DirectorError> {
    stream.limit(left(deadline)?).map_err(unreachable)?;
    stream.write_all(line.as_bytes()).map_err(unreachable)?;
    let mut answer = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        stream.limit(left(deadline)?).map_err(unreachable)?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(unreachable(error)),
        }
        if answer.len() > ANSWER_CAP_BYTES {
            return Err(DirectorError::Garbled(format!(
                "more than {} MiB for one command",
                ANSWER_CAP_BYTES >> 20
            )));
        }
    }
}

fn left(deadline: Instant) -> Result<Duration, DirectorError> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
        .ok_or_else(|| DirectorError::Unreachable("no whole answer in time".to_owned()))
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn unreachable(error: std::io::Error) -> DirectorError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            DirectorError::Unreachable("no whole answer in time".to_owned())
        }
        _ => DirectorError::Unreachable(error.to_string()),
    }
}

/// What both kinds of socket share.
trait Stream: Read + Write {
    fn limit(&self, timeout: Duration) -> std::io::Result<()>;
}

impl Stream for UnixStream {
    fn limit(&self, timeout: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

impl Stream for TcpStream {
    fn limit(&self, timeout: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_local_balancer_is_talked_to() {
        assert!(Wire::parse("haproxy+unix:///run/haproxy/admin.sock").is_ok());
        assert!(Wire::parse("haproxy+tcp://127.0.0.1:9999").is_ok());
        assert!(Wire::parse("haproxy+tcp://[::1]:9999").is_ok());
        for uri in [
            "haproxy+unix://run/admin.sock",
            "haproxy+tcp://192.0.2.1:9999",
            "haproxy+tcp://localhost.evil:9999",
            "haproxy+tcp://127.0.0.1",
            "haproxy://x",
            "",
        ] {
            assert!(
                matches!(Wire::parse(uri), Err(DirectorError::BadAddress(_))),
                "{uri}"
            );
        }
    }

    #[test]
    fn a_socket_that_is_not_there_is_named() {
        let Err(DirectorError::Unreachable(why)) = Wire::Unix(PathBuf::from("/nonexistent/sock"))
            .ask("show info", Instant::now() + Duration::from_secs(1))
        else {
            panic!("it answered")
        };
        assert!(why.contains("/nonexistent/sock"), "{why}");
    }

    #[test]
    fn two_commands_are_never_sent_as_one() {
        let wire = Wire::Unix(PathBuf::from("/nonexistent/sock"));
        for command in [
            "show info; show stat",
            "show info\nshow stat",
            "show info <<",
        ] {
            assert!(matches!(
                wire.ask(command, Instant::now() + Duration::from_secs(1)),
                Err(DirectorError::BadName(_))
            ));
        }
    }
}
