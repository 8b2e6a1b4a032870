//! Whose an instance is and what it is taken to cost, by all that tells of it.

use super::Settle;
use crate::domain::ids::{ClientToken, KeyName, WorkerTypeName};
use crate::domain::ledger::Granted;
use crate::domain::money::UsdPerHour;
use crate::domain::observed::{Instance, OwnTags, SpotRequest};

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine) enum Owner<'n> {
    Type(&'n WorkerTypeName),
    Retired(&'n WorkerTypeName),
    Stray,
    /// Tagged by another deployment that uses the same key-name.
    Disputed,
}

/// The first thing that tells, of the tags of an instance and those of its request.
pub(in crate::engine) fn told<'o, T>(
    instance: &'o Instance,
    request: Option<&'o SpotRequest>,
    tag: impl Fn(&'o OwnTags) -> Option<&'o T>,
) -> Option<&'o T> {
    tag(&instance.tags).or_else(|| tag(&request?.tags))
}

impl Settle<'_> {
    pub(in crate::engine) fn owner<'n>(
        &self,
        key_name: Option<&KeyName>,
        worker_type: Option<&'n WorkerTypeName>,
    ) -> Owner<'n> {
        if key_name.is_some_and(|name| name != self.key_name) {
            return Owner::Disputed;
        }
        match worker_type {
            Some(name) if self.settings.worker_types.contains_key(name) => Owner::Type(name),
            Some(name) => Owner::Retired(name),
            None => Owner::Stray,
        }
    }

    /// Whose an instance is, by its tags, those of its request and the ledger, which knows a request before
    /// it is visible.
    pub(in crate::engine) fn owner_of<'o>(
        &'o self,
        instance: &'o Instance,
        request: Option<&'o SpotRequest>,
    ) -> Owner<'o> {
        let key_name = told(instance, request, |tags| tags.key_name.as_ref());
        self.owner(key_name, self.worker_type_of(instance, request))
    }

    /// The worker type that an instance is tagged with or was asked for.
    pub(in crate::engine) fn worker_type_of<'o>(
        &'o self,
        instance: &'o Instance,
        request: Option<&'o SpotRequest>,
    ) -> Option<&'o WorkerTypeName> {
        told(instance, request, |tags| tags.worker_type.as_ref())
            .or_else(|| self.granted_of(instance).map(|granted| &granted.worker_type))
    }

    /// The call that made an instance.
    pub(in crate::engine) fn intent_of<'o>(
        &'o self,
        instance: &'o Instance,
        request: Option<&'o SpotRequest>,
    ) -> Option<&'o ClientToken> {
        told(instance, request, |tags| tags.intent.as_ref())
            .or_else(|| self.granted_of(instance).map(|granted| &granted.token))
    }

    /// What the ledger has of the request of an instance.
    fn granted_of(&self, instance: &Instance) -> Option<&Granted> {
        self.ledger.granted.get(instance.spot_request.as_ref()?)
    }

    /// The highest price that an instance may cost, as far as it can be taken for granted. What nobody has a
    /// `max-price` for, because it is not of our making or no longer configured, is as dear as the dearest of
    /// ours, so that one such machine does not stop every launch under a dollar limit.
    pub(in crate::engine) fn hourly(
        &self,
        instance: &Instance,
        request: Option<&SpotRequest>,
    ) -> Option<UsdPerHour> {
        self.known_price(instance, request).or_else(|| match self.owner_of(instance, request) {
            Owner::Type(_) => None,
            Owner::Retired(_) | Owner::Stray | Owner::Disputed => self.dearest(),
        })
    }

    /// The same, where it is known: what it was asked for, or was seen to be, or its worker type says.
    pub(in crate::engine) fn known_price(
        &self,
        instance: &Instance,
        request: Option<&SpotRequest>,
    ) -> Option<UsdPerHour> {
        let remembered = || self.memory.machines.get(&instance.id)?.price;
        let asked = request.and_then(|request| request.max_price);
        asked.or_else(|| self.granted_of(instance)?.max_price).or_else(remembered).or_else(|| {
            match self.owner_of(instance, request) {
                Owner::Type(name) => self.price_of(Some(name)),
                Owner::Retired(_) | Owner::Stray | Owner::Disputed => None,
            }
        })
    }

    /// The highest `max-price` of all worker types.
    pub(in crate::engine) fn dearest(&self) -> Option<UsdPerHour> {
        self.settings.worker_types.values().filter_map(|worker_type| worker_type.max_price).max()
    }

    /// The `max-price` of a worker type.
    pub(in crate::engine) fn price_of(
        &self,
        worker_type: Option<&WorkerTypeName>,
    ) -> Option<UsdPerHour> {
        self.settings.worker_types.get(worker_type?)?.max_price
    }
}
