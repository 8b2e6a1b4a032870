//! The task queue of the world: tasks wait, are claimed by workers, run and finish.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::demand::{Demand, PendingTasks, Running};
use provisioner::internal::domain::ids::{InstanceId, WorkerTypeName};

/// What the queue reports about running tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// It reports only PENDING tasks.
    Unknown,
    /// It reports RUNNING tasks without a `workerId`.
    Counted,
    /// It reports RUNNING tasks with their instances.
    ByInstance,
}

/// The number of a task, in the order of creation.
pub type TaskNo = usize;

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its worker type.
    pub worker_type: WorkerTypeName,
    /// When it was created.
    pub created: Timestamp,
    /// How long it runs.
    pub duration: Duration,
    /// Its state.
    pub state: TaskState,
}

/// The state of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// No worker has claimed it.
    Waiting,
    /// It has been running on this instance since this time.
    Running(InstanceId, Timestamp),
    /// It is finished.
    Finished,
    /// Its creator has withdrawn it.
    Withdrawn,
}

/// Statistics about all tasks so far.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Tasks that finished.
    pub finished: u64,
    /// Runs that were lost with their machine, after which the task waited again.
    pub lost_runs: u64,
    /// The times from creation to start, one per run.
    pub waits: Waits,
    /// The sum of the run times of finished tasks.
    pub busy: Duration,
}

/// How long each task waited.
#[derive(Clone, Debug, Default)]
pub struct Waits(Vec<Duration>);

impl Waits {
    /// Returns the mean, or zero without tasks.
    pub fn mean(&self) -> Duration {
        let n = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.iter().sum::<Duration>().checked_div(n).unwrap_or_default()
    }

    /// Returns the wait that this share of all tasks (0 to 1) did not exceed, or zero without tasks. A share of
    /// 1 gives the longest wait.
    pub fn quantile(&self, share: f64) -> Duration {
        let Some(last) = self.0.len().checked_sub(1) else { return Duration::ZERO };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a place among the waits: not negative, and cut to the last"
        )]
        let place = ((last as f64 * share.clamp(0.0, 1.0)).ceil() as usize).min(last);
        let mut waits = self.0.clone();
        *waits.select_nth_unstable(place).1
    }
}

/// The queue.
#[derive(Clone, Debug)]
pub struct Queue {
    tasks: Vec<Task>,
    waiting: BTreeMap<WorkerTypeName, BTreeSet<TaskNo>>,
    running: BTreeMap<WorkerTypeName, u64>,
    on: BTreeMap<InstanceId, Vec<TaskNo>>,
    /// What it reports about running tasks.
    pub knowledge: Knowledge,
    /// Whether it does not answer.
    pub down: bool,
    /// Whether it answers that no task runs, as one does that has just restarted.
    pub forgets_running: bool,
    /// Statistics about all tasks.
    pub served: Served,
}

impl Queue {
    /// Creates an empty queue.
    pub fn new(knowledge: Knowledge) -> Self {
        Self {
            tasks: Vec::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            on: BTreeMap::new(),
            knowledge,
            down: false,
            forgets_running: false,
            served: Served::default(),
        }
    }

    /// Adds a task.
    pub fn add(&mut self, worker_type: &WorkerTypeName, duration: Duration, now: Timestamp) {
        let no = self.tasks.len();
        let worker_type = worker_type.clone();
        self.waiting.entry(worker_type.clone()).or_default().insert(no);
        let state = TaskState::Waiting;
        self.tasks.push(Task { worker_type, created: now, duration, state });
    }

    /// Returns every task there ever was, by number.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Counts the waiting tasks of `worker_type`.
    pub fn pending(&self, worker_type: &WorkerTypeName) -> u64 {
        self.waiting.get(worker_type).map_or(0, |waiting| waiting.len() as u64)
    }

    /// Counts all waiting tasks.
    pub fn pending_in_all(&self) -> u64 {
        self.waiting.values().map(|waiting| waiting.len() as u64).sum()
    }

    /// Counts all running tasks.
    pub fn running_in_all(&self) -> u64 {
        self.running.values().sum()
    }

    /// Returns the sum of the times for which the running tasks have run.
    pub fn run_so_far(&self, now: Timestamp) -> Duration {
        let running = self.on.values().flatten();
        running
            .map(|no| match &self.tasks[*no].state {
                TaskState::Running(_, since) => clock::age(*since, now),
                TaskState::Waiting | TaskState::Finished | TaskState::Withdrawn => Duration::ZERO,
            })
            .sum()
    }

    /// Returns when the oldest waiting task of `worker_type` was created.
    pub fn oldest_pending(&self, worker_type: &WorkerTypeName) -> Option<Timestamp> {
        let oldest = self.waiting.get(worker_type)?.first()?;
        Some(self.tasks[*oldest].created)
    }

