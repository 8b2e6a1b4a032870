//! `Filter.N`: the filters that a record must match to be shown.
//!
//! A record must match all filters, each by one of its values. `*` and `?` stand for any text and any
//! character, unless a backslash precedes them (EC2 User Guide, "Filtering your resources").

use std::fmt::Display;

use provisioner::internal::domain::refusal::Refusal;

use super::form::Form;
use crate::world::refusal;

/// The filters of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Filters(Vec<Filter>);

#[derive(Clone, Debug)]
struct Filter {
    name: String,
    values: Vec<String>,
}

/// The values of a record for one filter.
pub(super) enum Held {
    /// The record has these values. Without any it does not match.
    Texts(Vec<String>),
    /// There is no filter with this name.
    NoSuchFilter,
}

impl Held {
    /// Returns one value.
    pub(super) fn text(text: impl Display) -> Self {
        Self::Texts(vec![format!("{text}")])
    }

    /// Returns one value, or no value.
    pub(super) fn maybe(text: Option<impl Display>) -> Self {
        Self::Texts(text.into_iter().map(|text| text.to_string()).collect())
    }
}

impl Filters {
    /// Takes the filters out of a form.
    pub(super) fn read(form: &mut Form) -> Result<Self, Refusal> {
        let filters = form.structures("Filter").into_iter().map(|mut filter| {
            let (name, values) = (filter.required("Name")?, filter.list("Value"));
            filter.finish()?;
            Ok(Filter { name, values })
        });
        filters.collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether a record matches. `held` returns its values for a filter's name.
    pub(super) fn admit(&self, held: impl Fn(&str) -> Held) -> Result<bool, Refusal> {
        for Filter { name, values } in &self.0 {
            let Held::Texts(texts) = held(name) else {
                let message = format!("The filter '{name}' is invalid");
                return Err(refusal("InvalidParameterValue", message));
            };
            if !texts.iter().any(|text| values.iter().any(|value| matches(value, text))) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the records that match.
    pub(super) fn choose<T>(
        &self,
        records: impl IntoIterator<Item = T>,
        held: impl Fn(&T, &str) -> Held,
    ) -> Result<Vec<T>, Refusal> {
        let mut chosen = Vec::new();
        for record in records {
            if self.admit(|name| held(&record, name))? {
                chosen.push(record);
            }
        }
        Ok(chosen)
    }

    /// Returns whether only records with one of `texts` for the filter `name` can match.
    pub(super) fn ask_only_for(&self, name: &str, texts: &[&str]) -> bool {
        self.0.iter().any(|filter| {
            filter.name == name && filter.values.iter().all(|value| texts.contains(&value.as_str()))
        })
    }
}

/// Returns whether a filter's value, with its wildcards, matches `text`.
fn matches(value: &str, text: &str) -> bool {
    if !value.contains(['*', '?', '\\']) {
        return value == text;
    }
    let text: Vec<char> = text.chars().collect();
    // reached[n]: the part of the value that was read matches the first n characters.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut value = value.chars();
    while let Some(c) = value.next() {
        let (literal, c) = match c {
            '\\' => (true, value.next().unwrap_or('\\')),
            c => (false, c),
        };
        if c == '*' && !literal {
            let first =
                reached.iter().position(|reached_here| *reached_here).unwrap_or(reached.len());
            reached[first..].fill(true);
            continue;
        }
        for n in (0..text.len()).rev() {
            reached[n + 1] = reached[n] && (c == text[n] || (c == '?' && !literal));
        }
        reached[0] = false;
    }
    reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_anything_unless_escaped() {
        for (value, text, expected) in [
            ("a", "a", true),
            ("a", "A", false),
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("?", "", false),
            ("a?c", "abc", true),
            (r"a\*c", "a*c", true),
            (r"a\*c", "abc", false),
            (r"a\\?", r"a\x", true),
            ("*b*", "abc", true),
            ("provisioner-test-*", "provisioner-test-1", true),
        ] {
            assert_eq!(matches(value, text), expected, "{value} {text}");
        }
    }

    #[test]
    fn all_filters_must_match_by_any_value() {
        let filters = |body: &str| Filters::read(&mut Form::read(body)).unwrap();
        let held = |name: &str| match name {
            "state" => Held::text("open"),
            "tag-key" => Held::Texts(vec!["a".to_owned(), "b".to_owned()]),
            "instance-id" => Held::maybe(None::<&str>),
            _ => Held::NoSuchFilter,
        };
        let admits = |body: &str| filters(body).admit(held);
        assert_eq!(admits(""), Ok(true));
        let both = "Filter.1.Name=state&Filter.1.Value.1=active&Filter.1.Value.2=open&Filter.2.Name=tag-key";
        assert_eq!(admits(&format!("{both}&Filter.2.Value.1=b")), Ok(true));
        assert_eq!(admits(&format!("{both}&Filter.2.Value.1=c")), Ok(false));
        assert_eq!(admits("Filter.1.Name=instance-id&Filter.1.Value.1=*"), Ok(false));
        let unknown = admits("Filter.1.Name=colour&Filter.1.Value.1=red").unwrap_err();
        assert_eq!(unknown.message, "The filter 'colour' is invalid");
        assert!(filters(both).ask_only_for("state", &["open", "active"]));
        assert!(!filters(both).ask_only_for("state", &["open"]));
    }
}
