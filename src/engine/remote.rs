//! The same handle over a local socket: a face attaches to an engine in another process.
//!
//! A frame is its length (u32, big endian) and a MessagePack value. The socket lies in the data folder (0700), has
//! mode 0600, and takes only peers of the same user.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot, watch},
};

use super::{
    command::{Command, Reply},
    handle::{Handle, Request},
    snapshot::Snapshot,
};
use crate::problem::Problem;

const SOCKET: &str = "engine.sock";
const MAX_FRAME_BYTES: usize = 256 << 20;
/// A snapshot of a large fleet is some megabytes: attached faces get fewer of them.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(250);
const FIRST_SNAPSHOT: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
struct Ask {
    id: u64,
    command: Command,
}

#[derive(Serialize, Deserialize)]
enum Tell {
    Snapshot(Box<Snapshot>),
    Reply { id: u64, reply: Reply },
}

/// Takes faces until it is dropped.
pub struct Faces {
    socket: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Faces {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = fs::remove_file(&self.socket) {
            tracing::debug!(%error, "the engine's socket was gone already");
        }
    }
}

/// Listens in the data folder. The caller holds the folder's lock, so an old socket is nobody's.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(
    folder: &Path,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    requests: mpsc::Sender<Request>,
) -> Result<Faces, Problem> {
    let socket = folder.join(SOCKET);
    let failed = |error: std::io::Error| {
        Problem::failed(
            "The engine was not started.",
            format!("{}: {error}", socket.display()),
            "Check that the data folder can be written and its path is not too long for a socket.",
        )
    };
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&socket).map_err(failed)?;
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let task = tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) if same_user(&stream) => {
                    tokio::spawn(serve(stream, snapshots.clone(), requests.clone()));
                }
                Ok(_) => tracing::warn!("a face of another user was turned away"),
                Err(error) => {
                    tracing::warn!(%error, "a face could not attach");
                    tokio::time::sleep(SNAPSHOT_PAUSE).await;
                }
            }
        }
    });
    Ok(Faces { socket, task })
}

fn same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || own == 0 || peer.uid() == 0)
}

async fn serve(
    stream: UnixStream,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    requests: mpsc::Sender<Request>,
) {
    let (mut read, write) = stream.into_split();
    let (tell, told) = mpsc::channel::<Vec<u8>>(64);
    let writer = tokio::spawn(write_frames(write, told));
    let pusher = tokio::spawn(push_snapshots(snapshots, tell.clone()));
    loop {
        let ask = match read_frame::<Ask>(&mut read).await {
            Ok(Some(ask)) => ask,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "a face's command cannot be read");
                break;
            }
        };
        let (reply, answer) = oneshot::channel();
        if requests
            .send(Request {
                command: ask.command,
                reply,
            })
            .await
            .is_err()
        {
            break;
        }
        let tell = tell.clone();
        tokio::spawn(async move {
            let Ok(reply) = answer.await else { return };
            match encode(&Tell::Reply { id: ask.id, reply }) {
                // A face that has gone misses nothing.
                Ok(frame) => drop(tell.send(frame).await),
                Err(error) => tracing::error!(%error, "an answer could not be sent"),
            }
        });
    }
    pusher.abort();
    drop(tell);
    writer.abort();
}

async fn push_snapshots(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    tell: mpsc::Sender<Vec<u8>>,
) {
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        match encode(&Tell::Snapshot(Box::new((*snapshot).clone()))) {
            Ok(frame) => {
                if tell.send(frame).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "a snapshot could not be sent"),
        }
        tokio::time::sleep(SNAPSHOT_PAUSE).await;
        if snapshots.changed().await.is_err() {
            return;
        }
    }
}

async fn write_frames(mut write: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        let length = (frame.len() as u32).to_be_bytes();
        if write.write_all(&length).await.is_err() || write.write_all(&frame).await.is_err() {
            return;
        }
    }
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    rmp_serde::to_vec_named(value)
}

/// `None` at the end of the stream.
async fn read_frame<T: DeserializeOwned>(read: &mut OwnedReadHalf) -> std::io::Result<Option<T>> {
    let mut length = [0; 4];
    match read.read_exact(&mut length).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(std::io::Error::other("a frame that is too long"));
    }
    let mut frame = vec![0; length];
    read.read_exact(&mut frame).await?;
    rmp_serde::from_slice(&frame)
        .map(Some)
        .map_err(std::io::Error::other)
}

/// Connects to the engine that listens in `folder`.
///
/// # Errors
/// When it does not take us, or says nothing in time.
pub fn attach(folder: &Path) -> Result<Handle, Problem> {
    let socket = folder.join(SOCKET);
    let failed = |why: String| {
        Problem::failed(
            "The running engine was not reached.",
            format!("{}: {why}", socket.display()),
            "If it is just starting or stopping, try again; else stop the process that holds the data folder.",
        )
    };
    let (requests, asked) = mpsc::channel(256);
    let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let path = socket.clone();
    std::thread::Builder::new()
        .name("attached".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(relay(&path, asked, publish, ready)),
                Err(error) => drop(ready.send(Err(error))),
            }
        })
        .map_err(|error| failed(error.to_string()))?;
    match is_ready.recv_timeout(FIRST_SNAPSHOT) {
        Ok(Ok(())) => Ok(Handle::new(snapshots, requests)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("it says nothing".to_owned())),
    }
}

async fn relay(
    socket: &Path,
    mut asked: mpsc::Receiver<Request>,
    publish: watch::Sender<Arc<Snapshot>>,
    ready: std::sync::mpsc::Sender<std::io::Result<()>>,
) {
    let stream = match connect(socket).await {
        Ok(stream) => stream,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let (mut read, write) = stream.into_split();
    let (frames, outbox) = mpsc::channel(64);
    tokio::spawn(write_frames(write, outbox));
    let (told, mut tells) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            match read_frame::<Tell>(&mut read).await {
                Ok(Some(tell)) => {
                    if told.send(tell).await.is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the engine's answer cannot be read");
                    return;
                }
            }
        }
    });
    let mut waiting = std::collections::HashMap::new();
    let mut next_id = 0_u64;
    loop {
        tokio::select! {
            tell = tells.recv() => match tell {
                None => return,
                Some(Tell::Snapshot(snapshot)) => {
                    publish.send_replace(Arc::new(*snapshot));
                    // Only the first one is waited for.
                    let _ = ready.send(Ok(()));
                }
                Some(Tell::Reply { id, reply }) => {
                    let waiting: Option<oneshot::Sender<Reply>> = waiting.remove(&id);
                    if let Some(waiting) = waiting {
                        let _ = waiting.send(reply);
                    }
                }
            },
            request = asked.recv() => match request {
                None => return,
                Some(request) => {
                    next_id += 1;
                    let ask = Ask { id: next_id, command: request.command };
                    match encode(&ask) {
                        Ok(frame) => {
                            waiting.insert(next_id, request.reply);
                            if frames.send(frame).await.is_err() {
                                return;
                            }
                        }
                        Err(error) => tracing::error!(%error, "a command could not be sent"),
                    }
                }
            },
        }
    }
}

/// An engine that has just taken the lock listens a moment later.
async fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let mut attempts = 0;
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) if attempts >= 20 => return Err(error),
            Err(_) => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
