//! What Linux says about this process. Elsewhere, nothing is told.

use std::fs;

/// Bytes of memory that are in use and not swapped out (proc(5), `VmRSS`).
pub(super) fn resident_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Open file descriptors, without the one that this look takes.
pub(super) fn open_fds() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    Some((entries.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells() {
        assert!(resident_memory_bytes().unwrap() > 100_000);
        assert!(open_fds().unwrap() >= 3);
    }
}
