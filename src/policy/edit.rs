//! Changes single values of a settings file and leaves its comments and its order alone; says what two settings differ
//! in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml_edit::{DocumentMut, Item, Key, TableLike, Value};

use super::Settings;
use crate::{problem::Problem, units::printable};

/// A value that is set, or taken out so that its default holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As in `health.threshold` or `vm."web 1".cpu`.
    pub key: String,
    /// As it is written in the file; `None` takes the key out.
    pub value: Option<String>,
}

/// One key that two settings have differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub key: String,
    /// `None`: not set, and without a default.
    pub before: Option<String>,
    pub after: Option<String>,
    /// Holds only once the engine has been started anew.
    pub at_restart: bool,
}

/// What the engine's threads are started with.
const AT_RESTART: [&str; 3] = ["sampling.", "history.", "prometheus."];

/// `text` with all of `changes`; checked as a whole.
///
/// # Errors
/// Says which change cannot be made, or which value may not be.
pub fn edit(text: &str, name: &str, changes: &[Change]) -> Result<String, Problem> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        not_changed(
            name,
            error.message().to_owned(),
            "Correct the file by hand first.",
        )
    })?;
    for change in changes {
        let path = Key::parse(&change.key).map_err(|_| {
            not_changed(
                name,
                format!("`{}` is no key", printable(&change.key)),
                "Write it as in `health.threshold`; `shadowcast policy show` lists them.",
            )
        })?;
        match &change.value {
            Some(value) => set(document.as_table_mut(), &path, written(value)),
            None => unset(document.as_table_mut(), &path),
        }
        .map_err(|why| not_changed(name, why, "`shadowcast policy show` lists the keys."))?;
    }
    let edited = document.to_string();
    Settings::parse(&edited, name)?;
    Ok(edited)
}

/// A word without quotes is a string.
fn written(value: &str) -> Value {
    value
        .trim()
        .parse()
        .unwrap_or_else(|_| Value::from(value.trim()))
}

fn set(table: &mut dyn TableLike, path: &[Key], mut value: Value) -> Result<(), String> {
    let Some((last, tables)) = path.split_last() else {
        return Err("the key is empty".to_owned());
    };
    let table = descend(table, tables)?;
    if let Some(item) = table.get_mut(last.get()) {
        let Some(old) = item.as_value_mut() else {
            return Err(format!("{} is a table", printable(last.get())));
        };
        // A comment behind the value stays.
        *value.decor_mut() = old.decor().clone();
        *old = value;
    } else {
        table.insert(last.get(), Item::Value(value));
    }
    Ok(())
}

fn descend<'a>(
    table: &'a mut dyn TableLike,
    path: &[Key],
) -> Result<&'a mut dyn TableLike, String> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(table);
    };
    let inner = table.entry(first.get()).or_insert_with(toml_edit::table);
    let inner = inner
        .as_table_like_mut()
        .ok_or_else(|| format!("{} is a value", printable(first.get())))?;
    descend(inner, rest)
}

fn unset(table: &mut dyn TableLike, path: &[Key]) -> Result<(), String> {
    let Some((last, tables)) = path.split_last() else {
        return Err("the key is empty".to_owned());
    };
    let mut found: &mut dyn TableLike = table;
    for key in tables {
        match found.get_mut(key.get()).and_then(Item::as_table_like_mut) {
            Some(inner) => found = inner,
            None => return Ok(()),
        }
    }
    found.remove(last.get());
    Ok(())
}

fn not_changed(name: &str, why: String, next: &str) -> Problem {
    Problem::usage(
        format!("The settings in {name} were not changed."),
        why,
        next,
    )
}

/// Every key in which `after` is not as `before`.
pub fn differences(before: &Settings, after: &Settings) -> Vec<Difference> {
    let (before, after) = (flat(before), flat(after));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| Difference {
            key: key.clone(),
            before: before.get(key).cloned(),
            after: after.get(key).cloned(),
            at_restart: AT_RESTART.iter().any(|part| key.starts_with(part)),
        })
        .collect()
}

fn flat(settings: &Settings) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Ok(value) = toml::Value::try_from(settings) {
        flatten(String::new(), &value, &mut found);
    }
    found
}

fn flatten(key: String, value: &toml::Value, found: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let name = Key::new(name);
                let name = name.display_repr();
                let key = if key.is_empty() {
                    name.into_owned()
                } else {
                    format!("{key}.{name}")
                };
                flatten(key, value, found);
            }
        }
        value => {
            found.insert(key, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::DEFAULT_TOML;

    fn change(key: &str, value: Option<&str>) -> Change {
        Change {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn a_value_changes_and_everything_else_stays() {
        let text = "# why\n[health] # here\nthreshold = 50 # of 100\nsteal = 0.1\n";
        let edited = edit(text, "s", &[change("health.threshold", Some("60"))]).unwrap();
        assert_eq!(edited, text.replace("50", "60"));
    }

    #[test]
    fn the_written_defaults_take_every_kind_of_change() {
        let changes = [
            change("health.weights.cpu", Some("1.5")),
            change("vm.\"web 1\".cpu", Some("0.7")),
            change("history.store", Some("own")),
            change("limits.memory", Some("0.8")),
        ];
        let edited = edit(DEFAULT_TOML, "s", &changes).unwrap();
        let settings = Settings::parse(&edited, "s").unwrap();
        let keys: Vec<String> = differences(&Settings::default(), &settings)
            .into_iter()
            .map(|difference| difference.key)
            .collect();
        assert_eq!(
            keys,
            ["health.weights.cpu", "limits.memory", "vm.\"web 1\".cpu"]
        );
        let back = edit(&edited, "s", &[change("vm.\"web 1\".cpu", None)]).unwrap();
        assert!(
            !Settings::parse(&back, "s")
                .unwrap()
                .vm
                .values()
                .any(|limits| limits.cpu.is_some())
        );
    }

    #[test]
    fn what_cannot_be_is_refused_and_says_where() {
        for (key, value, why) in [
            ("health.threshold", "101", "health.threshold is 101"),
            ("health.treshold", "1", "treshold"),
            ("health", "1", "health is a table"),
            ("health.threshold.x", "1", "threshold is a value"),
            ("health.threshold", "much", "invalid type"),
            ("", "1", "is no key"),
        ] {
            let problem = edit(DEFAULT_TOML, "s", &[change(key, Some(value))]).unwrap_err();
            assert!(problem.why.contains(why), "{key}: {}", problem.why);
        }
    }

    #[test]
    fn what_only_a_restart_brings_is_marked() {
        let mut after = Settings::default();
        after.sampling.interval_seconds = 20;
        after.health.threshold = 40;
        let marks: Vec<(String, bool)> = differences(&Settings::default(), &after)
            .into_iter()
            .map(|difference| (difference.key, difference.at_restart))
            .collect();
        assert_eq!(
            marks,
            [
                ("health.threshold".to_owned(), false),
                ("sampling.interval_seconds".to_owned(), true)
            ]
        );
    }
}
