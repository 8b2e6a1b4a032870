//! EC2's reasons for the state of an instance that has ended (Amazon EC2 API Reference, `StateReason`).

use provisioner::internal::domain::observed::StateReason;

/// Somebody called `TerminateInstances`.
pub(super) const USER: (&str, &str) =
    ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown");
/// The instance shut itself down.
pub(super) const ITSELF: (&str, &str) = (
    "Client.InstanceInitiatedShutdown",
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
);
/// EC2 took a spot instance back.
pub(super) const INTERRUPTION: (&str, &str) =
    ("Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination");

/// Returns the reason that EC2 shows.
pub(super) fn reason((code, message): (&str, &str)) -> StateReason {
    StateReason { code: code.into(), message: message.into() }
}
