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
fn renew(book: &mut Book, places: u64, second: i64) {
    let worker = |n: u32| Worker {
        of: linux(),
        launch: ClientToken::new(format!("launch-{n}")),
        standing: Standing::Idle,
    };
    let workers = (0..4).map(|n| (id(n), worker(n))).collect();
    let offer = Offer { places, idle_for: Duration::ZERO };
    book.renew(workers, BTreeMap::from([(linux(), offer)]), at(second));
}

fn book(places: u64) -> Book {
    let mut book = Book::default();
    book.open(secret(), None);
    renew(&mut book, places, 0);
    book
}

fn say(book: &mut Book, n: u32, word: WorkerReport, second: i64) -> StopAnswer {
    let token = secret().token(&ClientToken::new(format!("launch-{n}")));
    book.hear(&id(n), &token, word, at(second)).unwrap()
}

const YES: StopAnswer = StopAnswer::Stop(LEASE);

#[test]
fn a_place_is_given_once() {
    let mut book = book(2);
    let answers = [0, 1, 2, 3].map(|n| say(&mut book, n, WorkerReport::Idle, 1));
    assert_eq!(answers, [YES, YES, StopAnswer::Stay, StopAnswer::Stay]);
    assert_eq!(
        say(&mut book, 0, WorkerReport::Idle, 11),
        StopAnswer::Stop(Duration::from_secs(50)),
        "again"
    );
    assert_eq!(book.heard(&id(0), at(12)), Heard::Promised);
    assert_eq!(book.heard(&id(2), at(12)), Heard::Idle);
    assert_eq!(book.heard(&id(2), at(120)), Heard::Quiet);
    let counts = StopConsentCounts { promised: 2, stayed: 2, ..StopConsentCounts::default() };
    assert_eq!(book.counts, counts);
}

#[test]
fn only_the_machines_own_token_is_heard() {
    let mut book = book(2);
    for token in ["", "x", &secret().token(&ClientToken::from("launch-1"))] {
        assert_eq!(
            book.hear(&id(0), token, WorkerReport::Idle, at(1)),
            Err(StopAskError::WrongToken)
        );
    }
    assert_eq!(
        book.hear(&id(9), "x", WorkerReport::Idle, at(1)),
        Err(StopAskError::NoSuchInstance)
    );
    assert!(!book.has_heard());
    assert_eq!((book.counts.wrong_token, book.counts.no_such_instance), (3, 1));
    let unopened = Book::default().hear(&id(0), "x", WorkerReport::Idle, at(1));
    assert_eq!(unopened, Err(StopAskError::NoSuchInstance));
}

#[test]
fn who_stops_in_time_has_agreed_and_who_does_not_counts_again() {
    let mut book = book(3);
    for n in 0..3 {
        assert_eq!(say(&mut book, n, WorkerReport::Idle, 0), YES);
    }
    assert_eq!(say(&mut book, 0, WorkerReport::Stopping, 59), YES);
    assert!(book.lapse(at(59)).is_empty());
    assert_eq!(book.lapse(at(60)), BTreeMap::from([(linux(), 2)]));
    assert_eq!(say(&mut book, 1, WorkerReport::Stopping, 61), StopAnswer::Stay, "too late");
    assert_eq!(say(&mut book, 0, WorkerReport::Stopping, 500), YES, "as often as it likes");
    assert_eq!(say(&mut book, 0, WorkerReport::Idle, 501), YES);
    assert_eq!(say(&mut book, 3, WorkerReport::Stopping, 61), StopAnswer::Stay, "never asked");
    assert_eq!(book.heard(&id(0), at(900)), Heard::Agreed);
    assert_eq!((book.counts.agreed, book.counts.lapsed, book.counts.too_late), (1, 2, 2));
}

#[test]
fn even_before_a_round_notices_a_late_word_is_too_late() {
    let mut book = book(1);
    assert_eq!(say(&mut book, 0, WorkerReport::Idle, 0), YES);
    assert_eq!(say(&mut book, 0, WorkerReport::Stopping, 60), StopAnswer::Stay);
}

