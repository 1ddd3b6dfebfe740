//! Storage volumes: looking them up, making, filling, reading and deleting them.

use std::{io, thread, time::Duration};

use virt::{
    error::ErrorNumber, storage_pool::StoragePool, storage_vol::StorageVol, stream::Stream,
};

use super::{domain_xml, element::Element, error::platform_error, worker::Link};
use crate::{hypervisor::PlatformError, units::SourceName};

/// What a volume's description says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeInfo {
    pub path: String,
    pub capacity_bytes: u64,
    pub allocated_bytes: u64,
    pub format: String,
    /// `1.1` for qcow2 that can keep dirty bitmaps; libvirt leaves `0.10` out.
    pub compat: Option<String>,
    /// The path of the volume that it stands on.
    pub backing: Option<String>,
}

/// Whether a pool of this name only passes increments on.
pub fn is_spool(pool: &str) -> bool {
    pool == SPOOL || (pool.starts_with("sc-") && pool.ends_with("-spool"))
}

/// A host that has a pool of this name wants increments to be laid there.
pub const SPOOL: &str = "spool";

/// The volume at `path`; `None` where no active pool holds it.
pub fn describe_by_path(link: &Link, path: &str) -> Result<Option<VolumeInfo>, PlatformError> {
    let Some((directory, _)) = path.rsplit_once('/') else {
        return Ok(None);
    };
    if let Some(volume) = find_by_path(link, path)? {
        return describe(link, &volume).map(Some);
    }
    // A pool knows only what lay in its directory when it was last looked at.
    let Ok(pool) = link.connect.lookup_storage_pool_by_target_path(directory) else {
        return Ok(None);
    };
    if !pool.is_active().map_err(link.during("look for a volume"))? {
        return Ok(None);
    }
    refresh(link, &pool)?;
    find_by_path(link, path)?
        .map(|volume| describe(link, &volume))
        .transpose()
}

fn find_by_path(link: &Link, path: &str) -> Result<Option<StorageVol>, PlatformError> {
    match link.connect.lookup_storage_vol_by_path(path) {
        Ok(volume) => Ok(Some(volume)),
        Err(error)
            if error.code().is(ErrorNumber::NoStorageVolume)
                || error.code().is(ErrorNumber::NoSupport) =>
        {
            Ok(None)
        }
        Err(error) => Err(link.during(format!("volume {path}"))(error)),
    }
}

pub fn describe(link: &Link, volume: &StorageVol) -> Result<VolumeInfo, PlatformError> {
    let xml = volume
        .xml_desc(0)
        .map_err(link.during("read a volume's description"))?;
    read(&xml)
}

fn read(xml: &str) -> Result<VolumeInfo, PlatformError> {
    let document = domain_xml::parse("a volume", xml)?;
    let root = document.root_element();
    let size = |name| {
        domain_xml::child(root, name).and_then(|node| {
            // Volumes count in bytes where domains count in KiB.
            if node.attribute("unit").is_some() {
                domain_xml::bytes(node)
            } else {
                domain_xml::number(node.text())
            }
        })
    };
    let target = domain_xml::child(root, "target");
    let format = target
        .and_then(|target| domain_xml::child(target, "format"))
        .and_then(|format| format.attribute("type"))
        .unwrap_or_default();
    let compat = target
        .and_then(|target| domain_xml::child_text(target, "compat"))
        .map(str::to_owned);
    Ok(VolumeInfo {
        path: target
            .and_then(|target| domain_xml::child_text(target, "path"))
            .unwrap_or_default()
            .to_owned(),
        capacity_bytes: size("capacity").unwrap_or(0),
        allocated_bytes: size("allocation").unwrap_or(0),
        compat: compat.or_else(|| (format == "qcow2").then(|| "0.10".to_owned())),
        format: format.to_owned(),
        backing: domain_xml::child(root, "backingStore")
            .and_then(|store| domain_xml::child_text(store, "path"))
            .map(str::to_owned),
    })
}

/// Looks at the directory again; a pool that is being written to cannot and need not.
pub fn refresh(link: &Link, pool: &StoragePool) -> Result<(), PlatformError> {
    match pool.refresh(0) {
        Ok(()) => Ok(()),
        Err(error) if error.message().contains("asynchronous jobs") => Ok(()),
        // The test driver's pools have nothing to look at.
        Err(error) if error.code().is(ErrorNumber::NoSupport) => Ok(()),
        Err(error) => Err(link.during("refresh storage")(error)),
    }
}

/// The names of all volumes that the pool knows.
pub fn names(link: &Link, pool: &StoragePool) -> Result<Vec<String>, PlatformError> {
    pool.list_all_volumes(0)
        .map_err(link.during("list volumes"))?
        .iter()
        .map(|volume| volume.name().map_err(link.during("list volumes")))
        .collect()
}

/// The volume of this name; `None` where there is none.
pub fn find(
    link: &Link,
    pool: &StoragePool,
    name: &str,
) -> Result<Option<StorageVol>, PlatformError> {
    match pool.lookup_storage_vol_by_name(name) {
        Ok(volume) => Ok(Some(volume)),
        Err(error) if error.code().is(ErrorNumber::NoStorageVolume) => Ok(None),
        Err(error) => Err(link.during(format!("volume {name}"))(error)),
    }
}

/// A volume to make.
pub struct NewVolume<'a> {
    pub name: &'a str,
    pub format: &'a str,
    pub capacity_bytes: u64,
    /// The path of the qcow2 volume that it stands on.
    pub backing: Option<&'a str>,
}

