//! A job queue that answers as a test wants, well or badly.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// An answer of the queue.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// 200 and these tasks.
    Tasks(Vec<Value>),
    /// Another status, with a body.
    Status(u16, String),
    /// 200 and whatever this is.
    Text(String),
    /// 200, as long as announced only half of it: the connection closes in between.
    CutOff(Vec<Value>),
    /// 200, but the second half of the tasks comes after this long.
    Slow(Duration, Vec<Value>),
    /// Takes the request and says nothing.
    Hang,
    /// Closes the connection at once.
    Close,
    /// 200, then tasks without an end, as fast as they are taken.
    Endless,
    /// A redirect.
    Redirect(String),
}

/// Returns a task as the queue lists it.
pub(crate) fn task(id: &str, worker_type: &str) -> Value {
    json!({
        "taskId": id,
        "workerType": worker_type,
        "provisionerId": "aws-provisioner",
        "created": "2026-11-01T12:00:00.000Z",
        "payload": { "ignored": [1, 2, 3] },
    })
}

/// A job queue on this machine. It ends with the test.
pub(crate) struct FakeQueue {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    pending: Answer,
    running: Answer,
    requests: Vec<String>,
    headers: Vec<BTreeMap<String, String>>,
    closed: bool,
    next_task: usize,
}

impl FakeQueue {
    /// Starts a queue without tasks; it knows nothing of `state=RUNNING` (404).
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(Mutex::new(State {
            pending: Answer::Tasks(Vec::new()),
            running: Answer::Status(404, "no such state".to_owned()),
            requests: Vec::new(),
            headers: Vec::new(),
            closed: false,
            next_task: 0,
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                if lock(&state).closed {
                    return;
                }
                // A client that goes away is part of many tests.
                thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Self { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sets the pending tasks, as many of each worker type.
    pub(crate) fn pending(&self, counts: &[(&str, usize)]) {
        let mut state = self.lock();
        let mut tasks = Vec::new();
        for (worker_type, count) in counts {
            for _ in 0..*count {
                state.next_task += 1;
                tasks.push(task(&format!("task-{}", state.next_task), worker_type));
            }
        }
        state.pending = Answer::Tasks(tasks);
    }

    /// Sets the running tasks: worker type, and the machine where known.
    pub(crate) fn running(&self, tasks: &[(&str, Option<&str>)]) {
        let mut state = self.lock();
        let mut list = Vec::new();
        for (worker_type, worker) in tasks {
            state.next_task += 1;
            let mut one = task(&format!("task-{}", state.next_task), worker_type);
            one["started"] = json!("2026-11-01T12:05:00.000Z");
            if let Some(worker) = worker {
                one["workerId"] = json!(worker);
            }
            list.push(one);
        }
        state.running = Answer::Tasks(list);
    }

    /// Sets the answer to `state=PENDING`.
    pub(crate) fn answer_pending(&self, answer: Answer) {
        self.lock().pending = answer;
    }

    /// Sets the answer to `state=RUNNING`.
    pub(crate) fn answer_running(&self, answer: Answer) {
        self.lock().running = answer;
    }

    /// The paths asked for so far, with their queries.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// The headers of the requests so far, names in lower case.
    pub(crate) fn headers(&self) -> Vec<BTreeMap<String, String>> {
        self.lock().headers.clone()
    }

    /// How often PENDING was asked for: the rounds so far, as seen from outside.
    pub(crate) fn rounds(&self) -> usize {
        self.lock().requests.iter().filter(|path| path.contains("state=PENDING")).count()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for FakeQueue {
    fn drop(&mut self) {
        self.lock().closed = true;
        // Wakes the listener, so that it sees the end.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let answer = {
        let mut state = lock(state);
        let answer = if path.contains("state=PENDING") {
            state.pending.clone()
        } else if path.contains("state=RUNNING") {
            state.running.clone()
        } else {
            Answer::Status(404, "no such path".to_owned())
        };
        state.requests.push(path);
        state.headers.push(headers);
        answer
    };
    match answer {
        Answer::Tasks(tasks) => whole(&mut stream, 200, &Value::from(tasks).to_string()),
        Answer::Text(text) => whole(&mut stream, 200, &text),
        Answer::Status(status, text) => whole(&mut stream, status, &text),
        Answer::CutOff(tasks) => {
            let text = Value::from(tasks).to_string();
            head(&mut stream, 200, &format!("Content-Length: {}", text.len()))?;
            stream.write_all(text.get(..text.len() / 2).unwrap_or_default().as_bytes())
        }
        Answer::Slow(pause, tasks) => {
            let text = Value::from(tasks).to_string();
            let (first, second) = text.split_at(text.len() / 2);
            head(&mut stream, 200, &format!("Content-Length: {}", text.len()))?;
            stream.write_all(first.as_bytes())?;
            stream.flush()?;
            thread::sleep(pause);
            stream.write_all(second.as_bytes())
        }
        Answer::Hang => {
            // Until the client gives up.
            line.clear();
            reader.read_line(&mut line).map(drop)
        }
        Answer::Close => Ok(()),
        Answer::Redirect(to) => {
            head(&mut stream, 302, &format!("Location: {to}\r\nContent-Length: 0"))
        }
        Answer::Endless => {
            head(&mut stream, 200, "X-Length: none")?;
            stream.write_all(b"[")?;
            let one = format!("{},", task("again", "linux"));
            let many = one.repeat(100);
            loop {
                stream.write_all(many.as_bytes())?;
            }
        }
    }
}

fn head(stream: &mut TcpStream, status: u16, more: &str) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nConnection: close\r\n{more}\r\n\r\n"
    )
}

fn whole(stream: &mut TcpStream, status: u16, text: &str) -> std::io::Result<()> {
    head(stream, status, &format!("Content-Length: {}", text.len()))?;
    stream.write_all(text.as_bytes())
}
