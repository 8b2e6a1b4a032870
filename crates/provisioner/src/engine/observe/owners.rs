//! The owner of an instance, and the price it may cost: from its tags, its request, the ledger, the memory
//! and the settings.

use super::Reconcile;
use crate::domain::ids::{ClientToken, KeyName, WorkerTypeName};
use crate::domain::ledger::Granted;
use crate::domain::money::UsdPerHour;
use crate::domain::observed::{Instance, OwnTags, SpotRequest};

/// The owner of an instance or a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Owner<'n> {
    Type(&'n WorkerTypeName),
    Retired(&'n WorkerTypeName),
    Stray,
    /// Tagged by another deployment that uses the same key-name.
    Disputed,
}

/// A tag of an instance, or of its request where the instance does not carry it.
pub(super) fn first_tag<'o, T>(
    instance: &'o Instance,
    request: Option<&'o SpotRequest>,
    tag: impl Fn(&'o OwnTags) -> Option<&'o T>,
) -> Option<&'o T> {
    tag(&instance.tags).or_else(|| tag(&request?.tags))
}

impl Reconcile<'_> {
    pub(super) fn owner<'n>(
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

    /// The owner of an instance, by its tags, those of its request, and the ledger, which knows a request
    /// before it is visible.
    pub(super) fn owner_of<'o>(
        &'o self,
        instance: &'o Instance,
        request: Option<&'o SpotRequest>,
    ) -> Owner<'o> {
        let key_name = first_tag(instance, request, |tags| tags.key_name.as_ref());
        self.owner(key_name, self.worker_type_of(instance, request))
    }

    /// The worker type that an instance is tagged with or was asked for.
    pub(super) fn worker_type_of<'o>(
        &'o self,
        instance: &'o Instance,
        request: Option<&'o SpotRequest>,
    ) -> Option<&'o WorkerTypeName> {
        first_tag(instance, request, |tags| tags.worker_type.as_ref())
            .or_else(|| self.granted_of(instance).map(|granted| &granted.worker_type))
            // Tags that were seen once may be hidden by a page that lags, or removed by hand.
            .or_else(|| self.memory.machines.get(&instance.id)?.worker_type.as_ref())
    }

    /// The call that made an instance.
    pub(super) fn intent_of<'o>(
        &'o self,
        instance: &'o Instance,
        request: Option<&'o SpotRequest>,
    ) -> Option<&'o ClientToken> {
        first_tag(instance, request, |tags| tags.intent.as_ref())
            .or_else(|| self.granted_of(instance).map(|granted| &granted.token))
    }

    /// What the ledger has of the request of an instance.
    fn granted_of(&self, instance: &Instance) -> Option<&Granted> {
        self.ledger.granted.get(instance.spot_request.as_ref()?)
    }

    /// The highest price that an instance may cost. One without a `max-price` of its own, because we did not
    /// launch it or its worker type is no longer configured, counts as much as the dearest worker type, so
    /// that one such machine does not stop every launch under a dollar limit.
    pub(super) fn hourly(
        &self,
        instance: &Instance,
        request: Option<&SpotRequest>,
    ) -> Option<UsdPerHour> {
        self.known_price(instance, request).or_else(|| match self.owner_of(instance, request) {
            Owner::Type(_) => None,
            Owner::Retired(_) | Owner::Stray | Owner::Disputed => self.dearest(),
        })
    }

    /// The highest price of an instance where it is known: from its request, the ledger, the memory, or the
    /// `max-price` of its worker type.
    pub(super) fn known_price(
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
    pub(super) fn dearest(&self) -> Option<UsdPerHour> {
        self.settings.worker_types.values().filter_map(|worker_type| worker_type.max_price).max()
    }

    /// The `max-price` of a worker type.
    pub(super) fn price_of(&self, worker_type: Option<&WorkerTypeName>) -> Option<UsdPerHour> {
        self.settings.worker_types.get(worker_type?)?.max_price
    }
}
