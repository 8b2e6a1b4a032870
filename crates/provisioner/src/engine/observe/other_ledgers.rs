//! Finds what other ledgers launched under our key-name.

use super::Reconcile;
use super::requests::asked_at;
use crate::domain::ledger::LedgerId;
use crate::domain::observed::OwnTags;
use crate::engine::observe::join::Join;
use crate::engine::state::other_ledgers::OtherLedgers;

impl Reconcile<'_> {
    /// Takes in the launches of other ledgers. A request and its instance count once.
    pub(super) fn find_other_ledgers(&self, join: &Join<'_>, others: &mut OtherLedgers) {
        others.look_again();
        let instances = join.instances.iter().map(|(instance, request)| {
            let launched = instance.launch_time;
            let asked = request.map(asked_at).filter(|_| instance.tags.intent.is_none());
            let tags = request.map_or(&instance.tags, |request| {
                if instance.tags.intent.is_some() { &instance.tags } else { &request.tags }
            });
            (tags, asked.unwrap_or(launched))
        });
        let waiting = join.requests.iter().filter(|(_, instance)| instance.is_none());
        let waiting = waiting.map(|(request, _)| (&request.tags, asked_at(request)));
        for (tags, created) in instances.chain(waiting) {
            if let Some(ledger) = self.other_ledger(tags) {
                let created = self.by_our_clock(created);
                others.saw(ledger, created, self.settings.provisioner.visibility_window, self.now);
            }
        }
    }

    /// The ledger of what carries these tags, if it is not ours.
    fn other_ledger(&self, tags: &OwnTags) -> Option<LedgerId> {
        // What another key-name claims is disputed already.
        if tags.key_name.as_ref().is_some_and(|name| name != self.key_name) {
            return None;
        }
        let (ledger, _) = LedgerId::of(tags.intent.as_ref()?)?;
        (Some(&ledger) != self.ledger.id.as_ref()).then_some(ledger)
    }
}
