//! Which VM, shadow, source or operation a word means.

use std::sync::Arc;

use crate::{
    engine::snapshot::{OperationView, ShadowView, Snapshot, VmView},
    problem::Problem,
    shadow::Proposal,
    units::PoolId,
};

/// Names closer than this are offered (Jaro-Winkler, 1 is the same).
const CLOSE: f64 = 0.8;
const MOST_SUGGESTIONS: usize = 3;

/// By id, by the platform's id, or by a name that only one VM has.
pub fn vm<'a>(now: &'a Snapshot, word: &str) -> Result<&'a VmView, Problem> {
    if let Some(view) = now.vm(&word.into()) {
        return Ok(view);
    }
    let found: Vec<&VmView> = (now.vms.iter())
        .filter(|view| view.vm.name == word || view.vm.id.uuid() == word)
        .collect();
    match found[..] {
        [view] => Ok(view),
        [] => Err(missing(
            "VM",
            word,
            now.vms.iter().map(|view| view.vm.name.as_str()),
            "`shadowcast vms` lists them.",
        )),
        _ => Err(ambiguous(
            "VMs",
            word,
            found.iter().map(|view| view.vm.id.as_str()),
        )),
    }
}

/// By its id, its own name, or its VM.
pub fn shadow<'a>(now: &'a Snapshot, word: &str) -> Result<&'a ShadowView, Problem> {
    let found: Vec<&ShadowView> = (now.shadows.iter())
        .filter(|view| {
            view.id.as_str() == word
                || view.name == word
                || view.vm_name == word
                || view.vm.as_str() == word
        })
        .collect();
    match found[..] {
        [view] => Ok(view),
        [] => Err(missing(
            "shadow",
            word,
            (now.shadows.iter()).flat_map(|view| [view.vm_name.as_str(), view.name.as_str()]),
            "`shadowcast shadow list` lists them.",
        )),
        _ => Err(ambiguous(
            "shadows",
            word,
            found.iter().map(|view| view.id.as_str()),
        )),
    }
}

/// By its id, or by a name that only one pool has.
pub fn pool(now: &Snapshot, word: &str) -> Result<PoolId, Problem> {
    let found: Vec<&PoolId> = (now.pools.iter())
        .filter(|pool| pool.id.as_str() == word || pool.name == word)
        .map(|pool| &pool.id)
        .collect();
    match found[..] {
        [pool] => Ok(pool.clone()),
        [] => Err(missing(
            "pool",
            word,
            now.pools.iter().map(|pool| pool.name.as_str()),
            "`shadowcast pools` lists them.",
        )),
        _ => Err(ambiguous(
            "pools",
            word,
            found.iter().map(|pool| pool.as_str()),
        )),
    }
}

pub fn operation<'a>(now: &'a Snapshot, word: &str) -> Result<&'a OperationView, Problem> {
    (now.operations.iter())
        .find(|view| view.id.as_str() == word)
        .ok_or_else(|| {
            missing(
                "operation",
                word,
                now.operations.iter().map(|view| view.id.as_str()),
                "`shadowcast operations` lists them.",
            )
        })
}

pub fn proposal<'a>(now: &'a Snapshot, word: &str) -> Result<&'a Arc<Proposal>, Problem> {
    (now.proposals.iter())
        .find(|proposal| proposal.id.as_str() == word)
        .ok_or_else(|| {
            missing(
                "proposal",
                word,
                now.proposals.iter().map(|proposal| proposal.id.as_str()),
                "`shadowcast proposals` lists them; one that is over goes, and is made anew while its need stands.",
            )
        })
}

fn ambiguous<'a>(kind: &str, word: &str, ids: impl Iterator<Item = &'a str>) -> Problem {
    let ids: Vec<&str> = ids.collect();
    Problem::usage(
        "Nothing was done.",
        format!("{} {kind} are called `{word}`.", ids.len()),
        format!("Use the id: {}.", ids.join(", ")),
    )
}

fn missing<'a>(
    kind: &str,
    word: &str,
    names: impl Iterator<Item = &'a str>,
    listed: &str,
) -> Problem {
    let mut close: Vec<(f64, &str)> = names
        .map(|name| (strsim::jaro_winkler(name, word), name))
        .filter(|(likeness, _)| *likeness >= CLOSE)
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    close.dedup_by_key(|(_, name)| *name);
    close.truncate(MOST_SUGGESTIONS);
    let next = if close.is_empty() {
        listed.to_owned()
    } else {
        let names: Vec<&str> = close.into_iter().map(|(_, name)| name).collect();
        format!("Did you mean {}? {listed}", names.join(", "))
    };
    Problem::failed(
        "Nothing was done.",
        format!("There is no {kind} `{word}`."),
        next,
    )
}
