//! Threads that call libvirt, which blocks and cannot be cancelled.
//!
//! A worker is one thread with one connection, opened when first needed and again after it was lost. Whoever asks
//! waits with a deadline; a call that passes it is abandoned: its thread ends when libvirt lets it go, and what the
//! call still does shows at its next [`Link::beat`].

use std::{
    sync::{
        Arc, Once,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use virt::{connect::Connect, domain::Domain, error::Error, storage_pool::StoragePool};

use super::{address::Address, error::platform_error};
use crate::{hypervisor::PlatformError, units::SourceName};

/// Probes of a silent connection: every 5 s, lost after 3 without an answer.
const KEEPALIVE_SECONDS: i32 = 5;
const KEEPALIVE_COUNT: u32 = 3;

/// What a call works with: the connection, and the sign of life that its caller watches.
pub struct Link {
    pub connect: Connect,
    pub source: SourceName,
    pulse: Arc<Pulse>,
}

#[derive(Default)]
struct Pulse {
    beats: AtomicU64,
    abandoned: AtomicBool,
}

impl Link {
    /// A link that nobody watches.
    pub fn new(connect: Connect, source: &SourceName) -> Self {
        Self {
            connect,
            source: source.clone(),
            pulse: Arc::default(),
        }
    }

    /// Whether nobody waits for this call any more; another one may be at the same work already.
    pub fn is_abandoned(&self) -> bool {
        self.pulse.abandoned.load(Ordering::Relaxed)
    }

    /// Says that a long call is alive.
    ///
    /// # Errors
    /// [`PlatformError::Cancelled`] once nobody waits for it any more.
    pub fn beat(&self) -> Result<(), PlatformError> {
        self.pulse.beats.fetch_add(1, Ordering::Relaxed);
        if self.is_abandoned() {
            return Err(PlatformError::Cancelled);
        }
        Ok(())
    }

    /// Turns libvirt's errors of doing `what` into the seam's.
    pub fn during(&self, what: impl Into<String>) -> impl FnOnce(Error) -> PlatformError {
        let (source, what) = (self.source.clone(), what.into());
        move |error| platform_error(&source, &what, &error)
    }

    /// The VM of this uuid.
    ///
    /// # Errors
    /// [`PlatformError::NotFound`] where there is none.
    pub fn domain(&self, uuid: &str) -> Result<Domain, PlatformError> {
        self.connect
            .lookup_domain_by_uuid_string(uuid)
            .map_err(self.during(format!("VM {uuid}")))
    }

    /// The storage pool of this name.
    ///
    /// # Errors
    /// [`PlatformError::NotFound`] where there is none.
    pub fn storage(&self, name: &str) -> Result<StoragePool, PlatformError> {
        self.connect
            .lookup_storage_pool_by_name(name)
            .map_err(self.during(format!("storage {name} on {}", self.source)))
    }
}

type Job = Box<dyn FnOnce(&mut Lane) + Send>;

/// The inside of a worker's thread.
struct Lane {
    source: SourceName,
    address: Address,
    link: Option<Link>,
}

impl Lane {
    /// The connection, opened anew when the old one is gone.
    fn link(&mut self, pulse: &Arc<Pulse>) -> Result<&Link, PlatformError> {
        if let Some(link) = &self.link
            && !link.connect.is_alive().unwrap_or(false)
        {
            self.link = None;
        }
        if self.link.is_none() {
            self.link = Some(Link::new(open(&self.source, &self.address)?, &self.source));
        }
        let link = self.link.as_mut().ok_or(PlatformError::Cancelled)?;
        link.pulse = Arc::clone(pulse);
        Ok(link)
    }
}

/// One thread with one connection.
pub struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    pub fn new(source: &SourceName, address: &Address) -> Result<Self, PlatformError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let mut lane = Lane {
            source: source.clone(),
            address: address.clone(),
            link: None,
        };
        thread::Builder::new()
            .name(format!("libvirt {source}"))
            .spawn(move || {
                while let Ok(job) = queue.recv() {
                    job(&mut lane);
                }
            })
            .map_err(|error| PlatformError::Failed {
                what: "start a thread".to_owned(),
                message: error.to_string(),
            })?;
        Ok(Self { jobs })
    }

    /// Hands `call` to the thread.
    pub fn start<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Link) -> Result<T, PlatformError> + Send + 'static,
    ) -> Pending<T> {
        let (answer, pending) = mpsc::sync_channel(1);
        let pulse = Arc::new(Pulse::default());
        let at_work = Arc::clone(&pulse);
        let job: Job = Box::new(move |lane| {
            // What waited in the queue past its deadline must not run late.
            if at_work.abandoned.load(Ordering::Relaxed) {
                return;
            }
            let result = lane.link(&at_work).and_then(call);
            if matches!(result, Err(PlatformError::Unreachable { .. })) {
                lane.link = None;
            }
            // The caller may have given up: then nobody needs the answer.
            let _nobody_waits = answer.send(result);
        });
        // A thread that has ended drops the job, and with it the sender: `wait` sees that.
        let _ended = self.jobs.send(job);
        Pending { pending, pulse }
    }
}

