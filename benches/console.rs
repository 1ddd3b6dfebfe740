//! CPU time of one frame of the console with 10,000 VMs: the egui pass and the tessellation, without rasterising.
//! `cargo bench --bench console`

#[path = "../tests/support/sample/mod.rs"]
mod sample;

use criterion::{Criterion, criterion_group, criterion_main};
use eframe::egui::{Context, Event, Key, Modifiers, RawInput, Rect, pos2, vec2};
use shadowcast::ui::{App, UiOptions};

/// One pass with its tessellation.
fn frame(ctx: &Context, app: &mut App, events: Vec<Event>, time: &mut f64) -> usize {
    *time += 0.02;
    let input = RawInput {
        screen_rect: Some(Rect::from_min_size(pos2(0.0, 0.0), vec2(1440.0, 900.0))),
        time: Some(*time),
        events,
        ..RawInput::default()
    };
    let output = ctx.run_ui(input, |ui| app.frame(ui));
    ctx.tessellate(output.shapes, output.pixels_per_point).len()
}

fn screens(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, key) in [
        ("now", Key::Num1),
        ("fleet", Key::Num2),
        ("shadows", Key::Num3),
        ("timeline", Key::Num4),
    ] {
        let (handle, mut engine) = sample::stand_in(sample::fleet(10_000));
        let ctx = Context::default();
        let mut app = App::new(&ctx, handle, UiOptions::default());
        let mut time = 0.0;
        let press = |pressed| Event::Key {
            key,
            physical_key: None,
            pressed,
            repeat: false,
            modifiers: Modifiers::NONE,
        };
        frame(&ctx, &mut app, vec![press(true), press(false)], &mut time);
        for _ in 0..12 {
            engine.answer();
            frame(&ctx, &mut app, Vec::new(), &mut time);
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| frame(&ctx, &mut app, Vec::new(), &mut time));
        });
        // A new set of VMs: everything that is cached by it is worked out again.
        group.bench_function(format!("{name} with new data"), |bencher| {
            bencher.iter(|| {
                engine.publish(|now| now.vms = std::sync::Arc::new(now.vms.to_vec()));
                frame(&ctx, &mut app, Vec::new(), &mut time)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, screens);
criterion_main!(benches);
