//! What of a layer is the same at its source and on its target: everything past the first cluster.
//!
//! The first cluster of a qcow2 image is rewritten in flight, since it names the backing file.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

const MAGIC: [u8; 4] = *b"QFI\xfb";
/// The magic, and where the size of a cluster stands as a power of two.
const HEAD_BYTES: usize = 24;
/// qcow2 knows clusters of 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;

/// Passes a layer on and makes its digest on the way.
pub struct Digested<R> {
    inner: R,
    head: Vec<u8>,
    /// Bytes that still come before what counts.
    skip: u64,
    hash: Sha256,
}

impl<R: Read> Digested<R> {
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            head: Vec::with_capacity(HEAD_BYTES),
            skip: 0,
            hash: Sha256::new(),
        }
    }

    /// The digest of what was read.
    pub fn finish(mut self) -> String {
        if self.head.len() < HEAD_BYTES {
            self.hash.update(&self.head);
        }
        hex::encode(self.hash.finalize())
    }

    /// Reads the rest and gives the digest of all.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_all(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.finish())
    }

    fn take(&mut self, mut bytes: &[u8]) {
        if self.head.len() < HEAD_BYTES {
            let part = bytes.len().min(HEAD_BYTES - self.head.len());
            self.head.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if self.head.len() < HEAD_BYTES {
                return;
            }
            match cluster_bytes(&self.head) {
                Some(cluster) => self.skip = cluster - HEAD_BYTES as u64,
                // No qcow2 image: nothing of it was rewritten.
                None => self.hash.update(&self.head),
            }
        }
        let skipped = usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
        self.skip -= skipped as u64;
        self.hash.update(&bytes[skipped..]);
    }
}

fn cluster_bytes(head: &[u8]) -> Option<u64> {
    let bits = u32::from_be_bytes(head.get(20..24)?.try_into().ok()?);
    (head.starts_with(&MAGIC) && CLUSTER_BITS.contains(&bits)).then(|| 1 << bits)
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.take(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &[u8], data: u8) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[..4].copy_from_slice(&MAGIC);
        image[20..24].copy_from_slice(&9_u32.to_be_bytes());
        image[100..100 + name.len()].copy_from_slice(name);
        image[700] = data;
        image
    }

    /// Gives its bytes a few at a time.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let part = self.0.len().min(buffer.len()).min(7);
            buffer[..part].copy_from_slice(&self.0[..part]);
            self.0 = &self.0[part..];
            Ok(part)
        }
    }

    fn digest(bytes: &[u8]) -> String {
        let dripped = Digested::new(Dripping(bytes)).read_all().unwrap();
        assert_eq!(Digested::new(bytes).read_all().unwrap(), dripped);
        dripped
    }

    #[test]
    fn the_backing_files_name_does_not_count_and_every_other_byte_does() {
        assert_eq!(digest(&image(b"", 1)), digest(&image(b"below", 1)));
        assert_ne!(digest(&image(b"", 1)), digest(&image(b"", 2)));
    }

    #[test]
    fn of_anything_else_all_counts() {
        assert_ne!(digest(b"a"), digest(b"b"));
        assert_eq!(
            digest(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let (mut one, mut other) = (vec![0_u8; 100], vec![0_u8; 100]);
        one[3] = 1;
        other[99] = 1;
        assert_ne!(digest(&one), digest(&other));
    }
}