    /// Returns since when `instance` has been running a task, if it does.
    pub fn busy_since(&self, instance: &InstanceId) -> Option<Timestamp> {
        let tasks = self.on.get(instance)?.iter();
        let since = tasks.filter_map(|no| match self.tasks[*no].state {
            TaskState::Running(_, since) => Some(since),
            _ => None,
        });
        since.min()
    }

    /// Counts the tasks on `instance`.
    pub fn runs(&self, instance: &InstanceId) -> u64 {
        self.on.get(instance).map_or(0, |tasks| tasks.len() as u64)
    }

    /// Gives the oldest waiting task of `worker_type` to `instance`. Returns its number and run time, or `None`
    /// if no task waits.
    pub(crate) fn claim(
        &mut self,
        worker_type: &WorkerTypeName,
        instance: &InstanceId,
        now: Timestamp,
    ) -> Option<(TaskNo, Duration)> {
        let no = self.waiting.get_mut(worker_type)?.pop_first()?;
        *self.running.entry(worker_type.clone()).or_default() += 1;
        self.on.entry(instance.clone()).or_default().push(no);
        let task = &mut self.tasks[no];
        task.state = TaskState::Running(instance.clone(), now);
        self.served.waits.0.push(clock::age(task.created, now));
        Some((no, task.duration))
    }

    /// Finishes a task on `instance`. Returns its worker type, or `None` if it does not run there.
    pub(crate) fn finish(&mut self, no: TaskNo, instance: &InstanceId) -> Option<WorkerTypeName> {
        let on = self.on.get_mut(instance)?;
        let place = on.iter().position(|task| *task == no)?;
        on.swap_remove(place);
        if on.is_empty() {
            self.on.remove(instance);
        }
        let task = &mut self.tasks[no];
        task.state = TaskState::Finished;
        self.served.finished += 1;
        self.served.busy += task.duration;
        let worker_type = task.worker_type.clone();
        self.runs_one_less(&worker_type);
        Some(worker_type)
    }

    fn runs_one_less(&mut self, worker_type: &WorkerTypeName) {
        if let Some(running) = self.running.get_mut(worker_type) {
            *running = running.saturating_sub(1);
        }
    }

    /// Lets the tasks of an instance that is gone wait again.
    pub fn requeue(&mut self, instance: &InstanceId) {
        for no in self.on.remove(instance).unwrap_or_default() {
            self.served.lost_runs += 1;
            self.tasks[no].state = TaskState::Waiting;
            let worker_type = self.tasks[no].worker_type.clone();
            self.runs_one_less(&worker_type);
            self.waiting.entry(worker_type).or_default().insert(no);
        }
    }

    /// Withdraws the tasks on `instance`.
    pub(crate) fn abandon(&mut self, instance: &InstanceId) {
        for no in self.on.remove(instance).unwrap_or_default() {
            self.tasks[no].state = TaskState::Withdrawn;
            let worker_type = self.tasks[no].worker_type.clone();
            self.runs_one_less(&worker_type);
        }
    }

    /// Withdraws waiting tasks, the youngest first, like a user who cancels a build. Keeps `keep` of them.
    pub fn withdraw(&mut self, worker_type: &WorkerTypeName, keep: u64) {
        let Some(waiting) = self.waiting.get_mut(worker_type) else { return };
        while waiting.len() as u64 > keep
            && let Some(no) = waiting.pop_last()
        {
            self.tasks[no].state = TaskState::Withdrawn;
        }
    }

    /// Returns the demand that the queue's two answers report. Tasks of worker types that are not `configured`
    /// only make their machines known as busy.
    ///
    /// # Errors
    ///
    /// The queue is down.
    pub fn demand(&self, configured: impl Fn(&WorkerTypeName) -> bool) -> Result<Demand, String> {
        if self.down {
            return Err("connection refused".to_owned());
        }
        let mut demand = Demand::default();
        for (name, waiting) in &self.waiting {
            if let Some(oldest) = waiting.first()
                && configured(name)
            {
                let oldest = Some(self.tasks[*oldest].created);
                let pending = PendingTasks { count: waiting.len() as u64, oldest };
                demand.pending.insert(name.clone(), pending);
            }
        }
        let shows = !self.forgets_running;
        let running = self.running.iter().filter(|(name, n)| shows && **n > 0 && configured(name));
        let tasks = running.map(|(name, n)| (name.clone(), *n)).collect();
        let on = || self.on.iter().filter(|_| shows);
        let instances = || on().map(|(id, on)| (id.clone(), count(on))).collect();
        demand.running = match self.knowledge {
            Knowledge::Unknown => Running::Unknown,
            Knowledge::Counted => Running::Counted { tasks },
            Knowledge::ByInstance => Running::ByInstance { tasks, instances: instances() },
        };
        Ok(demand)
    }
}

#[expect(clippy::ptr_arg, reason = "what the map holds")]
fn count(on: &Vec<TaskNo>) -> u32 {
    u32::try_from(on.len()).unwrap_or(u32::MAX)
}