impl NewVolume<'_> {
    pub fn to_xml(&self) -> String {
        let mut target =
            Element::new("target").with(Element::new("format").attribute("type", self.format));
        if self.format == "qcow2" {
            // libvirt's default is 0.10, which cannot keep dirty bitmaps.
            target = target.with(Element::new("compat").text("1.1"));
        }
        let mut volume = Element::new("volume")
            .with(Element::new("name").text(self.name))
            .with(
                Element::new("capacity")
                    .attribute("unit", "bytes")
                    .text(&self.capacity_bytes.to_string()),
            )
            .with(Element::new("allocation").text("0"))
            .with(target);
        if let Some(path) = self.backing {
            volume = volume.with(
                Element::new("backingStore")
                    .with(Element::new("path").text(path))
                    .with(Element::new("format").attribute("type", "qcow2")),
            );
        }
        volume.to_xml()
    }
}

/// Makes a volume; one of this name must not be there.
pub fn create(
    link: &Link,
    pool: &StoragePool,
    volume: &NewVolume,
) -> Result<StorageVol, PlatformError> {
    StorageVol::create_xml(pool, &volume.to_xml(), 0)
        .map_err(link.during(format!("create volume {}", volume.name)))
}

/// Deletes the volume of this name; one that is gone is no error.
pub fn delete(link: &Link, pool: &StoragePool, name: &str) -> Result<(), PlatformError> {
    const TRIES: u32 = 25;
    for _ in 0..TRIES {
        let Some(volume) = find(link, pool, name)? else {
            return Ok(());
        };
        match volume.delete(0) {
            Ok(()) => return Ok(()),
            Err(error) if error.code().is(ErrorNumber::NoStorageVolume) => return Ok(()),
            // libvirt lets go of a volume only some time after the stream into it was cut.
            Err(error)
                if error.message().contains("in use")
                    || error.message().contains("being allocated") =>
            {
                link.beat()?;
                thread::sleep(Duration::from_millis(200));
            }
            // Somebody removed the file behind libvirt's back: a refresh drops the entry.
            Err(error) if error.message().contains("No such file") => refresh(link, pool)?,
            Err(error) => return Err(link.during(format!("delete volume {name}"))(error)),
        }
    }
    Err(PlatformError::Busy {
        what: format!("volume {name}"),
        why: "it is in use".to_owned(),
    })
}

/// What one stream message may carry at most.
const CHUNK_BYTES: usize = 262_120;

/// Bytes on their way into a volume. Cut off unless finished.
pub struct Upload {
    stream: Option<Stream>,
    source: SourceName,
    what: String,
}

impl Upload {
    pub fn start(link: &Link, volume: &StorageVol, name: &str) -> Result<Self, PlatformError> {
        let what = format!("write volume {name}");
        let stream = Stream::new(&link.connect, 0).map_err(link.during(&*what))?;
        volume
            .upload(&stream, 0, 0, 0)
            .map_err(link.during(&*what))?;
        Ok(Self {
            stream: Some(stream),
            source: link.source.clone(),
            what,
        })
    }

    pub fn send(&self, bytes: &[u8]) -> Result<(), PlatformError> {
        let Some(stream) = &self.stream else {
            return Err(PlatformError::Cancelled);
        };
        for chunk in bytes.chunks(CHUNK_BYTES) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let sent = stream
                    .send(rest)
                    .map_err(|error| platform_error(&self.source, &self.what, &error))?;
                let sent = usize::try_from(sent).unwrap_or(0);
                if sent == 0 || sent > rest.len() {
                    return Err(PlatformError::Failed {
                        what: self.what.clone(),
                        message: "the stream takes no bytes".to_owned(),
                    });
                }
                rest = &rest[sent..];
            }
        }
        Ok(())
    }

    /// Waits until everything is written.
    pub fn finish(mut self) -> Result<(), PlatformError> {
        let Some(stream) = self.stream.take() else {
            return Ok(());
        };
        stream
            .finish()
            .map_err(|error| platform_error(&self.source, &self.what, &error))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        cut(self.stream.take());
    }
}

/// A volume's bytes, read over a stream.
pub struct Download {
    stream: Option<Stream>,
    source: SourceName,
    what: String,
}

impl Download {
    pub fn start(link: &Link, volume: &StorageVol, name: &str) -> Result<Self, PlatformError> {
        let what = format!("read volume {name}");
        let stream = Stream::new(&link.connect, 0).map_err(link.during(&*what))?;
        volume
            .download(&stream, 0, 0, 0)
            .map_err(link.during(&*what))?;
        Ok(Self {
            stream: Some(stream),
            source: link.source.clone(),
            what,
        })
    }

    fn failed(&self, error: &virt::error::Error) -> io::Error {
        io::Error::other(platform_error(&self.source, &self.what, error))
    }
}

impl io::Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stream) = &self.stream else {
            return Ok(0);
        };
        if buffer.is_empty() {
            return Ok(0);
        }
        let room = buffer.len().min(CHUNK_BYTES);
        let received = stream
            .recv(&mut buffer[..room])
            .map_err(|error| self.failed(&error))?;
        match usize::try_from(received) {
            // The stream's end counts only once libvirt confirms it: what broke on the way shows here.
            Ok(0) => match self.stream.take().map(Stream::finish) {
                Some(Err(error)) => Err(self.failed(&error)),
                Some(Ok(())) | None => Ok(0),
            },
            Ok(received) => Ok(received),
            Err(_) => Err(io::Error::other("the stream gives no bytes")),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        cut(self.stream.take());
    }
}

fn cut(stream: Option<Stream>) {
    if let Some(Err(error)) = stream.map(Stream::abort) {
        tracing::debug!(%error, "a stream was already gone");
    }
}
