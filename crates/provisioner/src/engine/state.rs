//! What the engine knows: what lasts (the [`memory`]), and what the last observation showed (the
//! [`index`]).

pub(super) mod capacity;
pub(super) mod group;
pub(super) mod in_flight;
pub(super) mod index;
pub(super) mod lookup;
pub(super) mod machine;
pub(super) mod memory;
