//! The fate of gaps in the demand, by their distance above it, their age, and how much began at the time.

use super::GUESSES;

/// Adjacent levels at about the same distance from the demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) distance: usize,
    pub(super) low: u64,
    pub(super) high: u64,
}

/// Cuts the levels `low` to `high` into runs by their distance from `from`.
pub(super) fn runs(low: u64, high: u64, from: u64) -> impl Iterator<Item = Run> {
    let mut next = low;
    std::iter::from_fn(move || {
        if next > high {
            return None;
        }
        let low = next;
        let distance = low.saturating_sub(from);
        let high = high.min(from + last_of_bin(distance));
        next = high + 1;
        Some(Run { distance: distance_bin(distance), low, high })
    })
}

/// Returns the bin of a distance. There are two bins per doubling: 1, 2, 3, 4-5, 6-7, 8-11, …
fn distance_bin(distance: u64) -> usize {
    let distance = distance.max(1);
    let octave = distance.ilog2() as usize;
    let upper = octave > 0 && (distance >> (octave - 1)) & 1 == 1;
    (2 * octave + usize::from(upper)).saturating_sub(usize::from(octave > 0)).min(DISTANCES - 1)
}

/// Returns the greatest distance in the bin of `distance`.
fn last_of_bin(distance: u64) -> u64 {
    let distance = distance.max(1);
    if distance_bin(distance) == DISTANCES - 1 {
        return u64::MAX / 2;
    }
    let octave = distance.ilog2();
    if octave == 0 {
        return 1;
    }
    (((distance >> (octave - 1)) + 1) << (octave - 1)) - 1
}

/// Returns the bin of an age. There is one bin per doubling from 10 s.
pub(super) fn age_bin(millis: i64) -> usize {
    let tens = u64::try_from(millis / 10_000).unwrap_or(0);
    tens.checked_ilog2().map_or(0, |octave| octave as usize + 1).min(AGES - 1)
}

/// Returns the middle of an age bin, in seconds.
pub(super) fn middle(age: usize) -> f64 {
    const MIDDLES: [f64; AGES] = [
        10.0, 15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3840.0, 7680.0, 15360.0,
        30720.0,
    ];
    MIDDLES[age.min(AGES - 1)]
}

/// Returns the order of magnitude of the rises of the demand: under 1, 4, 16, 64, 256, or more.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
pub(super) fn order(rises: f64) -> usize {
    (rises as u64).checked_ilog2().map_or(0, |octave| octave as usize / 2 + 1).min(ORDERS - 1)
}

const DISTANCES: usize = 20;
const AGES: usize = 13;
const ORDERS: usize = 6;

pub(super) type Plane = [[Cell; AGES]; DISTANCES];

/// The fate of gaps that are alike.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cell {
    /// How many were watched for a window.
    pub(super) seen: f64,
    /// How many of them ended in it.
    pub(super) ended: f64,
    /// For how many seconds those levels were then needed, each at most the time of a startup.
    pub(super) needed: f64,
}

impl Cell {
    /// Returns the chance that a gap ends within a window, starting from a first guess.
    pub(super) fn chance(&self, guess: f64) -> f64 {
        (self.ended + GUESSES) / (self.seen + GUESSES / guess)
    }
}

/// The fate of all gaps that were watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chances {
    /// Whatever the rises of the demand were.
    pub(super) all: Box<Plane>,
    /// By the order of magnitude of the rises, for those orders that occurred.
    pub(super) by_rises: [Option<Box<Plane>>; ORDERS],
}

impl Chances {
    /// Multiplies all counts by `by`.
    pub(super) fn fade(&mut self, by: f64) {
        let planes = self.by_rises.iter_mut().flatten().chain([&mut self.all]);
        for cell in planes.flat_map(|plane| plane.as_flattened_mut()) {
            let Cell { seen, ended, needed } = cell;
            for value in [seen, ended, needed] {
                *value *= by;
            }
        }
    }
}

/// The form on disk: a row per cell that is not zero, of the order of the rises (`ORDERS` for `all`), the bins
/// and the values.
pub(super) mod on_disk {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{AGES, Cell, Chances, DISTANCES, ORDERS};

    type Row = (usize, usize, usize, f64, f64, f64);

    pub(in super::super) fn serialize<S: Serializer>(
        chances: &Chances,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let Chances { all, by_rises } = chances;
        let planes = by_rises.iter().enumerate();
        let planes = planes.filter_map(|(order, plane)| Some((order, plane.as_deref()?)));
        let mut rows: Vec<Row> = Vec::new();
        for (order, plane) in planes.chain([(ORDERS, &**all)]) {
            for (distance, cells) in plane.iter().enumerate() {
                for (age, cell) in
                    cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::default())
                {
                    let Cell { seen, ended, needed } = *cell;
                    // Three decimals are exact enough, and short.
                    let [seen, ended, needed] =
                        [seen, ended, needed].map(|value| (value * 1e3).round() / 1e3);
                    rows.push((order, distance, age, seen, ended, needed));
                }
            }
        }
        rows.serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Chances, D::Error> {
        let mut chances = Chances::default();
        for (order, distance, age, seen, ended, needed) in Vec::<Row>::deserialize(from)? {
            // The bins of another version cannot be used.
            let usable =
                [seen, ended, needed].iter().all(|value| value.is_finite() && *value >= 0.0);
            if !usable || order > ORDERS || distance >= DISTANCES || age >= AGES {
                continue;
            }
            let plane = match chances.by_rises.get_mut(order) {
                Some(plane) => plane.get_or_insert_with(Default::default),
                None => &mut chances.all,
            };
            plane[distance][age] = Cell { seen, ended, needed };
        }
        Ok(chances)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_of_distance_are_in_order_and_know_their_ends() {
        for distance in 1..5_000 {
            let bin = distance_bin(distance);
            let next = distance_bin(distance + 1);
            assert!(next == bin || next == bin + 1, "{distance}");
            let last = last_of_bin(distance);
            assert!(last >= distance && distance_bin(last) == bin, "{distance}");
            assert!(bin == DISTANCES - 1 || distance_bin(last + 1) == bin + 1, "{distance}");
        }
        assert_eq!([1, 2, 3, 4, 6, 8, 12].map(distance_bin), [0, 1, 2, 3, 4, 5, 6]);
        let runs: Vec<_> = runs(11, 19, 10).map(|run| (run.low, run.high)).collect();
        assert_eq!(runs, [(11, 11), (12, 12), (13, 13), (14, 15), (16, 17), (18, 19)]);
    }

    #[test]
    fn bins_of_age_and_rises_double() {
        assert_eq!(
            [0, 9, 10, 19, 20, 40, 100_000].map(|s| age_bin(s * 1000)),
            [0, 0, 1, 1, 2, 3, 12]
        );
        assert_eq!(
            [0.0, 0.9, 1.0, 3.9, 4.0, 16.0, 255.0, 256.0, 9999.0].map(order),
            [0, 0, 1, 1, 2, 3, 4, 5, 5]
        );
    }
}
