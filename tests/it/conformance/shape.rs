//! The shape of an XML answer: its elements, their places, and the kind of text that they hold.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use quick_xml::Reader;
use quick_xml::events::Event;

/// By path (`reservationSet/item/…`): the kinds of the texts that are not empty. The outermost element is
/// `@NAME`, its namespace `@xmlns NAMESPACE`.
pub(super) type Shape = BTreeMap<String, BTreeSet<Kind>>;

/// The kind of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Decimal,
    Time,
    Text,
}

impl Kind {
    fn of(text: &str) -> Self {
        let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        match text.split_once('.') {
            _ if matches!(text, "true" | "false") => Self::Boolean,
            _ if digits(text) => Self::Integer,
            Some((whole, part)) if digits(whole) && digits(part) => Self::Decimal,
            _ if text.parse::<Timestamp>().is_ok() => Self::Time,
            _ => Self::Text,
        }
    }
}

/// Reads an answer.
pub(super) fn read(xml: &str) -> Shape {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().trim_text(true);
    reader.config_mut().expand_empty_elements = true;
    let mut shape = Shape::new();
    let mut path = Vec::<String>::new();
    let mut inside = false;
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(element) if !inside => {
                inside = true;
                shape.insert(format!("@{}", element.name().as_ref()), BTreeSet::new());
                if let Some(namespace) = element.try_get_attribute("xmlns").expect("attributes") {
                    shape.insert(format!("@xmlns {}", namespace.value), BTreeSet::new());
                }
            }
            Event::Start(element) => {
                path.push(element.name().as_ref().to_owned());
                shape.entry(path.join("/")).or_default();
            }
            Event::Text(text) if !path.is_empty() && !text.trim().is_empty() => {
                shape.entry(path.join("/")).or_default().insert(Kind::of(&text));
            }
            Event::End(_) => drop(path.pop()),
            Event::Eof => return shape,
            _ => {}
        }
    }
}

#[test]
fn a_shape_has_paths_and_kinds() {
    let shape = read("<A xmlns=\"n\"><b/><c><item>1</item><item>x</item></c><d>0.5</d></A>");
    let kinds = |kinds: &[Kind]| kinds.iter().copied().collect::<BTreeSet<_>>();
    let expected = [
        ("@A", kinds(&[])),
        ("@xmlns n", kinds(&[])),
        ("b", kinds(&[])),
        ("c", kinds(&[])),
        ("c/item", kinds(&[Kind::Integer, Kind::Text])),
        ("d", kinds(&[Kind::Decimal])),
    ];
    assert_eq!(shape, expected.map(|(path, kinds)| (path.to_owned(), kinds)).into());
    assert_eq!(Kind::of("2026-11-23T08:00:00.000Z"), Kind::Time);
}
