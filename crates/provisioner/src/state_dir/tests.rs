use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::domain::ids::{ClientToken, SpotRequestId, WorkerTypeName};
use crate::domain::launch::Pool;
use crate::domain::ledger::Granted;

const CHILD_DIR: &str = "STATE_DIR_TEST_CHILD";

fn key_name() -> KeyName {
    KeyName::parse("provisioner-test-1").unwrap()
}

fn state_dir(root: &Path) -> StateDir {
    StateDir::locate(Some(root), "123456789012", "us-west-2", &key_name()).unwrap()
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn a_ledger() -> Ledger {
    let mut ledger = Ledger { hold_until: Some(now()), ..Ledger::default() };
    ledger.granted.insert(
        SpotRequestId::new("sir-1"),
        Granted {
            worker_type: WorkerTypeName::new("linux"),
            token: ClientToken::new("t"),
            pool: Pool { instance_type: "c7g.large".into(), zone: None },
            at: now(),
            last_seen: None,
            missed: 0,
            arrived: None,
            max_price: None,
        },
    );
    ledger
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(dir: &StateDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_directory_is_named_after_account_region_and_key_name() {
    let dir = state_dir(Path::new("/state"));
    assert_eq!(dir.path(), Path::new("/state/123456789012-us-west-2-provisioner-test-1"));
    for (account, region, key_name) in
        [("1/..", "r", "k"), ("1", "", "k"), ("1", "r", "../../etc"), ("1", "r", "a\0b")]
    {
        let located =
            StateDir::locate(Some(Path::new("/s")), account, region, &KeyName::new(key_name));
        assert!(matches!(located, Err(StateDirError::BadName { .. })), "{account} {key_name}");
    }
}

#[test]
fn a_ledger_comes_back_as_it_was_written() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    assert!(
        matches!(locked.read_ledger(now()).unwrap(), LedgerState::Lost { why } if why.contains("ledger.json"))
    );
    for ledger in [a_ledger(), Ledger::default()] {
        locked.write_ledger(&ledger).unwrap();
        assert_eq!(locked.read_ledger(now()).unwrap(), LedgerState::Known(ledger.clone()));
        assert_eq!(dir.peek_ledger().unwrap(), LedgerState::Known(ledger));
    }
    let text = fs::read_to_string(dir.path().join("ledger.json")).unwrap();
    let content = "{\"version\":2,\"ledger\":{\"intents\":{},\"granted\":{},\"spending\":{\"days\":{},\"counted\":null}},\"digest\":\"";
    assert!(text.starts_with(content), "{text}");
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(mode(&dir.path().join("ledger.json")), 0o600);
    assert_eq!(names(&dir), ["ledger.json", "lock"]);
}

#[test]
fn a_damaged_ledger_is_kept_aside_and_counts_as_lost() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    let path = dir.path().join("ledger.json");
    let damaged: [&[u8]; 8] = [
        b"",
        b"not json",
        b"{\"version\":1,\"ledger\":{\"intents\":{},\"gr",
        b"{\"version\":2,\"ledger\":{},\"digest\":\"44136fa355b3678a\"}",
        b"{\"ledger\":{}}",
        b"{\"version\":1}",
        b"{\"version\":1,\"ledger\":{\"surprise\":1}}",
        b"\xff\xfe\0",
    ];
    for (n, content) in damaged.into_iter().enumerate() {
        fs::write(&path, content).unwrap();
        assert!(
            matches!(dir.peek_ledger().unwrap(), LedgerState::Lost { why } if why.contains("damaged"))
        );
        assert_eq!(fs::read(&path).unwrap(), content, "looking changes nothing");

        let LedgerState::Lost { why } = locked.read_ledger(now()).unwrap() else {
            panic!("{content:?} was taken for a ledger");
        };
        let suffix = if n == 0 { String::new() } else { format!("-{}", n + 1) };
        let aside = format!("{}.damaged-20260102T030405Z{suffix}", path.display());
        assert!(why.contains(&aside), "{why}");
        assert_eq!(fs::read(&aside).unwrap(), content, "kept as it was");
        assert!(!path.exists());
    }
    assert_eq!(names(&dir).len(), damaged.len() + 1, "none of them was overwritten");
}

#[test]
fn an_unreadable_ledger_is_not_lost() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    fs::create_dir(dir.path().join("ledger.json")).unwrap();
    let error = locked.read_ledger(now()).unwrap_err();
    assert!(error.to_string().contains("ledger.json"), "{error}");
    assert!(error.hint().unwrap().contains("provisioner.state-dir"));
}

