//! Counts with their nouns, in singular or plural.

/// Writes a count: `1 instance`, `2 instances`. `one` is the singular of a regular English noun.
pub fn count(n: impl TryInto<u64>, one: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    match n {
        1 => format!("1 {one}"),
        n if one.ends_with("ch") => format!("{n} {one}es"),
        n => format!("{n} {one}s"),
    }
}

/// Writes a count with its verb: `1 instance is`, `2 instances are`.
pub(crate) fn are(n: impl TryInto<u64>, one: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{} {}", count(n, one), if n == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(count(0_u64, "pending task"), "0 pending tasks");
        assert_eq!(count(1_u64, "launch"), "1 launch");
        assert_eq!(count(2_usize, "launch"), "2 launches");
        assert_eq!(are(1_u32, "instance"), "1 instance is");
        assert_eq!(are(2_u32, "instance"), "2 instances are");
    }
}