/// A call under way.
pub struct Pending<T> {
    pending: mpsc::Receiver<Result<T, PlatformError>>,
    pulse: Arc<Pulse>,
}

impl<T> Pending<T> {
    /// Waits while the call shows life at least every `stall`; gives the call back when it does not.
    pub fn wait(self, stall: Duration) -> Result<Result<T, PlatformError>, Self> {
        let mut seen = self.pulse.beats.load(Ordering::Relaxed);
        loop {
            match self.pending.recv_timeout(stall) {
                Ok(result) => return Ok(result),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(Err(ended())),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let beats = self.pulse.beats.load(Ordering::Relaxed);
                    if beats == seen {
                        return Err(self);
                    }
                    seen = beats;
                }
            }
        }
    }

    /// The result, if it is there.
    pub fn poll(&self) -> Option<Result<T, PlatformError>> {
        match self.pending.try_recv() {
            Ok(result) => Some(result),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => Some(Err(ended())),
        }
    }

    /// Tells the call that nobody waits for it any more.
    pub fn abandon(self) {
        self.pulse.abandoned.store(true, Ordering::Relaxed);
    }
}

fn ended() -> PlatformError {
    PlatformError::Failed {
        what: "call libvirt".to_owned(),
        message: "its thread has ended".to_owned(),
    }
}

/// Opens a connection on this thread; may block for as long as the transport does.
pub fn open(source: &SourceName, address: &Address) -> Result<Connect, PlatformError> {
    start_event_loop();
    let connect = Connect::open(Some(&address.uri)).map_err(|error| {
        match platform_error(source, "connect", &error) {
            // Whatever else goes wrong while connecting, the source is not there.
            PlatformError::Failed { message, .. }
            | PlatformError::Unsupported { why: message, .. } => PlatformError::Unreachable {
                source_name: source.clone(),
                why: message,
            },
            other => other,
        }
    })?;
    // The test driver and old daemons know no keepalive; there a dead peer shows only at the deadline.
    if let Err(error) = connect.set_keep_alive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT) {
        tracing::debug!(%source, %error, "no keepalive");
    }
    Ok(connect)
}

/// libvirt answers keepalive probes and notices closed sockets only while an event loop runs.
fn start_event_loop() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        // libvirt prints every error on its own otherwise.
        virt::error::clear_error_callback();
        if let Err(error) = virt::event::event_register_default_impl() {
            tracing::warn!(%error, "libvirt's event loop does not start");
            return;
        }
        let spawned = thread::Builder::new()
            .name("libvirt events".to_owned())
            .spawn(|| {
                loop {
                    if let Err(error) = virt::event::event_run_default_impl() {
                        tracing::warn!(%error, "libvirt's event loop ended");
                        return;
                    }
                }
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "libvirt's event loop does not start");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> Worker {
        let address = Address::parse("test:///default").unwrap();
        Worker::new(&SourceName::from("t"), &address).unwrap()
    }

    #[test]
    fn a_call_past_its_deadline_is_given_back_and_learns_that_it_was_abandoned() {
        let worker = worker();
        let (release, held) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let stuck = worker.start(move |link| {
            let _released = held.recv();
            tell.send(link.beat()).ok();
            Ok(())
        });
        let Err(stuck) = stuck.wait(Duration::from_millis(20)) else {
            panic!("it cannot have answered");
        };
        let queued = worker.start(|_| Ok(()));
        let Err(queued) = queued.wait(Duration::from_millis(20)) else {
            panic!("it waits behind the stuck one");
        };
        queued.abandon();
        stuck.abandon();
        release.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), Err(PlatformError::Cancelled));
        assert!(matches!(
            worker.start(|_| Ok(7)).wait(Duration::from_mins(1)),
            Ok(Ok(7))
        ));
    }

    #[test]
    fn a_call_that_panics_is_an_error_and_no_hang() {
        let worker = worker();
        let pending = worker.start::<()>(|_| panic!("on purpose"));
        assert!(matches!(
            pending.wait(Duration::from_mins(1)),
            Ok(Err(PlatformError::Failed { .. }))
        ));
    }
}
