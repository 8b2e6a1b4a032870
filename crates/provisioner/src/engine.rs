//! The decision engine.
mod effect;

pub use effect::{Effect, GrantedRequest, Outcome};
