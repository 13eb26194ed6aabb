//! Words of a text: repetitions among them, and what two texts begin with alike.

use std::ops::Range;

/// The longest phrase, in words, whose repetition is looked for.
pub(super) const LONGEST_PHRASE: usize = 6;

/// Where the words of `text` lie: runs of characters that are no white space.
fn words(text: &str) -> Vec<Range<usize>> {
    let begin = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|word| begin(word)..begin(word) + word.len()).collect()
}

/// What counts when words are compared: lower case, without punctuation around it; of a word that is nothing but
/// punctuation, all of it.
fn bare(word: &str) -> String {
    let trimmed = word.trim_matches(|c: char| !c.is_alphanumeric());
    if trimmed.is_empty() { word } else { trimmed }.to_lowercase()
}

/// The parts of `text` to leave out so that no phrase of 1 to [`LONGEST_PHRASE`] words stands more than `most` times in
/// a row: of each such row the first `most` stay. Each part begins at the end of the word before it. In order, apart
/// from each other; none when `most` is 0.
pub(super) fn repetitions(text: &str, most: usize) -> Vec<Range<usize>> {
    let places = words(text);
    let bare: Vec<String> = places.iter().map(|place| bare(&text[place.clone()])).collect();
    if most == 0 {
        return Vec::new();
    }
    // Leaving something out can bring equal phrases together, so it is done until nothing is left to do.
    let mut kept: Vec<usize> = (0..places.len()).collect();
    loop {
        let fewer = without_repetitions(&kept, &bare, most);
        if fewer.len() == kept.len() {
            break;
        }
        kept = fewer;
    }
    let mut left_out: Vec<Range<usize>> = Vec::new();
    let mut kept = kept.into_iter().peekable();
    let mut end = 0;
    for (index, place) in places.iter().enumerate() {
        if kept.next_if_eq(&index).is_none() {
            match left_out.last_mut() {
                Some(last) if last.end == end => last.end = place.end,
                _ => left_out.push(end..place.end),
            }
        }
        end = place.end;
    }
    left_out
}

/// One pass over the words `kept`, from the left; at each word the shortest phrase that repeats counts.
fn without_repetitions(kept: &[usize], bare: &[String], most: usize) -> Vec<usize> {
    let same = |a: usize, b: usize| kept.get(a).zip(kept.get(b)).is_some_and(|(a, b)| bare[*a] == bare[*b]);
    let mut result = Vec::with_capacity(kept.len());
    let mut at = 0;
    while at < kept.len() {
        let row = (1..=LONGEST_PHRASE).find_map(|phrase| {
            let alike = (at..).take_while(|&word| same(word, word + phrase)).count();
            let times = 1 + alike / phrase;
            (times > most).then_some((phrase * most, phrase * times))
        });
        let (stay, whole) = row.unwrap_or((1, 1));
        result.extend_from_slice(&kept[at..at + stay]);
        at += whole;
    }
    result
}

/// The part of `text` up to the end of the last word that it has in common with `other`, both read from the left.
pub(super) fn agreed<'a>(text: &'a str, other: &str) -> &'a str {
    let common = text.split_whitespace().zip(other.split_whitespace()).take_while(|(a, b)| a == b).count();
    match common.checked_sub(1).and_then(|last| words(text).into_iter().nth(last)) {
        Some(last) => &text[..last.end],
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn without(text: &str, most: usize) -> String {
        let mut result = String::new();
        let mut from = 0;
        for part in repetitions(text, most) {
            result.push_str(&text[from..part.start]);
            from = part.end;
        }
        result + &text[from..]
    }

    #[test]
    fn repetition_cases() {
        for (text, most, expected) in [
            ("", 3, ""),
            ("no no no", 3, "no no no"),
            ("no no no no", 3, "no no no"),
            (" no no no no no way", 3, " no no no way"),
            ("No, no. NO no", 3, "No, no. NO"),
            ("thank you thank you thank you thank you so much", 2, "thank you thank you so much"),
            // Seven words are no phrase, six are.
            ("a b c d e f g a b c d e f g", 1, "a b c d e f g a b c d e f g"),
            ("a b c d e f a b c d e f", 1, "a b c d e f"),
            // The rest of a phrase that was begun again stays.
            ("la di la di la di la", 2, "la di la di la"),
            ("x x x x y y y y", 3, "x x x y y y"),
            // What comes together only then is left out too.
            ("a b b a b b b a b b", 2, "a b b a b b"),
            ("- - - -", 3, "- - -"),
            ("ja ja ja ja", 0, "ja ja ja ja"),
            ("ÄH äh\u{a0}äh Äh", 3, "ÄH äh\u{a0}äh"),
        ] {
            assert_eq!(without(text, most), expected, "{text:?} at most {most}");
        }
    }

    #[test]
    fn agreement_cases() {
        for (text, other, expected) in [
            ("", "", ""),
            ("a b", "", ""),
            ("a b c", "a b d", "a b"),
            (" a  b c", "a b", " a  b"),
            ("a b", "a b", "a b"),
            ("ab", "a b", ""),
            ("a", "A", ""),
        ] {
            assert_eq!(agreed(text, other), expected, "{text:?} {other:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_more_often_than_it_may(
            words in prop::collection::vec("[abAB][.,]?", 0..60),
            most in 1usize..4,
        ) {
            let text = words.join(" ");
            let left = without(&text, most);
            prop_assert_eq!(without(&left, most), left.clone());
            let bare: Vec<String> = left.split_whitespace().map(super::bare).collect();
            for phrase in 1..=LONGEST_PHRASE {
                for row in bare.windows(phrase * (most + 1)) {
                    prop_assert!(row.chunks(phrase).any(|one| one != &row[..phrase]), "{left}");
                }
            }
            // Only words are taken away, and none when nothing repeats too often.
            let mut rest = text.split_whitespace();
            prop_assert!(left.split_whitespace().all(|word| rest.any(|other| other == word)));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*", other in "\\PC*", most in 0usize..3) {
            without(&text, most);
            prop_assert!(text.starts_with(agreed(&text, &other)));
            prop_assert_eq!(agreed(&text, &text).trim(), text.trim());
        }
    }
}
