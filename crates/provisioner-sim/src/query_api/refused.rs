//! Refusals as EC2 writes them.

use provisioner::internal::domain::refusal::Refusal;

use super::xml::{document, text, tree};

/// Returns the HTTP status of an error code (Amazon EC2 API Reference, "Error codes": client errors are 400,
/// server errors 500 or 503; `DryRunOperation` has 412).
fn status(code: &str) -> u16 {
    match code {
        "DryRunOperation" => 412,
        "UnauthorizedOperation" => 403,
        "AuthFailure" => 401,
        "NoSuchEntity" => 404,
        "EntityAlreadyExists" | "DeleteConflict" | "LimitExceeded" => 409,
        "RequestLimitExceeded" | "ServiceUnavailable" | "Unavailable" => 503,
        "InsufficientInstanceCapacity"
        | "InsufficientCapacity"
        | "InternalError"
        | "InternalFailure" => 500,
        _ => 400,
    }
}

/// Returns a refusal in the form of the other services with a Query protocol, such as IAM.
pub(super) fn elsewhere(refusal: &Refusal, request_id: &str) -> (u16, String) {
    let error = tree(
        "Error",
        [text("Type", "Sender"), text("Code", &refusal.code), text("Message", &refusal.message)],
    );
    let inside = [error, text("RequestId", request_id)];
    (status(&refusal.code), document("ErrorResponse", None, &inside))
}

/// Returns the status and body of a refusal.
pub(super) fn answer(refusal: &Refusal, request_id: &str) -> (u16, String) {
    let error = tree("Error", [text("Code", &refusal.code), text("Message", &refusal.message)]);
    let inside = [tree("Errors", [error]), text("RequestID", request_id)];
    (status(&refusal.code), document("Response", None, &inside))
}
