//! The libvirt calls that `virt` 0.5 does not wrap: backup jobs, checkpoints, freeze, node and bulk statistics.
//!
//! The only module with unsafe code. Each function takes safe handles, copies what C hands out into owned values
//! and frees it before it returns; no raw pointer leaves.
#![allow(unsafe_code, reason = "virt 0.5 has no safe wrappers for these calls")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    ptr,
};

use virt::{connect::Connect, domain::Domain, error::Error};
use virt_sys as sys;

/// Lets threads share two heaps. libvirt's answers about 10,000 VMs are millions of small pieces; with a heap for each
/// thread, as the C library has it, their remains took 180 MB. Only what is called first counts.
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes two numbers, no pointer; glibc locks its own state.
        let taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
        if taken == 0 {
            tracing::debug!("the C library keeps a heap for each thread");
        }
    }
}

/// One named value of a statistics record.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Double(f64),
    Bool(bool),
    Text(String),
}

impl Value {
    /// The number where it is a count; negative numbers are no counts.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            Self::Double(_) | Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

/// What the bulk statistics call says of one VM.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainStats {
    pub uuid: String,
    pub values: Vec<(String, Value)>,
}

/// What libvirt says of the job on a VM.
#[derive(Clone, Debug, PartialEq)]
pub struct JobStats {
    pub kind: JobKind,
    pub values: Vec<(String, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    None,
    Running,
    Completed,
    /// Failed or cancelled.
    Failed,
}

impl JobStats {
    pub fn count(&self, field: &str) -> Option<u64> {
        self.get(field).and_then(Value::count)
    }

    pub fn get(&self, field: &str) -> Option<&Value> {
        self.values
            .iter()
            .find(|(name, _)| name == field)
            .map(|(_, value)| value)
    }
}

/// A checkpoint's handle; released on drop.
pub struct Checkpoint(sys::virDomainCheckpointPtr);

// SAFETY: libvirt's object handles are reference counted and may be used from any thread.
unsafe impl Send for Checkpoint {}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // SAFETY: the handle came from libvirt with one reference that nobody else releases.
        unsafe { sys::virDomainCheckpointFree(self.0) };
    }
}

impl Checkpoint {
    pub fn name(&self) -> Result<String, Error> {
        // SAFETY: the name belongs to the live handle and is copied here.
        unsafe {
            let name = sys::virDomainCheckpointGetName(self.0);
            if name.is_null() {
                return Err(Error::last_error());
            }
            Ok(copied(name))
        }
    }

    /// The description without the VM's own; with `sizes`, how much an increment from it would hold.
    pub fn xml(&self, sizes: bool) -> Result<String, Error> {
        let mut flags = sys::VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN;
        if sizes {
            flags |= sys::VIR_DOMAIN_CHECKPOINT_XML_SIZE;
        }
        // SAFETY: the handle is live; the text is ours to free, which `taken` does.
        unsafe { taken(sys::virDomainCheckpointGetXMLDesc(self.0, flags)) }
    }

    /// Deletes it; its bitmap merges into the checkpoint before it. `metadata_only` leaves the bitmap alone.
    pub fn delete(&self, metadata_only: bool) -> Result<(), Error> {
        let flags = if metadata_only {
            sys::VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY
        } else {
            0
        };
        // SAFETY: the handle is live.
        done(unsafe { sys::virDomainCheckpointDelete(self.0, flags) })
    }
}

/// All checkpoints of a VM, the ones that others count from first.
pub fn checkpoints(domain: &Domain) -> Result<Vec<Checkpoint>, Error> {
    let mut list: *mut sys::virDomainCheckpointPtr = ptr::null_mut();
    // SAFETY: libvirt fills `list` with as many owned handles as it returns; the array itself is ours to free.
    unsafe {
        let count = sys::virDomainListAllCheckpoints(
            domain.as_ptr(),
            &raw mut list,
            sys::VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL,
        );
        let Ok(count) = usize::try_from(count) else {
            return Err(Error::last_error());
        };
        let found = (0..count).map(|i| Checkpoint(*list.add(i))).collect();
        libc::free(list.cast::<c_void>());
        Ok(found)
    }
}

/// Starts a backup job and makes the checkpoint at the same point in time.
pub fn backup_begin(domain: &Domain, backup: &str, checkpoint: &str) -> Result<(), Error> {
    let (backup, checkpoint) = (CString::new(backup)?, CString::new(checkpoint)?);
    // SAFETY: the handle and both strings live through the call.
    done(unsafe {
        sys::virDomainBackupBegin(domain.as_ptr(), backup.as_ptr(), checkpoint.as_ptr(), 0)
    })
}

/// The description of the running backup job; an error where none runs.
pub fn backup_xml(domain: &Domain) -> Result<String, Error> {
    // SAFETY: the handle is live; the text is ours to free, which `taken` does.
    unsafe { taken(sys::virDomainBackupGetXMLDesc(domain.as_ptr(), 0)) }
}

