//! The world that the stand-in shows: machines, each with its spot request, and tasks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::xml;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "us-west-2";
pub(crate) const KEY_NAME: &str = "provisioner-test-0b9e1f9e-4c1e-4f0e-8a2e-6f6f3b1f7d11";
pub(crate) const WORKER_TYPES: usize = 100;
const INSTANCE_TYPES: [&str; 4] = ["c7g.large", "c7g.xlarge", "m7g.large", "r7g.2xlarge"];
const ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];
/// What EC2 gives at most (EC2 API Reference, `MaxResults`), and what the daemon asks for.
const PAGE: usize = 1000;
/// One call asked for this many machines, whose tags name the same intent.
const PER_CALL: usize = 50;

/// A running instance with its spot request.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    number: usize,
    pub(crate) id: String,
    pub(crate) request: String,
    pub(crate) worker_type: String,
    pub(crate) launched: String,
    /// Our tags are on it; EC2 puts them on the request only.
    pub(crate) tagged: bool,
    busy: bool,
}

impl Machine {
    pub(crate) fn instance_type(&self) -> &'static str {
        INSTANCE_TYPES[self.number / ZONES.len() % INSTANCE_TYPES.len()]
    }

    pub(crate) fn zone(&self) -> &'static str {
        ZONES[self.number % ZONES.len()]
    }

    /// The intent it was asked for with, in the form of ours: a version 7 UUID.
    pub(crate) fn token(&self) -> String {
        format!("01934f00-0000-7000-8000-{:012x}", self.number / PER_CALL)
    }

    pub(crate) fn address(&self) -> String {
        let n = self.number;
        format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)
    }
}

pub(crate) fn worker_type(number: usize) -> String {
    format!("builder-linux-{:03}", number % WORKER_TYPES)
}

/// `digits` hexadecimal ones, spread as EC2's ids are.
fn spread(number: usize, digits: usize) -> String {
    let number = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{:0digits$x}", number >> (64 - 4 * digits.min(16)))
}

/// Everything there is, and the answers that show it.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    machines: Vec<Machine>,
    /// Pending tasks per worker type.
    waiting: BTreeMap<String, usize>,
    next: usize,
    pub(crate) shown: Shown,
}

/// The answers, made ahead so that giving them costs next to nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) instances: Vec<String>,
    pub(crate) spot_requests: Vec<String>,
    pub(crate) pending: String,
    pub(crate) running: String,
}

impl Fleet {
    /// `n` machines evenly of all worker types, all with a task.
    pub(crate) fn busy(n: usize) -> Self {
        let mut fleet = Self::default();
        for number in 0..n {
            fleet.add(&worker_type(number), true, true);
        }
        fleet.show();
        fleet
    }

    /// The same, but every tenth has just ended its task, and `pending` tasks wait.
    pub(crate) fn backlogged(n: usize, pending: usize) -> Self {
        let mut fleet = Self::busy(n);
        for machine in fleet.machines.iter_mut().step_by(10) {
            machine.busy = false;
        }
        for number in 0..pending {
            *fleet.waiting.entry(worker_type(number)).or_default() += 1;
        }
        fleet.show();
        fleet
    }

    fn add(&mut self, worker_type: &str, busy: bool, tagged: bool) -> &Machine {
        let number = self.next;
        self.next += 1;
        let age = SignedDuration::from_mins(60 + i64::try_from(number % 60).unwrap_or(0));
        let launched = if tagged { Timestamp::now() - age } else { Timestamp::now() };
        let machine = Machine {
            number,
            id: format!("i-0{}", spread(number, 16)),
            request: format!("sir-{}", spread(number, 8)),
            worker_type: worker_type.to_owned(),
            launched: launched.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string(),
            tagged,
            busy,
        };
        self.machines.push(machine);
        &self.machines[self.machines.len() - 1]
    }

    /// How many machines there are.
    pub(crate) fn machines(&self) -> usize {
        self.machines.len()
    }

    /// A task of `worker_type` comes in.
    pub(crate) fn task(&mut self, worker_type: &str) {
        *self.waiting.entry(worker_type.to_owned()).or_default() += 1;
        self.show_tasks();
    }

    /// EC2 grants a machine: it takes a waiting task, and the oldest of its type is gone, so that there
    /// are as many as before. Returns the answer to the call, in which the request is still open.
    pub(crate) fn grant(&mut self, worker_type: &str) -> String {
        self.waiting.remove(worker_type);
        if let Some(oldest) =
            self.machines.iter().position(|machine| machine.worker_type == worker_type)
        {
            self.machines.remove(oldest);
        }
        let answer = xml::spot_request(self.add(worker_type, true, false), "open");
        self.show();
        answer
    }

    /// Our tags are put on machines.
    pub(crate) fn tag(&mut self, ids: &[String]) {
        for machine in self.machines.iter_mut().filter(|machine| ids.contains(&machine.id)) {
            machine.tagged = true;
        }
        self.show();
    }

    /// A request by id.
    pub(crate) fn request(&self, id: &str) -> Option<String> {
        let machine = self.machines.iter().find(|machine| machine.request == id)?;
        Some(xml::spot_request(machine, "active"))
    }

    fn show(&mut self) {
        self.shown.instances =
            pages("DescribeInstances", "reservationSet", &self.machines, xml::instance);
        self.shown.spot_requests = pages(
            "DescribeSpotInstanceRequests",
            "spotInstanceRequestSet",
            &self.machines,
            |machine| xml::spot_request(machine, "active"),
        );
        self.show_tasks();
    }

    fn show_tasks(&mut self) {
        let waiting = self.waiting.iter().flat_map(|(worker_type, n)| {
            (0..*n).map(move |number| task(&format!("{worker_type}-{number}"), worker_type, ""))
        });
        self.shown.pending = array(waiting);
        let running = self.machines.iter().filter(|machine| machine.busy).map(|machine| {
            let Machine { id, worker_type, launched, .. } = machine;
            let on = format!(r#""workerId":"{id}","started":"{launched}","#);
            task(id, worker_type, &on)
        });
        self.shown.running = array(running);
    }
}

fn pages(
    operation: &str,
    set: &str,
    machines: &[Machine],
    item: impl Fn(&Machine) -> String,
) -> Vec<String> {
    let n_pages = machines.len().div_ceil(PAGE).max(1);
    (0..n_pages)
        .map(|number| {
            let some = machines.iter().skip(number * PAGE).take(PAGE);
            let items: String = some.map(&item).collect();
            let next = number + 1;
            xml::page(operation, set, &items, (next < n_pages).then_some(next))
        })
        .collect()
}

fn array(tasks: impl Iterator<Item = String>) -> String {
    let mut text = String::from("[");
    for (number, task) in tasks.enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{task}");
    }
    text + "]"
}

/// A task as CI queues have them: half a kilobyte, most of it payload.
fn task(id: &str, worker_type: &str, more: &str) -> String {
    format!(
        r#"{{"taskId":"{id}","provisionerId":"aws-provisioner","workerType":"{worker_type}",{more}"created":"2026-03-14T09:00:00.250Z","priority":5,"expectedDuration":1800.5,"retries":5,"routes":["index.project.build.linux"],"payload":{{"image":"builder:24.04","command":["/bin/bash","-c","git clone \"$REPO\" src && cd src && make -j4 check"],"env":{{"REPO":"https://git.example.com/project","LEVEL":"3"}},"maxRunTime":7200}},"metadata":{{"name":"build and test","description":"optimised, x86_64","owner":"ci@example.com"}}}}"#
    )
}