#[test]
fn looking_makes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(&root.path().join("deeper"));
    assert!(matches!(dir.peek_ledger().unwrap(), LedgerState::Lost { .. }));
    assert_eq!(dir.read_memory::<Vec<u32>>(), None);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn setup_does_not_overwrite_a_ledger() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(&root.path().join("a/b"));
    assert!(!dir.create_empty().unwrap());
    assert_eq!(dir.peek_ledger().unwrap(), LedgerState::Known(Ledger::default()));
    dir.lock().unwrap().write_ledger(&a_ledger()).unwrap();
    assert!(dir.create_empty().unwrap());
    assert_eq!(dir.peek_ledger().unwrap(), LedgerState::Known(a_ledger()));
}

#[test]
fn an_open_directory_is_closed() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    fs::create_dir(dir.path()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    drop(dir.lock().unwrap());
    assert_eq!(mode(dir.path()), 0o700);
}

#[test]
fn a_rest_of_a_crashed_write_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    fs::write(dir.path().join("ledger.json.new"), "half").unwrap();
    locked.write_ledger(&a_ledger()).unwrap();
    assert_eq!(mode(&dir.path().join("ledger.json")), 0o600);
    assert_eq!(names(&dir), ["ledger.json", "lock"]);
}

#[test]
fn a_failed_write_keeps_the_old_ledger() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    locked.write_ledger(&a_ledger()).unwrap();
    // Stands in for a full disk, also when the tests run as root: the temporary file cannot be made.
    fs::create_dir_all(dir.path().join("ledger.json.new/in-the-way")).unwrap();
    let error = locked.write_ledger(&Ledger::default()).unwrap_err();
    assert!(error.to_string().starts_with("failed to write `"), "{error}");
    assert_eq!(dir.peek_ledger().unwrap(), LedgerState::Known(a_ledger()));
}

#[test]
fn a_full_disk_is_told_from_a_forbidden_one() {
    let hint = |kind: io::ErrorKind| {
        StateDirError::io("write", Path::new("/x"), kind.into()).hint().unwrap()
    };
    assert!(hint(io::ErrorKind::StorageFull).starts_with("free some space"));
    assert!(hint(io::ErrorKind::PermissionDenied).contains("writable"));
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let error = state_dir(&root.path().join("file")).lock().unwrap_err();
    assert!(error.to_string().starts_with("failed to create the directory `"), "{error}");
}

#[test]
fn soft_state_is_remembered_or_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    assert_eq!(dir.read_memory::<Vec<u32>>(), None);
    locked.write_memory(&vec![1, 2]).unwrap();
    assert_eq!(dir.read_memory::<Vec<u32>>(), Some(vec![1, 2]));
    assert_eq!(mode(&dir.path().join("memory.json")), 0o600);
    assert_eq!(dir.read_memory::<String>(), None, "of another shape");
    fs::write(dir.path().join("memory.json"), "{\"version\":1,\"memory\":[1,").unwrap();
    assert_eq!(dir.read_memory::<Vec<u32>>(), None, "cut off");
    fs::remove_file(dir.path().join("memory.json")).unwrap();
    fs::create_dir(dir.path().join("memory.json")).unwrap();
    assert_eq!(dir.read_memory::<Vec<u32>>(), None, "unreadable");
}

