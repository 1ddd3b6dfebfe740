//! XML to write: a tree of elements that comes out escaped, whatever is put in.

use quick_xml::{
    Writer,
    events::{BytesEnd, BytesStart, BytesText, Event},
};

/// An element with its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Child>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Child {
    Element(Element),
    Text(String),
}

impl Element {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.retain(|(present, _)| present != name);
        self.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.children.push(Child::Text(text.to_owned()));
        self
    }

    #[must_use]
    pub fn with(mut self, child: Self) -> Self {
        self.children.push(Child::Element(child));
        self
    }

    #[must_use]
    pub fn with_all(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children
            .extend(children.into_iter().map(Child::Element));
        self
    }

    /// A copy of `node` without its namespace prefixes and without the elements that `keep` refuses.
    pub fn copy(node: roxmltree::Node, keep: &impl Fn(roxmltree::Node) -> bool) -> Self {
        let mut copy = Self::new(node.tag_name().name());
        copy.attributes = node
            .attributes()
            .map(|attribute| (attribute.name().to_owned(), attribute.value().to_owned()))
            .collect();
        for child in node.children() {
            if child.is_element() && keep(child) {
                copy.children.push(Child::Element(Self::copy(child, keep)));
            } else if let Some(text) = child
                .text()
                .filter(|text| child.is_text() && !text.trim().is_empty())
            {
                copy.children.push(Child::Text(text.to_owned()));
            }
        }
        copy
    }

    /// The document.
    pub fn to_xml(&self) -> String {
        let mut writer = Writer::new(Vec::new());
        self.write(&mut writer);
        String::from_utf8_lossy(&writer.into_inner()).into_owned()
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) {
        let mut start = BytesStart::new(self.name.as_str());
        for (name, value) in &self.attributes {
            start.push_attribute((name.as_str(), value.as_str()));
        }
        emit(writer, Event::Start(start));
        for child in &self.children {
            match child {
                Child::Element(element) => element.write(writer),
                Child::Text(text) => emit(writer, Event::Text(BytesText::new(text))),
            }
        }
        emit(writer, Event::End(BytesEnd::new(self.name.as_str())));
    }
}

fn emit(writer: &mut Writer<Vec<u8>>, event: Event) {
    if let Err(error) = writer.write_event(event) {
        // A vector takes every byte.
        unreachable!("writing to memory: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_put_in_comes_out_as_text() {
        let hostile = "<&\"'$(x)\u{202e}]]>\t";
        let xml = Element::new("a")
            .attribute("b", hostile)
            .with(Element::new("c").text(hostile))
            .to_xml();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let root = document.root_element();
        assert_eq!(root.children().count(), 1);
        let text = root.first_element_child().unwrap().text().unwrap();
        assert_eq!(text, hostile);
        assert_eq!(root.attribute("b"), Some(hostile));
    }

    #[test]
    fn a_copy_leaves_out_what_is_refused() {
        let document = roxmltree::Document::parse("<a x='1'><b>t</b><c><d/></c> </a>").unwrap();
        let copy = Element::copy(document.root_element(), &|node| !node.has_tag_name("d"));
        assert_eq!(copy.to_xml(), "<a x=\"1\"><b>t</b><c></c></a>");
    }
}
