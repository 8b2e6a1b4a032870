use std::net::Ipv4Addr;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn secret() -> StopSecret {
    StopSecret::new([7; 64])
}

fn id(n: u32) -> InstanceId {
    InstanceId::new(format!("i-{n}"))
}

fn linux() -> WorkerTypeName {
    WorkerTypeName::from("linux")
}

/// Machines 0 to 3, each launched by a call of its own, all idle; `places` of them may go.
/// The machines have 127.0.0.2, 127.0.0.3, …
fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x7f00_0002 + n).into()
}

fn renew(consent: &mut StopConsent, places: u64, second: i64) {
    let worker = |n: u32| Worker {
        of: linux(),
        launch: ClientToken::new(format!("launch-{n}")),
        addresses: vec![address(n), "2001:db8::1".parse().unwrap()],
        removability: Removability::IfOffered,
    };
    let workers = (0..4).map(|n| (id(n), worker(n))).collect();
    let offer = Offer { places, idle_for: Duration::ZERO };
    consent.renew(workers, BTreeMap::from([(linux(), offer)]), at(second));
}

fn listening(places: u64) -> StopConsent {
    let mut consent = StopConsent::new(secret(), None);
    renew(&mut consent, places, 0);
    consent
}

fn report(consent: &mut StopConsent, n: u32, report: WorkerReport, second: i64) -> StopAnswer {
    let token = secret().token(&ClientToken::new(format!("launch-{n}")));
    consent.hear(&id(n), &token, address(n), report, at(second)).unwrap()
}

const YES: StopAnswer = StopAnswer::Stop(LEASE);

#[test]
fn a_place_is_given_once() {
    let mut consent = listening(2);
    let answers = [0, 1, 2, 3].map(|n| report(&mut consent, n, WorkerReport::Idle, 1));
    assert_eq!(answers, [YES, YES, StopAnswer::Stay, StopAnswer::Stay]);
    assert_eq!(
        report(&mut consent, 0, WorkerReport::Idle, 11),
        StopAnswer::Stop(Duration::from_secs(50)),
        "again"
    );
    assert_eq!(consent.heard(&id(0), at(12)), Heard::Promised);
    assert_eq!(consent.heard(&id(2), at(12)), Heard::Idle);
    assert_eq!(consent.heard(&id(2), at(120)), Heard::Quiet);
    let counts = StopConsentCounts { promised: 2, stayed: 2, ..StopConsentCounts::default() };
    assert_eq!(consent.counts, counts);
}

#[test]
fn the_token_of_a_launch_is_believed_only_from_the_machine_itself() {
    let mut consent = listening(2);
    // A sibling of the same launch has the same token.
    let token = secret().token(&ClientToken::from("launch-0"));
    let mut ask = |from: IpAddr, report| consent.hear(&id(0), &token, from, report, at(1));
    for word in [WorkerReport::Idle, WorkerReport::Stopping, WorkerReport::Busy] {
        assert_eq!(ask(address(1), word), Err(StopAskError::WrongAddress));
    }
    assert_eq!(ask("2001:db8::1".parse().unwrap(), WorkerReport::Idle), Ok(YES));
    assert_eq!(ask("::ffff:127.0.0.2".parse().unwrap(), WorkerReport::Stopping), Ok(YES));
    assert_eq!((consent.counts.wrong_address, consent.counts.agreed), (3, 1));
}

#[test]
fn only_the_machines_own_token_is_heard() {
    let mut consent = listening(2);
    for token in ["", "x", &secret().token(&ClientToken::from("launch-1"))] {
        assert_eq!(
            consent.hear(&id(0), token, address(0), WorkerReport::Idle, at(1)),
            Err(StopAskError::WrongToken)
        );
    }
    assert_eq!(
        consent.hear(&id(9), "x", address(9), WorkerReport::Idle, at(1)),
        Err(StopAskError::NoSuchInstance)
    );
    assert!(!consent.has_heard());
    assert_eq!((consent.counts.wrong_token, consent.counts.no_such_instance), (3, 1));
    let unopened = StopConsent::default().hear(&id(0), "x", address(0), WorkerReport::Idle, at(1));
    assert_eq!(unopened, Err(StopAskError::NoSuchInstance));
}

#[test]
fn a_worker_that_confirms_in_time_has_agreed_and_one_that_does_not_counts_again() {
    let mut consent = listening(3);
    for n in 0..3 {
        assert_eq!(report(&mut consent, n, WorkerReport::Idle, 0), YES);
    }
    assert_eq!(report(&mut consent, 0, WorkerReport::Stopping, 59), YES);
    assert!(consent.expire(at(59)).is_empty());
    assert_eq!(consent.expire(at(60)), BTreeMap::from([(linux(), 2)]));
    assert_eq!(report(&mut consent, 1, WorkerReport::Stopping, 61), StopAnswer::Stay, "too late");
    assert_eq!(report(&mut consent, 0, WorkerReport::Stopping, 500), YES, "as often as it likes");
    assert_eq!(report(&mut consent, 0, WorkerReport::Idle, 501), YES);
    assert_eq!(
        report(&mut consent, 3, WorkerReport::Stopping, 61),
        StopAnswer::Stay,
        "never asked"
    );
    assert_eq!(consent.heard(&id(0), at(900)), Heard::Agreed);
    assert_eq!((consent.counts.agreed, consent.counts.lapsed, consent.counts.too_late), (1, 2, 2));
}

