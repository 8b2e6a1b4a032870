//! Loads as text: CSV and JSON Lines with `created`, `duration` and optionally `worker_type`.

use std::str;

use csv::{ReaderBuilder, StringRecord, Trim};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{LoadProblem, TaskRow};

type Read<T> = Result<T, (Option<usize>, LoadProblem)>;

const CREATED: &str = "created";
const DURATION: &str = "duration";
const WORKER_TYPE: &str = "worker_type";

/// Reads CSV (RFC 4180) with a header. The columns may be in any order; other columns are ignored.
pub(super) fn csv(bytes: &[u8]) -> Read<Vec<TaskRow>> {
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(|error| csv_problem(&error))?.clone();
    if header.is_empty() {
        return Ok(Vec::new());
    }
    // A record's position is that of the blank lines before it.
    let line = |record: &StringRecord| {
        let position = record.position()?;
        let rest = bytes.get(usize::try_from(position.byte()).ok()?..)?;
        let blank = rest.iter().take_while(|byte| b"\r\n".contains(byte));
        let n_blank = blank.filter(|byte| **byte == b'\n').count();
        Some(usize::try_from(position.line()).ok()? + n_blank)
    };
    let column = |name| header.iter().position(|column| column == name);
    let required = |name| column(name).ok_or((line(&header), LoadProblem::NoColumn(name)));
    let created = required(CREATED)?;
    let duration = required(DURATION)?;
    let worker_type = column(WORKER_TYPE);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| csv_problem(&error))?;
        let field = |column: usize| record.get(column).filter(|field| !field.is_empty());
        let required = |column, name| field(column).ok_or(LoadProblem::Missing(name));
        let row = || {
            Ok(TaskRow {
                line: line(&record),
                created: time(required(created, CREATED)?)?,
                duration: seconds(required(duration, DURATION)?)?,
                worker_type: worker_type.and_then(field).map(str::to_owned),
            })
        };
        rows.push(row().map_err(|problem| (line(&record), problem))?);
    }
    Ok(rows)
}

/// A flexible reader of bytes in memory fails only on text that is not UTF-8.
fn csv_problem(error: &csv::Error) -> (Option<usize>, LoadProblem) {
    let line = error.position().and_then(|position| usize::try_from(position.line()).ok());
    (line, LoadProblem::NotText)
}

/// Reads one JSON object per line.
pub(super) fn json_lines(bytes: &[u8]) -> Read<Vec<TaskRow>> {
    let text = str::from_utf8(bytes).map_err(|_| (None, LoadProblem::NotText))?;
    let lines = text.lines().zip(1..).filter(|(text, _)| !text.trim().is_empty());
    lines
        .map(|(text, line)| json_row(line, text).map_err(|problem| (Some(line), problem)))
        .collect()
}

fn json_row(line: usize, text: &str) -> Result<TaskRow, LoadProblem> {
    let object: Map<String, Value> = serde_json::from_str(text).map_err(LoadProblem::NotJson)?;
    // Numbers may be quoted: rows converted from CSV often hold nothing but strings.
    let word = |name| match object.get(name) {
        None | Some(Value::Null) => Err(LoadProblem::Missing(name)),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
    };
    Ok(TaskRow {
        line: Some(line),
        created: time(&word(CREATED)?)?,
        duration: seconds(&word(DURATION)?)?,
        worker_type: word(WORKER_TYPE).ok(),
    })
}

/// The limit for a number of seconds, in milliseconds: far beyond every calendar, and far below the limits
/// of `f64` and `i64`.
const MOST_MILLIS: f64 = 1e15;

fn millis(text: &str) -> Option<f64> {
    let millis = text.parse::<f64>().ok()? * 1e3;
    (millis.abs() < MOST_MILLIS).then(|| millis.round())
}

#[expect(clippy::cast_possible_truncation, reason = "whole, and under 10^15")]
fn time(text: &str) -> Result<i64, LoadProblem> {
    if let Some(millis) = millis(text) {
        return Ok(millis as i64);
    }
    let time = text.parse::<Timestamp>();
    time.map(Timestamp::as_millisecond).map_err(|_| LoadProblem::Created(text.to_owned()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative, and under 10^15"
)]
fn seconds(text: &str) -> Result<u64, LoadProblem> {
    let millis = millis(text).filter(|millis| *millis >= 0.0);
    millis.map(|millis| millis as u64).ok_or_else(|| LoadProblem::Duration(text.to_owned()))
}
