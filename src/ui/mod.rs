//! The console: a window that draws one immutable snapshot a frame and sends commands.
//!
//! ```text
//!  Handle::snapshot ─▶ Pass{now, facts, details} ─▶ views paint, push Command ─▶ Handle::send ─▶ Pending
//!                                                                                   │
//!                     notices, details, drafts of the views ◀── Reply ──────────────┘
//! ```
//!
//! Views hold only selection and drafts. Nothing here blocks, sorts ten thousand VMs in every frame, or names a
//! hypervisor or the store; whatever comes from outside is shown through [`crate::units::printable`].

pub mod action;
pub mod app;
pub mod details;
pub mod facts;
pub mod files;
pub mod find;
pub mod foot;
pub mod format;
pub mod keys;
pub mod notices;
pub mod pass;
pub mod reports;
pub mod shell;
pub mod theme;
pub mod top;
pub mod undo;
pub mod views;
pub mod widgets;
pub mod window;
pub mod words;

pub use app::App;
pub use window::{Renderer, ThemeChoice, UiOptions, run};
