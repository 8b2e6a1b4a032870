//! Reads EC2's two long listings while they arrive, and of them only what is used.
//!
//! EC2 tells seven kilobytes of each instance, in some 150 elements of which a dozen say something to us.
//! The SDK collects a page of a thousand, takes it apart and keeps all of it: that was most of a round's
//! memory and nine tenths of its time (`BENCHMARKS.md`). So the items are taken out of the body on its way
//! to the SDK, which signs, sends, repeats and fails the calls as ever, and finds a page of no items.

mod elements;
mod shown;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ec2::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;

use elements::{Element, Reader};
pub(crate) use shown::{ShownInstance, ShownSpotRequest};

/// What is read of an item.
pub(crate) trait Listed: Debug + Default + Send + Sync + 'static {
    /// The elements of a page of such items.
    const PAGE: &'static Element<Self>;
}

/// Takes the items out of one page. Each call needs one of its own.
#[derive(Debug)]
pub(crate) struct Listing<T> {
    items: Arc<Mutex<Vec<T>>>,
}

impl<T: Listed> Listing<T> {
    /// Nothing has arrived yet.
    pub(crate) fn new() -> Self {
        Self { items: Arc::default() }
    }

    /// What the call is to be made with.
    pub(crate) fn interceptor(&self) -> impl Intercept + use<T> {
        Interceptor { items: Arc::clone(&self.items) }
    }

    /// The items. Those of a call that failed are not all there are.
    pub(crate) fn take(&self) -> Vec<T> {
        take(&self.items)
    }
}

fn take<T>(items: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut items.lock().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Debug)]
struct Interceptor<T> {
    items: Arc<Mutex<Vec<T>>>,
}

impl<T: Listed> Intercept for Interceptor<T> {
    fn name(&self) -> &'static str {
        "Listing"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Of an attempt that broke off.
        drop(take(&self.items));
        let response = context.response_mut();
        // An error has another shape.
        if !response.status().is_success() {
            return Ok(());
        }
        let items = Arc::clone(&self.items);
        let mut reader = Reader::new(T::PAGE);
        let body = response.take_body().map_frame(move |frame| {
            frame.map_data(|chunk| {
                let mut items = items.lock().unwrap_or_else(PoisonError::into_inner);
                reader.feed(&chunk, &mut items).into()
            })
        });
        *response.body_mut() = SdkBody::from_body_1_x(body);
        Ok(())
    }
}
