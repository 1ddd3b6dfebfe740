//! Opens the native window.

use eframe::egui;
use jiff::tz::TimeZone;

use super::{app::App, files};
use crate::{engine::thread::Session, problem::Problem};

/// Dark, light, or as the system has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThemeChoice {
    Dark,
    Light,
    #[default]
    System,
}

/// What draws the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renderer {
    /// OpenGL.
    #[default]
    Glow,
}

#[derive(Clone)]
pub struct UiOptions {
    pub theme: ThemeChoice,
    pub renderer: Renderer,
    /// Who decides in this window; stands beside every approval.
    pub by: String,
    /// The zone that times are shown in.
    pub zone: TimeZone,
    pub size: [f32; 2],
    /// The engine runs in another process. [`run`] knows it from the session.
    pub attached: bool,
    /// How a file is asked for.
    pub files: files::Ask,
}

impl Default for UiOptions {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::System,
            renderer: Renderer::Glow,
            by: std::env::var("USER").unwrap_or_else(|_| "window".to_owned()),
            zone: TimeZone::system(),
            size: [1440.0, 900.0],
            attached: false,
            files: files::native(),
        }
    }
}

/// Shows the console until it is closed; then the session ends.
///
/// # Errors
/// When no window can be opened, with what helps then.
pub fn run(session: Session, options: UiOptions) -> Result<(), Problem> {
    let native = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("Shadowcast")
            .with_app_id("shadowcast")
            .with_inner_size(options.size)
            .with_min_inner_size([1024.0, 640.0])
            .with_icon(icon()),
        renderer: match options.renderer {
            Renderer::Glow => eframe::Renderer::Glow,
        },
        persist_window: false,
        ..Default::default()
    };
    let handle = session.handle.clone();
    let options = UiOptions {
        attached: session.attached,
        ..options
    };
    let outcome = eframe::run_native(
        "shadowcast",
        native,
        Box::new(move |cc| {
            let ctx = cc.egui_ctx.clone();
            handle.on_news(std::time::Duration::from_millis(250), move || {
                ctx.request_repaint();
            });
            Ok(Box::new(App::new(&cc.egui_ctx, handle, options)))
        }),
    );
    drop(session);
    outcome.map_err(|error| {
        Problem::failed(
            "The window was not opened.",
            error.to_string(),
            "Without a graphics card, set LIBGL_ALWAYS_SOFTWARE=1; without a display, use the verbs of the \
             command line or `shadowcast agent`.",
        )
    })
}

/// The mark: a square and the shadow that it casts.
fn icon() -> egui::IconData {
    const SIDE: u32 = 64;
    let inside = |x: u32, y: u32, from: u32, to: u32| {
        let corner = 7;
        let near = |value: u32| value.clamp(from + corner, to - corner).abs_diff(value);
        (from..to).contains(&x)
            && (from..to).contains(&y)
            && near(x).pow(2) + near(y).pow(2) <= corner.pow(2)
    };
    let mut rgba = Vec::with_capacity((SIDE * SIDE * 4) as usize);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let colour: [u8; 4] = if inside(x, y, 8, 40) {
                [0x55, 0x98, 0xFF, 0xFF]
            } else if inside(x, y, 24, 58) && !inside(x, y, 29, 53) {
                [0xCD, 0xB9, 0xFF, 0xFF]
            } else {
                [0; 4]
            };
            rgba.extend(colour);
        }
    }
    egui::IconData {
        rgba,
        width: SIDE,
        height: SIDE,
    }
}
