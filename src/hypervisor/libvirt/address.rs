//! Connection addresses: which are accepted, and what they say about where the host is.
//!
//! An address can name commands to run (`command=`, `netcat=`), switch verification off (`no_verify=`) or smuggle
//! options to ssh (a host that begins with `-`). So options are an allow list, and the rest is refused.

use url::Url;

use crate::hypervisor::PlatformError;

/// Options that name files or choose a socket; none of them runs anything.
const OPTIONS: [&str; 6] = [
    "socket",
    "keyfile",
    "pkipath",
    "mode",
    "no_tty",
    "knownHosts",
];

/// An address that may be handed to libvirt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// For libvirt; over ssh with prompts off.
    pub uri: String,
    /// The remote host; `None` where the host is this machine.
    pub host: Option<String>,
}

impl Address {
    /// Checks `uri`.
    ///
    /// # Errors
    /// [`PlatformError::BadAddress`] with what is off.
    pub fn parse(uri: &str) -> Result<Self, PlatformError> {
        let bad = |why: &str| PlatformError::BadAddress {
            uri: uri.to_owned(),
            why: why.to_owned(),
        };
        if uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("it holds a space or a control character"));
        }
        if !uri.contains(':') {
            return Err(bad(
                "no source is called that, and an address begins like qemu:///system or qemu+ssh://host/system",
            ));
        }
        let url = Url::parse(uri).map_err(|error| bad(&error.to_string()))?;
        let host = url.host_str().filter(|host| !host.is_empty());
        match (url.scheme(), host) {
            ("qemu" | "qemu+unix" | "test", None) | ("qemu+ssh" | "qemu+tls", Some(_)) => {}
            ("qemu+ssh" | "qemu+tls", None) => return Err(bad("the host is missing")),
            ("qemu", Some(_)) => {
                return Err(bad(
                    "a remote host needs a transport: use qemu+ssh:// or qemu+tls://",
                ));
            }
            ("qemu+unix" | "test", Some(_)) => {
                return Err(bad("it names a host where there can be none"));
            }
            _ => {
                return Err(bad(
                    "known are qemu:///system, qemu:///session, qemu+ssh://, qemu+tls:// and test:///",
                ));
            }
        }
        if url.scheme() != "test" && !matches!(url.path(), "/system" | "/session") {
            return Err(bad("the path is /system or /session"));
        }
        if url.password().is_some() {
            return Err(bad("it holds a password; use a key or the ssh agent"));
        }
        if host.is_some_and(|host| host.starts_with('-')) || url.username().starts_with('-') {
            return Err(bad("a host or user cannot begin with `-`"));
        }
        if url.fragment().is_some() {
            return Err(bad("it holds a fragment (`#`)"));
        }
        for (option, value) in url.query_pairs() {
            if !OPTIONS.contains(&&*option) {
                return Err(bad(&format!(
                    "the option `{option}` is not allowed; allowed are {}",
                    OPTIONS.join(", ")
                )));
            }
            if value.chars().any(char::is_control) {
                return Err(bad("an option holds a control character"));
            }
        }
        Ok(Self {
            host: host.map(|host| host.trim_matches(['[', ']']).to_owned()),
            uri: without_prompts(uri, &url),
        })
    }

    /// Where services on this host's shadows are reached.
    pub fn service_address(&self) -> String {
        self.host.clone().unwrap_or_else(|| "127.0.0.1".to_owned())
    }
}

/// ssh must never stop to ask for a password: there is nobody at its terminal.
fn without_prompts(uri: &str, url: &Url) -> String {
    if url.scheme() != "qemu+ssh" || url.query_pairs().any(|(option, _)| option == "no_tty") {
        return uri.to_owned();
    }
    let joint = if url.query().is_some() { '&' } else { '?' };
    format!("{uri}{joint}no_tty=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_kinds_are_accepted() {
        for (uri, host) in [
            ("qemu:///system", None),
            ("qemu:///session?socket=/run/a/libvirt-sock", None),
            ("test:///default", None),
            (
                "qemu+ssh://root@host2.example/system?keyfile=/k",
                Some("host2.example"),
            ),
            ("qemu+tls://[2001:db8::1]/system", Some("2001:db8::1")),
        ] {
            let address = Address::parse(uri).unwrap();
            assert_eq!(address.host.as_deref(), host, "{uri}");
        }
        assert_eq!(
            Address::parse("qemu+ssh://h/system?keyfile=/k")
                .unwrap()
                .uri,
            "qemu+ssh://h/system?keyfile=/k&no_tty=1"
        );
    }

    #[test]
    fn what_could_run_or_deceive_is_refused() {
        for uri in [
            "",
            "nonsense",
            "http://host/system",
            "xen:///system",
            "qemu://host/system",
            "qemu:///etc/passwd",
            "qemu+ssh:///system",
            "qemu+ssh://-oProxyCommand=x/system",
            "qemu+ssh://-l@host/system",
            "qemu+ssh://host/system?command=/tmp/x",
            "qemu+ssh://host/system?netcat=/tmp/x",
            "qemu+ssh://host/system?COMMAND=/tmp/x",
            "qemu+ssh://host/system?no_verify=1",
            "qemu+ssh://host/system?%63ommand=/tmp/x",
            "qemu+ssh://user:secret@host/system",
            "qemu+ext:///system?command=/tmp/x",
            "qemu:///system\0",
            "qemu:///session?socket=/a%00b",
            "qemu:///session?socket=/a\nb",
            "qemu:///system#x",
        ] {
            assert!(
                matches!(Address::parse(uri), Err(PlatformError::BadAddress { .. })),
                "{uri:?}"
            );
        }
    }
}
