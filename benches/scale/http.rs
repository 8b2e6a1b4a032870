//! A bare HTTP client that keeps its connection.

use std::time::{Duration, Instant};

use provisioner_sim::deployment::key;
use tokio::runtime::Runtime;

use super::stand_in::StandIn;

/// What a fetch took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched {
    pub(crate) time: Duration,
    /// Of the client alone, not of the stand-in.
    pub(crate) processor: Duration,
    /// The bytes of the queue's two answers.
    pub(crate) queue: usize,
    pub(crate) requests: Listed,
    pub(crate) instances: Listed,
}

impl Fetched {
    pub(crate) fn bytes(&self) -> usize {
        self.queue + self.requests.bytes + self.instances.bytes
    }

    pub(crate) fn pages(&self) -> usize {
        self.requests.pages + self.instances.pages
    }
}

/// A listing in pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub(crate) pages: usize,
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
        let mut queue = 0;
        for state in ["PENDING", "RUNNING"] {
            let url = format!("http://{}/0.1.0/jobs?state={state}", stand_in.queue());
            queue += self.get(&url).len();
        }
        let key = key();
        let requests = self.listing(
            stand_in.ec2(),
            &format!(
                "Action=DescribeSpotInstanceRequests&Filter.1.Name=launch.key-name\
                 &Filter.1.Value.1={key}&Filter.2.Name=state&Filter.2.Value.1=open\
                 &Filter.2.Value.2=active"
            ),
        );
        let instances = self.listing(
            stand_in.ec2(),
            &format!("Action=DescribeInstances&Filter.1.Name=key-name&Filter.1.Value.1={key}"),
        );
        let processor = processor_time().saturating_sub(processor);
        Fetched { time: began.elapsed(), processor, queue, requests, instances }
    }

    /// Fetches all pages of a listing.
    fn listing(&self, url: &str, form: &str) -> Listed {
        let mut listed = Listed { pages: 0, bytes: 0 };
        let mut next = Some(String::new());
        while let Some(token) = next {
            let form = format!("{form}&Version=2016-11-15&MaxResults=1000&NextToken={token}");
            let page = self.runtime.block_on(async {
                let answer = self.client.post(url).body(form).send().await.expect("an answer");
                assert!(answer.status().is_success(), "{}", answer.status());
                answer.bytes().await.expect("the whole answer")
            });
            listed.pages += 1;
            listed.bytes += page.len();
            next = next_token(&page);
        }
        listed
    }
}

/// The token of the next page, which is at the end of a page.
fn next_token(page: &[u8]) -> Option<String> {
    let end = String::from_utf8_lossy(&page[page.len().saturating_sub(200)..]);
    let (_, rest) = end.split_once("<nextToken>")?;
    Some(rest.split('<').next()?.to_owned())
}
