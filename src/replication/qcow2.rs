//! The qcow2 header: enough to give a frozen layer another backing file while it is in flight.
//!
//! A layer comes from another host and is opened by QEMU here, so its header is hostile until read: it must not
//! name a backing file, a data file or a feature that we did not choose. All numbers are big-endian; the layout is
//! QEMU's `docs/interop/qcow2.txt`.

/// `QFI\xfb`.
const MAGIC: u32 = 0x5146_49fb;
const VERSION: u32 = 3;
/// Version 3's header without anything optional.
const MIN_HEADER_BYTES: usize = 104;
/// How much of an image tells [`cluster_bytes`].
pub const PREFIX_BYTES: usize = MIN_HEADER_BYTES;
const MAX_BACKING_NAME_BYTES: usize = 1023;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// Lazy refcounts in doubt (0), compression type (3) and extended L2 entries (4).
const KNOWN_INCOMPATIBLE: u64 = 1 | 1 << 3 | 1 << 4;

/// Why an image is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Error {
    #[error("not a qcow2 image")]
    NotQcow2,
    #[error("qcow2 version {0}; only version 3 (compat 1.1) is known")]
    Version(u32),
    #[error("the image ends inside its header")]
    Truncated,
    #[error("the header says {0}, which cannot be")]
    Malformed(&'static str),
    #[error("the image needs features that are not allowed here ({0:#x})")]
    Features(u64),
    #[error("the image keeps its data in another file")]
    DataFile,
    #[error("`{0}` cannot be the name of a backing file")]
    BackingName(String),
    #[error("the backing file's name does not fit into the first cluster")]
    NoRoom,
}

/// The size of the image's clusters; its header lies in the first one. `prefix` is at least [`PREFIX_BYTES`] long.
///
/// # Errors
/// When it is no image that [`with_backing`] would take.
pub fn cluster_bytes(prefix: &[u8]) -> Result<usize, Qcow2Error> {
    if be32(prefix, 0)? != MAGIC {
        return Err(Qcow2Error::NotQcow2);
    }
    let version = be32(prefix, 4)?;
    if version != VERSION {
        return Err(Qcow2Error::Version(version));
    }
    match be32(prefix, 20)? {
        bits @ 9..=21 => Ok(1 << bits),
        _ => Err(Qcow2Error::Malformed("a cluster size out of range")),
    }
}

/// The first cluster with `backing` (a file beside it, itself qcow2) as its backing file, or with none.
///
/// `head` is the first cluster, or more; the result is as long. Whatever backing file it named before is forgotten.
///
/// # Errors
/// When the header is broken, or asks for what we do not open.
pub fn with_backing(head: &[u8], backing: Option<&str>) -> Result<Vec<u8>, Qcow2Error> {
    let cluster = cluster_bytes(head)?;
    let Some((first, rest)) = head.split_at_checked(cluster) else {
        return Err(Qcow2Error::Truncated);
    };
    if let Some(name) = backing {
        check_name(name)?;
    }
    let header_bytes = header_bytes(first)?;
    check_features(first)?;

    let mut out = first[..header_bytes].to_vec();
    if backing.is_some() {
        push_extension(&mut out, EXTENSION_BACKING_FORMAT, b"qcow2");
    }
    for (kind, data) in extensions(first, header_bytes)? {
        match kind {
            EXTENSION_BACKING_FORMAT => {}
            EXTENSION_DATA_FILE => return Err(Qcow2Error::DataFile),
            _ => push_extension(&mut out, kind, data),
        }
    }
    push_extension(&mut out, EXTENSION_END, &[]);
    let (offset, length) = match backing {
        Some(name) => {
            let offset = out.len() as u64;
            out.extend_from_slice(name.as_bytes());
            (offset, name.len() as u32)
        }
        None => (0, 0),
    };
    out[8..16].copy_from_slice(&offset.to_be_bytes());
    out[16..20].copy_from_slice(&length.to_be_bytes());
    if out.len() > cluster {
        return Err(Qcow2Error::NoRoom);
    }
    out.resize(cluster, 0);
    out.extend_from_slice(rest);
    Ok(out)
}