#[test]
fn a_late_confirmation_is_too_late_even_before_a_round_notices() {
    let mut consent = listening(1);
    assert_eq!(report(&mut consent, 0, WorkerReport::Idle, 0), YES);
    assert_eq!(report(&mut consent, 0, WorkerReport::Stopping, 60), StopAnswer::Stay);
}

#[test]
fn tasks_that_need_the_machines_take_promises_back() {
    let mut consent = listening(2);
    assert_eq!([0, 1].map(|n| report(&mut consent, n, WorkerReport::Idle, 0)), [YES; 2]);
    assert_eq!(report(&mut consent, 0, WorkerReport::Stopping, 1), YES);
    assert!(!consent.withdraw(|name| *name != linux()));
    assert!(consent.withdraw(|name| *name == linux()));
    assert_eq!(report(&mut consent, 1, WorkerReport::Stopping, 2), StopAnswer::Stay);
    assert_eq!(consent.heard(&id(0), at(2)), Heard::Agreed, "it takes no more tasks: it goes");
    consent.works(&id(0));
    assert_eq!(
        report(&mut consent, 0, WorkerReport::Stopping, 3),
        StopAnswer::Stay,
        "it was seen with a task"
    );
}

#[test]
fn a_worker_that_is_busy_again_gives_its_place_back_with_the_next_round() {
    let mut consent = listening(1);
    assert_eq!(report(&mut consent, 0, WorkerReport::Idle, 0), YES);
    assert_eq!(report(&mut consent, 0, WorkerReport::Busy, 1), StopAnswer::Stay);
    assert_eq!(report(&mut consent, 0, WorkerReport::Stopping, 2), StopAnswer::Stay);
    assert_eq!(consent.heard(&id(0), at(2)), Heard::Quiet);
    assert_eq!(report(&mut consent, 1, WorkerReport::Idle, 3), StopAnswer::Stay);
    renew(&mut consent, 1, 10);
    assert_eq!(report(&mut consent, 1, WorkerReport::Idle, 11), YES);
}

#[test]
fn no_worker_may_go_on_an_old_offer_or_before_offers_open() {
    let mut consent = listening(4);
    assert_eq!(
        report(&mut consent, 0, WorkerReport::Idle, 120),
        StopAnswer::Stay,
        "no round for two minutes"
    );
    renew(&mut consent, 4, 130);
    consent.close();
    assert_eq!(
        report(&mut consent, 0, WorkerReport::Idle, 131),
        StopAnswer::Stay,
        "EC2 is not seen"
    );

    let mut restarted = StopConsent::new(secret(), Some(at(60)));
    renew(&mut restarted, 4, 0);
    assert_eq!(report(&mut restarted, 0, WorkerReport::Idle, 59), StopAnswer::Stay);
    assert_eq!(report(&mut restarted, 0, WorkerReport::Idle, 60), YES);
}

#[test]
fn an_offer_may_ask_for_patience() {
    let mut consent = listening(0);
    let patient = Offer { places: 1, idle_for: Duration::from_mins(2) };
    consent.offers.insert(linux(), patient);
    assert_eq!(report(&mut consent, 0, WorkerReport::Idle, 0), StopAnswer::Stay);
    assert_eq!(report(&mut consent, 0, WorkerReport::Idle, 60), StopAnswer::Stay);
    consent.open_until = Some(at(1000));
    assert_eq!(report(&mut consent, 1, WorkerReport::Idle, 119), StopAnswer::Stay, "it came later");
    assert_eq!(report(&mut consent, 0, WorkerReport::Idle, 120), YES);
    // A worker that was silent for long was busy in between, as far as anybody knows.
    consent.offers.insert(linux(), patient);
    assert_eq!(report(&mut consent, 1, WorkerReport::Idle, 300), StopAnswer::Stay);
}

#[test]
fn consent_is_what_workers_do_and_not_what_they_were_told() {
    let mut consent = listening(0);
    assert!(!consent.asks(&linux(), at(0)));
    report(&mut consent, 0, WorkerReport::Idle, 0);
    assert!(consent.asks(&linux(), at(3600)) && !consent.asks(&linux(), at(86_400)));
}

#[test]
fn what_goes_is_forgotten() {
    let mut consent = listening(1);
    report(&mut consent, 0, WorkerReport::Idle, 0);
    consent.renew(BTreeMap::new(), BTreeMap::new(), at(1));
    assert!(!consent.has_heard() && !consent.asks(&linux(), at(1)));
}

#[test]
fn what_nobody_needs_may_go_without_a_place() {
    let mut consent = listening(0);
    let launch = ClientToken::from("launch-0");
    let addresses = vec![address(0)];
    let old = Worker { of: linux(), launch, addresses, removability: Removability::Goes };
    consent.workers.insert(id(0), old);
    assert_eq!(report(&mut consent, 0, WorkerReport::Idle, 1), YES);
}
