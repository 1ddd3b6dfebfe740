//! Asking for a file. A native dialog blocks, so it runs on a thread of its own; tests answer in its place.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub title: &'static str,
    pub kind: &'static str,
    /// Without their dots.
    pub endings: &'static [&'static str],
}

/// Shows a dialog and returns what was chosen.
pub type Ask = Arc<dyn Fn(Wanted) -> Option<PathBuf> + Send + Sync>;

/// The desktop's own dialog, through its portal.
pub fn native() -> Ask {
    Arc::new(|wanted: Wanted| {
        rfd::FileDialog::new()
            .set_title(wanted.title)
            .add_filter(wanted.kind, wanted.endings)
            .pick_file()
    })
}

/// A dialog that is open.
pub struct Asked(mpsc::Receiver<Option<PathBuf>>);

impl Asked {
    /// # Errors
    /// When there is no thread left.
    pub fn open(ask: &Ask, wanted: Wanted, ctx: &eframe::egui::Context) -> std::io::Result<Self> {
        let (tell, told) = mpsc::channel();
        let (ask, ctx) = (Arc::clone(ask), ctx.clone());
        std::thread::Builder::new()
            .name("file dialog".to_owned())
            .spawn(move || {
                // The window may have been closed meanwhile.
                let _nobody_waits = tell.send(ask(wanted));
                ctx.request_repaint();
            })?;
        Ok(Self(told))
    }

    /// `None` while it is open, then what was chosen, if anything was.
    pub fn poll(&self) -> Option<Option<PathBuf>> {
        match self.0.try_recv() {
            Ok(chosen) => Some(chosen),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => Some(None),
        }
    }
}
