//! Workers that ask whether to stop, like real workers with `examples/should-stop.sh`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use provisioner::internal::daemon::StopListener;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::launch::LaunchCall;
use provisioner::internal::domain::observed::InstanceState;
use provisioner::internal::engine::{StopAnswer, WorkerReport};

use super::World;
use super::events::Event;
use super::state_reason;

/// Where workers ask, and how they obey the answer.
#[derive(Clone, Debug)]
pub struct Asking {
    listener: StopListener,
    /// How far the provisioner's clock is ahead of EC2's.
    ahead: SignedDuration,
    habits: Habits,
}

/// How workers obey the answer. Percentages are of the answers to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// The interval between two questions of an idle worker.
    pub every: Duration,
    /// How often a worker ignores the answer to stop.
    pub goes_on: u64,
    /// How often a worker takes no more tasks, but reports only minutes later that it is stopping.
    pub dawdles: u64,
    /// How often a worker ends its machine itself once it has agreed.
    pub ends_itself: u64,
}

impl Default for Habits {
    /// Workers that obey.
    fn default() -> Self {
        Self { every: Duration::from_secs(30), goes_on: 0, dawdles: 0, ends_itself: 0 }
    }
}

/// The state of a machine whose worker may ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Asker {
    /// The token in its user data.
    token: Option<String>,
    /// When it asks next. Events at other times were scheduled in an earlier idle period.
    next: Option<Timestamp>,
    /// Whether it was told to stop and takes no more tasks.
    leaving: bool,
    /// Whether it was told to stop again when it reported that it is stopping.
    agreed: bool,
}

impl Asker {
    /// In the simulation, user data is only the token.
    pub(super) fn of(call: Option<&LaunchCall>) -> Self {
        let user_data = call.and_then(|call| STANDARD.decode(call.user_data.as_ref()?).ok());
        let token = user_data.and_then(|user_data| String::from_utf8(user_data).ok());
        Self { token: token.filter(|token| !token.is_empty()), ..Self::default() }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }
}

impl World {
    /// Lets workers that were launched with a token ask at `listener`, where the clock is `ahead`.
    pub fn attend(&mut self, listener: StopListener, ahead: SignedDuration) {
        let habits = self.asking.as_ref().map(|asking| asking.habits).unwrap_or_default();
        self.asking = Some(Asking { listener, ahead, habits });
    }

    /// Changes how present and future workers obey the answer.
    pub fn keep_habits(&mut self, habits: Habits) {
        if let Some(asking) = &mut self.asking {
            asking.habits = habits;
        }
    }

    /// Returns whether the worker on `instance` reported that it is stopping, and was told to stop.
    pub fn has_agreed(&self, instance: &provisioner::internal::domain::ids::InstanceId) -> bool {
        self.machines.get(instance).is_some_and(|machine| machine.asker.agreed)
    }

    /// Returns whether a worker stays up until it is told to stop.
    pub(super) fn may_ask(&self, no: usize) -> bool {
        self.asking.is_some() && self.machines.at(no).asker.token.is_some()
    }

    /// Lets a worker that has become idle ask after a while.
    pub(super) fn will_ask(&mut self, no: usize) {
        if let Some(asking) = &self.asking
            && self.may_ask(no)
        {
            let every = asking.habits.every;
            self.asks_again(no, every, Event::Ask(no));
        }
    }

    fn asks_again(&mut self, no: usize, after: Duration, event: Event) {
        self.machines.at_mut(no).asker.next = Some(clock::after(self.now, after));
        self.schedule(after, event);
    }

    /// Returns whether this is the time for which the worker's next question was scheduled.
    fn is_its_turn(&self, no: usize) -> bool {
        let machine = self.machines.at(no);
        machine.up
            && machine.truth().state == InstanceState::Running
            && !machine.draining
            && machine.asker.next == Some(self.now)
            && self.tasks_on(no) == 0
    }

    fn say(&mut self, no: usize, word: WorkerReport) -> Option<StopAnswer> {
        let Asking { listener, ahead, .. } = self.asking.as_ref()?;
        let machine = self.machines.at(no);
        let now = self.now.checked_add(*ahead).unwrap_or(self.now);
        let instance = machine.truth();
        let from = *instance.addresses.first()?;
        listener.hear(&instance.id, machine.asker.token.as_ref()?, from, word, now).ok()
    }

    pub(super) fn worker_asks(&mut self, no: usize) {
        if !self.is_its_turn(no) {
            return;
        }
        let answer = self.say(no, WorkerReport::Idle);
        let Some(Asking { habits, .. }) = self.asking else { return };
        match answer {
            Some(StopAnswer::Stop(_)) if !self.asks.percent(habits.goes_on) => {
                self.leaves_the_free(no);
                self.machines.at_mut(no).asker.leaving = true;
                let (least, most) =
                    if self.asks.percent(habits.dawdles) { (30, 300) } else { (0, 5) };
                let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
                let after = self.asks.between(least, most);
                self.asks_again(no, after, Event::Stopping(no));
            }
            Some(StopAnswer::Stop(_) | StopAnswer::Stay) | None => {
                self.asks_again(no, habits.every, Event::Ask(no));
            }
        }
    }

    pub(super) fn worker_stops(&mut self, no: usize) {
        if !self.is_its_turn(no) || !self.machines.at(no).asker.leaving {
            return;
        }
        let answer = self.say(no, WorkerReport::Stopping);
        let Some(Asking { habits, .. }) = self.asking else { return };
        let asker = &mut self.machines.at_mut(no).asker;
        asker.agreed = matches!(answer, Some(StopAnswer::Stop(_)));
        if !asker.agreed {
            asker.leaving = false;
            self.becomes_free(no);
            self.hand_out(no);
            if self.tasks_on(no) == 0 {
                self.will_ask(no);
            }
        } else if self.asks.percent(habits.ends_itself) {
            self.end_machine(no, "instance-terminated-by-user", state_reason::ITSELF);
        } else {
            // The worker repeats this until it is ended, because a restarted provisioner has forgotten it.
            self.asks_again(no, habits.every, Event::Stopping(no));
        }
    }
}
