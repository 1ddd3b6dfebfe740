//! What a face holds of the engine: the newest snapshot, and a way to ask. The same for an engine in this process
//! and for one behind a socket.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    command::{Command, Reply},
    snapshot::Snapshot,
};
use crate::problem::Problem;

/// A command with the place for its answer.
pub struct Request {
    pub command: Command,
    pub reply: oneshot::Sender<Reply>,
}

#[derive(Clone)]
pub struct Handle {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    requests: mpsc::Sender<Request>,
}

/// An answer that is on its way.
pub struct Pending {
    answer: oneshot::Receiver<Reply>,
    /// Came while its waker was being set.
    came: Option<Reply>,
}

impl Handle {
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>, requests: mpsc::Sender<Request>) -> Self {
        Self {
            snapshots,
            requests,
        }
    }

    /// The newest snapshot; costs a reference count.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Sends without waiting. The answer says so where the engine is gone or its queue is full.
    pub fn send(&self, command: Command) -> Pending {
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.requests.try_send(Request { command, reply }) {
            let (request, why) = match error {
                mpsc::error::TrySendError::Full(request) => (request, "its queue is full"),
                mpsc::error::TrySendError::Closed(request) => (request, "it has stopped"),
            };
            // The receiver is in our hands, so this cannot be lost.
            let _ = request.reply.send(Err(engine_gone(why)));
        }
        Pending { answer, came: None }
    }

    /// Sends and waits for the answer. Not for a thread that draws.
    ///
    /// # Errors
    /// The engine's own refusal, or that the engine is gone.
    pub fn ask(&self, command: Command) -> Reply {
        self.send(command).wait()
    }

    /// Whether the engine still runs.
    pub fn alive(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Calls `news` after each new snapshot, at most once in `pause`, on a thread of its own, until the engine ends.
    pub fn on_news(&self, pause: Duration, news: impl Fn() + Send + 'static) {
        let mut snapshots = self.snapshots.clone();
        let watch = async move {
            while snapshots.changed().await.is_ok() {
                snapshots.borrow_and_update();
                news();
                tokio::time::sleep(pause).await;
            }
            news();
        };
        std::thread::Builder::new()
            .name("news".to_owned())
            .spawn(move || {
                if let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                {
                    runtime.block_on(watch);
                }
            })
            .map_or_else(|error| tracing::error!(%error, "no thread for news"), drop);
    }

    /// Waits until a snapshot satisfies `wanted`, or `None` when the time is over or the engine is gone.
    pub fn wait_for(
        &self,
        timeout: Duration,
        mut wanted: impl FnMut(&Snapshot) -> bool,
    ) -> Option<Arc<Snapshot>> {
        let mut snapshots = self.snapshots.clone();
        let found = async move {
            tokio::time::timeout(timeout, snapshots.wait_for(|snapshot| wanted(snapshot)))
                .await
                .ok()?
                .ok()
                .map(|snapshot| snapshot.clone())
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .ok()?
            .block_on(found)
    }
}

impl Pending {
    /// The answer once it is there.
    pub fn poll(&mut self) -> Option<Reply> {
        if let Some(reply) = self.came.take() {
            return Some(reply);
        }
        match self.answer.try_recv() {
            Ok(reply) => Some(reply),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(engine_gone("it has stopped"))),
        }
    }

    /// Wakes `waker` once the answer is there, so that nobody has to look for it in the meantime.
    pub fn wake_when_there(&mut self, waker: &Waker) {
        if self.came.is_some() {
            waker.wake_by_ref();
            return;
        }
        let answer = Pin::new(&mut self.answer);
        if let Poll::Ready(answer) = answer.poll(&mut Context::from_waker(waker)) {
            self.came = Some(answer.unwrap_or_else(|_| Err(engine_gone("it has stopped"))));
            waker.wake_by_ref();
        }
    }

    /// # Errors
    /// The engine's own refusal, or that the engine is gone.
    pub fn wait(self) -> Reply {
        if let Some(reply) = self.came {
            return reply;
        }
        self.answer
            .blocking_recv()
            .unwrap_or_else(|_| Err(engine_gone("it has stopped")))
    }
}

fn engine_gone(why: &str) -> Problem {
    Problem::failed(
        "The command was not carried out.",
        format!("The engine does not take commands: {why}."),
        "Start it again; what it had begun is resumed or undone.",
    )
}
