//! What people and other programs wrote beside a domain: its title, its description and what stands in its metadata.

use roxmltree::Node;

use super::domain_xml::{NAMESPACE, child, child_text};
use crate::inventory::Label;

/// A VM has few; what a hostile description has more is left out.
const MAX_LABELS: usize = 64;
const MAX_CHARACTERS: usize = 256;
const MAX_DEPTH: usize = 6;

/// `title`, `description`, and of each element of the metadata its text and attributes by their local names:
/// `libosinfo/os@id`, `instance/flavor@name`.
pub fn read(domain: Node) -> Vec<Label> {
    let mut found = Vec::new();
    for name in ["title", "description"] {
        if let Some(text) = child_text(domain, name) {
            add(&mut found, name.to_owned(), text);
        }
    }
    let metadata = child(domain, "metadata");
    for element in metadata
        .into_iter()
        .flat_map(|metadata| metadata.children())
    {
        // Our own mark says whose a VM is, not of what kind.
        if element.is_element() && element.tag_name().namespace() != Some(NAMESPACE) {
            of_element(&mut found, element, element.tag_name().name(), MAX_DEPTH);
        }
    }
    found
}

fn of_element(found: &mut Vec<Label>, element: Node, path: &str, depth: usize) {
    if found.len() >= MAX_LABELS || depth == 0 {
        return;
    }
    if let Some(text) = element.text() {
        add(found, path.to_owned(), text);
    }
    for attribute in element.attributes() {
        add(
            found,
            format!("{path}@{}", attribute.name()),
            attribute.value(),
        );
    }
    for inner in element.children().filter(Node::is_element) {
        let path = format!("{path}/{}", inner.tag_name().name());
        of_element(found, inner, &path, depth - 1);
    }
}

fn add(found: &mut Vec<Label>, key: String, text: &str) {
    let text = text.trim();
    if text.is_empty() || found.len() >= MAX_LABELS || key.chars().count() > MAX_CHARACTERS {
        return;
    }
    found.push(Label {
        key,
        value: text.chars().take(MAX_CHARACTERS).collect(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inside: &str) -> Vec<(String, String)> {
        let xml = format!("<domain>{inside}</domain>");
        let document = roxmltree::Document::parse(&xml).unwrap();
        read(document.root_element())
            .into_iter()
            .map(|label| (label.key, label.value))
            .collect()
    }

    #[test]
    fn text_and_attributes_of_any_namespace_are_read_but_our_own_mark() {
        let found = of("<title> Shop </title><description/>
            <metadata xmlns:l='http://libosinfo.org/xmlns/libvirt/domain/1.0' xmlns:n='urn:nova' xmlns:s='urn:shadowcast:1'>
              <l:libosinfo><l:os id='http://debian.org/debian/12'/></l:libosinfo>
              <n:instance><n:name>a</n:name><n:flavor name='m1.small'><n:vcpus>2</n:vcpus></n:flavor></n:instance>
              <s:owner engine='e' operation='o'/></metadata>");
        let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(
            found,
            [
                ("title", "Shop"),
                ("libosinfo/os@id", "http://debian.org/debian/12"),
                ("instance/name", "a"),
                ("instance/flavor@name", "m1.small"),
                ("instance/flavor/vcpus", "2"),
            ]
        );
    }

    #[test]
    fn hostile_metadata_stays_small() {
        let many = "<a>t</a>".repeat(1000);
        assert_eq!(
            of(&format!("<metadata><x>{many}</x></metadata>")).len(),
            MAX_LABELS
        );
        let deep = format!(
            "<metadata>{}t{}</metadata>",
            "<a>".repeat(900),
            "</a>".repeat(900)
        );
        assert_eq!(of(&deep), []);
        let long = of(&format!("<title>{}</title>", "ä".repeat(5000)));
        assert_eq!(long[0].1.chars().count(), MAX_CHARACTERS);
        let key = "a".repeat(300);
        assert_eq!(of(&format!("<metadata><{key}>t</{key}></metadata>")), []);
    }
}
