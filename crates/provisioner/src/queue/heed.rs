//! Whether the queue heeds `state`, from what its answers look like.
//!
//! Two empty answers tell nothing; a queue is taken to heed `state` until it shows otherwise.

/// The judgement so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Heeds {
    /// Both answers were always empty.
    #[default]
    NotKnown,
    /// It does.
    Yes,
    /// It answered RUNNING with the tasks of PENDING.
    No,
}

/// What two answers of one round show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Whether they hold the same tasks; `None` if both are empty.
    pub(super) alike: Option<bool>,
    /// Tasks under RUNNING have a worker or were started, and none under PENDING.
    pub(super) tells_apart: bool,
}

/// Judges from round to round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judge {
    heeds: Heeds,
    unlike: u8,
}

impl Judge {
    /// So many rounds in a row must differ until a queue that was found to ignore `state` is believed
    /// again: the answers of one that ignores it differ too when its few tasks change between the reads.
    const UNLIKE_ROUNDS: u8 = 3;

    /// Takes one round in and returns the judgement.
    pub(super) fn look(&mut self, look: Look) -> Heeds {
        match look.alike {
            None => {}
            Some(true) => {
                self.unlike = 0;
                self.heeds = Heeds::No;
            }
            Some(false) => {
                self.unlike = self.unlike.saturating_add(1);
                let believed = self.heeds != Heeds::No
                    || look.tells_apart
                    || self.unlike >= Self::UNLIKE_ROUNDS;
                if believed {
                    self.heeds = Heeds::Yes;
                }
            }
        }
        self.heeds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIKE: Look = Look { alike: Some(true), tells_apart: false };
    const UNLIKE: Look = Look { alike: Some(false), tells_apart: false };
    const EMPTY: Look = Look { alike: None, tells_apart: false };
    const TOLD_APART: Look = Look { alike: Some(false), tells_apart: true };

    #[test]
    fn empty_answers_change_nothing() {
        let mut judge = Judge::default();
        assert_eq!(judge.look(EMPTY), Heeds::NotKnown);
        assert_eq!(judge.look(UNLIKE), Heeds::Yes);
        assert_eq!(judge.look(EMPTY), Heeds::Yes);
        assert_eq!(judge.look(ALIKE), Heeds::No);
        assert_eq!(judge.look(EMPTY), Heeds::No);
    }

    #[test]
    fn trust_lost_comes_back_slowly_or_with_proof() {
        let mut judge = Judge::default();
        judge.look(ALIKE);
        assert_eq!(judge.look(UNLIKE), Heeds::No);
        assert_eq!(judge.look(UNLIKE), Heeds::No);
        assert_eq!(judge.look(UNLIKE), Heeds::Yes);
        judge.look(ALIKE);
        assert_eq!(judge.look(TOLD_APART), Heeds::Yes);
    }
}
