//! The connections of both listeners: a bounded number of seats, and an end to every connection.
//!
//! Connections cost descriptors, of which the ledger, the queue and AWS need some, too. So each listener has
//! a fixed number of seats, and one address has half of them at most.
//!
//! - A connection *waits* before its first request and between two, and is *busy* from the head of a request
//!   to the last byte of the answer. A newcomer who finds no seat gets that of the connection that has waited
//!   longest. A thousand idle connections therefore keep nobody out, whereas a request that is being answered
//!   is never cut off for another.
//! - Every state has a time limit: for the first head, for the next one, and for an answer without progress.
//!   An answer may take as long as its client reads it: a stream that sends a heartbeat has no end.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long a client may take to send the head of its first request.
const FIRST_HEAD: Duration = Duration::from_secs(10);

/// How long a connection may be idle between two requests: longer than the usual interval of a scrape.
const IDLE: Duration = Duration::from_secs(75);

/// How long a request may be without any progress: handlers wait for a body for 5 s at most, and streams send
/// a heartbeat more often than this.
const NO_PROGRESS: Duration = Duration::from_secs(30);

/// How long open connections may delay the end of the daemon.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is allowed on one listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The number of connections at the same time.
    pub(crate) seats: usize,
    /// Whether a connection may have more than one request.
    pub(crate) keep_alive: bool,
}

impl Rules {
    /// The number of connections from one address: all workers may share one, behind a NAT.
    fn per_address(self) -> usize {
        self.seats.div_ceil(2)
    }
}

/// Answers requests until `shutdown` is cancelled, and ends at most a second later.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    rules: Rules,
    shutdown: CancellationToken,
) {
    let seats = Arc::new(Seats { rules, guests: Mutex::default(), freed: Notify::new() });
    let mut connections = JoinSet::new();
    let mut refused = false;
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = seats.accept(&listener) => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                refused = false;
                // Without a seat the stream is dropped, which closes the connection.
                if let Some(seat) = seats.take(peer) {
                    connections.spawn(converse(stream, seat, router.clone(), shutdown.clone()));
                    // What it has sent already is read before the next connection may take its seat.
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                // This may be a lack of file descriptors, which ends.
                if !std::mem::replace(&mut refused, true) {
                    tracing::warn!(error = %error, "a connection was not accepted: {error}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(SHUTDOWN_GRACE, ended).await.is_err() {
        tracing::debug!("ending while connections are open");
    }
}

/// Serves one connection until it ends, is late, or has to make room.
async fn converse(stream: TcpStream, seat: Seat, router: Router, shutdown: CancellationToken) {
    let seat = Arc::new(seat);
    let inner = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(seat.peer));
        let begun = seat.begin();
        let answer = inner.call(request);
        let seat = Arc::clone(&seat);
        async move {
            begun?;
            let Ok(response) = answer.await;
            Ok::<_, Displaced>(response.map(|body| Body::new(Answer { body, seat })))
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .keep_alive(seat.seats.rules.keep_alive)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "a connection broke: {error}");
                }
                return;
            }
            () = seat.leave.notified() => return,
            () = shutdown.cancelled(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(seat.next_look()) => {
                if seat.is_late() {
                    tracing::debug!(peer = %seat.peer, "a connection was too slow and was closed");
                    return;
                }
            }
        }
    }
}

/// The seats of one listener.
#[derive(Debug)]
struct Seats {
    rules: Rules,
    /// By a number that grows, so that the first are the oldest.
    guests: Mutex<Guests>,
    /// A seat was given back, or a connection waits again.
    freed: Notify,
}

#[derive(Debug, Default)]
struct Guests {
    last_id: u64,
    by_id: BTreeMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    address: IpAddr,
    state: State,
    since: Instant,
    leave: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No request has come yet.
    New,
    /// The last request was answered.
    Idle,
    /// A request is being answered.
    Busy,
}

impl Guest {
    fn deadline(&self) -> Instant {
        self.since
            + match self.state {
                State::New => FIRST_HEAD,
                State::Idle => IDLE,
                State::Busy => NO_PROGRESS,
            }
    }
}

