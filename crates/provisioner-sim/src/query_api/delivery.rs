//! The way of a call to EC2 and back, with the world's faults.

use std::time::Duration;

use super::{QueryResponse, answer, changes, read, refused, throttled};
use crate::world::{World, refusal};

/// The result of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// EC2's answer, after some time.
    Answered(QueryResponse, Duration),
    /// The connection breaks, and the sender cannot know whether the call reached EC2.
    Broken,
}

/// Sends the body of a call to EC2, with the faults that [`World::execute`] and [`World::describe`] have for a
/// driver.
pub fn deliver(world: &mut World, body: &str) -> Delivery {
    let (action, ..) = read(body);
    let at_once = |answer| Delivery::Answered(answer, Duration::ZERO);
    if world.network.percent(world.faults.lost_before) {
        return Delivery::Broken;
    }
    if let Err(error) = world.must_be_signed_in_time() {
        return at_once(refused(&error, &world.next_request_id()));
    }
    let changes = changes(&action);
    if !changes && world.network.percent(world.faults.blind) {
        let error = refusal("InternalError", "An internal error has occurred");
        return at_once(refused(&error, &world.next_request_id()));
    }
    if changes && world.network.percent(world.faults.throttled) {
        return at_once(refused(&throttled(), &world.next_request_id()));
    }
    let mut said = answer(world, body);
    if changes && world.network.percent(world.faults.duplicated) {
        // The sender gets the answer to the copy that had an effect.
        let again = answer(world, body);
        if said.status != 200 {
            said = again;
        }
    }
    if changes && world.network.percent(world.faults.lost_after) {
        return Delivery::Broken;
    }
    let slow = world.network.between(Duration::ZERO, world.faults.slow);
    Delivery::Answered(said, slow)
}
