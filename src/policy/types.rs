//! Which type a VM is of: the first of the operator's rules that fits names it, else its size does.

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use super::{
    Settings,
    check::{File, Key},
};
use crate::{inventory::Vm, problem::Problem};

const GIB: f64 = (1_u64 << 30) as f64;
const MAX_RULES: usize = 200;
/// Of names and patterns, in characters.
const MAX_CHARACTERS: usize = 128;

/// All that is set must fit. In patterns `*` stands for any characters and `?` for one; case does not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TypeRule {
    /// What the type is called.
    pub name: Option<String>,
    /// Instead of `name`: the label whose value the type is called by; a VM without it is of no such type.
    pub name_from: Option<String>,
    /// A pattern of the VM's name.
    pub vm: Option<String>,
    pub min_vcpus: Option<u32>,
    pub max_vcpus: Option<u32>,
    pub min_memory_gib: Option<f64>,
    pub max_memory_gib: Option<f64>,
    /// A pattern of its pool's name.
    pub pool: Option<String>,
    /// The name of a label, and a pattern of its value.
    pub label: Option<String>,
    pub value: Option<String>,
}

/// A VM's type, and which of the rules says so, counted from 0; `None` is its size, or its platform's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeOf {
    pub name: String,
    pub rule: Option<usize>,
}

/// The type of `vm` by `rules`.
pub fn type_of(rules: &[TypeRule], vm: &Vm) -> TypeOf {
    let by_rule = rules
        .iter()
        .enumerate()
        .find_map(|(index, rule)| Some((index, rule.names(vm)?)));
    match by_rule {
        Some((index, name)) => TypeOf {
            name: name.to_owned(),
            rule: Some(index),
        },
        None => TypeOf {
            name: vm.instance_type.clone(),
            rule: None,
        },
    }
}

impl TypeRule {
    /// How it calls `vm`; `None` where it does not fit.
    fn names<'a>(&'a self, vm: &'a Vm) -> Option<&'a str> {
        let fits = |pattern: &Option<String>, text: &str| {
            pattern
                .as_deref()
                .is_none_or(|pattern| WildMatch::new_case_insensitive(pattern).matches(text))
        };
        let memory_gib = vm.memory_bytes as f64 / GIB;
        let pool = vm.pool.as_str();
        let pool = pool.rsplit('/').next().unwrap_or(pool);
        let sized = self.min_vcpus.is_none_or(|least| vm.vcpus >= least)
            && self.max_vcpus.is_none_or(|most| vm.vcpus <= most)
            && self.min_memory_gib.is_none_or(|least| memory_gib >= least)
            && self.max_memory_gib.is_none_or(|most| memory_gib <= most);
        if !sized || !fits(&self.vm, &vm.name) || !fits(&self.pool, pool) {
            return None;
        }
        let values = |key: &str| {
            let key = key.to_owned();
            vm.labels
                .iter()
                .filter(move |label| label.key == key)
                .map(|label| label.value.as_str())
        };
        if let Some(key) = &self.label
            && !values(key).any(|value| fits(&self.value, value))
        {
            return None;
        }
        match &self.name_from {
            Some(key) => values(key).find(|value| !value.is_empty()),
            None => self.name.as_deref(),
        }
    }
}

impl Settings {
    pub(super) fn check_types(&self, file: &File) -> Result<(), Problem> {
        if self.types.len() > MAX_RULES {
            let range = format!("at most {MAX_RULES}");
            return Err(file.out_of_range(&["types"], &self.types.len(), &range));
        }
        for (index, rule) in self.types.iter().enumerate() {
            check_rule(file, &index.to_string(), rule)?;
        }
        Ok(())
    }
}

