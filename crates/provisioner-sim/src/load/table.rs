//! Loads as text: CSV and JSON Lines, with `created`, `duration` and perhaps `worker_type`.

use std::str;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Problem, Row};

type Read<T> = Result<T, (Option<usize>, Problem)>;

const CREATED: &str = "created";
const DURATION: &str = "duration";
const WORKER_TYPE: &str = "worker_type";

/// CSV as RFC 4180 has it, with a header. Columns may stand in any order, and more of them; a field has
/// no line breaks.
pub(super) fn csv(bytes: &[u8]) -> Read<Vec<Row>> {
    let text = text(bytes)?;
    let mut lines = numbered(text.trim_start_matches('\u{feff}'));
    let Some((first, header)) = lines.next() else { return Ok(Vec::new()) };
    let at = |problem| (Some(first), problem);
    let header = fields(header).map_err(at)?;
    let column = |name| header.iter().position(|column| column == name);
    let created = column(CREATED).ok_or_else(|| at(Problem::NoColumn(CREATED)))?;
    let duration = column(DURATION).ok_or_else(|| at(Problem::NoColumn(DURATION)))?;
    let worker_type = column(WORKER_TYPE);
    lines
        .map(|(line, text)| {
            let fields = fields(text).map_err(|problem| (Some(line), problem))?;
            let field = |column: usize| fields.get(column).filter(|field| !field.is_empty());
            let need = |column, name| field(column).ok_or(Problem::Missing(name));
            let row = || {
                Ok(Row {
                    line: Some(line),
                    created: time(need(created, CREATED)?)?,
                    duration: seconds(need(duration, DURATION)?)?,
                    worker_type: worker_type.and_then(field).cloned(),
                })
            };
            row().map_err(|problem| (Some(line), problem))
        })
        .collect()
}

/// One JSON object per line.
pub(super) fn json_lines(bytes: &[u8]) -> Read<Vec<Row>> {
    numbered(text(bytes)?)
        .map(|(line, text)| json_row(line, text).map_err(|problem| (Some(line), problem)))
        .collect()
}

fn json_row(line: usize, text: &str) -> Result<Row, Problem> {
    let object: Map<String, Value> = serde_json::from_str(text).map_err(Problem::NotJson)?;
    // Numbers and texts alike: what is written as CSV elsewhere is often all texts.
    let word = |name| match object.get(name) {
        None | Some(Value::Null) => Err(Problem::Missing(name)),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
    };
    Ok(Row {
        line: Some(line),
        created: time(&word(CREATED)?)?,
        duration: seconds(&word(DURATION)?)?,
        worker_type: word(WORKER_TYPE).ok(),
    })
}

fn text(bytes: &[u8]) -> Read<&str> {
    str::from_utf8(bytes).map_err(|_| (None, Problem::NotText))
}

/// The lines that are not empty, from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| !line.trim().is_empty())
}

fn fields(line: &str) -> Result<Vec<String>, Problem> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                let _ = chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            c => field.push(c),
        }
    }
    fields.push(field.trim().to_owned());
    if quoted { Err(Problem::OpenQuote) } else { Ok(fields) }
}

/// The most milliseconds that a number of seconds may come to: far beyond every calendar, and far from
/// where `f64` and `i64` end.
const MOST: f64 = 1e15;

fn millis(text: &str) -> Option<f64> {
    let millis = text.parse::<f64>().ok()? * 1e3;
    (millis.abs() < MOST).then(|| millis.round())
}

#[expect(clippy::cast_possible_truncation, reason = "whole, and under 10^15")]
fn time(text: &str) -> Result<i64, Problem> {
    if let Some(millis) = millis(text) {
        return Ok(millis as i64);
    }
    let time = text.parse::<Timestamp>();
    time.map(Timestamp::as_millisecond).map_err(|_| Problem::Created(text.to_owned()))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole, not negative, and under 10^15"
)]
fn seconds(text: &str) -> Result<u64, Problem> {
    let millis = millis(text).filter(|millis| *millis >= 0.0);
    millis.map(|millis| millis as u64).ok_or_else(|| Problem::Duration(text.to_owned()))
}
