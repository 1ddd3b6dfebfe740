//! Where increments lie on the source between the backup job and the transfer.
//!
//! A host that has a pool named `spool` decides so. Elsewhere a directory beside the VM's first disk becomes a pool
//! of ours, `sc-<engine>-spool`; it goes with the last replica. Files bear the VM's uuid, so that one VM's can be
//! removed without knowing their numbers.

use virt::{error::ErrorNumber, storage_pool::StoragePool};
use virt_sys as sys;

use super::{
    domain_xml::{self, DomainXml},
    element::Element,
    volumes,
    worker::Link,
};
use crate::{
    hypervisor::PlatformError,
    replication,
    units::{EngineId, VmId},
};

/// The least that stays free on the spool's file system: guests that share it pause when it is full.
const MARGIN_BYTES: u64 = 64 << 20;
const MARGIN_PERCENT: u64 = 5;

/// A spool with what the backup job needs to know of it.
pub struct Spool {
    pub pool: StoragePool,
    directory: String,
}

/// The name of the file that `volume` is on the source.
pub fn file_name(volume: &str, vm: &VmId) -> String {
    format!("{volume}.{}", vm.uuid())
}

fn own_name(engine: &EngineId) -> String {
    format!("{}spool", replication::prefix(engine))
}

impl Spool {
    /// The host's spool, if it has one.
    pub fn find(link: &Link, engine: &EngineId) -> Result<Option<Self>, PlatformError> {
        for name in [volumes::SPOOL, &own_name(engine)] {
            match link.connect.lookup_storage_pool_by_name(name) {
                Ok(pool) => return Self::activated(link, pool).map(Some),
                Err(error) if error.code().is(ErrorNumber::NoStoragePool) => {}
                Err(error) => return Err(link.during(format!("storage {name}"))(error)),
            }
        }
        Ok(None)
    }

    /// The host's spool; made beside the VM's first disk where there is none.
    pub fn ensure(link: &Link, engine: &EngineId, vm: &DomainXml) -> Result<Self, PlatformError> {
        if let Some(spool) = Self::find(link, engine)? {
            return Ok(spool);
        }
        let beside = vm
            .disks
            .iter()
            .find_map(|disk| disk.path.rsplit_once('/').map(|(directory, _)| directory))
            .filter(|directory| directory.starts_with('/'))
            .ok_or_else(|| PlatformError::Unsupported {
                what: format!("replicating {}", vm.name),
                why: "no disk is a file, so there is no place for increments; make a pool named `spool`"
                    .to_owned(),
            })?;
        let name = own_name(engine);
        let xml = Element::new("pool")
            .attribute("type", "dir")
            .with(Element::new("name").text(&name))
            .with(
                Element::new("target").with(Element::new("path").text(&format!("{beside}/{name}"))),
            )
            .to_xml();
        let during = || link.during(format!("make the storage pool {name}"));
        let pool = link
            .connect
            .define_storage_pool_xml(&xml, 0)
            .map_err(during())?;
        pool.build(sys::VIR_STORAGE_POOL_BUILD_NEW)
            .map_err(during())?;
        Self::activated(link, pool)
    }

    fn activated(link: &Link, pool: StoragePool) -> Result<Self, PlatformError> {
        let during = || link.during("start the spool's storage pool");
        if !pool.is_active().map_err(during())? {
            pool.create(0).map_err(during())?;
        }
        let xml = pool.xml_desc(0).map_err(during())?;
        let document = domain_xml::parse("the spool", &xml)?;
        let directory = domain_xml::child(document.root_element(), "target")
            .and_then(|target| domain_xml::child_text(target, "path"))
            .map(str::to_owned)
            .ok_or_else(|| PlatformError::Unsupported {
                what: "the storage pool `spool`".to_owned(),
                why: "it is no directory".to_owned(),
            })?;
        Ok(Self { pool, directory })
    }

    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.directory.trim_end_matches('/'))
    }

    /// Refuses to begin what would fill the file system.
    pub fn check_room(&self, link: &Link, needed_bytes: u64) -> Result<(), PlatformError> {
        let (available, margin) = self.room(link)?;
        if available < needed_bytes.saturating_add(margin) {
            return Err(PlatformError::NoSpace {
                place: format!(
                    "the spool {} of {}: the increment may need {} MiB, {} MiB are free and {} MiB of them stay so",
                    self.directory,
                    link.source,
                    needed_bytes >> 20,
                    available >> 20,
                    margin >> 20
                ),
            });
        }
        Ok(())
    }

    /// Free bytes, and how many of them must stay free.
    fn room(&self, link: &Link) -> Result<(u64, u64), PlatformError> {
        volumes::refresh(link, &self.pool)?;
        let info = self
            .pool
            .info()
            .map_err(link.during("read the spool's free space"))?;
        let margin = (info.capacity / 100 * MARGIN_PERCENT).min(MARGIN_BYTES);
        Ok((info.available, margin))
    }

    /// Deletes the files of one VM.
    pub fn clear(&self, link: &Link, engine: &EngineId, vm: &VmId) -> Result<(), PlatformError> {
        volumes::refresh(link, &self.pool)?;
        let suffix = file_name("", vm);
        for name in volumes::names(link, &self.pool)? {
            if replication::is_ours(engine, &name) && name.ends_with(&suffix) {
                volumes::delete(link, &self.pool, &name)?;
            }
        }
        Ok(())
    }

    /// Removes the pool if it is ours and nothing is left in it.
    pub fn remove_if_empty(self, link: &Link, engine: &EngineId) -> Result<(), PlatformError> {
        let during = || link.during("remove the spool's storage pool");
        if self.pool.name().map_err(during())? != own_name(engine) {
            return Ok(());
        }
        volumes::refresh(link, &self.pool)?;
        if !volumes::names(link, &self.pool)?.is_empty() {
            return Ok(());
        }
        self.pool.destroy().map_err(during())?;
        self.pool.delete(0).map_err(during())?;
        self.pool.undefine().map_err(during())
    }
}