#[test]
fn the_last_round_is_told_or_is_not_and_goes_with_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    assert_eq!(dir.read_record().unwrap(), None, "nobody was here");
    let locked = dir.lock().unwrap();
    locked.write_record(&RoundRecord::default()).unwrap();
    assert_eq!(dir.read_record().unwrap(), Some(RoundRecord::default()));
    let path = dir.path().join("last-round.json");
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, "{\"version\":2,\"record\":{}}").unwrap();
    assert_eq!(dir.read_record().unwrap(), None, "of another version");
    locked.forget().unwrap();
    assert!(!path.exists() && !dir.path().exists());
    fs::create_dir_all(&path).unwrap();
    assert!(dir.read_record().is_err(), "it is there and cannot be read");
}

#[test]
fn the_secret_is_made_once_and_goes_with_the_rest() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    let secret = locked.stop_secret().unwrap();
    assert_eq!(locked.stop_secret().unwrap(), secret);
    let path = dir.path().join("stop-secret.json");
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, "{\"version\":1,\"secret\":\"abc\"}").unwrap();
    let other = locked.stop_secret().unwrap();
    assert_ne!(other, secret, "a damaged one is replaced");
    assert_eq!(locked.stop_secret().unwrap(), other);
    locked.forget().unwrap();
    assert!(!path.exists() && !dir.path().exists());
    fs::create_dir_all(&path).unwrap();
    assert!(dir.lock().unwrap().stop_secret().is_err(), "it is there and cannot be read");
}

#[test]
fn a_second_handle_is_refused_until_the_first_is_dropped() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let first = dir.lock().unwrap();
    let error = dir.lock().unwrap_err();
    assert!(
        matches!(error, StateDirError::Locked { holder: Some(pid), .. } if pid == std::process::id())
    );
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    assert!(matches!(dir.create_empty(), Err(StateDirError::Locked { .. })));
    drop(first);
    drop(dir.lock().unwrap());
}

/// Not a test of its own: what the next test runs as another process.
#[test]
fn child_holds_the_lock() {
    let Some(root) = std::env::var_os(CHILD_DIR) else { return };
    let _locked = state_dir(Path::new(&root)).lock().unwrap();
    println!("\nlocked");
    io::stdin().lines().next();
}

#[test]
fn another_process_is_refused_and_a_killed_one_leaves_no_lock() {
    let root = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "state_dir::tests::child_holds_the_lock", "--nocapture"])
        .env(CHILD_DIR, root.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "locked"));

    let dir = state_dir(root.path());
    let error = dir.lock().unwrap_err();
    assert!(
        matches!(error, StateDirError::Locked { holder: Some(pid), .. } if pid == child.id()),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    drop(dir.lock().unwrap());
}

#[test]
fn links_and_pipes_in_the_place_of_files_are_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    let elsewhere = root.path().join("elsewhere");
    fs::write(&elsewhere, "{\"version\":1,\"ledger\":{}}").unwrap();
    let ledger = dir.path().join("ledger.json");
    std::os::unix::fs::symlink(&elsewhere, &ledger).unwrap();
    assert!(locked.read_ledger(now()).is_err(), "neither known nor lost");
    fs::remove_file(&ledger).unwrap();
    // Reading a pipe would wait for a writer.
    assert!(Command::new("mkfifo").arg(&ledger).status().unwrap().success());
    assert!(dir.peek_ledger().is_err());
    drop(locked);
    let lock = dir.path().join("lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &lock).unwrap();
    assert!(dir.lock().is_err());
    assert!(fs::read_to_string(&elsewhere).unwrap().starts_with('{'), "the target is untouched");
}

#[test]
fn a_link_in_the_place_of_the_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let elsewhere = root.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.path()).unwrap();
    let error = dir.lock().unwrap_err();
    assert!(matches!(error, StateDirError::NotOurs { .. }), "{error}");
    assert!(error.hint().unwrap().contains("chown"));
}

