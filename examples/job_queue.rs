//! A small job queue in memory with the API that `provisionerd` expects, for trials and as a model for your
//! own queue.
//!
//! ```sh
//! cargo run --example job_queue -- --pending linux=5,windows=2
//! curl 'http://127.0.0.1:8314/0.1.0/jobs?state=PENDING'
//! curl http://127.0.0.1:8314/0.1.0/jobs --json '{"workerType":"linux","count":3}'
//! curl http://127.0.0.1:8314/0.1.0/jobs/TASK-ID/claim --json '{"workerId":"i-0123456789abcdef0"}'
//! curl -X POST http://127.0.0.1:8314/0.1.0/jobs/TASK-ID/finish
//! ```

use std::io::Write;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A small job queue in memory with the API that provisionerd expects.
///
/// Prints its URL on stdout, for `queue.url` in the configuration. Ctrl-C ends it and discards all tasks.
#[derive(Parser)]
#[command(after_help = "\
Requests, below the printed URL:
  GET  /jobs?state=PENDING|RUNNING   the tasks in that state, a JSON array
  POST /jobs                         adds a task: {\"workerType\": \"linux\", …}, \"count\": 3 adds three
  POST /jobs/TASK-ID/claim           starts it: {\"workerId\": \"i-…\"}, the id of the EC2 instance
  POST /jobs/TASK-ID/finish          ends it")]
struct Arguments {
    /// The address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:8314")]
    listen: SocketAddr,
    /// The initial tasks by worker type: linux=5,windows=2
    #[arg(long, value_name = "TYPE=COUNT,…", value_delimiter = ',')]
    pending: Vec<Tasks>,
}

/// A number of tasks of one worker type.
#[derive(Clone)]
struct Tasks {
    worker_type: String,
    count: u64,
}

impl FromStr for Tasks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (worker_type, count) = text.split_once('=').ok_or("expected TYPE=COUNT")?;
        let count = count.parse().map_err(|error| format!("`{count}`: {error}"))?;
        Ok(Self { worker_type: worker_type.to_owned(), count })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { listen, pending } = Arguments::parse();
    let mut jobs = Jobs::default();
    for Tasks { worker_type, count } in pending {
        for _ in 0..count {
            let task = Map::from_iter([("workerType".to_owned(), json!(worker_type))]);
            jobs.pending.push(completed(task));
        }
    }
    let api = Router::new()
        .route("/jobs", get(list).post(add))
        .route("/jobs/{task_id}/claim", post(claim))
        .route("/jobs/{task_id}/finish", post(finish))
        .with_state(Shared(Arc::new(Mutex::new(jobs))));

    let listener = tokio::net::TcpListener::bind(listen).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "http://{}/0.1.0", listener.local_addr()?)?;
    stdout.flush()?;
    axum::serve(listener, Router::new().nest("/0.1.0", api))
        .with_graceful_shutdown(async {
            // If we cannot wait for a signal, we have to end at once.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

type Task = Map<String, Value>;

/// The waiting and the running tasks. Finished tasks are forgotten.
#[derive(Default)]
struct Jobs {
    pending: Vec<Task>,
    running: Vec<Task>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Jobs>>);

impl Shared {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request is refused.
type Refusal = (StatusCode, String);

async fn list(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Json<Vec<Task>>, Refusal> {
    let query = query.unwrap_or_default();
    let state = query.split('&').find_map(|pair| pair.strip_prefix("state="));
    let jobs = shared.jobs();
    match state {
        Some("PENDING") => Ok(Json(jobs.pending.clone())),
        Some("RUNNING") => Ok(Json(jobs.running.clone())),
        _ => Err((StatusCode::BAD_REQUEST, "ask for state=PENDING or state=RUNNING\n".to_owned())),
    }
}

async fn add(
    State(shared): State<Shared>,
    Json(mut task): Json<Task>,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let bad = |message: &str| (StatusCode::BAD_REQUEST, format!("{message}\n"));
    if !task.get("workerType").is_some_and(Value::is_string) {
        return Err(bad("`workerType` must be a string"));
    }
    let id = match task.get("taskId") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(bad("`taskId` must be a string")),
    };
    let count = match task.remove("count").as_ref().map(Value::as_u64) {
        None => 1,
        Some(Some(count @ 0..=1_000_000)) => count,
        Some(_) => return Err(bad("`count` must be a number up to 1,000,000")),
    };
    if id.is_some() && count != 1 {
        return Err(bad("`taskId` is for one task, and `count` for several"));
    }
    // A task has these only after a claim.
    task.remove("workerId");
    task.remove("started");

    let mut jobs = shared.jobs();
    if let Some(id) = id {
        let taken = jobs.pending.iter().chain(&jobs.running).any(|task| has_id(task, &id));
        if taken {
            return Err((StatusCode::CONFLICT, format!("there already is a task {id}\n")));
        }
    }
    let tasks: Vec<Task> = (0..count).map(|_| completed(task.clone())).collect();
    let ids: Vec<Value> = tasks.iter().map(|task| task["taskId"].clone()).collect();
    jobs.pending.extend(tasks);
    Ok((StatusCode::CREATED, Json(json!({ "taskIds": ids }))))
}

async fn claim(
    State(shared): State<Shared>,
    Path(task_id): Path<String>,
    Json(claim): Json<Task>,
) -> Result<Json<Task>, Refusal> {
    let Some(worker_id @ Value::String(_)) = claim.get("workerId") else {
        return Err((StatusCode::BAD_REQUEST, "`workerId` must be a string\n".to_owned()));
    };
    let mut jobs = shared.jobs();
    let Some(at) = jobs.pending.iter().position(|task| has_id(task, &task_id)) else {
        let running = jobs.running.iter().any(|task| has_id(task, &task_id));
        return Err(if running { conflict("is claimed already") } else { not_found(&task_id) });
    };
    let mut task = jobs.pending.remove(at);
    task.insert("workerId".to_owned(), worker_id.clone());
    task.insert("started".to_owned(), now());
    jobs.running.push(task.clone());
    Ok(Json(task))
}

async fn finish(
    State(shared): State<Shared>,
    Path(task_id): Path<String>,
) -> Result<Json<Task>, Refusal> {
    let mut jobs = shared.jobs();
    let Some(at) = jobs.running.iter().position(|task| has_id(task, &task_id)) else {
        let pending = jobs.pending.iter().any(|task| has_id(task, &task_id));
        return Err(if pending { conflict("is not claimed") } else { not_found(&task_id) });
    };
    Ok(Json(jobs.running.swap_remove(at)))
}

fn conflict(what: &str) -> Refusal {
    (StatusCode::CONFLICT, format!("the task {what}\n"))
}

fn not_found(task_id: &str) -> Refusal {
    (StatusCode::NOT_FOUND, format!("there is no task {task_id}\n"))
}

fn has_id(task: &Task, id: &str) -> bool {
    task.get("taskId").and_then(Value::as_str) == Some(id)
}

/// Adds an id and a time to `task` if it lacks them.
fn completed(mut task: Task) -> Task {
    task.entry("taskId").or_insert_with(|| json!(Uuid::new_v4().to_string()));
    task.entry("created").or_insert_with(now);
    task
}

fn now() -> Value {
    json!(jiff::Timestamp::now().to_string())
}
