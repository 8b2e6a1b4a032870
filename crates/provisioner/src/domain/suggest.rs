//! Suggestions for typing errors: the nearest known word.

/// Returns the known word that `word` was probably meant to be. Underscores and capitals, which people
/// carry over from other formats, do not count as differences.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let word = plain(word);
    // Up to a third of wrong letters is a typing error; more is another word.
    let most = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns a hint: the nearest known word, or all of them.
pub fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["max-instances", "min-instances", "EbsOptimized"];

    #[test]
    fn typing_errors_are_recognised() {
        assert_eq!(nearest("max-instnces", KNOWN), Some("max-instances"));
        assert_eq!(nearest("min_instances", KNOWN), Some("min-instances"));
        assert_eq!(nearest("ebsOptimised", KNOWN), Some("EbsOptimized"));
        assert_eq!(nearest("colour", KNOWN), None);
    }

    #[test]
    fn without_a_near_word_all_are_listed() {
        assert_eq!(hint("colour", &KNOWN), "known: max-instances, min-instances, EbsOptimized");
    }
}
