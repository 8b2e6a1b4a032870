//! Cancelling and terminating many at once.
//!
//! One id that EC2 does not know, or may not terminate, or that these credentials may not touch, fails
//! the whole call: it is repeated at once without that id.

use super::{Client, Error};
use crate::domain::ids::{InstanceId, SpotRequestId};

/// EC2 takes about a thousand ids a call; its answer to fewer comes sooner.
const PER_CALL: usize = 500;
/// One wrong id a call, again and again: the rest waits, rather than a storm of calls.
const MAX_REPEATS: usize = 20;

/// How a bulk call went, id by id.
#[derive(Debug)]
pub(crate) struct Bulk<Id> {
    /// Cancelled or being terminated.
    pub(crate) done: Vec<Id>,
    /// Not there (any more, or not yet visible).
    pub(crate) absent: Vec<Id>,
    /// Protected by their owner.
    pub(crate) protected: Vec<Id>,
    /// Not for these credentials to touch, and what EC2 says of it.
    pub(crate) denied: Vec<(Id, String)>,
    /// Why the rest was not done.
    pub(crate) error: Option<Error>,
}

impl Client {
    /// Cancels spot instance requests. Their instances go on.
    pub(crate) async fn cancel(&self, ids: &[SpotRequestId]) -> Bulk<SpotRequestId> {
        bulk(ids, SpotRequestId::as_str, async |ids| self.cancel_all(ids).await).await
    }

    /// Terminates instances, in any state.
    pub(crate) async fn terminate(&self, ids: &[InstanceId]) -> Bulk<InstanceId> {
        bulk(ids, InstanceId::as_str, async |ids| self.terminate_all(ids).await).await
    }
}

async fn bulk<Id: Clone>(
    ids: &[Id],
    text: fn(&Id) -> &str,
    call: impl AsyncFn(&[Id]) -> Result<(), Error>,
) -> Bulk<Id> {
    let mut result = Bulk {
        done: Vec::new(),
        absent: Vec::new(),
        protected: Vec::new(),
        denied: Vec::new(),
        error: None,
    };
    for chunk in ids.chunks(PER_CALL) {
        let mut rest = chunk.to_vec();
        for repeat in 0.. {
            if rest.is_empty() {
                break;
            }
            let Err(error) = call(&rest).await else {
                result.done.append(&mut rest);
                break;
            };
            let Some(fate) = fate(&error).filter(|_| repeat < MAX_REPEATS) else {
                result.error = Some(error);
                break;
            };
            let (named, others): (Vec<Id>, Vec<Id>) =
                rest.into_iter().partition(|id| error.refusal.names(text(id)));
            if named.is_empty() {
                result.error = Some(error);
                break;
            }
            match fate {
                Fate::Absent => result.absent.extend(named),
                Fate::Protected => result.protected.extend(named),
                Fate::Denied => {
                    let why = error.to_string();
                    result.denied.extend(named.into_iter().map(|id| (id, why.clone())));
                }
            }
            rest = others;
        }
    }
    result
}

/// What an error says about the ids it names.
#[derive(Clone, Copy)]
enum Fate {
    Absent,
    Protected,
    Denied,
}

fn fate(error: &Error) -> Option<Fate> {
    match error.code() {
        "InvalidInstanceID.NotFound" | "InvalidSpotInstanceRequestID.NotFound" => {
            Some(Fate::Absent)
        }
        "OperationNotPermitted" => Some(Fate::Protected),
        // Without an id in the message, it is about all of them.
        "UnauthorizedOperation" => Some(Fate::Denied),
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