/// A plain file name: with `:` or a leading `json` QEMU would read a protocol, with `/` another directory.
fn check_name(name: &str) -> Result<(), Qcow2Error> {
    let plain = !name.is_empty()
        && name.len() <= MAX_BACKING_NAME_BYTES
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if plain {
        Ok(())
    } else {
        Err(Qcow2Error::BackingName(name.to_owned()))
    }
}

fn header_bytes(first: &[u8]) -> Result<usize, Qcow2Error> {
    let length = be32(first, 100)? as usize;
    if length < MIN_HEADER_BYTES || !length.is_multiple_of(8) || length > first.len() {
        return Err(Qcow2Error::Malformed("a header length out of range"));
    }
    Ok(length)
}

fn check_features(first: &[u8]) -> Result<(), Qcow2Error> {
    let incompatible = be64(first, 72)?;
    if incompatible & (1 << 2) != 0 {
        return Err(Qcow2Error::DataFile);
    }
    let unknown = incompatible & !KNOWN_INCOMPATIBLE;
    if unknown != 0 {
        return Err(Qcow2Error::Features(unknown));
    }
    // Encrypted images need a secret that the other side does not have.
    if be32(first, 32)? != 0 {
        return Err(Qcow2Error::Malformed("an encryption method"));
    }
    Ok(())
}

fn extensions(first: &[u8], from: usize) -> Result<Vec<(u32, &[u8])>, Qcow2Error> {
    let mut found = Vec::new();
    let mut at = from;
    loop {
        let kind = be32(first, at)?;
        let length = be32(first, at + 4)? as usize;
        if kind == EXTENSION_END {
            return Ok(found);
        }
        let start = at + 8;
        let end = start
            .checked_add(length)
            .filter(|end| *end <= first.len())
            .ok_or(Qcow2Error::Malformed("an extension beyond its cluster"))?;
        found.push((kind, &first[start..end]));
        at = end.next_multiple_of(8);
    }
}

fn push_extension(out: &mut Vec<u8>, kind: u32, data: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(8), 0);
}

fn be32(bytes: &[u8], at: usize) -> Result<u32, Qcow2Error> {
    let field = at.checked_add(4).and_then(|end| bytes.get(at..end));
    let field = field.ok_or(Qcow2Error::Truncated)?;
    field
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| Qcow2Error::Truncated)
}

