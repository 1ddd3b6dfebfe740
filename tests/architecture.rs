//! Who may import whom, and who may touch the world: read from the sources themselves.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Rooms and files that may do I/O; all others are pure.
const MAY_DO_IO: &[&str] = &[
    "main.rs",
    "cli/",
    "engine/bring.rs",
    "engine/collect.rs",
    "engine/handle.rs",
    "engine/librarian.rs",
    "engine/librarian/capacity.rs",
    "engine/perform.rs",
    "engine/remote.rs",
    "engine/send.rs",
    "engine/shell.rs",
    "engine/simulate/mod.rs",
    "engine/thread.rs",
    "hypervisor/",
    "lab/",
    "store/",
    "telemetry/",
    "traffic/haproxy",
    "ui/",
    "validation/prober.rs",
];

/// What the pure files never name.
const WORLD: &[&str] = &[
    "tokio::",
    "reqwest::",
    "rusqlite::",
    "virt::",
    "virt_sys::",
    "egui::",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "jiff::Timestamp::now",
    "Uuid::new_v4",
    "fastrand::u",
    "fastrand::Rng::new",
];

struct Source {
    /// Below `src/`, with `/`.
    path: String,
    /// Without comments and without what follows the first `#[cfg(test)]`.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                found.push(Source {
                    path,
                    code: code_of(&text),
                });
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn code_of(text: &str) -> String {
    let until_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
    until_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

/// The modules in the order of `lib.rs`.
fn reading_order(sources: &[Source]) -> Vec<String> {
    let lib = sources
        .iter()
        .find(|source| source.path == "lib.rs")
        .unwrap();
    lib.code
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// The modules that `code` names after `crate::`, in braces too.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for character in list.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => found.push(std::mem::take(&mut word)),
                    _ if depth == 0 => word.push(character),
                    _ => {}
                }
            }
            found.push(word);
        } else {
            found.push(
                rest.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect(),
            );
        }
    }
    found
        .into_iter()
        .map(|word| {
            word.trim()
                .split("::")
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn a_module_imports_only_modules_before_it() {
    let sources = sources();
    let order = reading_order(&sources);
    let place = |module: &str| order.iter().position(|known| known == module);
    let mut wrong = Vec::new();
    for source in &sources {
        if is_test_file(&source.path) {
            continue;
        }
        let own = source.path.split(['/', '.']).next().unwrap_or_default();
        let Some(own_place) = place(own) else {
            continue;
        };
        for import in imports(&source.code) {
            if place(&import).is_some_and(|imported| imported > own_place) {
                wrong.push(format!("{} imports {import}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn faces_never_name_a_platform_or_the_store() {
    let mut wrong = Vec::new();
    for source in sources() {
        let face = source.path.starts_with("ui/") || source.path.starts_with("cli/");
        let behind_the_seam = imports(&source.code)
            .into_iter()
            .any(|import| import == "store")
            || [
                "dyn Hypervisor",
                "dyn Observe",
                "hypervisor::connect",
                "libvirt::connect",
            ]
            .iter()
            .any(|name| source.code.contains(name));
        if face && behind_the_seam && !is_test_file(&source.path) {
            wrong.push(source.path);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_files_do_not_touch_the_world() {
    let mut wrong = Vec::new();
    for source in sources() {
        if is_test_file(&source.path) || MAY_DO_IO.iter().any(|room| source.path.starts_with(room))
        {
            continue;
        }
        for name in WORLD {
            if source.code.contains(name) {
                wrong.push(format!("{} names {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_checks_can_fail() {
    assert_eq!(imports("use crate::{a::b, c::{d, e}, f};"), ["a", "c", "f"]);
    assert_eq!(imports("crate::store::x()"), ["store"]);
    assert_eq!(code_of("a\n// b\n#[cfg(test)]\nc"), "a");
}