impl Guests {
    /// Frees the seat of the connection that has waited longest, among those of `address` if one is given.
    fn displace(&mut self, address: Option<IpAddr>) -> bool {
        let waiting = self.by_id.iter().filter(|(_, guest)| {
            guest.state != State::Busy && address.is_none_or(|address| address == guest.address)
        });
        let longest = waiting.min_by_key(|(_, guest)| guest.since).map(|(id, _)| *id);
        let Some(displaced) = longest.and_then(|id| self.by_id.remove(&id)) else { return false };
        displaced.leave.notify_one();
        true
    }
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a connection once a seat is free, or one that waits can make room.
    async fn accept(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, SocketAddr)> {
        loop {
            let freed = self.freed.notified();
            let room = {
                let guests = self.lock();
                guests.by_id.len() < self.rules.seats
                    || guests.by_id.values().any(|guest| guest.state != State::Busy)
            };
            if room {
                return listener.accept().await;
            }
            freed.await;
        }
    }

    fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Seat> {
        let address = peer.ip().to_canonical();
        let mut guests = self.lock();
        let same = guests.by_id.values().filter(|guest| guest.address == address).count();
        let room = if same >= self.rules.per_address() {
            guests.displace(Some(address))
        } else {
            guests.by_id.len() < self.rules.seats || guests.displace(None)
        };
        if !room {
            return None;
        }
        guests.last_id += 1;
        let id = guests.last_id;
        let leave = Arc::new(Notify::new());
        let guest =
            Guest { address, state: State::New, since: Instant::now(), leave: Arc::clone(&leave) };
        guests.by_id.insert(id, guest);
        Some(Seat { seats: Arc::clone(self), id, peer, leave })
    }
}

/// The connection had to make room for another.
#[derive(Debug, thiserror::Error)]
#[error("another connection took the seat")]
struct Displaced;

/// The seat of one connection, given back when it is dropped.
#[derive(Debug)]
struct Seat {
    seats: Arc<Seats>,
    id: u64,
    peer: SocketAddr,
    /// The seat was given to another connection.
    leave: Arc<Notify>,
}

impl Seat {
    fn enter(&self, state: State) -> Result<(), Displaced> {
        {
            let mut guests = self.seats.lock();
            let guest = guests.by_id.get_mut(&self.id).ok_or(Displaced)?;
            guest.state = state;
            guest.since = Instant::now();
        }
        if state == State::Idle {
            self.seats.freed.notify_one();
        }
        Ok(())
    }

    fn begin(&self) -> Result<(), Displaced> {
        self.enter(State::Busy)
    }

    fn is_late(&self) -> bool {
        let guests = self.seats.lock();
        guests.by_id.get(&self.id).is_none_or(|guest| guest.deadline() <= Instant::now())
    }

    /// Returns when to look whether the connection is late. A state with a shorter limit may begin before the
    /// deadline of the present one.
    fn next_look(&self) -> Instant {
        let soon = Instant::now() + FIRST_HEAD;
        let guests = self.seats.lock();
        guests.by_id.get(&self.id).map_or(soon, |guest| guest.deadline().min(soon))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().by_id.remove(&self.id);
        self.seats.freed.notify_one();
    }
}

