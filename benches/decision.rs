//! CPU time of the decision pass over 10,000 VMs, forecasts at hand, and of what surrounds it.
//! `cargo bench --bench decision`

use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use shadowcast::{
    engine::core::{Core, FleetOutlook, Input, Kept, Sampled, SourceConfig, SourceRole},
    forecast::Outlook,
    hypervisor::simulated::{Fleet, FleetSpec, VirtualClock},
    metrics::{Metric, Sample},
    policy::Settings,
    units::{SourceName, Timestamp, VmId},
};

const FLEET: u32 = 10_000;
/// One in so many is forecast over its limit.
const CROSSING: usize = 50;
const START: i64 = 1_790_000_000;

/// An engine that knows its fleet.
struct Bench {
    core: Core,
    vms: Vec<(SourceName, VmId)>,
    second: i64,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_secs(START)));
        let fleet = Fleet::new(FleetSpec::demo(FLEET, 1), clock);
        let sources = fleet.sources();
        let kept = Kept {
            sources: sources
                .iter()
                .map(|(name, role)| SourceConfig {
                    uri: format!("simulated://{name}"),
                    name: name.clone(),
                    kind: SourceRole::Hypervisor(*role),
                    armed: true,
                    last_backfill: None,
                })
                .collect(),
            services: fleet.services(),
            ..Kept::default()
        };
        let core = Core::new("bench".into(), Settings::default(), true, 1, kept);
        let mut bench = Self {
            core,
            vms: Vec::new(),
            second: START,
        };
        bench.put(Input::Started);
        for (source, _) in sources {
            let platform = fleet.hypervisor(&source).expect("it is one of the fleet's");
            let inventory = platform.inventory().expect("a simulated host answers");
            let running = inventory.vms.iter().filter(|vm| vm.owner.is_none());
            bench
                .vms
                .extend(running.map(|vm| (source.clone(), vm.id.clone())));
            bench.put(Input::Inventory {
                source,
                result: Ok(inventory),
                millis: 1,
            });
        }
        bench.sample();
        bench.forecast();
        // What is needed must stand for a while before it is proposed.
        for _ in 0..12 {
            bench.second += 10;
            bench.sample();
            bench.put(Input::Tick);
        }
        bench
    }

    fn put(&mut self, input: Input) -> usize {
        let at = Timestamp::from_secs(self.second);
        self.core.apply(at, input).len()
    }

    fn sample(&mut self) {
        let at = Timestamp::from_secs(self.second);
        let mut sources: Vec<SourceName> =
            self.vms.iter().map(|(source, _)| source.clone()).collect();
        sources.dedup();
        for source in sources {
            let samples = self
                .vms
                .iter()
                .filter(|(of, _)| *of == source)
                .map(|(_, vm)| {
                    let mut values = [None; Metric::COUNT];
                    values[Metric::Cpu.index()] = Some(0.4);
                    values[Metric::Memory.index()] = Some(0.5);
                    values[Metric::Steal.index()] = Some(0.01);
                    Sample {
                        vm: vm.clone(),
                        at,
                        values,
                    }
                })
                .collect();
            self.put(Input::Samples {
                source,
                result: Ok(Sampled {
                    samples,
                    hung: Vec::new(),
                }),
                millis: 1,
            });
        }
    }

    fn forecast(&mut self) {
        let now = Timestamp::from_secs(self.second);
        let batch = self
            .vms
            .iter()
            .enumerate()
            .map(|(index, (_, vm))| {
                let over = index % CROSSING == 0;
                let soon = over.then(|| now.plus_secs(7200));
                let outlook = |metric, crosses_at: Option<Timestamp>| Outlook {
                    metric,
                    made_at: now,
                    peak: if crosses_at.is_some() { 0.95 } else { 0.5 },
                    peak_upper: 0.97,
                    peak_at: now.plus_secs(7200),
                    p95: 0.5,
                    limit: Some(0.85),
                    crosses_at,
                    probability: Some(if crosses_at.is_some() { 0.9 } else { 0.1 }),
                    likely_at: crosses_at,
                    no_better_than_naive: false,
                };
                FleetOutlook {
                    vm: vm.clone(),
                    outlooks: vec![outlook(Metric::Cpu, soon), outlook(Metric::Memory, None)],
                    spark: vec![0; 64],
                    coverage: 1.0,
                }
            })
            .collect();
        self.put(Input::Outlooks { batch, pending: 0 });
    }
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("10,000 VMs");
    let mut bench = Bench::new();
    let open = bench
        .core
        .snapshot(Timestamp::from_secs(bench.second))
        .proposals
        .len();
    eprintln!("{} VMs, {open} proposals open", bench.vms.len());
    group.bench_function("decision pass", |bencher| {
        bencher.iter(|| bench.put(Input::Tick));
    });
    group.bench_function("samples of all, scored", |bencher| {
        bencher.iter_batched(
            || (),
            |()| {
                bench.second += 10;
                bench.sample();
            },
            BatchSize::PerIteration,
        );
    });
    bench.forecast();
    group.bench_function("snapshot after new samples", |bencher| {
        bencher.iter(|| {
            bench.put(Input::HistoryChanged { vms: Vec::new() });
            bench
                .core
                .snapshot(Timestamp::from_secs(bench.second))
                .version
        });
    });
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
