//! The queue's two answers: the tasks that wait, and those that run on the machines of the simulated EC2.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use provisioner::internal::domain::ids::InstanceId;
use provisioner_sim::world::World;

use super::world::worker_type;

/// The tasks. The answers are written ahead, so that giving them costs next to nothing.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    /// Waiting tasks per worker type.
    waiting: BTreeMap<String, usize>,
    /// Machines without a task.
    idle: BTreeSet<InstanceId>,
    pub(crate) pending: String,
    pub(crate) running: String,
}

impl Tasks {
    /// `waiting` tasks evenly of all worker types, and one on every machine that is not `idle`.
    pub(crate) fn new(world: &World, waiting: usize, idle: BTreeSet<InstanceId>) -> Self {
        let mut tasks = Self { idle, ..Self::default() };
        for number in 0..waiting {
            *tasks.waiting.entry(worker_type(number)).or_default() += 1;
        }
        tasks.write_pending();
        tasks.write_running(world);
        tasks
    }

    /// A task of `worker_type` comes in.
    pub(crate) fn add(&mut self, worker_type: &str) {
        *self.waiting.entry(worker_type.to_owned()).or_default() += 1;
        self.write_pending();
    }

    /// A machine was launched for the waiting tasks of `worker_type`, and runs one from now on.
    pub(crate) fn launched(&mut self, world: &World, worker_type: &str) {
        self.waiting.remove(worker_type);
        self.write_pending();
        self.write_running(world);
    }

    fn write_pending(&mut self) {
        let waiting = self.waiting.iter().flat_map(|(worker_type, n)| {
            (0..*n).map(move |number| task(&format!("{worker_type}-{number}"), worker_type, ""))
        });
        self.pending = array(waiting);
    }

    fn write_running(&mut self, world: &World) {
        let busy = world.live().filter(|(id, _)| !self.idle.contains(*id));
        let running = busy.map(|(id, machine)| {
            let worker_type = machine.worker_type.as_ref().expect("a machine of ours").as_str();
            let started = machine.truth().launch_time;
            let on = format!(r#""workerId":"{id}","started":"{started}","#);
            task(id.as_str(), worker_type, &on)
        });
        self.running = array(running);
    }
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
