//! A real HAProxy: the split, the gate and every change, seen by its clients and by its own statistics.

#![allow(clippy::float_cmp)] // "All of it" is a part of exactly 1.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use shadowcast::{
    traffic::{
        DirectorError, ServerSpec, ServerStats, TrafficDirector,
        gate::{Gate, GateLimits, GateVerdict},
        haproxy::HaproxyDirector,
        split,
    },
    units::Weight,
};

#[path = "live_haproxy/balancer.rs"]
mod balancer;

use balancer::{Balancer, HeldServer, Tally};

const SHADOW: &str = "sc0badcafe";
const DEADLINE: Duration = Duration::from_secs(20);

fn spec(port: u16) -> ServerSpec {
    ServerSpec {
        backend: "be".to_owned(),
        server: SHADOW.to_owned(),
        address: "127.0.0.1".to_owned(),
        port,
        check_interval_millis: 100,
    }
}

fn pair(share: f64) -> [(String, Weight); 2] {
    let (primary, shadow) = split::weights(Weight(100), share);
    [("primary".to_owned(), primary), (SHADOW.to_owned(), shadow)]
}

fn stats(director: &HaproxyDirector, backend: &str, server: &str) -> Option<ServerStats> {
    director
        .read()
        .unwrap()
        .servers
        .into_iter()
        .find(|found| found.backend == backend && found.server == server)
}

fn weight(director: &HaproxyDirector, server: &str) -> Option<Weight> {
    stats(director, "be", server).map(|found| found.weight)
}

