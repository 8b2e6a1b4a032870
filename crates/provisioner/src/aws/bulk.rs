//! Cancels and terminates many at once, for `cleanup-aws`.
//!
//! One id that EC2 does not know, or may not terminate, or that these credentials may not touch, fails
//! the call for all ids. The call is then repeated at once without the ids that the refusal names.

use super::{Client, Error};
use crate::domain::bulk::{IDS_PER_CALL, split_around_bad_ids};
use crate::domain::ids::{InstanceId, SpotRequestId};

/// Our own bound. If every repetition meets another bad id, the rest waits for the next pass.
const MAX_REPETITIONS: usize = 20;

/// The outcome of a bulk call, id by id.
#[derive(Debug)]
pub(crate) struct BulkOutcome<Id> {
    /// Ids that are cancelled, or being terminated.
    pub(crate) done: Vec<Id>,
    /// Ids that EC2 does not know: gone, or not visible yet.
    pub(crate) absent: Vec<Id>,
    /// Ids that their owner protects from termination.
    pub(crate) protected: Vec<Id>,
    /// Ids that these credentials may not touch, each with EC2's explanation.
    pub(crate) denied: Vec<(Id, String)>,
    /// The last error about ids that are in none of the other lists.
    pub(crate) error: Option<Error>,
}

impl Client {
    /// Cancels spot instance requests. Their instances keep running.
    pub(crate) async fn cancel(&self, ids: &[SpotRequestId]) -> BulkOutcome<SpotRequestId> {
        bulk(ids, SpotRequestId::as_str, async |ids| self.cancel_all(ids).await).await
    }

    /// Terminates instances, in any state.
    pub(crate) async fn terminate(&self, ids: &[InstanceId]) -> BulkOutcome<InstanceId> {
        bulk(ids, InstanceId::as_str, async |ids| self.terminate_all(ids).await).await
    }
}

async fn bulk<Id: Clone>(
    ids: &[Id],
    text: fn(&Id) -> &str,
    call: impl AsyncFn(&[Id]) -> Result<(), Error>,
) -> BulkOutcome<Id> {
    let mut outcome = BulkOutcome {
        done: Vec::new(),
        absent: Vec::new(),
        protected: Vec::new(),
        denied: Vec::new(),
        error: None,
    };
    for chunk in ids.chunks(IDS_PER_CALL) {
        let mut rest = chunk.to_vec();
        for repetition in 0.. {
            if rest.is_empty() {
                break;
            }
            let Err(error) = call(&rest).await else {
                outcome.done.append(&mut rest);
                break;
            };
            let problem = id_problem(&error).filter(|_| repetition < MAX_REPETITIONS);
            let split = split_around_bad_ids(&rest, text, &error.refusal);
            let (Some(problem), Some(split)) = (problem, split) else {
                outcome.error = Some(error);
                break;
            };
            match problem {
                IdProblem::Absent => outcome.absent.extend(split.named),
                IdProblem::Protected => outcome.protected.extend(split.named),
                IdProblem::Denied => {
                    let why = error.to_string();
                    outcome.denied.extend(split.named.into_iter().map(|id| (id, why.clone())));
                }
            }
            rest = split.others;
        }
    }
    outcome
}

/// Why EC2 refuses a call because of single ids.
#[derive(Clone, Copy)]
enum IdProblem {
    Absent,
    Protected,
    Denied,
}

fn id_problem(error: &Error) -> Option<IdProblem> {
    match error.code() {
        "InvalidInstanceID.NotFound" | "InvalidSpotInstanceRequestID.NotFound" => {
            Some(IdProblem::Absent)
        }
        "OperationNotPermitted" => Some(IdProblem::Protected),
        "UnauthorizedOperation" => Some(IdProblem::Denied),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::domain::refusal::{Refusal, RefusalClass};

    fn refused(code: &str, message: &str) -> Error {
        Error {
            operation: "TerminateInstances",
            resource: String::new(),
            refusal: Refusal {
                class: RefusalClass::NotFound,
                code: code.to_owned(),
                message: message.to_owned(),
                request_id: None,
            },
        }
    }

    #[tokio::test]
    async fn no_call_has_more_than_two_hundred_ids() {
        let ids: Vec<_> = (0..450).map(|n| InstanceId::new(format!("i-{n}"))).collect();
        let calls = RefCell::new(Vec::new());
        let result = bulk(&ids, InstanceId::as_str, async |ids| {
            calls.borrow_mut().push(ids.len());
            Ok(())
        })
        .await;
        assert_eq!(result.done, ids);
        assert_eq!(*calls.borrow(), [200, 200, 50]);
    }

    #[tokio::test]
    async fn wrong_ids_are_left_out_and_the_rest_is_done() {
        let ids = ["i-1", "i-11", "i-2", "i-3"].map(InstanceId::from);
        let calls = RefCell::new(0);
        let result = bulk(&ids, InstanceId::as_str, async |ids| {
            *calls.borrow_mut() += 1;
            if ids.contains(&"i-1".into()) {
                let message = "The instance IDs 'i-1, i-3' do not exist";
                return Err(refused("InvalidInstanceID.NotFound", message));
            }
            if ids.contains(&"i-2".into()) {
                let message = "The instance 'i-2' may not be terminated. Modify its \
                               'disableApiTermination' instance attribute and try again.";
                return Err(refused("OperationNotPermitted", message));
            }
            Ok(())
        })
        .await;
        assert_eq!(result.done, [InstanceId::from("i-11")]);
        assert_eq!(result.absent, [InstanceId::from("i-1"), InstanceId::from("i-3")]);
        assert_eq!(result.protected, [InstanceId::from("i-2")]);
        assert!(result.error.is_none());
        assert_eq!(*calls.borrow(), 3);
    }

    #[tokio::test]
    async fn what_a_policy_denies_does_not_stop_the_rest() {
        let ids = ["sir-1", "sir-2"].map(SpotRequestId::from);
        let result = bulk(&ids, SpotRequestId::as_str, async |ids| {
            if ids.contains(&"sir-1".into()) {
                let message = "You are not authorized to perform this operation. User: arn:aws:sts::1:x \
                               is not authorized to perform: ec2:CancelSpotInstanceRequests on \
                               resource: arn:aws:ec2:us-west-2:1:spot-instances-request/sir-1 \
                               because no identity-based policy allows it";
                return Err(refused("UnauthorizedOperation", message));
            }
            Ok(())
        })
        .await;
        assert_eq!(result.done, [SpotRequestId::from("sir-2")]);
        assert_eq!(result.denied[0].0, SpotRequestId::from("sir-1"));
        assert!(result.error.is_none() && result.denied[0].1.contains("not authorized"));

        let result = bulk(&ids, SpotRequestId::as_str, async |_| {
            Err(refused("UnauthorizedOperation", "You are not authorized"))
        })
        .await;
        assert!(result.denied.is_empty() && result.error.is_some());
    }

    #[tokio::test]
    async fn an_error_about_no_id_in_particular_ends_it() {
        let ids = ["i-1", "i-2"].map(InstanceId::from);
        let result = bulk(&ids, InstanceId::as_str, async |_| {
            Err(refused("InvalidInstanceID.NotFound", "something does not exist"))
        })
        .await;
        assert!(result.done.is_empty() && result.error.is_some());
    }
}