#[test]
fn a_lock_file_that_was_replaced_is_no_lock() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("lock");
    let first = crate::files::lock(&path).unwrap().unwrap();
    assert!(crate::files::lock(&path).unwrap().is_err());
    fs::remove_file(&path).unwrap();
    // The name is free again, so this is another file with a lock of its own.
    let second = crate::files::lock(&path).unwrap().unwrap();
    assert!(crate::files::lock(&path).unwrap().is_err());
    drop((first, second));
}

const WITHOUT_DESCRIPTORS: &str = "STATE_DIR_TEST_WITHOUT_DESCRIPTORS";

/// Is not a test by itself: the next test runs it as another process.
#[test]
fn child_writes_the_ledger_without_a_descriptor_left() {
    let Some(root) = std::env::var_os(WITHOUT_DESCRIPTORS) else { return };
    let locked = state_dir(Path::new(&root)).lock().unwrap();
    let mut open = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        open.push(file);
    }
    for _ in 0..3 {
        locked.write_ledger(&a_ledger()).unwrap();
    }
    assert!(fs::File::open("/dev/null").is_err(), "nothing was left");
}

#[test]
fn the_ledger_is_written_when_no_descriptor_is_left() {
    let root = tempfile::tempdir().unwrap();
    let name = "state_dir::tests::child_writes_the_ledger_without_a_descriptor_left";
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(WITHOUT_DESCRIPTORS, root.path())
        .status()
        .unwrap();
    assert!(status.success());
    let known = LedgerState::Known(a_ledger());
    assert_eq!(state_dir(root.path()).peek_ledger().unwrap(), known);
}

#[test]
fn a_ledger_of_the_first_version_is_read() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    let old = "{\"version\":1,\"ledger\":{\"intents\":{},\"granted\":{\"sir-1\":{\"worker-type\":\"linux\",\"token\":\"t\",\"pool\":{\"instance-type\":\"c7g.large\",\"zone\":null},\"at\":\"2026-01-02T03:04:05Z\",\"max-price\":null}},\"hold-until\":\"2026-01-02T03:04:05Z\"}}";
    fs::write(dir.path().join("ledger.json"), old).unwrap();
    assert_eq!(locked.read_ledger(now()).unwrap(), LedgerState::Known(a_ledger()));
}

#[test]
fn a_ledger_of_a_newer_version_is_an_error_and_never_lost() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    let path = dir.path().join("ledger.json");
    fs::write(&path, "{\"version\":3,\"book\":[]}").unwrap();
    for error in [locked.read_ledger(now()).unwrap_err(), dir.peek_ledger().unwrap_err()] {
        assert!(matches!(error, StateDirError::Newer { version: 3, known: 2, .. }), "{error}");
    }
    assert!(path.exists(), "it stays where it is");
}

/// A ledger with one launch whose answer is not known.
fn with_an_intent() -> Ledger {
    use crate::domain::launch::{
        LaunchCall, LaunchSpecification, TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE,
    };
    use crate::domain::ledger::Intent;
    let token = ClientToken::new("0123456789abcdef-019a0000-0000-7000-8000-000000000001");
    let tags = [
        (TAG_KEY_NAME, key_name().to_string()),
        (TAG_WORKER_TYPE, "linux".to_owned()),
        (TAG_INTENT, token.to_string()),
    ];
    let call = LaunchCall {
        token: token.clone(),
        worker_type: "linux".into(),
        decided: now(),
        count: 3,
        key_name: key_name(),
        image_id: "ami-00000000000000b86".to_owned(),
        instance_type: "c7g.large".into(),
        zone: None,
        subnet: None,
        security_group_ids: Vec::new(),
        iam_instance_profile: None,
        user_data: None,
        max_price: None,
        valid_until: now(),
        tags: tags.map(|(key, value)| (key.to_owned(), value)).into(),
        launch_specification: LaunchSpecification::default(),
    };
    let mut ledger = a_ledger();
    ledger.intents.insert(token, Intent::new(call));
    ledger
}

