//! The recorded capacity of a pool, in the format of the traces of "Can't Be Late" (Wu et al., NSDI 2024;
//! skypilot-org/spot-traces).

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use serde::Deserialize;

/// Samples of the capacity of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    from: Timestamp,
    gap: Duration,
    /// How many instances the pool had room for, per sample.
    room: Vec<u32>,
    /// Whether `room` holds only yes (1) or no (0).
    yes_or_no: bool,
}

/// An invalid trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The text is not JSON of this form.
    #[error("not a trace: {{\"metadata\": {{\"gap_seconds\": n}}, \"data\": [n, …]}} is expected")]
    Form(#[source] serde_json::Error),
    /// There are no samples, or no time between them.
    #[error("the trace is empty, or has no time between its samples")]
    Empty,
}

#[derive(Deserialize)]
struct File {
    metadata: Metadata,
    data: Vec<u32>,
}

#[derive(Deserialize)]
struct Metadata {
    gap_seconds: f64,
}

impl Trace {
    /// Parses a trace file; its first sample is at `from`.
    ///
    /// # Errors
    ///
    /// The text is not a trace.
    pub fn parse(text: &str, from: Timestamp) -> Result<Self, TraceError> {
        let File { metadata, data } = serde_json::from_str(text).map_err(TraceError::Form)?;
        let gap = Duration::try_from_secs_f64(metadata.gap_seconds).unwrap_or_default();
        Self::new(from, gap, data)
    }

    /// Creates a trace whose first sample is at `from`, with `gap` between samples. If no sample is over 1,
    /// they tell only whether there was any capacity.
    ///
    /// # Errors
    ///
    /// There is no sample, or less than a second between two.
    pub fn new(from: Timestamp, gap: Duration, room: Vec<u32>) -> Result<Self, TraceError> {
        if gap < Duration::from_secs(1) || room.is_empty() {
            return Err(TraceError::Empty);
        }
        let yes_or_no = room.iter().all(|room| *room <= 1);
        Ok(Self { from, gap, room, yes_or_no })
    }

    /// The recorded time. The first sample holds before it, and the last one after it.
    pub fn span(&self) -> Duration {
        self.gap.saturating_mul(u32::try_from(self.room.len()).unwrap_or(u32::MAX))
    }

    /// Returns the time between samples, and the samples.
    pub fn samples(&self) -> (Duration, &[u32]) {
        (self.gap, &self.room)
    }

    fn sample(&self, now: Timestamp) -> usize {
        let passed = clock::age(self.from, now).as_nanos() / self.gap.as_nanos().max(1);
        usize::try_from(passed).unwrap_or(usize::MAX).min(self.room.len() - 1)
    }

    /// Returns whether there is any capacity.
    pub fn any(&self, now: Timestamp) -> bool {
        self.room[self.sample(now)] > 0
    }

    /// Returns how many instances the pool has room for; `None` if the trace tells only whether there is any.
    pub fn room(&self, now: Timestamp) -> Option<u64> {
        (!self.yes_or_no).then(|| u64::from(self.room[self.sample(now)]))
    }

    /// Returns when the capacity next differs from now.
    pub fn next_step(&self, now: Timestamp) -> Option<Timestamp> {
        let current = self.sample(now);
        let later = self.room[current..].iter().position(|room| *room != self.room[current])?;
        let next = u32::try_from(current + later).unwrap_or(u32::MAX);
        Some(clock::after(self.from, self.gap.saturating_mul(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        clock::after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    #[test]
    fn a_trace_tells_when_there_was_capacity() {
        let text = r#"{"metadata": {"gap_seconds": 600, "more": "ignored"}, "data": [1, 1, 0, 1]}"#;
        let trace = Trace::parse(text, at(0)).unwrap();
        assert!(trace.any(at(0)) && trace.any(at(1199)) && !trace.any(at(1200)));
        assert_eq!(trace.room(at(0)), None, "yes or no");
        assert_eq!(trace.next_step(at(0)), Some(at(1200)));
        assert_eq!(trace.next_step(at(1300)), Some(at(1800)));
        assert_eq!(trace.next_step(at(1900)), None);
        assert!(trace.any(at(100_000)), "the last sample holds");
        assert_eq!(trace.span(), Duration::from_mins(40));
    }

    #[test]
    fn a_trace_of_counts_tells_how_many() {
        let text = r#"{"metadata": {"gap_seconds": 60}, "data": [4, 2]}"#;
        let trace = Trace::parse(text, at(0)).unwrap();
        assert_eq!((trace.room(at(0)), trace.room(at(60))), (Some(4), Some(2)));
    }

    #[test]
    fn an_invalid_trace_is_refused() {
        for bad in
            ["", "[]", r#"{"data": [1]}"#, r#"{"metadata": {"gap_seconds": "a"}, "data": []}"#]
        {
            assert!(matches!(Trace::parse(bad, at(0)), Err(TraceError::Form(_))), "{bad}");
        }
        for bad in [
            r#"{"metadata": {"gap_seconds": 60}, "data": []}"#,
            r#"{"metadata": {"gap_seconds": 0}, "data": [1]}"#,
            r#"{"metadata": {"gap_seconds": -5}, "data": [1]}"#,
        ] {
            assert!(matches!(Trace::parse(bad, at(0)), Err(TraceError::Empty)), "{bad}");
        }
    }
}