/// What stands in the balancer, without its counters.
fn layout(director: &HaproxyDirector) -> Vec<(String, String, String, Weight)> {
    director
        .read()
        .unwrap()
        .servers
        .into_iter()
        .map(|found| (found.backend, found.server, found.address, found.weight))
        .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

fn add_shadow(balancer: &Balancer, director: &HaproxyDirector) {
    director.ensure_server(&spec(balancer.shadow_port)).unwrap();
    wait_until("the shadow's first passed check", || {
        stats(director, "be", SHADOW).is_some_and(|found| found.up)
    });
}

fn assert_near(tally: &Tally, body: &str, expected: f64) {
    let part = tally.part(body);
    assert!(
        (part - expected).abs() <= 0.005,
        "{body} got {part} of {tally:?}"
    );
}

#[test]
fn ten_thousand_requests_at_a_quarter_land_within_half_a_point() {
    let Some(balancer) = Balancer::start("ten_thousand_requests_at_a_quarter") else {
        return;
    };
    let director = balancer.director();
    add_shadow(&balancer, &director);
    assert_eq!(
        balancer.load("fe", "/", 400).part("primary"),
        1.0,
        "a new server gets nothing"
    );
    let before = stats(&director, "be", SHADOW).unwrap().requests_total;

    director.ensure_weights("be", &pair(0.25)).unwrap();
    let tally = balancer.load("fe", "/", 10_000);
    assert_eq!(tally.total(), 10_000);
    assert_near(&tally, "shadow", 0.25);
    assert_near(&tally, "primary", 0.75);
    println!("10,000 requests at 25 %: {tally:?}");

    let after = stats(&director, "be", SHADOW).unwrap();
    assert_eq!(
        after.requests_total - before,
        tally.count("shadow"),
        "HAProxy counted what the clients saw"
    );
    assert_eq!(after.errors_total, 0);
}

#[test]
fn other_primaries_keep_their_part() {
    let Some(balancer) = Balancer::start("other_primaries_keep_their_part") else {
        return;
    };
    let director = balancer.director();
    let server = ServerSpec {
        backend: "two".to_owned(),
        ..spec(balancer.shadow_port)
    };
    director.ensure_server(&server).unwrap();
    wait_until("the shadow's first passed check", || {
        stats(&director, "two", SHADOW).is_some_and(|found| found.up)
    });
    director.ensure_weights("two", &pair(0.25)).unwrap();
    let tally = balancer.load("fe_two", "/", 8_000);
    assert_near(&tally, "other", 0.5);
    assert_near(&tally, "shadow", 0.125);
}

#[test]
fn no_write_reaches_the_copy_of_a_service_that_is_only_read() {
    let Some(balancer) = Balancer::start("no_write_reaches_the_copy") else {
        return;
    };
    let director = balancer.director();
    let map = balancer.file("methods.map");
    director.check_methods(&map, "reads").unwrap();
    let entries = |method: &str| balancer.raw(&format!("show map {map}")).contains(method);
    assert!(!entries("GET"), "looking changes nothing");

    let server = ServerSpec {
        backend: "reads".to_owned(),
        ..spec(balancer.shadow_port)
    };
    director.ensure_server(&server).unwrap();
    wait_until("the shadow's first passed check", || {
        stats(&director, "reads", SHADOW).is_some_and(|found| found.up)
    });
    director.ensure_weights("reads", &pair(0.25)).unwrap();
    let [gets, posts] = &balancer.load_mixed("fe_methods", &["GET", "POST"], 100)[..] else {
        panic!("a tally for each method")
    };
    assert_eq!(
        (gets.part("primary"), posts.part("primary")),
        (1.0, 1.0),
        "an empty map leads nothing to the shadow"
    );

    director.ensure_methods(&map, "reads").unwrap();
    director.ensure_methods(&map, "reads").unwrap();
    assert!(entries("GET reads") && entries("HEAD reads"));
    let [gets, posts] = &balancer.load_mixed("fe_methods", &["GET", "POST"], 500)[..] else {
        panic!("a tally for each method")
    };
    println!("500 GET at 25 %: {gets:?}; 500 POST: {posts:?}");
    assert_eq!((gets.total(), posts.total()), (500, 500));
    assert_eq!(posts.count("primary"), 500);
    assert_near(gets, "shadow", 0.25);
    let counted = stats(&director, "reads", SHADOW).unwrap().requests_total;
    assert_eq!(counted, gets.count("shadow"), "HAProxy saw no others there");

    balancer.raw(&format!("add map {map} POST reads"));
    let refused = director.ensure_methods(&map, "reads").unwrap_err();
    assert!(
        refused.to_string().contains("POST leads to reads"),
        "{refused}"
    );
}

#[test]
fn routing_that_would_let_writes_through_is_refused() {
    let Some(balancer) = Balancer::start("routing_that_would_let_writes_through") else {
        return;
    };
    let director = balancer.director();
    let map = balancer.file("methods.map");
    let why = |map: &str, backend: &str| {
        let refused = director.check_methods(map, backend).unwrap_err();
        assert_eq!(director.ensure_methods(map, backend), Err(refused.clone()));
        refused
    };
    let unused = why(&balancer.file("other.map"), "reads");
    assert!(unused.to_string().contains("no rule"), "{unused}");
    assert_eq!(
        why(&map, "nowhere"),
        DirectorError::NotFound("nowhere".to_owned())
    );
    for name in ["#0", "m;show info", ""] {
        assert!(matches!(why(name, "reads"), DirectorError::BadName(_)));
    }
    // The backend that everything goes to by default.
    balancer.load("fe_methods", "/", 4);
    let default = why(&map, "be");
    assert!(default.to_string().contains("another rule"), "{default}");
    balancer.raw(&format!("add map {map} GET be"));
    let elsewhere = why(&map, "reads");
    assert!(
        elsewhere.to_string().contains("GET leads to be"),
        "{elsewhere}"
    );
}

#[test]
fn an_injected_name_is_refused_and_nothing_changes() {
    let Some(balancer) = Balancer::start("an_injected_name_is_refused") else {
        return;
    };
    let director = balancer.director();
    let before = layout(&director);
    let hostile = "primary; disable frontend fe";
    let weights = |server: &str| [(server.to_owned(), Weight(1))];
    let server = spec(balancer.shadow_port);
    let refused = [
        director.ensure_weights("be", &weights(hostile)),
        director.ensure_weights(hostile, &weights("primary")),
        director.ensure_weights("be", &weights("primary 1\ndisable frontend fe")),
        director.ensure_server_absent("be", hostile),
        director.ensure_server_absent(hostile, SHADOW),
        director.ensure_server(&ServerSpec {
            server: hostile.to_owned(),
            ..server.clone()
        }),
        director.ensure_server(&ServerSpec {
            backend: hostile.to_owned(),
            ..server.clone()
        }),
        director.ensure_server(&ServerSpec {
            address: "127.0.0.1:1; disable frontend fe #".to_owned(),
            ..server
        }),
    ];
    for answer in refused {
        assert!(
            matches!(answer, Err(DirectorError::BadName(_))),
            "{answer:?}"
        );
    }
    assert_eq!(layout(&director), before);
    assert_eq!(balancer.load("fe", "/", 40).part("primary"), 1.0);

    // The danger is real: sent as it is, that very name does take the frontend away.
    balancer.raw(&format!("get weight be/{hostile}"));
    let status = balancer.raw("show stat fe 1 -1");
    assert!(!status.contains(",OPEN,"), "{status}");
}

#[test]
fn weights_that_drifted_are_read_back_and_repaired() {
    let Some(balancer) = Balancer::start("weights_that_drifted") else {
        return;
    };
    let director = balancer.director();
    add_shadow(&balancer, &director);
    director.ensure_weights("be", &pair(0.25)).unwrap();

    balancer.raw("set weight be/primary 3");
    assert_eq!(
        weight(&director, "primary"),
        Some(Weight(3)),
        "drift is seen"
    );
    director.ensure_weights("be", &pair(0.25)).unwrap();
    assert_eq!(weight(&director, "primary"), Some(Weight(75)));
    assert_eq!(weight(&director, SHADOW), Some(Weight(25)));

    // As after a reload: the server is gone, the weights are the configured ones.
    balancer.raw(&format!("set server be/{SHADOW} state maint"));
    balancer.raw(&format!("del server be/{SHADOW}"));
    balancer.raw("set weight be/primary 100%");
    assert_eq!(weight(&director, SHADOW), None);
    assert!(matches!(
        director.ensure_weights("be", &pair(0.25)),
        Err(DirectorError::NotFound(_))
    ));
    assert_eq!(
        weight(&director, "primary"),
        Some(Weight(100)),
        "all or nothing"
    );
    add_shadow(&balancer, &director);
    director.ensure_weights("be", &pair(0.25)).unwrap();
    assert_near(&balancer.load("fe", "/", 2_000), "shadow", 0.25);
}

#[test]
fn a_server_comes_and_goes_and_leaves_nothing() {
    let Some(balancer) = Balancer::start("a_server_comes_and_goes") else {
        return;
    };
    let director = balancer.director();
    let before = layout(&director);
    add_shadow(&balancer, &director);
    director.ensure_weights("be", &pair(0.5)).unwrap();
    director.ensure_server(&spec(balancer.shadow_port)).unwrap();
    assert_eq!(
        weight(&director, SHADOW),
        Some(Weight(50)),
        "making it so twice does not take its traffic"
    );
    let elsewhere = director.ensure_server(&spec(balancer.shadow_port ^ 1));
    assert!(
        matches!(&elsewhere, Err(DirectorError::Refused(why)) if why.contains("exists already")),
        "{elsewhere:?}"
    );
    director.ensure_weights("be", &pair(0.0)).unwrap();
    director.ensure_server_absent("be", SHADOW).unwrap();

    // Half made: added, and then nobody was there to enable it.
    let port = balancer.shadow_port;
    balancer.raw(&format!(
        "add server be/{SHADOW} 127.0.0.1:{port} check inter 100 weight 0"
    ));
    add_shadow(&balancer, &director);
    director.ensure_weights("be", &pair(0.5)).unwrap();
    let tally = balancer.load("fe", "/", 200);
    assert!(tally.count("shadow") > 0, "{tally:?}");

    // Its traffic goes to the others before it goes itself.
    director.ensure_server_absent("be", SHADOW).unwrap();
    director.ensure_server_absent("be", SHADOW).unwrap();
    director
        .ensure_server_absent("no-such-backend", SHADOW)
        .unwrap();
    director
        .ensure_weights("be", &[("primary".to_owned(), Weight(100))])
        .unwrap();
    assert_eq!(layout(&director), before);
}

#[test]
fn a_running_request_is_let_end_before_its_server_goes() {
    let Some(balancer) = Balancer::start("a_running_request_is_let_end") else {
        return;
    };
    let director = balancer.director();
    let held = HeldServer::start();
    director.ensure_server(&spec(held.port)).unwrap();
    wait_until("a passed check", || {
        stats(&director, "be", SHADOW).is_some_and(|found| found.up)
    });
    director.ensure_weights("be", &pair(1.0)).unwrap();
    thread::scope(|scope| {
        let client = scope.spawn(|| balancer.load("fe", "/held", 1));
        held.await_request();
        director.ensure_weights("be", &pair(0.0)).unwrap();
        let removal = scope.spawn(|| director.ensure_server_absent("be", SHADOW));
        wait_until("the drain", || {
            stats(&director, "be", SHADOW).is_some_and(|found| found.status.starts_with("DRAIN"))
        });
        assert!(!removal.is_finished(), "it waits for the request");
        held.release();
        assert_eq!(client.join().unwrap().part("held"), 1.0);
        assert_eq!(removal.join().unwrap(), Ok(()));
    });
    assert_eq!(weight(&director, SHADOW), None);
}

#[test]
fn failing_answers_of_the_shadow_breach_the_gate_and_zero_share_ends_them() {
    let Some(balancer) = Balancer::start("failing_answers_breach_the_gate") else {
        return;
    };
    let director = balancer.director();
    add_shadow(&balancer, &director);
    director.ensure_weights("be", &pair(0.25)).unwrap();
    let limits = GateLimits {
        error_ratio: 0.02,
        response_millis: 60_000.0,
        window_seconds: 3600,
        min_requests: 20,
    };
    let mut gate = Gate::new("be", SHADOW);
    let mut primary_gate = Gate::new("be", "primary");
    let mut look = |gate: &mut Gate| {
        let reading = director.read().unwrap();
        gate.observe(&reading);
        primary_gate.observe(&reading);
        primary_gate.verdict(&limits)
    };
    look(&mut gate);
    balancer.load("fe", "/", 40);
    look(&mut gate);
    assert_eq!(gate.verdict(&limits), GateVerdict::Inconclusive);
    balancer.load("fe", "/", 400);
    look(&mut gate);
    assert_eq!(gate.verdict(&limits), GateVerdict::Holds);

    // The shadow answers 500 under /err, the primary does not.
    let tally = balancer.load("fe", "/err", 400);
    assert!(tally.count("500") >= 90, "{tally:?}");
    assert_eq!(look(&mut gate), GateVerdict::Holds);
    let GateVerdict::Breached { why } = gate.verdict(&limits) else {
        panic!("{:?}", gate.verdict(&limits))
    };
    assert!(
        why.starts_with(&format!("{} of ", tally.count("500"))),
        "HAProxy counted the failures that the clients saw: {why}"
    );

    director.ensure_weights("be", &pair(0.0)).unwrap();
    assert_eq!(balancer.load("fe", "/err", 400).part("primary"), 1.0);
}

#[test]
fn a_backend_is_never_left_without_weight() {
    let Some(balancer) = Balancer::start("a_backend_is_never_left_without_weight") else {
        return;
    };
    let director = balancer.director();
    add_shadow(&balancer, &director);
    let nothing = [
        ("primary".to_owned(), Weight(0)),
        (SHADOW.to_owned(), Weight(0)),
    ];
    let before = layout(&director);
    let answer = director.ensure_weights("be", &nothing);
    assert!(
        matches!(&answer, Err(DirectorError::Refused(why)) if why.contains("without any weight")),
        "{answer:?}"
    );
    let alone = director.ensure_weights("be", &nothing[..1]);
    assert!(matches!(alone, Err(DirectorError::Refused(_))), "{alone:?}");
    assert_eq!(layout(&director), before);

    director.ensure_weights("be", &pair(1.0)).unwrap();
    let absent = director.ensure_server_absent("be", SHADOW);
    assert!(
        matches!(absent, Err(DirectorError::Refused(_))),
        "{absent:?}"
    );
    assert_eq!(weight(&director, SHADOW), Some(Weight(100)));

    // All traffic to and fro under load: between the two commands of a switch nobody gets a 503.
    let stop = AtomicBool::new(false);
    let tally = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut sum = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                sum.add(&balancer.load("fe", "/", 400));
            }
            sum
        });
        let start = Instant::now();
        for turn in 0..200 {
            director
                .ensure_weights("be", &pair(f64::from(turn % 2)))
                .unwrap();
        }
        println!(
            "a switch, read back, under load: {:?}",
            start.elapsed() / 200
        );
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    println!("200 switches of all traffic: {tally:?}");
    assert_eq!(
        tally.count("primary") + tally.count("shadow"),
        tally.total(),
        "{tally:?}"
    );
    assert!(tally.count("primary") > 0 && tally.count("shadow") > 0);
}

