//! Ids, times and weights: newtypes where mixing two values would hurt.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Declares a string id whose text is stable and safe to show.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

text_id!(
    /// The name of a connection that an operator added, for example `primary`.
    SourceName
);
text_id!(
    /// `source/uuid` of a VM: its identity wherever it is renamed to.
    VmId
);
text_id!(
    /// `source/name` of a group of hosts that a VM can be placed in.
    PoolId
);
text_id!(
    /// One installation of the engine; everything made on a platform carries it.
    EngineId
);
text_id!(
    /// One carried-out plan: `op-` and eight hexadecimal digits.
    OperationId
);
text_id!(
    /// One recommendation: `p-` and eight hexadecimal digits.
    ProposalId
);
text_id!(
    /// One shadow VM: `s-` and eight hexadecimal digits.
    ShadowId
);
text_id!(
    /// The name of a service that a balancer spreads over VMs.
    ServiceName
);
text_id!(
    /// One entry of the calendar: `e-` and eight hexadecimal digits.
    EventId
);
text_id!(
    /// SHA-256 of a plan in hexadecimal: what an operator signs.
    Digest
);

impl VmId {
    /// The id of the VM `uuid` on `source`.
    pub fn of(source: &SourceName, uuid: &str) -> Self {
        Self(format!("{source}/{uuid}"))
    }

    /// The source that the VM was seen on.
    pub fn source(&self) -> SourceName {
        SourceName::new(self.0.split_once('/').map_or("", |(source, _)| source))
    }

    /// The platform's own id of the VM.
    pub fn uuid(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, uuid)| uuid)
    }
}

impl PoolId {
    /// The id of the pool `name` on `source`.
    pub fn of(source: &SourceName, name: &str) -> Self {
        Self(format!("{source}/{name}"))
    }

    /// The source that the pool belongs to.
    pub fn source(&self) -> SourceName {
        SourceName::new(self.0.split_once('/').map_or("", |(source, _)| source))
    }
}

/// A moment in milliseconds since 1970 UTC; RFC 3339 wherever a person or a script reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * 1000)
    }

    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    pub const fn as_millis(self) -> i64 {
        self.0
    }

    #[must_use]
    pub const fn plus_secs(self, seconds: i64) -> Self {
        Self(self.0 + seconds * 1000)
    }

    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0 + millis)
    }

    /// Seconds from `earlier` to `self`; negative when `earlier` is later.
    pub const fn secs_since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0) / 1000
    }

    /// The start of the step of `step_seconds` that holds this moment.
    #[must_use]
    pub const fn floor_to(self, step_seconds: u32) -> Self {
        let step = step_seconds as i64 * 1000;
        Self(self.0.div_euclid(step) * step)
    }

    /// Reads RFC 3339, for example `2026-11-22T14:32:08Z`.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|at| Self(at.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Inside a tagged enum serde no longer knows which of the two forms was written: take either.
        deserializer.deserialize_any(TimestampVisitor)
    }
}

struct TimestampVisitor;

impl serde::de::Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an RFC 3339 time or milliseconds since 1970")
    }

    fn visit_i64<E: serde::de::Error>(self, millis: i64) -> Result<Timestamp, E> {
        Ok(Timestamp(millis))
    }

    fn visit_u64<E: serde::de::Error>(self, millis: u64) -> Result<Timestamp, E> {
        i64::try_from(millis).map(Timestamp).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
        Timestamp::parse(text).ok_or_else(|| E::custom(format!("not an RFC 3339 time: {text}")))
    }
}

/// A balancer's weight of one server, 0 to 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub u16);

impl Weight {
    pub const MAX: Self = Self(256);
}

/// Text from outside made safe to show: control and bidirectional characters become `\u{…}`.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_text_for_people_and_a_number_on_the_wire() {
        let at = Timestamp::from_secs(1_795_357_928);
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), at);
        assert!(json.starts_with("\"2026-"), "{json}");
        let wire = rmp_serde::to_vec(&at).unwrap();
        assert_eq!(rmp_serde::from_slice::<Timestamp>(&wire).unwrap(), at);
    }

    #[test]
    fn a_time_inside_a_tagged_enum_survives_both_forms() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        enum Tagged {
            Until { at: Timestamp },
        }
        let value = Tagged::Until {
            at: Timestamp::from_secs(1_795_357_928),
        };
        let wire = rmp_serde::to_vec_named(&value).unwrap();
        assert_eq!(rmp_serde::from_slice::<Tagged>(&wire).unwrap(), value);
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Tagged>(&json).unwrap(), value);
    }

    #[test]
    fn text_that_deceives_is_shown_escaped() {
        assert_eq!(printable("vm\u{202e}evil\n"), "vm\\u{202e}evil\\u{a}");
        assert_eq!(printable("größe <&\"'$(x)"), "größe <&\"'$(x)");
    }
}
