//! dev: renders screens
#[path = "support/sample/mod.rs"]
mod sample;
use egui_kittest::{Harness, kittest::Queryable as _};
use shadowcast::ui::{App, ThemeChoice, UiOptions};

struct Held(App, sample::StandIn);
impl eframe::App for Held {
    fn ui(&mut self, ui: &mut eframe::egui::Ui, frame: &mut eframe::Frame) {
        self.1.answer();
        eframe::App::ui(&mut self.0, ui, frame);
    }
}
fn harness(
    snapshot: shadowcast::engine::snapshot::Snapshot,
    theme: eframe::egui::Theme,
    size: [f32; 2],
) -> Harness<'static, Held> {
    let (handle, stand_in) = sample::stand_in(snapshot);
    Harness::builder()
        .with_size(size)
        .with_pixels_per_point(1.0)
        .with_max_steps(40)
        .with_theme(theme)
        .build_eframe(move |cc| {
            Held(
                App::new(
                    &cc.egui_ctx,
                    handle,
                    UiOptions {
                        theme: if theme == eframe::egui::Theme::Dark {
                            ThemeChoice::Dark
                        } else {
                            ThemeChoice::Light
                        },
                        by: "mo".into(),
                        zone: jiff::tz::TimeZone::UTC,
                        ..UiOptions::default()
                    },
                ),
                stand_in,
            )
        })
}
#[test]
fn look() {
    let which = std::env::var("LOOK").unwrap_or_default();
    for theme in [eframe::egui::Theme::Dark, eframe::egui::Theme::Light] {
        for size in [[1440.0, 900.0], [1280.0, 720.0]] {
            let tag = format!(
                "{}-{}",
                if theme == eframe::egui::Theme::Dark {
                    "dark"
                } else {
                    "light"
                },
                size[0]
            );
            for step in which.split_whitespace() {
                if let Some(only) = step.strip_prefix("only=") {
                    if !tag.contains(only) {
                        break;
                    }
                    continue;
                }
                let (name, clicks) = step.split_once(':').unwrap_or((step, ""));
                let snapshot = if name.starts_with("first") {
                    sample::first_run()
                } else {
                    sample::fleet(10_000)
                };
                let mut h = harness(snapshot, theme, size);
                h.run_steps(4);
                for click in clicks.split(',').filter(|c| !c.is_empty()) {
                    if let Some(t) = click.strip_prefix("type=") {
                        h.event(eframe::egui::Event::Text(t.into()));
                    } else if let Some(at) = click.strip_prefix('@') {
                        let (x, y) = at.split_once('x').unwrap();
                        h.hover_at(eframe::egui::pos2(x.parse().unwrap(), y.parse().unwrap()));
                    } else if let Some(key) = click.strip_prefix("key=") {
                        h.key_press(eframe::egui::Key::from_name(key).unwrap());
                    } else {
                        h.get_by_label(&click.replace('_', " ")).click();
                    }
                    h.run_steps(5);
                }
                h.run_steps(6);
                let img = h.render().unwrap();
                img.save(format!("/tmp/ui-probe/{name}-{tag}.png")).unwrap();
            }
        }
    }
}
