//! The names of everything that replication makes: generated, of `[a-z0-9-]` only, and bearing the engine's prefix.

use super::prefix;
use crate::units::{EngineId, ShadowId};

/// The frozen layer of one disk at one point.
pub fn layer_volume(engine: &EngineId, shadow: &ShadowId, target: &str, number: u64) -> String {
    format!("{}-{}-{number}", stem(engine, shadow), plain(target))
}

/// The file on the source that a backup job writes one disk's changed blocks into.
pub fn spool_volume(engine: &EngineId, shadow: &ShadowId, target: &str, number: u64) -> String {
    format!("{}-spool-{}-{number}", stem(engine, shadow), plain(target))
}

/// The writable disk of the running shadow on top of point `number`.
pub fn overlay_volume(engine: &EngineId, shadow: &ShadowId, target: &str, number: u64) -> String {
    format!(
        "{}-overlay-{}-{number}",
        stem(engine, shadow),
        plain(target)
    )
}

/// The full layer that the chain under `layer` is flattened into.
pub fn flat_volume(layer: &str) -> String {
    format!("{layer}-flat")
}

/// Through which a chain is opened while layers of it are merged.
pub fn scratch_volume(engine: &EngineId, shadow: &ShadowId, disk: usize) -> String {
    format!("{}-merge-{disk}", stem(engine, shadow))
}

/// The writable disk of a clone that tries point `number`.
pub fn clone_volume(engine: &EngineId, shadow: &ShadowId, target: &str, number: u64) -> String {
    format!("{}-clone-{}-{number}", stem(engine, shadow), plain(target))
}

/// The VM that tries points of a shadow. Short: libvirt makes the path of its agent's socket of it, and a session's
/// folders leave little of the 107 bytes that such a path may have.
pub fn clone_name(engine: &EngineId, shadow: &ShadowId) -> String {
    let id: Vec<char> = plain(shadow.as_str()).chars().collect();
    let end: String = id[id.len().saturating_sub(4)..].iter().collect();
    format!("{}{end}", prefix(engine))
}

/// What a clone writes to its serial console.
pub fn console_volume(engine: &EngineId, shadow: &ShadowId, number: u64) -> String {
    format!("{}-console-{number}", stem(engine, shadow))
}

/// The checkpoint on the source that point `number` is taken under.
pub fn checkpoint(engine: &EngineId, shadow: &ShadowId, number: u64) -> String {
    format!("{}-{number}", stem(engine, shadow))
}

/// The manifest's copy on the target.
pub fn manifest_volume(engine: &EngineId, shadow: &ShadowId) -> String {
    format!("{}-manifest", stem(engine, shadow))
}

/// What all names of one shadow begin with, without the dash that follows.
pub fn stem(engine: &EngineId, shadow: &ShadowId) -> String {
    format!("{}{}", prefix(engine), plain(shadow.as_str()))
}

/// `text` with everything outside `[a-z0-9-]` replaced, so that it can be part of a file name or a command.
fn plain(text: &str) -> String {
    text.chars()
        .map(|character| match character.to_ascii_lowercase() {
            kept @ ('a'..='z' | '0'..='9') => kept,
            _ => '-',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_bear_the_prefix_and_tell_shadow_disk_and_point() {
        let engine = EngineId::from("7F3A91C2-55aa");
        let shadow = ShadowId::from("s-0badcafe");
        assert_eq!(prefix(&engine), "sc-7f3a91c2-");
        assert_eq!(
            layer_volume(&engine, &shadow, "vda", 12),
            "sc-7f3a91c2-s-0badcafe-vda-12"
        );
        assert_eq!(
            spool_volume(&engine, &shadow, "vda", 12),
            "sc-7f3a91c2-s-0badcafe-spool-vda-12"
        );
        assert_eq!(checkpoint(&engine, &shadow, 0), "sc-7f3a91c2-s-0badcafe-0");
        assert_eq!(clone_name(&engine, &shadow), "sc-7f3a91c2-cafe");
    }

    #[test]
    fn hostile_disk_and_engine_names_cannot_leave_the_alphabet() {
        let engine = EngineId::from("../;<é");
        let shadow = ShadowId::from("s-1/../../x");
        for name in [
            layer_volume(&engine, &shadow, "vda/../$(x)", 1),
            spool_volume(&engine, &shadow, "a b\n", 1),
            overlay_volume(&engine, &shadow, "é", 1),
            manifest_volume(&engine, &shadow),
        ] {
            assert!(
                name.bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')),
                "{name}"
            );
        }
    }
}
