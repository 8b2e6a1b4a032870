//! Turns the tree into [`Settings`], with one function per section.

mod launch_specification;
mod names;
mod provisioner;
mod queue;
mod tags;
mod url;
mod worker_type;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::key::KeyKind;
use super::section::{Reader, Recording, Section};
use super::setting::{Rejection, Setting};
use super::tree::{NodeValue, Table};
use crate::domain::ids::{KeyName, WorkerTypeName};
use crate::domain::money::{Usd, UsdPerHour};
use crate::settings::{Aws, Limits, Server, Settings, WorkerServer, WorkerType};

const DEFAULTS: &str =
    "Any key of a worker type, as the default for worker types that do not set it";
const TYPE: &str =
    "One worker type; its name is the one that tasks ask for, made of `a-z`, `0-9` and `-`";
const TYPES: &str = "What to launch for the tasks of each worker type";

/// Reads all sections. The result is meaningful only if the reader found no problems.
pub(super) fn settings(reader: &Reader, tree: Table, saved_region: Option<String>) -> Settings {
    reader.root(tree, |root| {
        let provisioner = root.section("provisioner", "How the daemon works", provisioner::read);
        let limits = root.section(
            "limits",
            "Fences over all worker types together, regardless of the demand; 0 means no fence",
            limits,
        );
        let aws = root.section(
            "aws",
            "Which region and account of AWS, and how to reach them",
            |section| aws(section, saved_region),
        );
        let queue = root.section("queue", "Where tasks wait", queue::read);
        let server = root.section("server", "The daemon's own HTTP servers", server);
        let context = worker_type::Context {
            key_name: provisioner.key_name.as_ref().map(KeyName::as_str),
            region: aws.region.as_deref(),
            // Another region on the command line is reported as such, and not once per zone.
            saved_region: aws.saved_region.as_deref().or(aws.region.as_deref()),
            queue_url: &queue.base_url,
            asking: server.asking(),
        };
        let (defaults, retired_max_lifetime) =
            root.section_recording("worker-defaults", Recording::WhatIsSet, DEFAULTS, |section| {
                let worker_type = worker_type::read(section, &context, worker_type::Part::Defaults);
                (section.raw_table().clone(), worker_type.max_lifetime)
            });
        let worker_types = root
            .section("worker-types", TYPES, |section| worker_types(section, &defaults, &context));
        Settings { provisioner, limits, aws, queue, server, worker_types, retired_max_lifetime }
    })
}

fn limits(section: &Section<'_>) -> Limits {
    let max_instances = section.value(
        "max-instances",
        0,
        "The most instances, open requests and launches in flight together",
    );
    let max_usd_per_hour = section.value(
        "max-usd-per-hour",
        UsdPerHour::ZERO,
        "The most that these may cost at their highest possible price; every worker type then needs `max-price`",
    );
    let max_usd_per_day = section.value(
        "max-usd-per-day",
        Usd::ZERO,
        "The most that may be spent from midnight to midnight UTC; every worker type then needs \
         `max-price`",
    );
    Limits {
        max_instances: (max_instances > 0).then_some(max_instances),
        max_usd_per_hour: (max_usd_per_hour > UsdPerHour::ZERO).then_some(max_usd_per_hour),
        max_usd_per_day: (max_usd_per_day > Usd::ZERO).then_some(max_usd_per_day),
    }
}

fn aws(section: &Section<'_>, saved_region: Option<String>) -> Aws {
    Aws {
        region: section.checked(
            "region",
            "The region; `setup-aws` saves it; without it, the AWS SDK's own",
            region,
        ),
        saved_region,
        profile: section.text(
            "profile",
            "The profile in the shared AWS configuration; without it, the AWS SDK's own",
        ),
        endpoint_url: section.checked(
            "endpoint-url",
            "The endpoint of every AWS service, instead of AWS's own",
            |text| url::parse(text).map(|_| text.to_owned()),
        ),
        account_id: section
            .optional::<AccountId>(
                "account-id",
                "The account, 12 digits; `setup-aws` saves it; in any other account nothing is done",
            )
            .and_then(AccountId::text),
    }
}

/// Checks the name of a region, which becomes part of host and directory names.
fn region(text: &str) -> Result<String, Rejection> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(Rejection::new(format!("`{text}` is not a region"), "such as us-west-2"))
    }
}

