//! A bare HTTP client that keeps its connection.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::stand_in::StandIn;

/// What a fetch took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched {
    pub(crate) time: Duration,
    /// Of the client alone, not of the stand-in.
    pub(crate) processor: Duration,
    pub(crate) bytes: usize,
}

/// This thread's processor time so far; everything of a [`Client`] runs on its caller's.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux's /proc");
    let nanoseconds = text.split_whitespace().next().expect("a number");
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

#[derive(Debug)]
pub(crate) struct Client {
    runtime: Runtime,
    client: reqwest::Client,
}

impl Client {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { runtime: runtime.expect("a runtime"), client: reqwest::Client::new() }
    }

    /// The body of an answer.
    pub(crate) fn get(&self, url: &str) -> String {
        self.runtime.block_on(async {
            let answer = self.client.get(url).send().await.expect("an answer");
            answer.text().await.expect("the whole answer")
        })
    }

    /// Posts nothing.
    pub(crate) fn post(&self, url: &str) {
        self.runtime.block_on(async {
            let answer = self.client.post(url).send().await.expect("an answer");
            assert!(answer.status().is_success(), "{url}: {}", answer.status());
        });
    }

    /// Fetches what a round looks at, and throws it away.
    pub(crate) fn fetch_all(&self, stand_in: &StandIn) -> Fetched {
        let (began, processor) = (Instant::now(), processor_time());
        let url = format!("http://{}", stand_in.address());
        let mut bytes = 0;
        for state in ["PENDING", "RUNNING"] {
            bytes += self.get(&format!("{url}/0.1.0/jobs?state={state}")).len();
        }
        let listings = [
            ("DescribeSpotInstanceRequests", stand_in.n_pages()),
            ("DescribeInstances", stand_in.n_pages()),
        ];
        for (operation, pages) in listings {
            for page in 0..pages {
                let form = format!("Action={operation}&NextToken={page}");
                bytes += self.runtime.block_on(async {
                    let answer = self.client.post(&url).body(form).send().await;
                    answer.expect("an answer").bytes().await.expect("the whole answer").len()
                });
            }
        }
        let processor = processor_time().saturating_sub(processor);
        Fetched { time: began.elapsed(), processor, bytes }
    }
}
