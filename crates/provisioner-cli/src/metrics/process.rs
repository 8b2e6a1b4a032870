//! Facts about this process from Linux; other systems provide none.

use std::fs;

/// Returns the resident memory in bytes (proc(5), `VmRSS`).
pub(super) fn resident_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Returns the number of open file descriptors, without the one that this call opens.
pub(super) fn open_fds() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    Some((entries.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_provides_both() {
        assert!(resident_memory_bytes().unwrap() > 100_000);
        assert!(open_fds().unwrap() >= 3);
    }
}