fn check_rule(file: &File, index: &str, rule: &TypeRule) -> Result<(), Problem> {
    let wrong = |key: Key, value: &dyn std::fmt::Display, range: &str| {
        Err(file.out_of_range(&["types", index, key], value, range))
    };
    let texts: [(Key, &Option<String>); 6] = [
        ("name", &rule.name),
        ("name_from", &rule.name_from),
        ("vm", &rule.vm),
        ("pool", &rule.pool),
        ("label", &rule.label),
        ("value", &rule.value),
    ];
    for (key, text) in texts {
        let Some(text) = text else { continue };
        if text.is_empty() || text.chars().count() > MAX_CHARACTERS {
            let count = format!("of {} characters", text.chars().count());
            return wrong(key, &count, &format!("of 1 to {MAX_CHARACTERS}"));
        }
    }
    match (&rule.name, &rule.name_from) {
        (None, None) => return wrong("name", &"missing", "given, or name_from in its place"),
        (Some(_), Some(_)) => return wrong("name_from", &"beside a name", "the only one of them"),
        _ => {}
    }
    if rule.value.is_some() && rule.label.is_none() {
        return wrong("value", &"without a label", "beside the label it is of");
    }
    for (key, gib) in [
        ("min_memory_gib", rule.min_memory_gib),
        ("max_memory_gib", rule.max_memory_gib),
    ] {
        if let Some(gib) = gib {
            file.within(&["types", index, key], gib, 0.0, 1e6)?;
        }
    }
    if let (Some(least), Some(most)) = (rule.min_vcpus, rule.max_vcpus)
        && least > most
    {
        return wrong("max_vcpus", &most, &format!("at least {least}"));
    }
    if let (Some(least), Some(most)) = (rule.min_memory_gib, rule.max_memory_gib)
        && least > most
    {
        return wrong("max_memory_gib", &most, &format!("at least {least}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inventory::{Label, PowerState},
        units::{PoolId, SourceName, VmId},
    };

    fn vm(name: &str, vcpus: u32, labels: &[(&str, &str)]) -> Vm {
        let source = SourceName::from("dc");
        Vm {
            id: VmId::from("dc/1"),
            name: name.to_owned(),
            pool: PoolId::of(&source, "north"),
            source,
            host: String::new(),
            state: PowerState::Running,
            generation: 1,
            vcpus,
            vcpus_max: vcpus,
            memory_bytes: 4 << 30,
            memory_max_bytes: 4 << 30,
            instance_type: format!("{vcpus} vCPU, 4 GiB"),
            disks: Vec::new(),
            net_limit_bytes_per_sec: None,
            has_agent: false,
            foreign_jobs: Vec::new(),
            labels: labels
                .iter()
                .map(|(key, value)| Label {
                    key: (*key).to_owned(),
                    value: (*value).to_owned(),
                })
                .collect(),
            owner: None,
        }
    }

    fn rules(text: &str) -> Vec<TypeRule> {
        Settings::parse(text, "s").unwrap().types
    }

    fn named(rules: &[TypeRule], vm: &Vm) -> (String, Option<usize>) {
        let found = type_of(rules, vm);
        (found.name, found.rule)
    }

    #[test]
    fn the_first_rule_that_fits_names_the_type_and_size_does_where_none_does() {
        let rules = rules(
            "[[types]]\nname = \"big web\"\nvm = \"web-*\"\nmin_vcpus = 8\n\
             [[types]]\nname = \"web\"\nvm = \"WEB-??\"\n\
             [[types]]\nname = \"northern\"\npool = \"n*\"\nmax_memory_gib = 2\n\
             [[types]]\nname = \"debian\"\nlabel = \"libosinfo/os@id\"\nvalue = \"*debian*\"\n\
             [[types]]\nname_from = \"instance/flavor@name\"\n",
        );
        let of =
            |name: &str, vcpus, labels: &[(&str, &str)]| named(&rules, &vm(name, vcpus, labels));
        assert_eq!(of("web-01", 8, &[]), ("big web".to_owned(), Some(0)));
        assert_eq!(of("web-01", 4, &[]), ("web".to_owned(), Some(1)));
        assert_eq!(of("web-001", 4, &[]), ("4 vCPU, 4 GiB".to_owned(), None));
        let debian = ("libosinfo/os@id", "http://debian.org/debian/12");
        let flavor = ("instance/flavor@name", "m1.small");
        assert_eq!(
            of("db", 2, &[debian, flavor]),
            ("debian".to_owned(), Some(3))
        );
        assert_eq!(of("db", 2, &[flavor]), ("m1.small".to_owned(), Some(4)));
        let empty = ("instance/flavor@name", "");
        assert_eq!(of("db", 2, &[empty]).1, None);
    }

    #[test]
    fn patterns_are_no_expressions_and_long_texts_take_no_time() {
        let rules = rules("[[types]]\nname = \"t\"\nvm = \"a.c*+*(*x\"\n");
        assert_eq!(named(&rules, &vm("a.c1+2(3x", 1, &[])).1, Some(0));
        assert_eq!(named(&rules, &vm("abc1+2(3x", 1, &[])).1, None);
        let stars = format!("[[types]]\nname = \"t\"\nvm = \"{}b\"\n", "a*".repeat(60));
        let rules = super::tests::rules(&stars);
        assert_eq!(named(&rules, &vm(&"a".repeat(20_000), 1, &[])).1, None);
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_named_with_its_place() {
        for (text, why) in [
            ("[[types]]\nvm = \"a\"\n", "types.0.name is missing"),
            (
                "[[types]]\nname = \"a\"\nname_from = \"b\"\n",
                "line 3, column 13: types.0.name_from is beside a name",
            ),
            (
                "[[types]]\nname = \"a\"\n[[types]]\nname = \"\"\n",
                "line 4, column 8: types.1.name is of 0 characters",
            ),
            (
                "[[types]]\nname = \"a\"\nmin_vcpus = 4\nmax_vcpus = 2\n",
                "line 4, column 13: types.0.max_vcpus is 2",
            ),
            (
                "[[types]]\nname = \"a\"\nmin_memory_gib = nan\n",
                "line 3, column 18: types.0.min_memory_gib is NaN",
            ),
            (
                "[[types]]\nname = \"a\"\nvalue = \"x\"\n",
                "line 3, column 9: types.0.value is without a label",
            ),
            ("[[types]]\nname = \"a\"\nvcpu = 2\n", "line 3, column 1"),
        ] {
            let problem = Settings::parse(text, "s").unwrap_err();
            assert!(problem.why.starts_with(why), "{} / {why}", problem.why);
        }
    }
}
