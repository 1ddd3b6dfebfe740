//! The right to change a host, held by one console at a time.
//!
//! libvirt has no compare-and-swap, but making a volume is exclusive: the volume `shadowcast-lease-<epoch>` names its
//! holder, who writes it again with a higher beat for as long as it lives. Who has watched one beat for
//! [`Claim::stale`] by a monotonic clock of its own takes over by making the next epoch's volume; no two can. A
//! holder looks for a next epoch before each effect and acts no more once there is one.
//!
//! The window that remains: an effect that began before the take-over ends after it. A host without any storage pool
//! of type dir has no place for a lease, and none is held there.

use std::{
    io::Read,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use virt::{error::ErrorNumber, storage_pool::StoragePool, storage_vol::StorageVol};

use super::{
    host::{DEADLINE, Host},
    inventory,
    volumes::{self, Download, NewVolume, Upload},
    worker::Link,
};
use crate::{
    hypervisor::{Claim, PlatformError},
    units::printable,
};

const PREFIX: &str = "shadowcast-lease-";
/// The volume's size: what is written is padded to it, so that a shorter text leaves nothing of a longer one.
const BYTES: usize = 1024;
/// A holder writes so many times while others wait for it to go stale.
const BEATS_PER_STALE: u32 = 4;

/// What one process knows of a host's lease.
#[derive(Default)]
pub struct Lease {
    known: Mutex<Known>,
}

#[derive(Clone, Default)]
struct Known {
    mine: Option<Mine>,
    watched: Option<Watched>,
}

#[derive(Clone)]
struct Mine {
    storage: String,
    epoch: u64,
    beat: u64,
    beaten: Instant,
}

/// Somebody else's beat, and since when it has stood.
#[derive(Clone)]
struct Watched {
    epoch: u64,
    beat: u64,
    since: Instant,
}

/// What the volume holds.
#[derive(Serialize, Deserialize)]
struct Written {
    engine: String,
    console: String,
    beat: u64,
}

impl Lease {
    /// Takes the lease or keeps it; see [`crate::hypervisor::Hypervisor::ensure_lease`].
    pub fn ensure(&self, host: &Host, claim: &Claim) -> Result<(), PlatformError> {
        // Held over the calls: two effects at once must not both take the lease.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, claim) = (known.clone(), claim.clone());
        let (after, result) = host.run("keep the lease", DEADLINE, move |link| {
            let mut state = before;
            let result = keep(link, &claim, &mut state);
            Ok((state, result))
        })?;
        *known = after;
        result
    }

    /// Gives the lease back, if it is held.
    pub fn release(&self, host: &Host) -> Result<(), PlatformError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mine) = known.mine.take() else {
            return Ok(());
        };
        host.run("give the lease back", DEADLINE, move |link| {
            let pool = link.storage(&mine.storage)?;
            volumes::delete(link, &pool, &name(mine.epoch))
        })
    }
}

fn name(epoch: u64) -> String {
    format!("{PREFIX}{epoch}")
}

fn keep(link: &Link, claim: &Claim, known: &mut Known) -> Result<(), PlatformError> {
    if let Some(mine) = &mut known.mine {
        let pool = link.storage(&mine.storage)?;
        let stands = volumes::find(link, &pool, &name(mine.epoch))?;
        if let Some(volume) = stands
            && volumes::find(link, &pool, &name(mine.epoch + 1))?.is_none()
        {
            if mine.beaten.elapsed() >= claim.stale / BEATS_PER_STALE {
                mine.beat += 1;
                write(link, &volume, claim, mine)?;
                mine.beaten = Instant::now();
            }
            return Ok(());
        }
        known.mine = None;
    }
    let pools = pools(link)?;
    let Some((first, _)) = pools.first() else {
        return Ok(());
    };
    let Some((pool, storage, epoch)) = newest(link, &pools)? else {
        return match take(link, first, claim, 1, 0) {
            // The test driver's volumes cannot be written.
            Err(PlatformError::Unsupported { .. }) => volumes::delete(link, first, &name(1)),
            result => result.map(|mine| known.mine = Some(mine)),
        };
    };
    let written = read(link, pool, epoch)?;
    let beat = written.as_ref().map_or(0, |written| written.beat);
    if written.as_ref().is_some_and(|written| written.is_of(claim)) {
        // Left by this very console before it was started anew.
        let mine = adopt(link, pool, claim, storage, epoch, beat + 1)?;
        known.mine = Some(mine);
        return Ok(());
    }
    let watched = match known.watched.take() {
        Some(watched) if (watched.epoch, watched.beat) == (epoch, beat) => watched,
        _ => Watched {
            epoch,
            beat,
            since: Instant::now(),
        },
    };
    let stood = watched.since.elapsed();
    if stood < claim.stale {
        known.watched = Some(watched);
        return Err(held(
            link,
            written.as_ref(),
            claim.stale.saturating_sub(stood),
        ));
    }
    known.mine = Some(take(link, pool, claim, epoch + 1, 0)?);
    // Its holder is silent, and finds the next epoch before it does anything.
    volumes::delete(link, pool, &name(epoch))
}

