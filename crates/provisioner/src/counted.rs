//! Numbers of things, as people read them.

/// `1 instance`, `2 instances`.
pub(crate) fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("{n} {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!(counted(0, "spot request"), "0 spot requests");
        assert_eq!(counted(1, "spot request"), "1 spot request");
        assert_eq!(counted(2, "spot request"), "2 spot requests");
    }
}
