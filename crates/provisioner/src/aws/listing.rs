//! Reads EC2's two long listings while they arrive, and keeps only the elements that are used.
//!
//! EC2 sends seven kilobytes for each instance, in some 150 elements, and we need a dozen of them. The SDK
//! collects a page of a thousand instances, parses all of it and keeps all of it: that was most of a
//! round's memory and nine tenths of its time (`BENCHMARKS.md`). So an interceptor takes the items out of
//! the body before the SDK parses it. The SDK still signs, sends and repeats the calls and reports their
//! errors, but it sees pages without items.

mod elements;
mod fields;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ec2::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;

use elements::{Element, Reader};
pub(crate) use fields::{InstanceFields, SpotRequestFields};

/// An item of a listing that is read while it arrives.
pub(crate) trait ListedItem: Debug + Default + Send + Sync + 'static {
    /// The elements of a page with such items.
    const PAGE: &'static Element<Self>;
}

/// The items of one page. Each call needs its own listing.
#[derive(Debug)]
pub(crate) struct Listing<T> {
    items: Arc<Mutex<Vec<T>>>,
}

impl<T: ListedItem> Listing<T> {
    /// Makes a listing without items.
    pub(crate) fn new() -> Self {
        Self { items: Arc::default() }
    }

    /// Returns the interceptor that the call must have.
    pub(crate) fn interceptor(&self) -> impl Intercept + use<T> {
        Interceptor { items: Arc::clone(&self.items) }
    }

    /// Takes the items out. They are incomplete if the call failed.
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

impl<T: ListedItem> Intercept for Interceptor<T> {
    fn name(&self) -> &'static str {
        "Listing"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // An earlier attempt of the same call may have left some.
        take(&self.items).clear();
        let response = context.response_mut();
        // An error has another form.
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