#[test]
fn what_tasks_come_to_need_takes_promises_back() {
    let mut book = book(2);
    assert_eq!([0, 1].map(|n| say(&mut book, n, WorkerReport::Idle, 0)), [YES; 2]);
    assert_eq!(say(&mut book, 0, WorkerReport::Stopping, 1), YES);
    assert!(!book.withdraw(|name| *name != linux()));
    assert!(book.withdraw(|name| *name == linux()));
    assert_eq!(say(&mut book, 1, WorkerReport::Stopping, 2), StopAnswer::Stay);
    assert_eq!(book.heard(&id(0), at(2)), Heard::Agreed, "it takes no more tasks: it goes");
    book.works(&id(0));
    assert_eq!(
        say(&mut book, 0, WorkerReport::Stopping, 3),
        StopAnswer::Stay,
        "it was seen with a task"
    );
}

#[test]
fn a_worker_that_is_busy_again_gives_its_place_back_with_the_next_round() {
    let mut book = book(1);
    assert_eq!(say(&mut book, 0, WorkerReport::Idle, 0), YES);
    assert_eq!(say(&mut book, 0, WorkerReport::Busy, 1), StopAnswer::Stay);
    assert_eq!(say(&mut book, 0, WorkerReport::Stopping, 2), StopAnswer::Stay);
    assert_eq!(book.heard(&id(0), at(2)), Heard::Quiet);
    assert_eq!(say(&mut book, 1, WorkerReport::Idle, 3), StopAnswer::Stay);
    renew(&mut book, 1, 10);
    assert_eq!(say(&mut book, 1, WorkerReport::Idle, 11), YES);
}

#[test]
fn nobody_may_go_on_an_old_offer_or_before_the_desk_opens() {
    let mut book = book(4);
    assert_eq!(
        say(&mut book, 0, WorkerReport::Idle, 120),
        StopAnswer::Stay,
        "no round for two minutes"
    );
    renew(&mut book, 4, 130);
    book.close();
    assert_eq!(say(&mut book, 0, WorkerReport::Idle, 131), StopAnswer::Stay, "EC2 is not seen");

    let mut restarted = Book::default();
    restarted.open(secret(), Some(at(60)));
    renew(&mut restarted, 4, 0);
    assert_eq!(say(&mut restarted, 0, WorkerReport::Idle, 59), StopAnswer::Stay);
    assert_eq!(say(&mut restarted, 0, WorkerReport::Idle, 60), YES);
}

#[test]
fn an_offer_may_ask_for_patience() {
    let mut book = book(0);
    let patient = Offer { places: 1, idle_for: Duration::from_mins(2) };
    book.offers.insert(linux(), patient);
    assert_eq!(say(&mut book, 0, WorkerReport::Idle, 0), StopAnswer::Stay);
    assert_eq!(say(&mut book, 0, WorkerReport::Idle, 60), StopAnswer::Stay);
    book.open_until = Some(at(1000));
    assert_eq!(say(&mut book, 1, WorkerReport::Idle, 119), StopAnswer::Stay, "it came later");
    assert_eq!(say(&mut book, 0, WorkerReport::Idle, 120), YES);
    // A worker that was silent for long was busy in between, as far as anybody knows.
    book.offers.insert(linux(), patient);
    assert_eq!(say(&mut book, 1, WorkerReport::Idle, 300), StopAnswer::Stay);
}

#[test]
fn consent_is_what_workers_do_and_not_what_they_were_told() {
    let mut book = book(0);
    assert!(!book.consent(&linux(), at(0)));
    say(&mut book, 0, WorkerReport::Idle, 0);
    assert!(book.consent(&linux(), at(3600)) && !book.consent(&linux(), at(86_400)));
}

#[test]
fn what_goes_is_forgotten() {
    let mut book = book(1);
    say(&mut book, 0, WorkerReport::Idle, 0);
    book.renew(BTreeMap::new(), BTreeMap::new(), at(1));
    assert!(!book.has_heard() && !book.consent(&linux(), at(1)));
}

#[test]
fn what_nobody_needs_may_go_without_a_place() {
    let mut book = book(0);
    let launch = ClientToken::from("launch-0");
    let old = Worker { of: linux(), launch, standing: Standing::Goes };
    book.workers.insert(id(0), old);
    assert_eq!(say(&mut book, 0, WorkerReport::Idle, 1), YES);
}