fn be64(bytes: &[u8], at: usize) -> Result<u64, Qcow2Error> {
    Ok(u64::from(be32(bytes, at)?) << 32 | u64::from(be32(bytes, at + 4)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLUSTER: usize = 65536;

    /// A header as QEMU writes it: 112 bytes, a backing format, the feature names, then the backing file's name.
    fn image() -> Vec<u8> {
        let mut image = vec![0_u8; 112];
        image[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        image[4..8].copy_from_slice(&3_u32.to_be_bytes());
        image[20..24].copy_from_slice(&16_u32.to_be_bytes());
        image[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
        image[100..104].copy_from_slice(&112_u32.to_be_bytes());
        push_extension(&mut image, EXTENSION_BACKING_FORMAT, b"raw");
        push_extension(&mut image, 0x6803_f857, &[7; 384]);
        push_extension(&mut image, EXTENSION_END, &[]);
        let offset = image.len() as u64;
        image[8..16].copy_from_slice(&offset.to_be_bytes());
        image[16..20].copy_from_slice(&11_u32.to_be_bytes());
        image.extend_from_slice(b"/etc/shadow");
        image.resize(CLUSTER, 0);
        image.extend_from_slice(&[9; 100]);
        image
    }

    fn backing(image: &[u8]) -> Option<String> {
        let offset = be64(image, 8).unwrap() as usize;
        let length = be32(image, 16).unwrap() as usize;
        (offset != 0).then(|| String::from_utf8(image[offset..offset + length].to_vec()).unwrap())
    }

    #[test]
    fn the_backing_file_is_ours_and_the_rest_stays() {
        let image = image();
        let patched = with_backing(&image, Some("sc-e-1.qcow2")).unwrap();
        assert_eq!(patched.len(), image.len());
        assert_eq!(backing(&patched).unwrap(), "sc-e-1.qcow2");
        assert_eq!(patched[CLUSTER..], image[CLUSTER..]);
        assert_eq!(patched[24..112], image[24..112]);
        let extensions = extensions(&patched, 112).unwrap();
        assert_eq!(extensions[0], (EXTENSION_BACKING_FORMAT, &b"qcow2"[..]));
        assert_eq!(extensions[1], (0x6803_f857, &[7_u8; 384][..]));
        assert_eq!(extensions.len(), 2);
        let again = with_backing(&patched, Some("sc-e-1.qcow2")).unwrap();
        assert_eq!(again, patched, "patching twice changes nothing");
    }

    #[test]
    fn without_a_backing_file_none_is_left() {
        let patched = with_backing(&image(), None).unwrap();
        assert_eq!(backing(&patched), None);
        assert!(!patched.windows(11).any(|bytes| bytes == b"/etc/shadow"));
        assert_eq!(extensions(&patched, 112).unwrap().len(), 1);
    }

    #[test]
    fn images_that_ask_for_other_files_or_features_are_refused() {
        let with = |at: usize, bytes: &[u8]| {
            let mut image = image();
            image[at..at + bytes.len()].copy_from_slice(bytes);
            with_backing(&image, None).unwrap_err()
        };
        assert_eq!(with(0, b"RAW!"), Qcow2Error::NotQcow2);
        assert_eq!(with(4, &2_u32.to_be_bytes()), Qcow2Error::Version(2));
        assert!(matches!(
            with(20, &30_u32.to_be_bytes()),
            Qcow2Error::Malformed(_)
        ));
        assert_eq!(with(72, &4_u64.to_be_bytes()), Qcow2Error::DataFile);
        assert_eq!(with(72, &2_u64.to_be_bytes()), Qcow2Error::Features(2));
        assert_eq!(
            with(72, &(1_u64 << 40).to_be_bytes()),
            Qcow2Error::Features(1 << 40)
        );
        assert!(matches!(
            with(32, &2_u32.to_be_bytes()),
            Qcow2Error::Malformed(_)
        ));
        assert!(matches!(
            with(100, &105_u32.to_be_bytes()),
            Qcow2Error::Malformed(_)
        ));
        assert!(matches!(
            with(100, &u32::MAX.to_be_bytes()),
            Qcow2Error::Malformed(_)
        ));
        assert_eq!(
            with(112, &EXTENSION_DATA_FILE.to_be_bytes()),
            Qcow2Error::DataFile
        );
        assert!(matches!(
            with(116, &u32::MAX.to_be_bytes()),
            Qcow2Error::Malformed(_)
        ));
        assert_eq!(
            with_backing(&image()[..CLUSTER - 1], None),
            Err(Qcow2Error::Truncated)
        );
    }

    #[test]
    fn names_that_qemu_would_read_as_more_than_a_file_are_refused() {
        for name in [
            "",
            "json:{}",
            "nbd:host:1",
            "../x",
            "/x",
            ".x",
            "a b",
            "a\0",
            &"x".repeat(1024),
        ] {
            assert!(
                matches!(
                    with_backing(&image(), Some(name)),
                    Err(Qcow2Error::BackingName(_))
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn a_header_that_leaves_no_room_is_refused() {
        let mut image = image();
        image[20..24].copy_from_slice(&9_u32.to_be_bytes());
        image.truncate(512);
        image[112..].fill(0);
        push_back(&mut image, 112, 0x1234_5678, 376);
        assert_eq!(
            with_backing(&image, Some("sc-e-1")),
            Err(Qcow2Error::NoRoom)
        );
    }

    fn push_back(image: &mut [u8], at: usize, kind: u32, length: u32) {
        image[at..at + 4].copy_from_slice(&kind.to_be_bytes());
        image[at + 4..at + 8].copy_from_slice(&length.to_be_bytes());
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _refused_or_taken = with_backing(&bytes, Some("sc-e-1"));
        }

        #[test]
        fn no_damage_to_a_header_panics_or_leaves_a_foreign_backing_file(
            damage in proptest::collection::vec((0_usize..700, any::<u8>()), 0..12),
        ) {
            let mut image = image();
            for (at, byte) in damage {
                image[at] = byte;
            }
            if let Ok(patched) = with_backing(&image, Some("sc-e-1")) {
                prop_assert_eq!(backing(&patched), Some("sc-e-1".to_owned()));
                prop_assert_eq!(patched.len(), image.len());
            }
        }
    }
}