#[test]
fn what_a_backend_cannot_is_found_and_said() {
    let Some(balancer) = Balancer::start("what_a_backend_cannot_is_found_and_said") else {
        return;
    };
    let director = balancer.director();
    let findings = director.examine().unwrap().join("\n");
    println!("{findings}");
    for line in [
        "backend be balances by roundrobin: any share",
        "backend hashed balances by source: it takes no share but 0 or 100 %",
        "backend by-cookie keeps clients on their server",
        "backend by_table keeps clients on their server",
    ] {
        assert!(findings.contains(line), "{line} is not in\n{findings}");
    }
    let sticky: BTreeMap<_, _> = director
        .read()
        .unwrap()
        .backends
        .into_iter()
        .map(|backend| (backend.name, (backend.dynamic_weights, backend.sticky)))
        .collect();
    assert_eq!(sticky["be"], (true, false));
    assert_eq!(sticky["hashed"], (false, false));
    assert_eq!(sticky["by-cookie"], (true, true));
    assert_eq!(sticky["by_table"], (true, true));

    let fixed = director.ensure_server(&ServerSpec {
        backend: "hashed".to_owned(),
        ..spec(balancer.shadow_port)
    });
    assert!(
        matches!(&fixed, Err(DirectorError::Refused(why)) if why.contains("dynamic load balancing")),
        "{fixed:?}"
    );
    let unknown = director.ensure_server(&ServerSpec {
        backend: "nowhere".to_owned(),
        ..spec(balancer.shadow_port)
    });
    assert_eq!(unknown, Err(DirectorError::NotFound("nowhere".to_owned())));
    assert_eq!(
        director.ensure_weights("be", &[("nobody".to_owned(), Weight(1))]),
        Err(DirectorError::NotFound("be/nobody".to_owned()))
    );

    let operator = HaproxyDirector::connect(&balancer.operator_uri()).unwrap();
    let level = operator.examine();
    assert!(
        matches!(&level, Err(DirectorError::Refused(why)) if why.contains("level operator")),
        "{level:?}"
    );
    let denied = operator.ensure_server(&spec(balancer.shadow_port));
    assert!(
        matches!(denied, Err(DirectorError::Refused(_))),
        "{denied:?}"
    );
}

#[test]
fn a_balancer_that_hangs_or_dies_is_unreachable_and_not_waited_for() {
    let Some(mut balancer) = Balancer::start("a_balancer_that_hangs_or_dies") else {
        return;
    };
    let director = balancer.director();
    balancer.stop_process();
    let (tell, told) = mpsc::channel();
    let (go_on, going_on) = mpsc::channel();
    thread::spawn(move || {
        tell.send(director.read().map(|_| ())).unwrap();
        going_on.recv().unwrap();
        tell.send(director.read().map(|_| ())).unwrap();
    });
    let hung = told
        .recv_timeout(DEADLINE)
        .expect("a deadline ends the wait");
    assert!(
        matches!(hung, Err(DirectorError::Unreachable(_))),
        "{hung:?}"
    );
    balancer.kill();
    go_on.send(()).unwrap();
    let dead = told.recv_timeout(DEADLINE).expect("nothing listens");
    assert!(
        matches!(dead, Err(DirectorError::Unreachable(_))),
        "{dead:?}"
    );
}