pub fn abort_job(domain: &Domain) -> Result<(), Error> {
    // SAFETY: the handle is live.
    done(unsafe { sys::virDomainAbortJob(domain.as_ptr()) })
}

/// The job that runs on a VM, or with `completed` the last one that ended.
///
/// `Domain::job_stats` of `virt` 0.5 reads through a null pointer when no job runs.
pub fn job_stats(domain: &Domain, completed: bool) -> Result<JobStats, Error> {
    let flags = if completed {
        sys::VIR_DOMAIN_JOB_STATS_COMPLETED | sys::VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED
    } else {
        0
    };
    let (mut kind, mut params, mut count): (c_int, sys::virTypedParameterPtr, c_int) =
        (0, ptr::null_mut(), 0);
    // SAFETY: libvirt fills the three places; the parameters are copied and then freed.
    unsafe {
        if sys::virDomainGetJobStats(
            domain.as_ptr(),
            &raw mut kind,
            &raw mut params,
            &raw mut count,
            flags,
        ) < 0
        {
            return Err(Error::last_error());
        }
        let values = values(params, count);
        sys::virTypedParamsFree(params, count);
        Ok(JobStats {
            kind: match kind.cast_unsigned() {
                sys::VIR_DOMAIN_JOB_NONE => JobKind::None,
                sys::VIR_DOMAIN_JOB_COMPLETED => JobKind::Completed,
                sys::VIR_DOMAIN_JOB_BOUNDED | sys::VIR_DOMAIN_JOB_UNBOUNDED => JobKind::Running,
                _ => JobKind::Failed,
            },
            values,
        })
    }
}

/// Freezes all file systems through the guest agent; returns how many.
pub fn fs_freeze(domain: &Domain) -> Result<u32, Error> {
    // SAFETY: the handle is live; a null list means all file systems.
    let frozen = unsafe { sys::virDomainFSFreeze(domain.as_ptr(), ptr::null_mut(), 0, 0) };
    u32::try_from(frozen).map_err(|_| Error::last_error())
}

/// Thaws all file systems through the guest agent; returns how many.
pub fn fs_thaw(domain: &Domain) -> Result<u32, Error> {
    // SAFETY: the handle is live; a null list means all file systems.
    let thawed = unsafe { sys::virDomainFSThaw(domain.as_ptr(), ptr::null_mut(), 0, 0) };
    u32::try_from(thawed).map_err(|_| Error::last_error())
}

/// Bulk statistics of all running VMs; `groups` and `flags` are libvirt's.
pub fn all_domain_stats(
    connect: &Connect,
    groups: u32,
    flags: u32,
) -> Result<Vec<DomainStats>, Error> {
    let mut records: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
    // SAFETY: libvirt fills `records` with as many records as it returns; they are copied and the list is freed.
    unsafe {
        let count = sys::virConnectGetAllDomainStats(
            connect.as_ptr(),
            groups,
            &raw mut records,
            flags as c_uint,
        );
        let Ok(count) = usize::try_from(count) else {
            return Err(Error::last_error());
        };
        let mut found = Vec::with_capacity(count);
        for i in 0..count {
            let record = &**records.add(i);
            let mut uuid: [c_char; sys::VIR_UUID_STRING_BUFLEN as usize] =
                [0; sys::VIR_UUID_STRING_BUFLEN as usize];
            if sys::virDomainGetUUIDString(record.dom, uuid.as_mut_ptr()) < 0 {
                continue;
            }
            found.push(DomainStats {
                uuid: copied(uuid.as_ptr()),
                values: values(record.params, record.nparams),
            });
        }
        sys::virDomainStatsRecordListFree(records);
        Ok(found)
    }
}

/// Starts moving what `top` and the layers down to `base` hold into `base`.
pub fn block_commit(domain: &Domain, disk: &str, base: &str, top: &str) -> Result<(), Error> {
    let [disk, base, top] = [CString::new(disk)?, CString::new(base)?, CString::new(top)?];
    // SAFETY: all handles and texts are live for the call.
    done(unsafe {
        sys::virDomainBlockCommit(
            domain.as_ptr(),
            disk.as_ptr(),
            base.as_ptr(),
            top.as_ptr(),
            0,
            0,
        )
    })
}

/// Done and all bytes of the job on a disk; `None` where none runs.
pub fn block_job(domain: &Domain, disk: &str) -> Result<Option<(u64, u64)>, Error> {
    let disk = CString::new(disk)?;
    // SAFETY: a record of integers, for which all zeros is a value.
    let mut info: sys::virDomainBlockJobInfo = unsafe { std::mem::zeroed() };
    // SAFETY: handle and text are live, and the record is ours for the call.
    let found =
        unsafe { sys::virDomainGetBlockJobInfo(domain.as_ptr(), disk.as_ptr(), &raw mut info, 0) };
    done(found.min(0))?;
    Ok((found > 0).then_some((info.cur, info.end)))
}

