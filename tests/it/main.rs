//! Process tests: the three programs run against moto over loopback, and are inspected from outside.
//!
//! `harness` knows moto, the fake queue and processes, but not the code of the product. Each other module
//! is a theme. Each test has its own account, so that all of them run in parallel.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

mod aws_profiles;
mod cleanup;
mod config_errors;
mod conformance;
mod crash;
mod demo;
mod harness_itself;
mod iam_calls;
mod iam_policy;
mod lifecycle;
mod limits;
mod metrics;
mod outside;
mod places;
mod profile;
mod queue_faults;
mod readme;
mod reload;
mod run_rounds;
mod running;
mod setup;
mod should_stop;
mod soak;
mod status;
mod strays;
mod validate_aws;
