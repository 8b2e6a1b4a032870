//! A very small HTTP client, for loopback only.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// GETs `path` from a server on this machine.
pub(crate) fn get(port: u16, path: &str) -> io::Result<Response> {
    call("GET", port, path, JSON, "")
}

/// GETs the metrics as Prometheus does, in the `OpenMetrics` format.
pub(crate) fn get_metrics(port: u16) -> io::Result<Response> {
    call("GET", port, "/metrics", "Accept: application/openmetrics-text; version=1.0.0", "")
}

/// POSTs `body` to a server on this machine.
pub(crate) fn post(port: u16, path: &str, body: &str) -> io::Result<Response> {
    call("POST", port, path, JSON, body)
}

/// POSTs `body` with a bearer token, from an address of this machine.
pub(crate) fn post_bearer(
    from: Ipv4Addr,
    port: u16,
    path: &str,
    token: &str,
    body: &str,
) -> io::Result<Response> {
    let headers = format!("{JSON}\r\nAuthorization: Bearer {token}");
    converse(connect_from(from, port)?, "POST", path, &headers, body)
}

/// Connects to a server on 127.0.0.1. The standard library cannot choose the address to connect from.
fn connect_from(from: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// POSTs a form with as much of a signature as the stand-in checks.
pub(crate) fn post_form(port: u16, credential: &str, body: &str) -> io::Result<Response> {
    let headers = format!(
        "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"
    );
    call("POST", port, "/", &headers, body)
}

const JSON: &str = "Content-Type: application/json";

fn call(method: &str, port: u16, path: &str, headers: &str, body: &str) -> io::Result<Response> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_mins(1))?;
    converse(stream, method, path, headers, body)
}

fn converse(
    mut stream: TcpStream,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> io::Result<Response> {
    let address = stream.peer_addr()?;
    // A busy machine can stall for minutes; no test depends on this limit.
    stream.set_read_timeout(Some(Duration::from_mins(10)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         {headers}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| broken(&answer))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| broken(&answer))?;
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunk(body).ok_or_else(|| broken(&answer))?
    } else {
        body.to_owned()
    };
    Ok(Response { status, body })
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, tail) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(tail.get(..size)?);
        rest = tail.get(size + 2..)?;
    }
}

fn broken(answer: &str) -> io::Error {
    io::Error::other(format!("not an HTTP answer: {answer:?}"))
}

/// Returns a port on which nothing listens at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
