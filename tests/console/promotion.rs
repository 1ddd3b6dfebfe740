//! A shadow is put in its primary's place from its screen, and taken back.

use std::sync::Arc;

use super::*;
use shadowcast::{
    engine::snapshot::{PromotionView, ShadowState},
    shadow::{
        Check, CheckOutcome, PlanKind, Proposal, Step, plan,
        promotion::{Fence, FenceFrom, PromotionStep},
    },
};

const VM: &str = "cart-api-03";

fn planned(kind: PlanKind, outcome: CheckOutcome) -> Proposal {
    let mut proposal = sample::proposal(VM, 0.4, shadowcast::shadow::Urgency::Now, None, "");
    let fence = Fence {
        owner: proposal.plan.owner.clone(),
        vm: proposal.plan.vm.clone(),
        shadow: proposal.plan.shadow.clone(),
    };
    proposal.plan.kind = kind;
    proposal.plan.steps = vec![
        Step::Promotion(PromotionStep::CatchUp {
            shadow: fence.shadow.clone(),
            vm: fence.vm.clone(),
            number: 1012,
        }),
        Step::Promotion(PromotionStep::PausePrimary {
            fence: fence.clone(),
        }),
        Step::Promotion(PromotionStep::FencePrimary {
            fence,
            from: FenceFrom::Paused,
        }),
        Step::Promotion(PromotionStep::PointOfNoReturn),
    ];
    proposal.plan.cost = vec![
        format!(
            "{VM} is off from its last delta until the shadow answers: a boot and about a second."
        ),
        format!("{VM} is powered off, autostart off and marked; nothing else of it is changed."),
    ];
    proposal.digest = plan::digest(&proposal.plan);
    proposal.checks = vec![
        Check {
            outcome: CheckOutcome::Passed,
            text: "vc-01 answers".to_owned(),
        },
        Check {
            outcome,
            text: "Replication is in step".to_owned(),
        },
    ];
    proposal
}

fn ask_for_it(window: &mut Window, proposal: Proposal) {
    key(window, Key::Num4);
    window
        .get_by_label_contains(&format!("Shadow of {VM}"))
        .click();
    settle(window);
    window.state_mut().engine.as_mut().unwrap().replies = vec![Ok(Answer::Proposal {
        proposal: Arc::new(proposal),
    })];
    press(window, "Promote…");
}

#[test]
fn a_promotion_is_approved_by_the_vms_name_and_the_digest_that_was_shown() {
    let proposal = planned(PlanKind::Promote, CheckOutcome::Passed);
    let mut window = open(fleet());
    ask_for_it(&mut window, proposal.clone());
    assert!(matches!(
        &commands(&mut window)[..],
        [Command::ShadowPromote {
            point: None,
            attest_fenced: None,
            ..
        }]
    ));
    assert!(shows(&window, &format!("Promote the shadow of {VM}")));
    assert!(shows(&window, "2 of 2 passed"));
    window.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    settle(&mut window);
    assert!(commands(&mut window).is_empty(), "the name was not typed");
    write(&mut window, "VM name", "cart-api-0");
    press(&mut window, "Approve");
    assert!(commands(&mut window).is_empty(), "it was not the name");
    write(&mut window, "VM name", "3");
    press(&mut window, "Approve");
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::Approve { digest, .. }] if *digest == proposal.digest),
        "{sent:?}"
    );
}

#[test]
fn what_stands_against_a_promotion_is_shown_and_keeps_it_from_being_approved() {
    let mut window = open(fleet());
    ask_for_it(
        &mut window,
        planned(PlanKind::Promote, CheckOutcome::Blocks),
    );
    commands(&mut window);
    assert!(shows(&window, "1 of 2 passed"));
    write(&mut window, "VM name", VM);
    press(&mut window, "Approve");
    assert!(commands(&mut window).is_empty());
}

fn show_a_promoted_one(window: &mut Window) {
    publish(window, |now| {
        let at = now.at;
        let found = now.shadows.iter_mut().find(|shadow| shadow.vm_name == VM);
        let shadow = found.expect("the sample has its shadow");
        shadow.state = ShadowState::Promoted;
        (shadow.traffic_share, shadow.wanted_share) = (1.0, 1.0);
        shadow.promotion = Some(PromotionView {
            at: at.plus_secs(-420),
            until: at.plus_secs(1380),
            committed_at: None,
            point: 1013,
            attestation: None,
            lost_seconds: None,
            accepted_bytes: Some(7_700_000),
        });
    });
    key(window, Key::Num4);
    window
        .get_by_label_contains(&format!("Shadow of {VM}"))
        .click();
    settle(window);
}

#[test]
fn the_window_of_a_promoted_shadow_has_both_ways_out() {
    let mut window = open(fleet());
    show_a_promoted_one(&mut window);
    assert!(shows(&window, "23 min left"));
    press(&mut window, "Roll back");
    press(&mut window, "Commit");
    let sent = commands(&mut window);
    assert!(
        matches!(
            &sent[..],
            [Command::ShadowRollback { .. }, Command::ShadowCommit { .. }]
        ),
        "{sent:?}"
    );
}

fn dialog(theme: Theme, tag: &str, size: [f32; 2]) {
    let mut window = open_as(fleet(), theme, size);
    ask_for_it(
        &mut window,
        planned(PlanKind::Promote, CheckOutcome::Passed),
    );
    write(&mut window, "VM name", VM);
    // The caret blinks by the clock.
    key(&mut window, Key::Tab);
    window.snapshot_options(format!("promote_{tag}"), &tolerant());
}

fn promoted(theme: Theme, tag: &str, size: [f32; 2]) {
    let mut window = open_as(fleet(), theme, size);
    show_a_promoted_one(&mut window);
    window.snapshot_options(format!("promoted_{tag}"), &tolerant());
}

#[test]
fn the_dialog_looks_as_it_did_in_the_dark() {
    dialog(Theme::Dark, "dark", [1440.0, 900.0]);
}

#[test]
fn the_dialog_looks_as_it_did_in_the_light_and_small() {
    dialog(Theme::Light, "light", [1280.0, 720.0]);
}

#[test]
fn a_promoted_shadow_looks_as_it_did_in_the_dark() {
    promoted(Theme::Dark, "dark", [1440.0, 900.0]);
}

#[test]
fn a_promoted_shadow_looks_as_it_did_in_the_light_and_small() {
    promoted(Theme::Light, "light", [1280.0, 720.0]);
}
