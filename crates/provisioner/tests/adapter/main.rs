//! The EC2 adapter against scripted answers: what is sent, how often, and what is made of the answer.

mod execute;
mod observe;
mod request;
mod resolve;
mod transport;
mod xml;