impl Written {
    fn is_of(&self, claim: &Claim) -> bool {
        self.engine == claim.engine.as_str() && self.console == claim.console
    }
}

fn held(link: &Link, written: Option<&Written>, left: Duration) -> PlatformError {
    let by = match written {
        Some(written) => format!("the console at {}", printable(&written.console)),
        None => "another console".to_owned(),
    };
    PlatformError::Leased {
        source_name: link.source.clone(),
        by,
        seconds: left.as_secs().max(1) as u32,
    }
}

/// Where a lease may lie, in the order in which every console looks.
fn pools(link: &Link) -> Result<Vec<(StoragePool, String)>, PlatformError> {
    let mut pools = Vec::new();
    for pool in inventory::directories(link)? {
        let name = pool.name().map_err(link.during("list storage"))?;
        pools.push((pool, name));
    }
    pools.sort_by(|(_, a), (_, b)| {
        let key = |name: &String| (name != volumes::SPOOL, name.clone());
        key(a).cmp(&key(b))
    });
    Ok(pools)
}

fn newest<'a>(
    link: &Link,
    pools: &'a [(StoragePool, String)],
) -> Result<Option<(&'a StoragePool, &'a str, u64)>, PlatformError> {
    let mut newest = None;
    for (pool, storage) in pools {
        for volume in volumes::names(link, pool)? {
            let epoch = volume
                .strip_prefix(PREFIX)
                .and_then(|epoch| epoch.parse::<u64>().ok());
            if let Some(epoch) = epoch
                && newest.is_none_or(|(_, _, known)| epoch > known)
            {
                newest = Some((pool, storage.as_str(), epoch));
            }
        }
    }
    Ok(newest)
}

/// Makes the epoch's volume; of several who try, one succeeds.
fn take(
    link: &Link,
    pool: &StoragePool,
    claim: &Claim,
    epoch: u64,
    beat: u64,
) -> Result<Mine, PlatformError> {
    let new = NewVolume {
        name: &name(epoch),
        format: "raw",
        capacity_bytes: BYTES as u64,
        backing: None,
    };
    let volume = match StorageVol::create_xml(pool, &new.to_xml(), 0) {
        Ok(volume) => volume,
        Err(error) if error.code().is(ErrorNumber::StorageVolExist) => {
            return Err(held(link, None, claim.stale));
        }
        Err(error) => return Err(link.during("take the lease")(error)),
    };
    let mine = Mine {
        storage: pool.name().map_err(link.during("take the lease"))?,
        epoch,
        beat,
        beaten: Instant::now(),
    };
    write(link, &volume, claim, &mine)?;
    Ok(mine)
}

fn adopt(
    link: &Link,
    pool: &StoragePool,
    claim: &Claim,
    storage: &str,
    epoch: u64,
    beat: u64,
) -> Result<Mine, PlatformError> {
    let mine = Mine {
        storage: storage.to_owned(),
        epoch,
        beat,
        beaten: Instant::now(),
    };
    let volume =
        volumes::find(link, pool, &name(epoch))?.ok_or_else(|| PlatformError::NotFound {
            what: format!("the lease on {}", link.source),
        })?;
    write(link, &volume, claim, &mine)?;
    Ok(mine)
}

fn write(
    link: &Link,
    volume: &StorageVol,
    claim: &Claim,
    mine: &Mine,
) -> Result<(), PlatformError> {
    let written = Written {
        engine: claim.engine.as_str().to_owned(),
        console: claim.console.clone(),
        beat: mine.beat,
    };
    let mut bytes = serde_json::to_vec(&written).map_err(|error| PlatformError::Failed {
        what: "write the lease".to_owned(),
        message: error.to_string(),
    })?;
    if bytes.len() > BYTES {
        return Err(PlatformError::Failed {
            what: "write the lease".to_owned(),
            message: "this console's name is too long".to_owned(),
        });
    }
    bytes.resize(BYTES, b' ');
    let upload = Upload::start(link, volume, &name(mine.epoch))?;
    upload.send(&bytes)?;
    upload.finish()
}

/// What the volume says; `None` while it is not whole.
fn read(link: &Link, pool: &StoragePool, epoch: u64) -> Result<Option<Written>, PlatformError> {
    let name = name(epoch);
    let Some(volume) = volumes::find(link, pool, &name)? else {
        return Ok(None);
    };
    let mut text = Vec::new();
    Download::start(link, &volume, &name)?
        .take(BYTES as u64)
        .read_to_end(&mut text)
        .map_err(|error| PlatformError::Failed {
            what: "read the lease".to_owned(),
            message: error.to_string(),
        })?;
    Ok(serde_json::from_slice(&text).ok())
}
