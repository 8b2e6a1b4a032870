//! The captures of taskcluster-provisioning-simulator: records of two big-endian u32, creation and run
//! time in milliseconds.

use super::{LoadProblem, TaskRow};

pub(super) fn read(bytes: &[u8]) -> Result<Vec<TaskRow>, (Option<usize>, LoadProblem)> {
    let (records, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err((None, LoadProblem::CutOff(bytes.len())));
    }
    let row = |[a, b, c, d, e, f, g, h]: &[u8; 8]| TaskRow {
        line: None,
        created: i64::from(u32::from_be_bytes([*a, *b, *c, *d])),
        duration: u64::from(u32::from_be_bytes([*e, *f, *g, *h])),
        worker_type: None,
    };
    Ok(records.iter().map(row).collect())
}