/// The host's memory by field (`total`, `free`, `buffers`, `cached`), in KiB.
pub fn node_memory(connect: &Connect) -> Result<Vec<(String, u64)>, Error> {
    let cell = sys::VIR_NODE_MEMORY_STATS_ALL_CELLS;
    let mut count: c_int = 0;
    // SAFETY: a null list asks for the count; then the buffer holds that many zeroed records.
    unsafe {
        let connect = connect.as_ptr();
        done(sys::virNodeGetMemoryStats(
            connect,
            cell,
            ptr::null_mut(),
            &raw mut count,
            0,
        ))?;
        let mut fields: Vec<sys::virNodeMemoryStats> =
            vec![std::mem::zeroed(); usize::try_from(count).unwrap_or(0)];
        done(sys::virNodeGetMemoryStats(
            connect,
            cell,
            fields.as_mut_ptr(),
            &raw mut count,
            0,
        ))?;
        let filled = usize::try_from(count).unwrap_or(0).min(fields.len());
        Ok(fields[..filled]
            .iter()
            .map(|field| (copied(field.field.as_ptr()), field.value))
            .collect())
    }
}

/// The host's CPU time by field (`user`, `kernel`, `idle`, `iowait`), in nanoseconds over all CPUs.
pub fn node_cpu(connect: &Connect) -> Result<Vec<(String, u64)>, Error> {
    let all = sys::VIR_NODE_CPU_STATS_ALL_CPUS;
    let mut count: c_int = 0;
    // SAFETY: a null list asks for the count; then the buffer holds that many zeroed records.
    unsafe {
        let connect = connect.as_ptr();
        done(sys::virNodeGetCPUStats(
            connect,
            all,
            ptr::null_mut(),
            &raw mut count,
            0,
        ))?;
        let mut fields: Vec<sys::virNodeCPUStats> =
            vec![std::mem::zeroed(); usize::try_from(count).unwrap_or(0)];
        done(sys::virNodeGetCPUStats(
            connect,
            all,
            fields.as_mut_ptr(),
            &raw mut count,
            0,
        ))?;
        let filled = usize::try_from(count).unwrap_or(0).min(fields.len());
        Ok(fields[..filled]
            .iter()
            .map(|field| (copied(field.field.as_ptr()), field.value))
            .collect())
    }
}

fn done(result: c_int) -> Result<(), Error> {
    if result < 0 {
        Err(Error::last_error())
    } else {
        Ok(())
    }
}

/// Copies a C string.
///
/// # Safety
/// `text` is a valid, NUL-terminated string.
unsafe fn copied(text: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// Copies a C string that is ours, and frees it.
///
/// # Safety
/// `text` is null after an error, or a valid string allocated by libvirt for the caller.
unsafe fn taken(text: *mut c_char) -> Result<String, Error> {
    if text.is_null() {
        return Err(Error::last_error());
    }
    // SAFETY: as the caller promises; nobody else holds the text.
    unsafe {
        let owned = copied(text);
        libc::free(text.cast::<c_void>());
        Ok(owned)
    }
}

/// Copies typed parameters.
///
/// # Safety
/// `params` points to `count` valid parameters, or `count` is not positive.
unsafe fn values(params: sys::virTypedParameterPtr, count: c_int) -> Vec<(String, Value)> {
    let count = usize::try_from(count).unwrap_or(0);
    if params.is_null() {
        return Vec::new();
    }
    (0..count)
        .filter_map(|i| {
            // SAFETY: `i` is below the count; `type_` says which member of the union is set.
            unsafe {
                let param = &*params.add(i);
                let value = match param.type_.cast_unsigned() {
                    sys::VIR_TYPED_PARAM_INT => Value::Signed(i64::from(param.value.i)),
                    sys::VIR_TYPED_PARAM_UINT => Value::Unsigned(u64::from(param.value.ui)),
                    sys::VIR_TYPED_PARAM_LLONG => Value::Signed(param.value.l),
                    sys::VIR_TYPED_PARAM_ULLONG => Value::Unsigned(param.value.ul),
                    sys::VIR_TYPED_PARAM_DOUBLE => Value::Double(param.value.d),
                    sys::VIR_TYPED_PARAM_BOOLEAN => Value::Bool(param.value.b != 0),
                    sys::VIR_TYPED_PARAM_STRING if !param.value.s.is_null() => {
                        Value::Text(copied(param.value.s))
                    }
                    _ => return None,
                };
                Some((copied(param.field.as_ptr()), value))
            }
        })
        .collect()
}

/// Ends the process at once, without the handlers of C libraries.
///
/// Threads may still be inside libvirt, which uses OpenSSL; OpenSSL's own exit handler would free what they use, and
/// the process would end in a crash after its work was done.
pub fn leave(code: u8) -> ! {
    use std::io::Write as _;
    // Whoever reads may have closed the pipe; then nobody misses the rest.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    // SAFETY: `_exit` takes any code, and nothing is left that must still be written.
    unsafe { libc::_exit(i32::from(code)) }
}
