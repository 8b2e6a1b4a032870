//! The body of a call, `Action=…&Filter.1.Name=…`, from which parameters are taken one by one.
//!
//! A call is refused if a parameter is left in the end, as EC2 does it. A parameter that the simulation does
//! not know must not be ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use provisioner::internal::domain::refusal::Refusal;

use crate::world::refusal;

/// Parameters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// The prefix of their names in the call.
    prefix: String,
    params: BTreeMap<String, String>,
}

impl Form {
    /// Decodes a body.
    pub(super) fn read(body: &str) -> Self {
        let params = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        Self { prefix: String::new(), params }
    }

    /// Takes a parameter.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.params.remove(name)
    }

    /// Takes a required parameter.
    pub(super) fn required(&mut self, name: &str) -> Result<String, Refusal> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| {
            let message = format!("The request must contain the parameter {}{name}", self.prefix);
            refusal("MissingParameter", message)
        })
    }

    /// Takes a number or a flag.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.invalid(name, &text))
    }

    /// Takes a time.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        self.parsed(name)
    }

    /// Takes `DryRun`.
    pub(super) fn dry_run(&mut self) -> Result<bool, Refusal> {
        Ok(self.parsed("DryRun")?.unwrap_or(false))
    }

    /// Takes `Name.1`, `Name.2`, …, in the order of their numbers.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let mut items = BTreeMap::new();
        for (key, value) in self.under(name) {
            match key.parse::<u32>() {
                Ok(n) => {
                    items.insert(n, value);
                }
                Err(_) => {
                    self.params.insert(format!("{name}.{key}"), value);
                }
            }
        }
        items.into_values().collect()
    }

    /// Takes `Name.…` as a separate form.
    pub(super) fn structure(&mut self, name: &str) -> Option<Self> {
        let params = self.under(name);
        (!params.is_empty()).then(|| Self { prefix: format!("{}{name}.", self.prefix), params })
    }

    /// Takes `Name.1.…`, `Name.2.…`, … as separate forms, in the order of their numbers.
    pub(super) fn structures(&mut self, name: &str) -> Vec<Self> {
        let mut items: BTreeMap<u32, Self> = BTreeMap::new();
        for (key, value) in self.under(name) {
            match key.split_once('.').map(|(n, rest)| (n.parse::<u32>(), rest)) {
                Some((Ok(n), rest)) => {
                    let prefix = format!("{}{name}.{n}.", self.prefix);
                    let item = items.entry(n).or_insert_with(|| Self { prefix, ..Self::default() });
                    item.params.insert(rest.to_owned(), value);
                }
                _ => {
                    self.params.insert(format!("{name}.{key}"), value);
                }
            }
        }
        items.into_values().collect()
    }

    /// Takes the parameters that begin with `name.`, without this prefix.
    fn under(&mut self, name: &str) -> BTreeMap<String, String> {
        let start = format!("{name}.");
        let taken = self.params.extract_if(start.clone().., |key, _| key.starts_with(&start));
        taken.map(|(key, value)| (key[start.len()..].to_owned(), value)).collect()
    }

    /// Refuses the call if a parameter is left.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.params.first_key_value() {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("The parameter {}{name} is not recognized", self.prefix);
                Err(refusal("UnknownParameter", message))
            }
        }
    }

    fn invalid(&self, name: &str, text: &str) -> Refusal {
        let message = format!("Value ({text}) for parameter {}{name} is invalid", self.prefix);
        refusal("InvalidParameterValue", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_structures_come_in_order_of_their_numbers() {
        let mut form = Form::read(
            "Action=A&Id.10=j&Id.2=b&Id.1=a&Filter.1.Name=tag%3Aa+b&Filter.1.Value.1=x%26&Filter.2.Name=y\
             &Spec.Image=i&Spec.Tag.1.Key=k",
        );
        assert_eq!(form.text("Action").as_deref(), Some("A"));
        assert_eq!(form.list("Id"), ["a", "b", "j"]);
        let mut filters = form.structures("Filter");
        assert_eq!(filters.len(), 2);
        assert_eq!(filters[0].text("Name").as_deref(), Some("tag:a b"));
        assert_eq!(filters[0].list("Value"), ["x&"]);
        let mut spec = form.structure("Spec").unwrap();
        assert_eq!(spec.text("Image").as_deref(), Some("i"));
        assert!(form.finish().is_ok());
        let error = spec.structures("Tag").remove(0).finish().unwrap_err();
        assert_eq!(error.message, "The parameter Spec.Tag.1.Key is not recognized");
    }

    #[test]
    fn what_is_wrong_or_unknown_is_refused_by_name() {
        let mut form = Form::read("MaxResults=many&Id.x=1&Id.1.y=2");
        let error = form.parsed::<u32>("MaxResults").unwrap_err();
        assert_eq!(error.code, "InvalidParameterValue");
        assert_eq!(error.message, "Value (many) for parameter MaxResults is invalid");
        assert!(form.list("Id").is_empty());
        assert_eq!(form.required("KeyName").unwrap_err().code, "MissingParameter");
        assert_eq!(form.finish().unwrap_err().code, "UnknownParameter");
    }
}