fn key_name(text: &str) -> Result<KeyName, Rejection> {
    KeyName::parse(text).map_err(|error| Rejection::new(error.to_string(), "setup-aws makes one"))
}

/// An AWS account id, or empty.
struct AccountId(String);

impl AccountId {
    fn text(self) -> Option<String> {
        let Self(text) = self;
        (!text.is_empty()).then_some(text)
    }
}

impl Setting for AccountId {
    fn kind() -> KeyKind {
        KeyKind::Text
    }

    fn read(value: &NodeValue) -> Result<Self, Rejection> {
        let text = match value {
            // Without quotes, TOML allows no leading zeros, so they are restored.
            NodeValue::Integer(integer) => format!("{integer:012}"),
            _ => String::read(value)?,
        };
        let is_id = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_id || text.is_empty() {
            Ok(Self(text))
        } else {
            Err(Rejection::new(
                format!("`{text}` is not an AWS account id"),
                "12 digits, in quotes",
            ))
        }
    }

    fn show(&self) -> serde_json::Value {
        let Self(text) = self;
        text.as_str().into()
    }
}

fn server(section: &Section<'_>) -> Server {
    const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);
    let listen = section.checked_or(
        "listen",
        DEFAULT,
        "Address and port of `POST /wake`, `GET /healthz`, `/readyz`, `/metrics` and `/v1/status`; `\"\"` means no server",
        |text| address(text, "[::1]:3000"),
    );
    let hosts = section.list(
        "hosts",
        "Names by which `listen` may be addressed, beside addresses and `localhost`: the `Host` of a request for anything but `/healthz`, `/readyz` and `/metrics` must be one of these",
        host_name,
    );
    let worker_listen = section.checked(
        "worker-listen",
        "Address and port of `POST /v1/workers/INSTANCE-ID/should-stop`, where idle workers ask whether to stop; without it, they cannot ask",
        |text| address(text, "0.0.0.0:3001"),
    );
    let worker_url = section.checked(
        "worker-url",
        "The URL by which workers reach `worker-listen`; without it, `http://<worker-listen>`, if they can reach that address",
        url::parse,
    );
    if worker_listen.is_none() && worker_url.is_some() {
        section.contradiction(
            &["worker-url", "worker-listen"],
            "worker-url is set and worker-listen is not, so nothing would answer",
            "set worker-listen, such as 0.0.0.0:3001",
        );
    }
    let workers = worker_listen.map(|listen| {
        let ip = listen.ip().to_canonical();
        let reachable = !ip.is_unspecified() && !ip.is_loopback() && listen.port() != 0;
        let url = worker_url.map(String::from).or(reachable.then(|| format!("http://{listen}")));
        let stop_url = url.map(|url| format!("{}{}", url.trim_end_matches('/'), Server::WORKERS));
        WorkerServer { listen, stop_url }
    });
    Server { listen, hosts, workers }
}

/// A name without scheme, port and path.
fn host_name(text: &str) -> Result<String, Rejection> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    if name.is_empty() || !name.chars().all(allowed) {
        let message = format!("`{text}` is not a host name");
        return Err(Rejection::new(message, "without scheme and port: provisioner.example.com"));
    }
    Ok(name)
}

fn address(text: &str, other: &str) -> Result<SocketAddr, Rejection> {
    text.parse::<SocketAddr>().map_err(|_| {
        let message = format!("`{text}` is not an IP address with a port");
        Rejection::new(message, format!("such as 127.0.0.1:3000 or {other}; \"\" means no server"))
    })
}

fn worker_types(
    section: &Section<'_>,
    defaults: &Table,
    context: &worker_type::Context<'_>,
) -> BTreeMap<WorkerTypeName, WorkerType> {
    let mut worker_types = BTreeMap::new();
    let mut names = names::Names::new(section.names());
    section.children(defaults, TYPE, |name, section| {
        let part = worker_type::Part::Type { name };
        let worker_type = worker_type::read(section, context, part);
        names.check_aliases(name, &worker_type.aliases, section);
        match WorkerTypeName::parse(name) {
            Ok(name) => {
                worker_types.insert(name, worker_type);
            }
            Err(error) => section.problem_here(error.to_string(), ""),
        }
    });
    worker_types
}
