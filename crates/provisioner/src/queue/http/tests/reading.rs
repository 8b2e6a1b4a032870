use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{filter, filter_at};
use crate::domain::demand::{PendingTasks, Running, Skipped};
use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::queue::http::json_array::ResponseError;
use crate::queue::http::json_array::{ArraySplitter, RawElement};
use crate::queue::http::response::{MAX_ELEMENT, TaskResponse};
use crate::queue::http::tally::{PendingResponse, RunningTally, TaskFilter};
use crate::queue::http::task_history::TaskHistory;

type Pending = (BTreeMap<WorkerTypeName, PendingTasks>, Skipped);

fn read_in(filter: &TaskFilter, chunks: &[&[u8]]) -> Result<Pending, ResponseError> {
    let mut response = PendingResponse::new(filter);
    for chunk in chunks {
        response.feed(chunk)?;
    }
    response.finish()
}

fn read(text: &str) -> Result<Pending, ResponseError> {
    read_in(&filter(), &[text.as_bytes()])
}

fn read_at(pointer: &[&str], text: &str) -> Pending {
    read_in(&filter_at(pointer), &[text.as_bytes()]).unwrap()
}

/// (tasks of `linux`, malformed elements)
fn linux_and_malformed((pending, skipped): &Pending) -> (u64, u64) {
    (pending.get("linux").map_or(0, |tasks| tasks.count), skipped.malformed)
}

fn running(owned: &[&str], text: &str) -> Running {
    running_for(&filter(), owned, text)
}

fn running_for(filter: &TaskFilter, owned: &[&str], text: &str) -> Running {
    let owned: BTreeSet<InstanceId> = owned.iter().map(|&id| InstanceId::from(id)).collect();
    let history = TaskHistory::default();
    let tally = RunningTally::new(filter, &owned, &history);
    let mut response = TaskResponse::new(filter.pointer(), tally);
    response.feed(text.as_bytes()).unwrap();
    response.finish().unwrap().finish().0
}

fn by_instance(linux: u64, instances: &[(&str, u32)]) -> Running {
    let tasks = (linux > 0).then(|| (WorkerTypeName::from("linux"), linux));
    let instances = instances.iter().map(|&(id, count)| (InstanceId::from(id), count));
    Running::ByInstance { tasks: tasks.into_iter().collect(), instances: instances.collect() }
}

#[test]
fn pending_tasks_are_counted_per_worker_type() {
    let (pending, skipped) = read(
        r#"[
            {"workerType": "linux", "created": "2026-01-02T00:00:00Z"},
            {"workerType": "linux", "created": "2026-01-01T01:00:00+01:00", "extra": [1, {"a": "]}"}]},
            {"workerType": "ami-7eaecc4e", "created": null, "taskId": null, "priority": null},
            {"workerType": "windows", "priority": 3, "expectedDuration": 12.5, "taskId": "x"},
            {"workerType": "amiga"}, {"workerType": "amiga"}
        ]"#,
    )
    .unwrap();
    let oldest = Some("2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(pending["linux"], PendingTasks { count: 2, oldest });
    assert_eq!(pending["windows"], PendingTasks { count: 2, oldest: None });
    assert_eq!(skipped.unknown_worker_types, BTreeMap::from([("amiga".to_owned(), 2)]));
    assert_eq!((skipped.malformed, skipped.oversized), (0, 0));
}

#[test]
fn chunks_of_any_size_give_the_same() {
    let documents = [
        "[]",
        "\u{feff} [ ] \n",
        r#"[{"workerType":"linux"}]"#,
        r#" [ {"workerType" : "li\u006eux", "x":"\"]}\\"} ,{"workerType":"ünknown","y":{"z":[[],"]"]}}, 1,true ,"a\\",-1.5e+3, null,[{}] ] "#,
        r#"[{"workerType":"linux"},]"#,
        r#"[{"workerType":"linux"}"#,
        "[1 2]",
        "[1],",
        r#"["\x"]"#,
        r#"{"jobs":[]}"#,
        "[{]}]",
        "",
        "\u{feff}",
    ];
    let filter = filter();
    for document in documents {
        let bytes = document.as_bytes();
        let whole = format!("{:?}", read_in(&filter, &[bytes]));
        for size in 1..=bytes.len() {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(format!("{:?}", read_in(&filter, &chunks)), whole, "{document} by {size}");
        }
        for at in 0..=bytes.len() {
            let (a, b) = bytes.split_at(at);
            assert_eq!(
                format!("{:?}", read_in(&filter, &[a, b, b""])),
                whole,
                "{document} at {at}"
            );
        }
    }
}

