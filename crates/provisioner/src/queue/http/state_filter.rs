//! Finds out whether the queue honours the query parameter `state`.
//!
//! A queue that ignores it answers RUNNING with its pending tasks, which must not be counted as running.
//! Two empty responses prove nothing; the queue is believed until its responses show otherwise.

/// The verdict so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StateFilter {
    /// Both responses have always been empty.
    #[default]
    Unknown,
    /// The responses to PENDING and RUNNING differ.
    Honoured,
    /// The queue answered RUNNING with the tasks of PENDING.
    Ignored,
}

/// What the two responses of one round show.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateEvidence {
    /// Whether they hold the same tasks; `None` if both are empty.
    pub(super) same_tasks: Option<bool>,
    /// Whether some task under RUNNING has a worker or a start, and no task under PENDING does.
    pub(super) only_running_started: bool,
}

/// Follows the evidence from round to round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StateFilterCheck {
    verdict: StateFilter,
    /// Rounds with different responses since the last one with the same.
    differing_rounds: u8,
}

impl StateFilterCheck {
    /// Rounds that must differ before a queue that was found to ignore `state` is believed again. One
    /// such round proves little: its few tasks may have changed between the two requests.
    const DIFFERING_ROUNDS: u8 = 3;

    /// Takes in the evidence of one round and returns the verdict.
    pub(super) fn record(&mut self, evidence: StateEvidence) -> StateFilter {
        match evidence.same_tasks {
            None => {}
            Some(true) => {
                self.differing_rounds = 0;
                self.verdict = StateFilter::Ignored;
            }
            Some(false) => {
                self.differing_rounds = self.differing_rounds.saturating_add(1);
                let believed = self.verdict != StateFilter::Ignored
                    || evidence.only_running_started
                    || self.differing_rounds >= Self::DIFFERING_ROUNDS;
                if believed {
                    self.verdict = StateFilter::Honoured;
                }
            }
        }
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: StateEvidence =
        StateEvidence { same_tasks: Some(true), only_running_started: false };
    const DIFFERENT: StateEvidence =
        StateEvidence { same_tasks: Some(false), only_running_started: false };
    const EMPTY: StateEvidence = StateEvidence { same_tasks: None, only_running_started: false };
    const PROOF: StateEvidence =
        StateEvidence { same_tasks: Some(false), only_running_started: true };

    #[test]
    fn empty_responses_change_nothing() {
        let mut check = StateFilterCheck::default();
        assert_eq!(check.record(EMPTY), StateFilter::Unknown);
        assert_eq!(check.record(DIFFERENT), StateFilter::Honoured);
        assert_eq!(check.record(EMPTY), StateFilter::Honoured);
        assert_eq!(check.record(SAME), StateFilter::Ignored);
        assert_eq!(check.record(EMPTY), StateFilter::Ignored);
    }

    #[test]
    fn lost_trust_comes_back_slowly_or_with_proof() {
        let mut check = StateFilterCheck::default();
        check.record(SAME);
        assert_eq!(check.record(DIFFERENT), StateFilter::Ignored);
        assert_eq!(check.record(DIFFERENT), StateFilter::Ignored);
        assert_eq!(check.record(DIFFERENT), StateFilter::Honoured);
        check.record(SAME);
        assert_eq!(check.record(PROOF), StateFilter::Honoured);
    }
}
