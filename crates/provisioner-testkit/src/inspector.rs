//! Checks every step of a driver.

use provisioner::internal::domain::demand::Demand;
use provisioner::internal::domain::ledger::Ledger;
use provisioner::internal::domain::observed::Observation;
use provisioner::internal::engine::{ActionOutcome, Effect, Outcome, Plan, Report};
use provisioner::internal::settings::Settings;
use provisioner_sim::driver::Hooks;
use provisioner_sim::world::World;

use crate::invariants::{self, BeforeCall};
use crate::planted_bugs::PlantedBug;

/// Checks the invariants at every step of a driver, keeps the story of its run, and perhaps plants a bug.
#[derive(Clone, Debug, Default)]
pub struct Inspector {
    /// The bug, to see whether it is caught.
    pub bug: Option<PlantedBug>,
    story: Vec<String>,
    before: Option<BeforeCall>,
}

impl Hooks for Inspector {
    fn tell(&mut self, line: impl FnOnce() -> String) {
        self.story.push(line());
    }

    fn story(&self) -> &[String] {
        &self.story
    }

    fn restart(&mut self, ledger: &mut Option<Ledger>) {
        if let Some(bug) = self.bug {
            bug.restart(ledger);
        }
    }

    fn observed(&mut self, observation: &mut Observation) {
        if let Some(bug) = self.bug {
            bug.observed(observation);
        }
    }

    fn demanded(&mut self, demand: &mut Demand, world: &World) {
        if let Some(bug) = self.bug {
            bug.demanded(demand, world);
        }
    }

    fn planned(
        &mut self,
        plan: &Plan,
        observation: &Observation,
        world: &World,
        settings: &Settings,
    ) -> Vec<String> {
        invariants::of_plan(plan, observation, world, settings)
    }

    fn instead(&mut self, effect: &Effect, world: &mut World, step: u64) -> Option<Outcome> {
        self.bug?.instead(effect, world, step)
    }

    fn before_call(
        &mut self,
        effect: &Effect,
        on_disk: Option<&Ledger>,
        world: &World,
        settings: &Settings,
    ) {
        self.before = Some(invariants::before_call(effect, on_disk, world, settings));
    }

    fn after_call(&mut self, world: &World, settings: &Settings) -> Vec<String> {
        let before = self.before.take();
        before.map_or_else(Vec::new, |before| invariants::after_call(before, world, settings))
    }

    fn executed(
        &mut self,
        effect: &Effect,
        outcome: &Outcome,
        executed: &[ActionOutcome],
    ) -> Vec<String> {
        invariants::of_outcome(effect, outcome, executed)
    }

    fn round_ended(&mut self, report: &Report) -> Vec<String> {
        invariants::of_report(report)
    }
}
