//! Shrinks a failing world: fewer rounds, fewer kinds of faults, fewer events.

use std::collections::BTreeSet;

use super::{CHAOS, Case};

/// The maximum number of times that a world is played to shrink it.
#[derive(Clone, Copy, Debug)]
pub struct Tries(pub usize);

/// Returns the smallest part of `case` found that still `fails`, as `case` does. `happened` are the rounds
/// before which something happened in it.
pub fn shrink(
    case: &Case,
    happened: &BTreeSet<u64>,
    Tries(mut left): Tries,
    mut fails: impl FnMut(&Case) -> bool,
) -> Case {
    let mut try_it = |case: &Case| {
        let may = left > 0;
        left = left.saturating_sub(1);
        may && fails(case)
    };
    let mut least = case.clone();
    let keep = case.keep.as_ref().unwrap_or(happened);
    let named = Case { keep: Some(keep.clone()), ..least.clone() };
    if try_it(&named) {
        least = named;
    }
    // Rounds: a binary search for the shortest time.
    let longest = least.rounds.unwrap_or(CHAOS.as_secs());
    let mut too_few = 0;
    let mut enough = longest;
    while too_few + 1 < enough {
        let middle = too_few.midpoint(enough);
        let shorter = Case { rounds: Some(middle), ..least.clone() };
        if try_it(&shorter) {
            enough = middle;
            least = shorter;
        } else {
            too_few = middle;
        }
    }
    for kind in Case::kinds().filter(|kind| case.has(kind)) {
        let mut without = least.clone();
        without.without.insert(kind);
        if try_it(&without) {
            least = without;
        }
    }
    // Events: smaller and smaller parts are left out.
    if let Some(keep) = least.keep.take() {
        let rounds = least.rounds.unwrap_or(u64::MAX);
        let mut keep: Vec<u64> = keep.into_iter().filter(|round| *round <= rounds).collect();
        let mut part = keep.len().div_ceil(2);
        while part > 0 && !keep.is_empty() {
            let mut begin = 0;
            let before = keep.len();
            while begin < keep.len() {
                let end = (begin + part).min(keep.len());
                let rest: Vec<u64> = [&keep[..begin], &keep[end..]].concat();
                let fewer = Case { keep: Some(rest.iter().copied().collect()), ..least.clone() };
                if try_it(&fewer) {
                    keep = rest;
                } else {
                    begin = end;
                }
            }
            if part == 1 && keep.len() == before {
                break;
            }
            part = if part == 1 { 1 } else { part.div_ceil(2) };
        }
        least.keep = Some(keep.into_iter().collect());
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_does_not_need_is_left_out() {
        let happened: BTreeSet<u64> = (1..=90).collect();
        let mut tries = 0;
        let fails = |case: &Case| {
            tries += 1;
            let needed = [7, 31, 32];
            case.has("lag")
                && case.rounds.is_none_or(|rounds| rounds >= 33)
                && needed.iter().all(|round| case.keeps(*round))
        };
        let least = shrink(&Case::new(5), &happened, Tries(1000), fails);
        assert!(tries < 200, "{tries}");
        assert_eq!(least.keep, Some(BTreeSet::from([7, 31, 32])));
        assert_eq!((least.seed, least.rounds), (5, Some(33)));
        let all_but_lag = Case::kinds().filter(|kind| *kind != "lag").collect();
        assert_eq!(least.without, all_but_lag);
    }

    #[test]
    fn without_tries_nothing_is_left_out() {
        let case = Case::new(5);
        let least = shrink(&case, &BTreeSet::from([1]), Tries(0), |_| unreachable!("none is left"));
        assert_eq!(Case { keep: None, ..least }, case);
    }
}
