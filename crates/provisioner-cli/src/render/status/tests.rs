use provisioner::internal::status::{ActionCounts, ProblemScope, ProblemSeen, VERSION};

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
fn worker_type(name: &str, pending: u64, busy: u32) -> WorkerTypeRow {
    WorkerTypeRow {
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

fn status(worker_types: Vec<WorkerTypeRow>) -> Status {
    let zero = Some(0);
    let other =
        OtherMachines { booting: zero, busy: zero, idle: zero, stopping: zero, cost: cost(0) };
    Status {
        version: VERSION,
        time: now(),
        source: StatusSource::Daemon,
        observed: Some(before(12)),
        demand_known: true,
        worker_types,
        other,
        cost: cost(460_000),
        last_round: Some(round()),
        daemon_running: Some(true),
        last_reload: None,
        notes: Vec::new(),
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

/// A status for which nothing could be read.
fn nothing_known(source: StatusSource) -> Status {
    let row = |name: &str| WorkerTypeRow { name: name.to_owned(), ..WorkerTypeRow::default() };
    Status {
        source,
        observed: None,
        demand_known: false,
        other: OtherMachines::default(),
        cost: HourlyCost::default(),
        last_round: None,
        ..status(vec![row("linux"), row("windows")])
    }
}

#[track_caller]
fn assert_says(status: &Status, words: &[&str]) {
    let text = shown(status, USUAL_WIDTH);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
}

#[test]
fn a_quiet_deployment_takes_few_lines() {
    let status = Status { cost: cost(60_000), ..status(vec![worker_type("linux", 12, 3)]) };
    assert_eq!(
        shown(&status, USUAL_WIDTH),
        "\
WORKER TYPE PENDING OLDEST WANTED OPEN BOOTING BUSY IDLE STOPPING   USD/H
linux            12  4m12s     15    1       5    3    0        0  0.0600

Cost per hour: 0.0600 USD
Last round:    12s ago, done in 340ms: 2 actions done (round 37)
Next round:    in 8s
"
    );
}

#[test]
fn several_types_have_a_total_and_others_a_row() {
    let mut status = status(vec![worker_type("linux", 12, 3), worker_type("windows", 0, 1)]);
    status.cost = cost(80_000);
    assert_says(
        &status,
        &["TOTAL            12  4m12s     16    2      10    4    0        0  0.0800"],
    );
    status.other.idle = Some(2);
    status.other.cost =
        HourlyCost { usd_per_hour: None, unknown_price_machines: Some(2), ..cost(0) };
    status.cost =
        HourlyCost { usd_per_hour: None, unknown_price_machines: Some(2), ..cost(80_000) };
    assert_says(
        &status,
        &[
            "(other)           -      -      -    -       0    0    2        0 unknown\n",
            "TOTAL            12  4m12s     16    2      10    4    2        0 unknown\n",
            "Cost per hour: unknown: 2 machines of unknown price, and 0.0800 USD for the\n",
        ],
    );
}

#[test]
fn many_types_of_long_names_stay_in_their_columns() {
    let names = ["gecko-t-t-linux-large", "gecko-3-b-linux", "mobile-3-b-linux-large"];
    let rows = (0..12).map(|i| {
        let name = format!("{}-{i}", names[i % names.len()]);
        worker_type(&name, 100_000, 1000)
    });
    let mut status = status(rows.collect());
    status.cost = cost(240_000_000);
    status.worker_types[3].name = "a-name-much-longer-than-anybody-would-want-to-type".to_owned();
    let text = shown(&status, USUAL_WIDTH);
    let table: Vec<_> = text.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(table.len(), 14);
    for line in &table {
        assert_eq!(line.chars().count(), 80, "{line}");
        let columns = line.replace("WORKER TYPE", "NAME").split_whitespace().count();
        assert_eq!(columns, 10, "{line}");
    }
    assert!(table[4].starts_with("a-name-much…ant-to-type "), "{}", table[4]);
    let wide = shown(&status, 140);
    assert!(wide.contains("a-name-much-longer-than-anybody-would-want-to-type "), "{wide}");
}

#[test]
fn an_unknown_count_is_not_zero() {
    let no_age = WorkerTypeRow { oldest_pending_seconds: None, ..worker_type("linux", 3, 0) };
    assert_says(&status(vec![no_age]), &["linux             3      ?      3"]);
    let mut status = nothing_known(StatusSource::Direct);
    assert_says(
        &status,
        &[
            "linux             ?      ?      ?    ?       ?    ?    ?        ? unknown\n",
            "TOTAL             ?      ?      ?    ?       ?    ?    ?        ? unknown\n",
            "Cost per hour: unknown\n",
            "? is unknown:  neither EC2 nor the queue could be read\n",
            "Last round:    none known: no daemon has run with this state directory\n",
        ],
    );
    status.demand_known = true;
    assert_says(&status, &["? is unknown:  EC2 could not be read\n"]);
    status.observed = Some(now());
    assert!(!shown(&status, USUAL_WIDTH).contains("? is unknown"));
    status.demand_known = false;
    assert_says(&status, &["? is unknown:  the queue could not be read\n"]);
    assert_says(
        &nothing_known(StatusSource::Daemon),
        &["? is unknown:  no round has ended yet\n", "Last round:    none has ended yet\n"],
    );
}

#[test]
fn a_round_that_does_not_come_is_missed() {
    let mut status = status(vec![worker_type("linux", 0, 0)]);
    let next = |next, outcome| Some(LastRound { next, outcome, ..round() });
    status.last_round = next(before(30), RoundOutcome::Incomplete);
    assert_says(
        &status,
        &["Next round:    due\n", "12s ago, partly done in 340ms: 2 actions done"],
    );
    status.last_round = next(before(11_520), RoundOutcome::Done);
    assert_says(&status, &["was due 3h12m ago: the loop hangs, or its round takes a long time\n"]);
    status.source = StatusSource::Direct;
    status.daemon_running = Some(false);
    assert_says(&status, &["2 actions done (round 37); no daemon is", "running\n"]);
    assert!(!shown(&status, USUAL_WIDTH).contains("Next round"));
    status.daemon_running = Some(true);
    assert_says(&status, &["was due 3h12m ago: the loop hangs"]);
}

#[test]
fn a_failed_reload_is_shown_until_one_succeeds() {
    let mut status = status(vec![worker_type("linux", 0, 0)]);
    let reload =
        LastReload { began: before(61), time: before(60), failure: Some("line 3: no".to_owned()) };
    status.last_reload = Some(reload.clone());
    assert_says(
        &status,
        &["Last reload:   failed 60s ago, so the old configuration stays in force: line 3:\n"],
    );
    status.last_reload = Some(LastReload { failure: None, ..reload });
    assert!(!shown(&status, USUAL_WIDTH).contains("reload"));
}

#[test]
fn what_another_server_wrote_does_not_act_on_the_terminal() {
    let evil = "a\u{1b}[2J\nb\u{202e}";
    let mut status = status(vec![worker_type(evil, 0, 0)]);
    status.errors = vec![Problem { message: evil.to_owned(), ..refusal() }];
    status.notes = vec![StatusNote {
        worker_type: Some(evil.to_owned()),
        kind: evil.to_owned(),
        text: evil.to_owned(),
    }];
    status.last_reload =
        Some(LastReload { began: now(), time: now(), failure: Some(evil.to_owned()) });
    let text = shown(&status, USUAL_WIDTH);
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    assert!(text.contains("a\\u{1b}[2J"), "{text}");
}

#[test]
fn old_numbers_are_marked() {
    let mut status = status(vec![worker_type("linux", 0, 0)]);
    assert!(!shown(&status, USUAL_WIDTH).contains("As of:"));
    status.last_round = Some(LastRound { outcome: RoundOutcome::Failed, ..round() });
    status.observed = Some(before(22));
    assert_says(
        &status,
        &[
            "As of:         22s ago, when EC2 was last observed\n",
            "12s ago, failed after 340ms: EC2 could not be read (round 37)\n",
        ],
    );
}

#[test]
fn errors_come_with_their_fix_and_ended_ones_without() {
    let mut status = status(vec![worker_type("linux", 1, 0)]);
    status.errors.push(refusal());
    status.errors.push(Problem {
        time: before(200),
        since: before(400),
        ended: Some(before(180)),
        rounds: 1,
        worker_type: None,
        operation: None,
        code: "demand-unknown".to_owned(),
        message: "the queue could not be read: connection refused".to_owned(),
        request_id: None,
        fix: Some("fix the queue".to_owned()),
    });
    assert_says(
        &status,
        &["\
Errors:
  linux: RequestSpotInstances: InsufficientInstanceCapacity: There is no Spot
    capacity available that matches your request. (request
    5c2b1f3a-0000-4000-8000-1234567890ab)
    for 4m2s, 12 times, last 10s ago
    fix: name more `instance-types`, or narrow `availability-zones` and
         `subnets` less

Ended:
  the queue could not be read: connection refused (demand-unknown)
    ended 3m ago, after 3m40s
"],
    );
}

#[test]
fn notes_say_why_less_is_done_than_is_wanted() {
    let mut status = status(vec![worker_type("linux", 30, 0)]);
    let note = StatusNote {
        worker_type: Some("linux".to_owned()),
        kind: "at-maximum".to_owned(),
        text: "26 more instances are wanted; max-instances (15) leaves room for 0, there are 15 in all"
            .to_owned(),
    };
    status.notes = vec![note.clone()];
    assert_says(
        &status,
        &["\
Next round:    in 8s

Notes:
  linux: 26 more instances are wanted; max-instances (15) leaves room for 0,
    there are 15 in all (at-maximum)
"],
    );
    status.notes = vec![note; 100];
    assert_says(&status, &["\n  and 92 more; `provisionerd plan` prints all of them\n"]);
}

#[test]
fn colour_changes_no_words() {
    let mut status = nothing_known(StatusSource::Direct);
    status.last_round = Some(LastRound { next: before(7200), ..round() });
    status.errors = vec![refusal(), Problem { ended: Some(before(5)), ..refusal() }];
    let view = StatusView { status: &status, paint: Paint::Coloured, width: USUAL_WIDTH };
    let painted = view.to_string();
    for code in ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[1m\u{1b}[31m", "\u{1b}[1m\u{1b}[36m"] {
        assert!(painted.contains(code), "{code:?}: {painted:?}");
    }
    let mut plain = String::new();
    for (i, part) in painted.split('\u{1b}').enumerate() {
        plain.push_str(if i == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(plain, shown(&status, USUAL_WIDTH));
}

#[test]
fn a_status_without_an_answer_is_its_error() {
    let why = ProblemSeen::own(
        ProblemScope::Observation,
        "unreachable",
        "failed to ask the daemon at http://x/",
    );
    let status =
        Status::unknown(StatusSource::Daemon, why.with_fix(Some("start it".to_owned())), now());
    assert_eq!(
        shown(&status, USUAL_WIDTH),
        "\
Errors:
  failed to ask the daemon at http://x/ (unreachable)
    just now
    fix: start it
"
    );
}
