//! "Did you mean": the known word that a mistyped one is nearest to.

/// Words longer than this get no suggestion; it bounds the cost, which is quadratic.
const MAX_WORD: usize = 64;
/// Jaro–Winkler similarity from which a word with the same beginning counts as meant (`window` for `window_ms`).
const MIN_SIMILARITY: f64 = 0.92;

/// The candidate nearest to `word`, when one is near enough to have been meant.
///
/// Words that differ only in case, `-`, `_` or spaces are the same word. Otherwise the optimal string alignment distance
/// (swaps, insertions, deletions, substitutions) may be at most a third of the longer word, or the Jaro–Winkler
/// similarity at least 0.92. Of several, the nearest, and of equals the first.
pub fn suggest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let folded = fold(word)?;
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let Some(other) = fold(candidate) else { continue };
        let distance = strsim::osa_distance(&folded, &other);
        let longest = folded.chars().count().max(other.chars().count());
        let near = distance <= longest / 3 || strsim::jaro_winkler(&folded, &other) >= MIN_SIMILARITY;
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

fn fold(word: &str) -> Option<String> {
    if word.len() > MAX_WORD {
        return None;
    }
    let folded: String = word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect();
    (!folded.is_empty()).then_some(folded)
}

/// "did you mean `x`?", when something near enough is known.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    suggest(word, candidates).map(|meant| format!("did you mean `{meant}`?"))
}

/// The words joined with commas and `last` ("or"); at most 24, then how many more.
pub(super) fn listed(words: &[String], last: &str) -> String {
    const SHOWN: usize = 24;
    let mut words: Vec<String> = words.to_vec();
    if words.len() > SHOWN {
        let more = words.len() - SHOWN;
        words.truncate(SHOWN);
        words.push(format!("{more} more"));
    }
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_words() {
        let keys = ["sample_rate_hz", "channels", "window_ms", "hop_ms", "threshold", "path", "id"];
        for (word, meant) in [
            ("sample_rate", Some("sample_rate_hz")),
            ("sampleRateHz", Some("sample_rate_hz")),
            ("Sample-Rate-Hz", Some("sample_rate_hz")),
            ("chanels", Some("channels")),
            ("treshold", Some("threshold")),
            ("htreshold", Some("threshold")),
            ("window", Some("window_ms")),
            ("hop_mx", Some("hop_ms")),
            ("pth", Some("path")),
            ("ip", None),
            ("colour", None),
            ("", None),
            ("_", None),
        ] {
            assert_eq!(suggest(word, keys.into_iter()).as_deref(), meant, "{word}");
        }
        assert_eq!(suggest(&"a".repeat(1 << 20), keys.into_iter()), None);
        assert_eq!(suggest("a", std::iter::empty()), None);
    }

    #[test]
    fn lists_in_words() {
        let words = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(listed(&words(0), "or"), "");
        assert_eq!(listed(&words(1), "or"), "0");
        assert_eq!(listed(&words(3), "or"), "0, 1 or 2");
        assert!(listed(&words(30), "or").ends_with("23 or 6 more"));
    }
}