/// The body of an answer, by which its connection is known to be busy and to make progress.
struct Answer {
    body: Body,
    seat: Arc<Seat>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // It is asked for more only while the client reads.
        let _ = self.seat.begin();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = self.seat.enter(State::Idle);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Interval, interval};

    use super::*;

    const SEATS: usize = 8;

    struct Running {
        address: SocketAddr,
        shutdown: CancellationToken,
    }

    /// A stream without an end that says something every 10 s.
    struct Heartbeat(Interval);

    impl HttpBody for Heartbeat {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_tick(context).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"beat\n")))))
        }
    }

    /// Says a lot at once, and never that it is over.
    struct Flood;

    impl HttpBody for Flood {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 8 * 1024])))))
        }
    }

    async fn running(keep_alive: bool) -> Running {
        let beats = || async { Body::new(Heartbeat(interval(Duration::from_secs(10)))) };
        let router = Router::new()
            .route("/hello", get(|| async { "hello" }))
            .route("/beats", get(beats))
            .route("/flood", get(|| async { Body::new(Flood) }))
            .route("/upload", post(|body: String| async { body }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let rules = Rules { seats: SEATS, keep_alive };
        tokio::spawn(serve(listener, router, rules, shutdown.clone()));
        Running { address, shutdown }
    }

    impl Running {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        async fn ask(&self, path: &str) -> TcpStream {
            let mut stream = self.connect().await;
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        }

        async fn says_hello(&self) {
            read_until(&mut self.ask("/hello").await, "hello").await;
        }
    }

    async fn read_until(stream: &mut TcpStream, word: &str) {
        assert!(contains(stream, word).await, "closed before `{word}`");
    }

    /// Whether `word` comes before the end of the connection.
    async fn contains(stream: &mut TcpStream, word: &str) -> bool {
        let mut read = String::new();
        while !read.contains(word) {
            let mut bytes = [0; 4096];
            let Ok(count @ 1..) = stream.read(&mut bytes).await else { return false };
            read.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        true
    }

    /// Waits until the server closes the connection.
    async fn closed(stream: &mut TcpStream) {
        let mut bytes = [0; 4096];
        while let Ok(1..) = stream.read(&mut bytes).await {}
    }

    #[tokio::test]
    async fn a_thousand_idle_connections_keep_nobody_out() {
        let running = running(true).await;
        let mut idle = Vec::new();
        for number in 0..1000 {
            let mut stream = running.connect().await;
            // Some say nothing, and the others not enough.
            if number % 2 == 0 {
                stream.write_all(b"GET /hello HTTP/1.1\r\n").await.unwrap();
            }
            idle.push(stream);
            if number % 100 == 0 {
                running.says_hello().await;
            }
        }
        running.says_hello().await;
        for stream in &mut idle[..900] {
            closed(stream).await;
        }
    }

    #[tokio::test]
    async fn a_request_that_is_answered_is_not_cut_off_for_another() {
        let running = running(true).await;
        let mut streams = Vec::new();
        for _ in 0..SEATS / 2 {
            let mut stream = running.ask("/beats").await;
            read_until(&mut stream, "beat").await;
            streams.push(stream);
        }
        // The share of this address is used up, and none of it waits.
        closed(&mut running.ask("/hello").await).await;
        drop(streams.pop());
        // Its seat is free once the server has seen the end.
        while !contains(&mut running.ask("/hello").await, "hello").await {}
    }

    #[tokio::test(start_paused = true)]
    async fn every_connection_that_does_nothing_has_an_end() {
        let running = running(true).await;
        let began = Instant::now();
        let mut silent = running.connect().await;
        let mut slow = running.connect().await;
        slow.write_all(b"GET /hello HTTP/1.1\r\n").await.unwrap();
        closed(&mut silent).await;
        closed(&mut slow).await;
        assert!(began.elapsed() >= FIRST_HEAD && began.elapsed() < FIRST_HEAD * 2);

        let began = Instant::now();
        let mut idle = running.ask("/hello").await;
        closed(&mut idle).await;
        assert!(began.elapsed() >= IDLE && began.elapsed() < IDLE + FIRST_HEAD * 2);

        let began = Instant::now();
        let mut cut_off = running.connect().await;
        cut_off
            .write_all(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
            .await
            .unwrap();
        closed(&mut cut_off).await;
        assert!(began.elapsed() >= NO_PROGRESS && began.elapsed() < NO_PROGRESS + FIRST_HEAD * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_with_a_heartbeat_goes_on_and_one_that_is_not_read_ends() {
        let running = running(true).await;
        let began = Instant::now();
        let mut read = running.ask("/beats").await;
        let mut unread = running.ask("/flood").await;
        while began.elapsed() < Duration::from_mins(10) {
            read_until(&mut read, "beat").await;
        }
        // It was closed long ago, with what the sockets hold unread.
        closed(&mut unread).await;
        assert!(began.elapsed() < Duration::from_mins(11));
    }

    #[tokio::test]
    async fn without_keep_alive_a_connection_has_one_request() {
        let running = running(false).await;
        let mut stream = running.ask("/hello").await;
        read_until(&mut stream, "hello").await;
        closed(&mut stream).await;
    }

    #[tokio::test]
    async fn open_connections_do_not_delay_the_end() {
        let running = running(true).await;
        let mut idle = running.connect().await;
        let mut stream = running.ask("/beats").await;
        read_until(&mut stream, "beat").await;
        running.shutdown.cancel();
        closed(&mut idle).await;
        closed(&mut stream).await;
    }
}