#[test]
fn no_flipped_bit_of_a_ledger_goes_unnoticed() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    let path = dir.path().join("ledger.json");
    let ledger = with_an_intent();
    locked.write_ledger(&ledger).unwrap();
    let written = fs::read(&path).unwrap();
    for at in 0..written.len() * 8 {
        let mut flipped = written.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        match dir.peek_ledger() {
            Ok(LedgerState::Lost { .. }) | Err(StateDirError::Newer { .. }) => {}
            Ok(LedgerState::Known(read)) => assert_eq!(read, ledger, "bit {at} of {flipped:?}"),
            Err(error) => panic!("bit {at}: {error}"),
        }
    }
}

/// A change that makes a ledger contradict itself.
type Change<'a> = &'a dyn Fn(&mut Ledger);

#[test]
fn a_ledger_whose_parts_contradict_each_other_is_damaged() {
    let (token, intent) = with_an_intent().intents.pop_first().unwrap();
    let other = ClientToken::new("another");
    let changes: [(&str, Change<'_>); 6] = [
        ("", &|_| {}),
        ("client token", &|ledger| {
            let intent = ledger.intents.pop_first().unwrap().1;
            ledger.intents.insert(other.clone(), intent);
        }),
        ("its tag", &|ledger| {
            let mut intent = intent.clone();
            intent.call.tags.insert("provisioner:intent".to_owned(), "another".to_owned());
            ledger.intents.insert(token.clone(), intent);
        }),
        ("its tag", &|ledger| {
            let mut intent = intent.clone();
            intent.call.key_name = "another".into();
            ledger.intents.insert(token.clone(), intent);
        }),
        ("0 instances", &|ledger| ledger.intents.get_mut(&token).unwrap().call.count = 0),
        ("asks for 1073741827 instances", &|ledger| {
            ledger.intents.get_mut(&token).unwrap().call.count |= 1 << 30;
        }),
    ];
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    let locked = dir.lock().unwrap();
    for (says, change) in changes {
        let mut ledger = with_an_intent();
        change(&mut ledger);
        locked.write_ledger(&ledger).unwrap();
        match dir.peek_ledger().unwrap() {
            LedgerState::Known(read) => assert!(says.is_empty() && read == ledger, "{says}"),
            LedgerState::Lost { why } => assert!(!says.is_empty() && why.contains(says), "{why}"),
        }
    }
}

#[test]
fn the_holder_of_the_lock_is_known_and_looking_for_it_takes_no_lock_away() {
    let root = tempfile::tempdir().unwrap();
    let dir = state_dir(root.path());
    assert_eq!(dir.holder().unwrap(), None, "there is no directory yet");
    let locked = dir.lock().unwrap();
    let ours = LockHolder { pid: Some(std::process::id()) };
    assert_eq!(dir.holder().unwrap(), Some(ours));
    assert_eq!(StateDir::all_under(Some(root.path())).unwrap(), std::slice::from_ref(&dir));
    drop(locked);
    assert_eq!(dir.holder().unwrap(), None);
    assert!(StateDir::all_under(Some(&root.path().join("absent"))).unwrap().is_empty());

    // Many look while one takes the lock: it always gets it.
    std::thread::scope(|scope| {
        let looking = || (0..2_000).for_each(|_| drop(dir.holder()));
        scope.spawn(looking);
        scope.spawn(looking);
        for _ in 0..200 {
            drop(dir.lock().unwrap());
        }
    });
}

#[test]
fn the_last_reload_is_read_back() {
    let root = tempfile::tempdir().unwrap();
    let locked = state_dir(root.path()).lock().unwrap();
    assert_eq!(locked.dir().read_reload().unwrap(), None);
    let failure = Some("no".to_owned());
    let last = crate::status::LastReload { began: now(), time: now(), failure };
    let record = ReloadRecord { pid: 7, last: Some(last) };
    locked.write_reload(&record).unwrap();
    assert_eq!(locked.dir().read_reload().unwrap(), Some(record));
}
