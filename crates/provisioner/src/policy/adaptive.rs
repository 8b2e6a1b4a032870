//! Ours.

use super::{PolicyMemory, Situation, Why, Wish};

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adaptive {
    /// What an hour of a task's waiting is worth, in instance-hours.
    pub wait_cost: f64,
    /// Research.
    pub tuning: [f64; 16],
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            wait_cost: 1.0,
            tuning: [1.0, 1.5, 7.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0., 0., 0., 0., 0., 0., 0., 0.],
        }
    }
}

impl Adaptive {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "x"
    )]
    pub(super) fn wish(self, s: &Situation, m: &mut PolicyMemory) -> Wish {
        let [eta, spare_k, keep_min, refill, ..] = self.tuning;
        let now = s.now.as_millisecond();
        let dt =
            m.last.map_or(10.0, |last| (now - last.as_millisecond()) as f64 / 1000.0).max(0.001);
        m.last = Some(s.now);
        let started = (s.busy).saturating_sub(m.busy);
        m.busy = s.busy;
        let arrived = (s.pending + started).saturating_sub(m.pending);
        let a = 1.0 - (-dt / 900.0).exp();
        m.rate += a * (arrived as f64 / dt - m.rate);
        m.busy_time += s.busy as f64 * dt;
        m.starts += started as f64;
        m.pending = s.pending;
        let d = if m.starts > 0.0 { m.busy_time / m.starts } else { 0.0 };
        let spare = spare_k * (m.rate * d).sqrt();
        let demand = s.pending + s.busy;
        let window = (keep_min * 60_000.0) as i64;
        while m.peaks.back().is_some_and(|(_, p)| *p <= demand) {
            m.peaks.pop_back();
        }
        m.peaks.push_back((now, demand));
        while m.peaks.front().is_some_and(|(t, _)| now - t > window) {
            m.peaks.pop_front();
        }
        let keep = m.peaks.front().map_or(0, |(_, p)| *p);
        let idle = s.idle;
        let short = s.pending.saturating_sub(idle);
        let eta = if m.boots.len() >= 20 { eta } else { 0.0 };
        let mut booting_wanted = ((1.0 + eta) * short as f64).ceil() as u64;
        let cover = (idle + s.booting + s.requested) as f64 - s.pending as f64;
        if cover < spare * refill {
            let add = (spare - cover).ceil().max(0.0) as u64;
            booting_wanted = booting_wanted.max(s.booting + s.requested + add);
        }
        let coming = booting_wanted.saturating_sub(s.booting).max(s.requested);
        let total_ready = idle + s.booting + s.busy;
        let target = keep.max((demand as f64 + spare).ceil() as u64).max(s.min);
        let let_go = total_ready.saturating_sub(target).min(idle);
        let coming = coming.max(s.min.saturating_sub(total_ready));
        Wish { coming, for_minimum: 0, wanted: total_ready + coming, let_go, why: Why::Adaptive }
    }
}
