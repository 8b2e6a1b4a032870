use provisioner::status::{ActionCounts, VERSION};

use super::*;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn before(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

fn cost(micros: u32) -> HourlyCost {
    let usd = f64::from(micros) / 1e6;
    HourlyCost {
        usd_per_hour: Some(usd),
        known_usd_per_hour: Some(usd),
        unknown_price_machines: Some(0),
    }
}

/// A worker type with as many busy machines as given, at 2 cents each.
fn worker_type(name: &str, pending: u64, busy: u32) -> WorkerType {
    WorkerType {
        name: name.to_owned(),
        pending: Some(pending),
        oldest_pending: (pending > 0).then(|| before(252)),
        oldest_pending_seconds: (pending > 0).then_some(252),
        running: Some(busy.into()),
        wanted: Some(pending + u64::from(busy)),
        open_requests: Some(1),
        booting: Some(5),
        busy: Some(busy.into()),
        idle: Some(0),
        stopping: Some(0),
        cost: cost(busy * 20_000),
    }
}

fn round() -> LastRound {
    LastRound {
        time: before(12),
        outcome: RoundOutcome::Done,
        trigger: Trigger::Due,
        iteration: 37,
        duration_seconds: 0.34,
        actions: ActionCounts { done: 2, failed: 0 },
        next: before(-8),
    }
}

fn status(worker_types: Vec<WorkerType>) -> Status {
    let zero = Some(0);
    let other = Other { booting: zero, busy: zero, idle: zero, stopping: zero, cost: cost(0) };
    Status {
        version: VERSION,
        time: now(),
        source: Source::Daemon,
        observed: Some(before(12)),
        demand_known: true,
        worker_types,
        other,
        cost: cost(460_000),
        last_round: Some(round()),
        errors: Vec::new(),
    }
}

fn refusal() -> Problem {
    Problem {
        time: before(10),
        since: before(252),
        ended: None,
        rounds: 12,
        worker_type: Some("linux".into()),
        operation: Some("RequestSpotInstances".to_owned()),
        code: "InsufficientInstanceCapacity".to_owned(),
        message: "There is no Spot capacity available that matches your request.".to_owned(),
        request_id: Some("5c2b1f3a-0000-4000-8000-1234567890ab".to_owned()),
        fix: Some(
            "name more `instance-types`, or narrow `availability-zones` and `subnets` less"
                .to_owned(),
        ),
    }
}

fn shown(status: &Status, width: usize) -> String {
    StatusView { status, paint: Paint::Plain, width }.to_string()
}

#[test]
fn look() {
    let mut one = status(vec![worker_type("linux", 12, 3)]);
    println!("{}", shown(&one, 80));
    one.worker_types.push(worker_type("windows", 0, 0));
    one.errors.push(refusal());
    one.errors.push(Problem { ended: Some(before(180)), since: before(400), rounds: 1, worker_type: None, operation: None, code: "demand-unknown".into(), request_id: None,
       message: "the queue could not be read: failed to reach the queue at http://localhost:8314/0.1.0/jobs?state=PENDING: connection refused; nothing is launched, cancelled or ended on account of demand".into(), ..refusal() });
    one.other.busy = Some(1);
    one.other.cost = HourlyCost {
        usd_per_hour: None,
        known_usd_per_hour: Some(0.0),
        unknown_price_machines: Some(1),
    };
    one.cost = HourlyCost {
        usd_per_hour: None,
        known_usd_per_hour: Some(0.46),
        unknown_price_machines: Some(1),
    };
    println!("------\n{}", shown(&one, 80));
    let names = [
        "gecko-t-t-linux-large",
        "gecko-3-b-linux",
        "mobile-1-decision",
        "mobile-3-b-linux-large",
        "win",
        "a-very-long-name-that-nobody-would-type",
    ];
    let mut many = status(
        names
            .iter()
            .cycle()
            .take(12)
            .enumerate()
            .map(|(i, name)| worker_type(&format!("{name}"), 1 << i, (i * 7) as u32))
            .collect(),
    );
    many.cost = cost(123_456_789);
    println!("------\n{}", shown(&many, 80));
    println!("------\n{}", shown(&many, 120));
    let mut nothing = status(vec![
        WorkerType { name: "linux".into(), ..Default::default() },
        WorkerType { name: "windows".into(), ..Default::default() },
    ]);
    nothing.observed = None;
    nothing.demand_known = false;
    nothing.cost = HourlyCost::default();
    nothing.source = Source::Direct;
    nothing.other = Other::default();
    nothing.last_round = Some(LastRound {
        next: before(7200),
        time: before(7210),
        outcome: RoundOutcome::Failed,
        ..round()
    });
    println!("------\n{}", shown(&nothing, 80));
    nothing.last_round = None;
    println!("------\n{}", shown(&nothing, 80));
    println!("------\n{}", shown(&Status::unknown(Source::Daemon, provisioner::status::Seen::own(provisioner::status::Scope::Look, "unreachable", "failed to ask the daemon at http://127.0.0.1:3000/v1/status: connection refused").with_fix(Some("is it running?".into())), now()), 80));
}
