//! Operations, and what happened.

use super::{NOW, spread, vm_id};
use shadowcast::{
    engine::snapshot::{
        OperationState, OperationView, StepState, StepView, TimelineEntry, TimelineKind,
    },
    replication::Progress,
    shadow::PlanKind,
    units::{OperationId, ShadowId},
};

pub(super) fn step(
    text: &str,
    state: StepState,
    from: i64,
    to: Option<i64>,
    note: &str,
) -> StepView {
    let started = !matches!(state, StepState::Pending);
    StepView {
        text: text.to_owned(),
        state,
        note: note.to_owned(),
        started_at: started.then(|| NOW.plus_secs(-from)),
        ended_at: to.map(|to| NOW.plus_secs(-to)),
    }
}

pub fn operations() -> Vec<OperationView> {
    let view =
        |id: &str, name: &str, kind, state, steps: Vec<StepView>, from: i64, to: Option<i64>| {
            OperationView {
                id: OperationId::from(id),
                kind,
                vm: vm_id(name),
                vm_name: name.to_owned(),
                shadow: ShadowId(format!("s-{:08x}", spread(name) as u32)),
                state,
                step: steps
                    .iter()
                    .filter(|step| step.state == StepState::Done)
                    .count(),
                steps,
                started_at: NOW.plus_secs(-from),
                ended_at: to.map(|to| NOW.plus_secs(-to)),
                progress: None,
                undoing: false,
                by: "mo".to_owned(),
                why: None,
            }
        };
    let mut seeding = view(
        "op-7c1e90ab",
        "img-proc-05",
        PlanKind::Create,
        OperationState::Running,
        vec![
            step(
                "Reserve 4 vCPU, 16 GiB in shadow-a",
                StepState::Done,
                312,
                Some(311),
                "",
            ),
            step(
                "Copy the disks once, then their changes",
                StepState::Running,
                311,
                None,
                "118 MB/s",
            ),
            step("Define img-proc-05-s1", StepState::Pending, 0, None, ""),
            step("Start the shadow", StepState::Pending, 0, None, ""),
            step("Move 20 % of the traffic", StepState::Pending, 0, None, ""),
        ],
        312,
        None,
    );
    seeding.progress = Some(Progress {
        done_bytes: 26_000_000_000,
        total_bytes: 61_000_000_000,
    });
    let mut parked = view(
        "op-5af00312",
        "geo-tile-18",
        PlanKind::Traffic,
        OperationState::Parked,
        vec![
            step(
                "Start the shadow",
                StepState::Done,
                5240,
                Some(5228),
                "booted in 11 s",
            ),
            step(
                "Wait until its service answers",
                StepState::Done,
                5228,
                Some(5226),
                "HTTP 200",
            ),
            step(
                "Move 60 % of the traffic",
                StepState::Failed,
                5226,
                Some(4880),
                "p95 311 ms over 250",
            ),
        ],
        5240,
        None,
    );
    parked.why = Some(
        "lb-01 refuses the weight: backend lb-geo is static and takes only 0 or 100 %".to_owned(),
    );
    vec![
        parked,
        seeding,
        view(
            "op-4be1077d",
            "cart-api-03",
            PlanKind::Create,
            OperationState::Done,
            vec![
                step(
                    "Reserve 4 vCPU, 16 GiB in shadow-a",
                    StepState::Done,
                    20_000,
                    Some(19_999),
                    "",
                ),
                step(
                    "Copy the disks once, then their changes",
                    StepState::Done,
                    19_999,
                    Some(19_700),
                    "41 GB",
                ),
                step(
                    "Define cart-api-03-s1",
                    StepState::Done,
                    19_700,
                    Some(19_698),
                    "",
                ),
                step(
                    "Start the shadow",
                    StepState::Done,
                    19_698,
                    Some(19_686),
                    "",
                ),
                step(
                    "Wait until its service answers",
                    StepState::Done,
                    19_686,
                    Some(19_684),
                    "HTTP 200 in 38 ms",
                ),
                step(
                    "Add it to lb-cart",
                    StepState::Done,
                    19_684,
                    Some(19_684),
                    "",
                ),
                step(
                    "Move 25 % of the traffic",
                    StepState::Done,
                    19_684,
                    Some(19_680),
                    "read back 25.1 %",
                ),
            ],
            20_000,
            Some(19_680),
        ),
        view(
            "op-33d1f0aa",
            "auth-idp-02",
            PlanKind::Create,
            OperationState::Undone,
            vec![
                step(
                    "Reserve 2 vCPU, 8 GiB in shadow-a",
                    StepState::Undone,
                    90_000,
                    Some(89_999),
                    "",
                ),
                step(
                    "Copy the disks once, then their changes",
                    StepState::Undone,
                    89_999,
                    Some(89_900),
                    "no space left on shadow-a-nvme",
                ),
            ],
            90_000,
            Some(89_880),
        ),
    ]
}

pub(super) fn timeline() -> Vec<TimelineEntry> {
    let entry = |ago: i64, kind, text: &str, name: Option<&str>, operation: Option<&str>, bad| {
        TimelineEntry {
            at: NOW.plus_secs(-ago),
            kind,
            text: text.to_owned(),
            vm: name.map(vm_id),
            operation: operation.map(OperationId::from),
            bad,
        }
    };
    vec![
        entry(
            92,
            TimelineKind::Replication,
            "geo-tile-18: two cycles missed, kvm-secondary does not answer",
            Some("geo-tile-18"),
            None,
            true,
        ),
        entry(
            312,
            TimelineKind::Operation,
            "Create shadow for img-proc-05 started",
            Some("img-proc-05"),
            Some("op-7c1e90ab"),
            false,
        ),
        entry(
            320,
            TimelineKind::Decision,
            "mo approved p-7c1e90ab for img-proc-05",
            Some("img-proc-05"),
            None,
            false,
        ),
        entry(
            360,
            TimelineKind::Proposal,
            "Proposed: create a shadow for checkout-api-07 and move 40 % of traffic to it",
            Some("checkout-api-07"),
            None,
            false,
        ),
        entry(
            362,
            TimelineKind::Source,
            "kvm-edge does not answer: connection timed out after 8 s",
            None,
            None,
            true,
        ),
        entry(
            1600,
            TimelineKind::Traffic,
            "cart-api-03: 10 % to 25 %, read back 25.1 %",
            Some("cart-api-03"),
            None,
            false,
        ),
        entry(
            4880,
            TimelineKind::Traffic,
            "geo-tile-18: gate broken, p95 311 ms over 250, share back to 0",
            Some("geo-tile-18"),
            Some("op-5af00312"),
            true,
        ),
        entry(
            19_680,
            TimelineKind::Operation,
            "Create shadow for cart-api-03 done in 5 min",
            Some("cart-api-03"),
            Some("op-4be1077d"),
            false,
        ),
        entry(
            31_000,
            TimelineKind::Engine,
            "Engine started, 2 operations resumed",
            None,
            None,
            false,
        ),
        entry(
            89_880,
            TimelineKind::Operation,
            "Create shadow for auth-idp-02 undone: no space left on shadow-a-nvme",
            Some("auth-idp-02"),
            Some("op-33d1f0aa"),
            true,
        ),
    ]
}
