//! Where a caption breaks: into cues of at most two lines, each of at most 42 columns (the limit of the BBC's and
//! Netflix's guides for Latin scripts).

use std::ops::Range;

/// Columns in a line.
pub(super) const MAX_COLUMNS: usize = 42;

/// Columns by which a cue may miss its even share of the text if it ends a sentence, or a clause.
const SENTENCE_BONUS: i64 = 30;
const CLAUSE_BONUS: i64 = 20;

/// Breaks text into cues: one or two lines each, none of them empty. White space alone gives no cue.
///
/// White space, line breaks too, counts as one space. Cues share the text evenly, rather at the end of a sentence or
/// clause than within one. A word longer than a line is cut.
pub(super) fn cues(text: &str) -> Vec<Vec<String>> {
    let words = words(text);
    let mut rest = 0..words.len();
    let mut cues = Vec::new();
    while !rest.is_empty() {
        let end = cue_end(&words, rest.clone());
        cues.push(lines(&words[rest.start..end]));
        rest.start = end;
    }
    cues
}

/// Columns that text takes in a fixed-width font: two for wide East Asian characters and emoji (Unicode UAX #11).
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}

fn is_wide(c: char) -> bool {
    matches!(u32::from(c),
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe4f | 0xff00..=0xff60
        | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
}

/// The words of a text, none wider than a line, without control characters.
fn words(text: &str) -> Vec<String> {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut words = Vec::new();
    for word in clean.split_whitespace() {
        let mut piece = String::new();
        let mut width = 0;
        for c in word.chars() {
            let wide = if is_wide(c) { 2 } else { 1 };
            if width + wide > MAX_COLUMNS {
                words.push(std::mem::take(&mut piece));
                width = 0;
            }
            piece.push(c);
            width += wide;
        }
        words.push(piece);
    }
    words
}

/// The columns of words set in one line.
fn width(words: &[String]) -> usize {
    words.iter().map(|word| columns(word)).sum::<usize>() + words.len().saturating_sub(1)
}

/// How many of the words fit in one line; at least 1 of any.
fn fitting(words: &[String]) -> usize {
    let mut sum = 0;
    let count = words.iter().take_while(|word| {
        sum += columns(word) + usize::from(sum > 0);
        sum <= MAX_COLUMNS
    });
    count.count()
}

/// How many of the words fit in two lines.
fn fitting_two(words: &[String]) -> usize {
    let first = fitting(words);
    first + fitting(&words[first..])
}

/// Where the cue that starts with `rest` ends.
fn cue_end(words: &[String], rest: Range<usize>) -> usize {
    let most = fitting_two(&words[rest.clone()]);
    if most == rest.len() {
        return rest.end;
    }
    let mut needed = 0;
    let mut from = rest.start;
    while from < rest.end {
        from += fitting_two(&words[from..rest.end]);
        needed += 1;
    }
    let share = width(&words[rest.clone()]) / needed;
    let cost = |count: &usize| {
        let taken = &words[rest.start..rest.start + count];
        let bonus = match taken.last().and_then(|word| word.trim_end_matches(['"', '”', '’', ')', '»']).chars().last())
        {
            Some('.' | '!' | '?' | '…' | '。' | '！' | '？') => SENTENCE_BONUS,
            Some(',' | ';' | ':' | '–' | '—' | '、' | '，') => CLAUSE_BONUS,
            _ => 0,
        };
        width(taken).abs_diff(share) as i64 - bonus
    };
    // Among equals the longer one.
    rest.start + (1..=most).rev().min_by_key(cost).unwrap_or(most)
}

/// Sets the words of one cue in one line, or in two of about the same width.
fn lines(words: &[String]) -> Vec<String> {
    if width(words) <= MAX_COLUMNS {
        return vec![words.join(" ")];
    }
    let widest = |at: &usize| width(&words[..*at]).max(width(&words[*at..]));
    let at = (1..words.len()).min_by_key(widest).unwrap_or(words.len());
    let (first, second) = words.split_at(at);
    vec![first.join(" "), second.join(" ")]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cases() {
        let long_word = "x".repeat(50);
        let cases: &[(&str, &[&[&str]])] = &[
            ("", &[]),
            (" \n\t", &[]),
            ("hello", &[&["hello"]]),
            ("one\n\ntwo\r\nthree", &[&["one two three"]]),
            ("bell\u{7}rings", &[&["bell rings"]]),
            (
                "It was the best of times, it was the worst of times,",
                &[&["It was the best of times,", "it was the worst of times,"]],
            ),
            (
                "He left. It was the age of wisdom, and it was the age of foolishness, as people said. Nobody knew.",
                &[
                    &["He left. It was the age of wisdom,"],
                    &["and it was the age of foolishness,", "as people said. Nobody knew."],
                ],
            ),
            (&long_word, &[&[&long_word[..42], &long_word[..8]]]),
        ];
        for (text, expected) in cases {
            assert_eq!(cues(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(columns("日本語"), 6);
        let text = "日".repeat(43);
        assert_eq!(cues(&text), [vec!["日".repeat(21)], vec!["日".repeat(21), "日".to_owned()]]);
    }

    proptest! {
        #[test]
        fn lines_fit_and_no_word_is_lost(text in "([a-zäß,.!?日]{1,50}[ \n]{0,2}){0,40}") {
            let cues = cues(&text);
            for cue in &cues {
                prop_assert!((1..=2).contains(&cue.len()));
                for line in cue {
                    prop_assert!(columns(line) <= MAX_COLUMNS, "{line:?}");
                    prop_assert!(!line.is_empty());
                }
            }
            let without_space = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(without_space(&cues.concat().concat()), without_space(&text));
        }
    }
}
