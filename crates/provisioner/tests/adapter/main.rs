//! The EC2 adapter against scripted answers: what it sends, how often, and how it reads the answers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of it is test code; clippy's own exception knows test functions only"
)]

mod execute;
mod iam;
mod inventory;
mod observe;
mod preflight;
mod prices;
mod request;
mod resolve;
mod transport;
mod xml;
