//! Classes with scores.

use std::sync::Arc;

/// One class that a model sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Its index in the model's output.
    pub index: usize,
    /// Its name, when the label list is known.
    pub name: Option<Arc<str>>,
    /// Its score, as the decoder defines it (a probability unless it says otherwise).
    pub score: f32,
}

/// The classes seen in one packet, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labels {
    /// Best first.
    pub entries: Arc<[Label]>,
}

/// The names of a model's classes, in the order of its outputs. Cheap to clone.
///
/// They travel with what a model says where they may change while it runs, so that a decoder always has those that
/// belong to the scores before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Arc<[Arc<str>]>);

impl Classes {
    /// These names.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Classes {
        Classes(names.into_iter().collect())
    }

    /// The names in a text, one a line; a name may be empty or a space. When every line is `NAME NUMBER` and the numbers
    /// are 0, 1, 2, … in any order, as the Kaldi family of toolkits writes them, they say the place of the name.
    pub fn from_text(text: &str) -> Classes {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<&str> = text.lines().collect();
        let numbered = numbered(&lines).unwrap_or(lines);
        Classes(numbered.into_iter().map(Arc::from).collect())
    }

    /// The names, by the class's index.
    pub fn names(&self) -> &[Arc<str>] {
        &self.0
    }

    /// Whether both are the very same list: cheaper than comparing the names, and false for an equal copy.
    pub fn same(&self, other: &Classes) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The names of lines `NAME NUMBER`, in the order of the numbers, when all lines are such.
fn numbered<'a>(lines: &[&'a str]) -> Option<Vec<&'a str>> {
    let mut names = vec![None; lines.len()];
    for line in lines {
        let (name, number) = line.rsplit_once([' ', '\t'])?;
        let place = names.get_mut(number.parse::<usize>().ok()?)?;
        if place.replace(name).is_some() {
            return None;
        }
    }
    names.into_iter().collect()
}
