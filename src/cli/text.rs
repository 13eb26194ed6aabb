//! Text in columns and within a width.

use unicode_width::UnicodeWidthStr;

/// Columns that a text without escapes takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text with spaces after it, up to `columns`.
pub(super) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Lines of at most `columns`, broken between words; a word that is longer has a line of its own. Lines of the text stay
/// apart, and keep their indentation.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let indent: String = paragraph.chars().take_while(|c| *c == ' ').collect();
        let mut line = indent.clone();
        for word in paragraph.split_whitespace() {
            if line.len() == indent.len() {
                line.push_str(word);
            } else if width(&line) + 1 + width(word) <= columns {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(std::mem::replace(&mut line, format!("{indent}{word}")));
            }
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The paragraphs of a doc comment, each joined into one line: markdown breaks its lines anywhere.
pub(super) fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim) {
        let item = line.starts_with("- ") || line.starts_with("* ");
        match paragraphs.last_mut() {
            Some(last) if open && !item && !line.is_empty() => {
                last.push(' ');
                last.push_str(line);
            }
            _ if line.is_empty() => {}
            _ => paragraphs.push(line.to_owned()),
        }
        open = !line.is_empty();
    }
    paragraphs
}

/// Bytes for people, in decimal units: `27.8 MB`.
pub(super) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB"] {
        if value < 999.95 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_cases() {
        for (text, columns, lines) in [
            ("", 10, &[][..]),
            ("one two three", 7, &["one two", "three"]),
            ("one two", 100, &["one two"]),
            ("incomprehensible a", 5, &["incomprehensible", "a"]),
            ("a b\n  - c d", 6, &["a b", "  - c", "  d"]),
            ("日本 語の", 4, &["日本", "語の"]),
        ] {
            assert_eq!(wrap(text, columns), lines, "{text}");
        }
    }

    #[test]
    fn paragraphs_of_doc_comments() {
        assert_eq!(paragraphs("One\nline.\n\nTwo:\n- a\n  b\n- c"), ["One line.", "Two:", "- a b", "- c"]);
        assert!(paragraphs("").is_empty());
    }

    #[test]
    fn padding_counts_columns() {
        assert_eq!(pad("日", 4), "日  ");
        assert_eq!(pad("long", 2), "long");
    }

    #[test]
    fn bytes_in_words() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (27_780_211, "27.8 MB"),
            (999_999, "1.0 MB"),
            (1 << 40, "1099.5 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