#[test]
fn anything_but_an_array_is_an_error() {
    for text in ["", "  \n", "{}", "null", "<html>", "\u{feff}", "\u{feff}x", "nonsense", "]"] {
        assert!(matches!(read(text), Err(ResponseError::NotAnArray)), "{text}");
    }
    assert!(matches!(read_in(&filter(), &[b"\xEF", b"["]), Err(ResponseError::NotAnArray)));
}

#[test]
fn syntax_errors_carry_their_position() {
    for (text, expected) in [
        ("[1 2]", 3),
        ("[,1]", 1),
        ("[1,,2]", 3),
        ("[1,]", 3),
        ("[1]]", 3),
        ("[1] x", 4),
        ("[1}", 2),
        ("[:]", 1),
        ("[1:2]", 2),
        ("[+1]", 1),
        ("[ \n{\"a\":\n \"b\",}]", 14),
        ("[tru]", 4),
        ("[\"\\x\"]", 3),
    ] {
        match read(text) {
            Err(ResponseError::Syntax { at, source }) => {
                assert_eq!(at, expected, "{text}: {source}");
                assert!(!source.to_string().contains("line"), "{source}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in ["[01]", "[1.]", "[{]}]", "[{\"a\" 1}]", "[{1:2}]", "[\"a\nb\"]", "[nul]", "[1e]"] {
        assert!(matches!(read(text), Err(ResponseError::Syntax { .. })), "{text}");
    }
    let invalid_utf8 = b"[\"ab\xFF\"]";
    assert!(matches!(
        read_in(&filter(), &[invalid_utf8]),
        Err(ResponseError::Syntax { at: 4, .. })
    ));
    // serde_json would not check this, because the field is skipped.
    let in_payload = b"[{\"workerType\":\"linux\",\"x\":\"\xC3\"}]";
    assert!(matches!(read_in(&filter(), &[in_payload]), Err(ResponseError::Syntax { at: 28, .. })));
}

#[test]
fn every_cut_is_an_error() {
    let text = r#"[{"workerType":"linux","x":["\"a"]},12, "b"]"#;
    assert!(read(text).is_ok());
    for end in 1..text.len() {
        assert!(
            matches!(read(&text[..end]), Err(ResponseError::CutOff { at }) if at == end as u64),
            "{}",
            &text[..end]
        );
    }
}

#[test]
fn malformed_elements_are_skipped_and_counted() {
    let malformed = [
        "1",
        "null",
        r#""linux""#,
        "[]",
        r#"["linux"]"#,
        "{}",
        r#"{"workerType":null}"#,
        r#"{"workerType":1}"#,
        r#"{"workerType":true}"#,
        r#"{"workerType":-1}"#,
        r#"{"workerType":1.5}"#,
        r#"{"workerType":["linux"]}"#,
        r#"{"workerType":{"a":"linux"}}"#,
    ];
    for element in malformed {
        let text = format!(r#"[{element},{{"workerType":"linux"}}]"#);
        assert_eq!(linux_and_malformed(&read(&text).unwrap()), (1, 1), "{element}");
    }
    // After a wrong type the rest is still checked.
    assert!(matches!(read(r#"[{"workerType":1,"x":tru}]"#), Err(ResponseError::Syntax { .. })));
}

#[test]
fn optional_fields_of_another_type_count_as_absent_and_are_named() {
    for (field, value) in [
        ("taskId", r#"{"a":1}"#),
        ("taskId", r#""\ud800""#),
        ("created", r#""yesterday""#),
        ("created", r#""2026-01-01""#),
        ("created", r#""2026-01-01T00:00:00""#),
        ("created", r#""20260101T000000Z""#),
        ("created", r#""2026-01-01T00:00Z""#),
        ("created", r#""2026-01-01T00:00:00Z[UTC]""#),
        ("created", r#""2026-13-01T00:00:00Z""#),
        ("created", "-1"),
        ("created", "1767225600000000"),
        ("created", "true"),
        ("started", r#""soon""#),
        ("provisionerId", "{}"),
        ("workerId", "[]"),
        ("workerId", "17"),
        ("priority", r#""lowest""#),
        ("expectedDuration", r#""1h""#),
        ("expectedDuration", "1e999"),
    ] {
        let text = format!(r#"[{{"{field}":{value},"workerType":"linux"}}]"#);
        let read = read(&text).unwrap();
        assert_eq!(linux_and_malformed(&read), (1, 0), "{text}");
        let unread = &read.1.unread_fields;
        assert_eq!(unread.keys().collect::<Vec<_>>(), [field], "{text}");
        assert_eq!(unread[field].value.as_deref(), Some(value), "{text}");
    }
    // A task of Taskcluster, but for its identifier.
    let text = r#"[{"taskId":7,"workerType":"linux","priority":"lowest","created":"2026-01-01T00:00:00"},
        {"taskId":"b","workerType":"linux","priority":"high"}]"#;
    let (pending, skipped) = read(text).unwrap();
    assert_eq!(pending["linux"], PendingTasks { count: 2, oldest: None });
    let priority = &skipped.unread_fields["priority"];
    assert_eq!((priority.count, priority.task.as_deref()), (2, Some("7")));
    assert_eq!(priority.to_string(), "`\"lowest\"` in task `7`, for example");
    // A machine is in a task whose start cannot be read, and knows of none whose worker cannot.
    let text = r#"[{"workerType":"linux","workerId":"i-1","started":"soon"}]"#;
    assert_eq!(running(&["i-1"], text), by_instance(1, &[("i-1", 1)]));
    let text = r#"[{"workerType":"linux","workerId":1}]"#;
    assert!(matches!(running(&["i-1"], text), Running::Counted { .. }));
}

#[test]
fn skipped_tasks_are_told_with_the_field_the_value_and_an_example() {
    let told = |text: &str| {
        let (_, skipped) = read(text).unwrap();
        let (field, unread) = skipped.malformed_fields.into_iter().next().unwrap();
        (field, unread.count, unread.to_string())
    };
    let of = |field: &str, count, text: &str| (field.to_owned(), count, text.to_owned());
    assert_eq!(
        told(r#"[{"taskId":"a","workerType":3},{"taskId":"b"}]"#),
        of("/workerType", 2, "`3` in task `a`, for example")
    );
    assert_eq!(told(r#"[{"taskId":7}]"#), of("/workerType", 1, "missing in task `7`, for example"));
    assert_eq!(told("[null, 3]"), of("", 2, "`null`, for example"));
    let long = format!(r#"[["{}"]]"#, "x".repeat(1_000));
    assert_eq!(told(&long), of("", 1, &format!("`[\"{}…`, for example", "x".repeat(58))));
}

#[test]
fn running_tasks_none_of_which_can_be_read_are_unknown() {
    assert_eq!(running(&["i-1"], r#"[{"workerId":"i-1"},3]"#), Running::Unknown);
}

#[test]
fn epochs_in_seconds_and_milliseconds_are_times() {
    let expected: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
    for (value, expected) in
        [("1767225600.5", expected), ("1767225600500", expected), ("0", Timestamp::UNIX_EPOCH)]
    {
        let text = format!(r#"[{{"workerType":"linux","created":{value}}}]"#);
        let (pending, skipped) = read(&text).unwrap();
        assert_eq!(pending["linux"].oldest, Some(expected), "{value}");
        assert_eq!(skipped, Skipped::default());
    }
}

#[test]
fn rfc_3339_times_are_read() {
    for time in [
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00.123456z",
        "2026-01-01 00:00:00+05:30",
        "2016-12-31T23:59:60Z",
        "1969-01-01T00:00:00-00:00",
    ] {
        let text = format!(r#"[{{"workerType":"linux","created":"{time}"}}]"#);
        let read = read(&text).unwrap();
        assert!(read.0["linux"].oldest.is_some() && read.1 == Skipped::default(), "{time}");
    }
}

#[test]
fn the_pointer_leads_through_objects_and_arrays() {
    for (pointer, element) in [
        (vec!["a", "b"], r#"{"a":{"x":1,"b":"linux"}}"#),
        (vec!["a", "0"], r#"{"a":["linux",2]}"#),
        (vec!["a", "2", "b"], r#"{"a":[1,{"b":"windows"},{"b":"linux"},3]}"#),
        (vec!["a", "0"], r#"{"a":{"0":"linux"}}"#),
        // `/a~1b/~0` and `/` in the configuration.
        (vec!["a/b", "~"], r#"{"a/b":{"~":"linux"}}"#),
        (vec![""], r#"{"":"linux"}"#),
        // A field may be the worker type too.
        (vec!["provisionerId"], r#"{"provisionerId":"linux"}"#),
        (vec!["workerId", "x"], r#"{"workerId":{"x":"linux"}}"#),
        // The last of several counts.
        (vec!["a"], r#"{"a":"windows","a":"linux"}"#),
        (vec!["a", "b"], r#"{"a":{"b":"windows"},"a":{"b":1,"b":"linux"}}"#),
    ] {
        let expected = if element.contains(r#""b":1"#) { (0, 1) } else { (1, 0) };
        let read = read_at(&pointer, &format!("[{element}]"));
        assert_eq!(linux_and_malformed(&read), expected, "{pointer:?} {element}");
    }
    for (pointer, element) in [
        (vec!["a", "01"], r#"{"a":["windows","linux"]}"#),
        (vec!["a", "-"], r#"{"a":["linux"]}"#),
        (vec!["a", "+0"], r#"{"a":["linux"]}"#),
        (vec!["a", ""], r#"{"a":["linux"]}"#),
        (vec!["a", "1"], r#"{"a":["linux"]}"#),
        (vec!["a", "99999999999999999999"], r#"{"a":["linux"]}"#),
        (vec!["a", "b"], r#"{"a":"linux"}"#),
        (vec!["a", "b"], r#"{"a":{"b":"linux"},"a":{}}"#),
        (vec!["a", "b"], r#"{"a":1}"#),
        (vec!["a", "b"], r#"{"a":null}"#),
        (vec!["0"], r#"["linux"]"#),
    ] {
        let read = read_at(&pointer, &format!("[{element}]"));
        assert_eq!(linux_and_malformed(&read), (0, 1), "{pointer:?} {element}");
    }
}

#[test]
fn depth_does_not_matter_in_what_is_skipped() {
    let open = "[".repeat(100_000);
    let close = "]".repeat(100_000);
    let beside = format!(r#"[{{"workerType":"linux","x":{open}{close}}}]"#);
    assert_eq!(linux_and_malformed(&read(&beside).unwrap()), (1, 0));
    let instead =
        format!(r#"[{open}{close},{{"workerType":{open}{close}}},{{"workerType":"linux"}}]"#);
    assert_eq!(linux_and_malformed(&read(&instead).unwrap()), (1, 2));
    // On the path itself, serde_json's limit holds.
    let pointer = vec!["a"; 200];
    let open = r#"{"a":"#.repeat(200);
    let close = "}".repeat(200);
    let deep = read_at(&pointer, &format!(r#"[{open}"linux"{close}]"#));
    assert_eq!(linux_and_malformed(&deep), (0, 1));
}

#[test]
fn an_element_may_be_as_long_as_the_limit() {
    let frame = r#"{"workerType":"linux","x":""}"#;
    for (length, expected) in [(MAX_ELEMENT, (2, 0)), (MAX_ELEMENT + 1, (1, 1))] {
        let filling =
            "\\\\".repeat((length - frame.len()) / 2) + &"]".repeat((length - frame.len()) % 2);
        let text =
            format!(r#"[{{"workerType":"linux","x":"{filling}"}},{{"workerType":"linux"}}]"#);
        for size in [text.len(), 16 << 10, MAX_ELEMENT] {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let (pending, skipped) = read_in(&filter(), &chunks).unwrap();
            assert_eq!((pending["linux"].count, skipped.oversized), expected, "{length} by {size}");
            assert_eq!(skipped.malformed, 0);
        }
    }
}

#[test]
fn unknown_names_are_kept_within_bounds() {
    let long = "ü".repeat(1_000);
    let mut tasks: Vec<Value> = vec![json!({"workerType": long}), json!({"workerType": long})];
    tasks.extend((0..150).map(|number| json!({"workerType": format!("type-{number}")})));
    tasks.push(json!({"workerType": "type-7"}));
    let (pending, skipped) = read(&json!(tasks).to_string()).unwrap();
    assert!(pending.is_empty());
    assert_eq!(skipped.unknown_worker_types.len(), Skipped::MAX_NAMES);
    assert_eq!(skipped.unknown_worker_types["ü".repeat(256).as_str()], 2);
    assert_eq!(skipped.unknown_worker_types["type-7"], 2);
    assert_eq!(skipped.unknown_rest, 51);
}

#[test]
fn tasks_of_other_provisioners_do_not_count() {
    let names = BTreeMap::from([("linux".to_owned(), WorkerTypeName::from("linux"))]);
    let filter = TaskFilter::new(vec!["workerType".to_owned()], names, Some("me".to_owned()));
    let text = r#"[
        {"workerType":"linux","provisionerId":"me"},
        {"workerType":"linux","provisionerId":"you"},
        {"workerType":"amiga","provisionerId":"you"},
        {"workerType":"linux"},
        {"workerType":"linux","provisionerId":null}
    ]"#;
    let (pending, skipped) = read_in(&filter, &[text.as_bytes()]).unwrap();
    assert_eq!(pending["linux"].count, 3);
    assert_eq!(skipped.other_provisioner, 2);
    assert!(skipped.unknown_worker_types.is_empty());
    // A machine of ours is busy with any provisioner's task.
    let text = r#"[{"workerType":"linux","provisionerId":"you","workerId":"i-1"},
        {"workerType":"linux","provisionerId":"you","workerId":"i-2"}]"#;
    assert_eq!(running_for(&filter, &["i-1"], text), by_instance(0, &[("i-1", 1)]));
}

#[test]
fn running_tasks_name_their_machines_or_are_only_counted() {
    assert_eq!(running(&[], "[]"), by_instance(0, &[]));
    let text = r#"[{"workerType":"linux","workerId":"i-0a"},{"workerType":"linux","workerId":"i-0a"},
        {"workerType":"linux","workerId":"i-0b"},{"workerType":"amiga","workerId":"i-0c"},
        {"workerType":"amiga","workerId":"i-0d"}]"#;
    let expected = by_instance(3, &[("i-0a", 2), ("i-0b", 1), ("i-0c", 1)]);
    assert_eq!(running(&["i-0c"], text), expected);

    for spoiler in [
        r#"{"workerType":"linux"}"#,
        r#"{"workerType":"amiga"}"#,
        r#"{"workerType":"amiga","workerId":null}"#,
        r#"{"workerType":"amiga","workerId":""}"#,
        r#"{"workerType":"amiga","workerId":"i-"}"#,
        r#"{"workerType":"amiga","workerId":"worker-1"}"#,
        r#"{"workerType":"amiga","workerId":"i-1 "}"#,
        r#"{"workerType":"amiga","workerId":"I-1"}"#,
        "1",
    ] {
        let text = format!(r#"[{{"workerType":"windows","workerId":"i-1"}},{spoiler}]"#);
        assert!(matches!(running(&[], &text), Running::Counted { .. }), "{spoiler}");
    }
    let strangers: Vec<Value> = (0..20_000)
        .map(|number| json!({"workerType": "linux", "workerId": format!("i-{number}")}))
        .collect();
    let tasks = BTreeMap::from([(WorkerTypeName::from("linux"), 20_000)]);
    assert_eq!(running(&[], &json!(strangers).to_string()), Running::Counted { tasks });
}

/// Any JSON value, with text that looks like structure.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[\\]\\[{}\",:\\\\ a\u{e9}\u{1F600}\n]{0,6}", Just("linux".to_owned())];
    let key = prop_oneof!["[\\]\\[{}\",\\\\a]{0,3}", Just("workerType".to_owned())];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|number: f64| Value::from(number)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Some array as text, perhaps with a broken byte or a missing end.
fn documents() -> impl Strategy<Value = Vec<u8>> {
    let values = prop::collection::vec(values(), 0..6);
    let damage = prop_oneof![
        3 => Just(None),
        1 => (any::<prop::sample::Index>(), any::<Option<u8>>()).prop_map(Some),
        2 => (any::<prop::sample::Index>(), prop::sample::select(&b"[]{},:\"\\ 0"[..]))
            .prop_map(|(index, byte)| Some((index, Some(byte)))),
    ];
    (values, any::<bool>(), damage).prop_map(|(values, pretty, damage)| {
        let mut text = if pretty {
            serde_json::to_vec_pretty(&values).unwrap()
        } else {
            serde_json::to_vec(&values).unwrap()
        };
        match damage {
            Some((index, Some(byte))) => {
                let at = index.index(text.len());
                text[at] = byte;
            }
            Some((index, None)) => text.truncate(index.index(text.len())),
            None => {}
        }
        text
    })
}

fn cut<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for size in sizes {
        let (chunk, rest) = bytes.split_at((*size).min(bytes.len()));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks.push(bytes);
    chunks
}

/// The elements that the splitter finds, if it finds no error.
fn split(chunks: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let mut splitter = ArraySplitter::new(MAX_ELEMENT);
    let mut elements = Vec::new();
    for chunk in chunks {
        let sink = |element: RawElement<'_>| {
            if let RawElement::Complete { text, .. } = element {
                elements.push(text.to_vec());
            }
            Ok(())
        };
        splitter.feed(chunk, sink).ok()?;
    }
    splitter.finish().ok()?;
    Some(elements)
}

proptest! {
    #[test]
    fn agrees_with_serde_json(
        document in documents(),
        sizes in prop::collection::vec(0_usize..9, 0..40),
    ) {
        let chunks = cut(&document, &sizes);
        let ours = read_in(&filter(), &chunks);
        match serde_json::from_slice::<Vec<Value>>(&document) {
            Ok(values) => {
                let (pending, skipped) = ours.unwrap();
                let worker_type = |value: &Value| {
                    value.as_object().is_some_and(|task| task.get("workerType").is_some_and(Value::is_string))
                };
                let tasks = values.iter().filter(|value| worker_type(value)).count() as u64;
                let known: u64 = pending.values().map(|tasks| tasks.count).sum();
                let unknown: u64 = skipped.unknown_worker_types.values().sum();
                prop_assert_eq!(known + unknown, tasks);
                prop_assert_eq!(skipped.malformed, values.len() as u64 - tasks);
                let elements = split(&chunks).unwrap();
                let elements: Vec<Value> =
                    elements.iter().map(|text| serde_json::from_slice(text).unwrap()).collect();
                prop_assert_eq!(elements, values);
            }
            // The grammar has no range, and serde_json stops here, so that it cannot judge the rest.
            Err(error) if error.to_string().contains("out of range") => {}
            Err(error) => prop_assert!(ours.is_err(), "serde_json: {}", error),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"[[[]{},:\"\\ 10t"[..])], 0..60),
        sizes in prop::collection::vec(0_usize..9, 0..20),
    ) {
        let chunked = format!("{:?}", read_in(&filter(), &cut(&bytes, &sizes)));
        prop_assert_eq!(chunked, format!("{:?}", read_in(&filter(), &[&bytes])));
    }
}
