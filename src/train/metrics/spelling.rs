//! Texts that a CTC model gives, and how wrong they are.

use super::{ErrorRate, wide};
use crate::tensor::Tensor;
use crate::train::data::Tokens;

/// How the classes of a CTC model spell a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// The class that stands for nothing.
    pub blank: usize,
    /// The token of each class.
    pub tokens: Vec<String>,
    /// What the texts were cut into.
    pub cut: Tokens,
}

impl Spelling {
    /// The text of a best path (Graves et al., ICML 2006, section 3): in each frame of `scores` (`frames · classes` of
    /// them) the best class, the first of equals; repeated ones merged, blanks dropped. NaN is never the best.
    pub fn best_path(&self, scores: &[f64], classes: usize) -> Vec<usize> {
        let mut path = Vec::new();
        let mut before = self.blank;
        for frame in scores.chunks_exact(classes.max(1)) {
            let best = (0..classes).fold(0, |best, class| if frame[class] > frame[best] { class } else { best });
            if best != before && best != self.blank {
                path.push(best);
            }
            before = best;
        }
        path
    }

    /// The text of these classes; those beyond the tokens are left out.
    pub fn text(&self, classes: impl IntoIterator<Item = usize>) -> String {
        let tokens: Vec<&str> =
            classes.into_iter().filter_map(|class| self.tokens.get(class)).map(String::as_str).collect();
        match self.cut {
            Tokens::Characters => tokens.concat(),
            Tokens::Words => tokens.join(" "),
        }
    }
}

/// Error rates of texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextErrors {
    /// Of characters (Unicode scalar values).
    pub characters: ErrorRate,
    /// Of words: what stands between white space.
    pub words: ErrorRate,
}

impl TextErrors {
    /// Adds a pair of texts.
    pub fn add(&mut self, expected: &str, found: &str) {
        let characters = |text: &str| text.chars().collect::<Vec<char>>();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
        self.characters.add(&characters(expected), &characters(found));
        self.words.add(&words(expected), &words(found));
    }

    /// Adds a minibatch: scores f32 or f64 `[N, T, C]`, texts i64 `[N, L]` whose numbers below 0 are padding. Anything
    /// else is left out.
    pub fn add_batch(&mut self, spelling: &Spelling, scores: &Tensor, texts: &Tensor) {
        let (&[rows, frames, classes], &[_, length]) = (scores.shape(), texts.shape()) else { return };
        let (Some(scores), Ok(texts)) = (wide(scores), texts.as_slice::<i64>()) else { return };
        for row in 0..rows {
            let (scores, text) = (scores.get(row * frames * classes..), texts.get(row * length..(row + 1) * length));
            let (Some(scores), Some(text)) = (scores.and_then(|scores| scores.get(..frames * classes)), text) else {
                return;
            };
            let expected = text.iter().filter_map(|token| usize::try_from(*token).ok());
            self.add(&spelling.text(expected), &spelling.text(spelling.best_path(scores, classes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelling(cut: Tokens) -> Spelling {
        let tokens = ["<pad>", "<unk>", "a", "b", " "].map(str::to_owned).to_vec();
        Spelling { blank: 0, tokens, cut }
    }

    /// Scores whose best class in each frame is given.
    fn scores(path: &[usize]) -> Vec<f64> {
        path.iter().flat_map(|best| (0..5).map(move |class| f64::from(u8::from(class == *best)))).collect()
    }

    #[test]
    fn best_paths_are_spelled() {
        let (characters, words) = (spelling(Tokens::Characters), spelling(Tokens::Words));
        for (path, expected) in [
            (&[][..], ""),
            (&[0, 0, 0], ""),
            (&[2, 2, 0, 2, 3, 3], "aab"),
            (&[0, 2, 4, 4, 3, 0], "a b"),
            (&[3, 3, 3, 3], "b"),
        ] {
            assert_eq!(characters.text(characters.best_path(&scores(path), 5)), expected, "{path:?}");
        }
        assert_eq!(words.text(words.best_path(&scores(&[2, 0, 3]), 5)), "a b");
        assert_eq!(characters.text([2, 9]), "a");
        let nan = [f64::NAN, 0.5, f64::NAN, 0.1, 0.2];
        assert!(characters.best_path(&nan, 5).is_empty(), "the first class stays, as nothing is above NaN");
        assert!(characters.best_path(&[], 0).is_empty());
    }

    #[test]
    fn errors_of_characters_and_words() {
        let mut errors = TextErrors::default();
        errors.add("ab ba", "ab a");
        assert_eq!((errors.characters.rate(), errors.words.rate()), (0.2, 0.5));

        let mut errors = TextErrors::default();
        let rows: Vec<f32> =
            [scores(&[2, 0, 3, 3]), scores(&[4, 2, 0, 0])].concat().iter().map(|score| *score as f32).collect();
        let batch = Tensor::new(vec![2, 4, 5], rows).unwrap();
        let texts = Tensor::new(vec![2, 3], vec![2i64, 3, -100, 2, -100, -100]).unwrap();
        errors.add_batch(&spelling(Tokens::Characters), &batch, &texts);
        // `ab` is right; ` a` has a space too many, which is no word.
        assert_eq!((errors.characters.expected(), errors.characters.rate(), errors.words.rate()), (3, 1.0 / 3.0, 0.0));
        let before = errors;
        errors.add_batch(&spelling(Tokens::Characters), &texts, &texts);
        errors.add_batch(&spelling(Tokens::Characters), &batch, &Tensor::from_vec(vec![1i64]));
        assert_eq!(errors, before);
    }
}
