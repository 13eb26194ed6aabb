//! Classes and their names.

use rustc_hash::FxHashMap;

use super::{DataError, DataSet};

/// What is known from another data set, so that a class or a token has one number in all of them: the training data's,
/// for validation and test data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The names of the classes in the order of their numbers; empty: they follow from the data.
    pub labels: Vec<String>,
    /// The tokens in the order of their numbers; empty: they follow from the data.
    pub vocabulary: Vec<String>,
}

impl Known {
    /// What `data` knows.
    pub fn of(data: &dyn DataSet) -> Self {
        Known { labels: data.labels().to_vec(), vocabulary: data.vocabulary().to_vec() }
    }
}

/// Names of classes and their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes {
    names: Vec<String>,
    numbers: FxHashMap<String, usize>,
}

impl Classes {
    /// The classes of the setting, else the known ones, else those that occur. `setting` must name each class once.
    pub fn choose<'a>(
        setting: Option<&[String]>,
        known: &[String],
        occurring: impl Iterator<Item = &'a str>,
    ) -> Result<Self, DataError> {
        match setting {
            Some(names) => Classes::listed(names),
            None if !known.is_empty() => Classes::listed(known),
            None => Ok(Classes::occurring(occurring)),
        }
    }

    fn listed(names: &[String]) -> Result<Self, DataError> {
        let fail =
            |found: String| Err(DataError::setting("classes", "a list of names, each once and none empty", found));
        if names.is_empty() {
            return fail("an empty list".into());
        }
        let mut classes = Classes::default();
        for (number, name) in names.iter().enumerate() {
            if name.is_empty() {
                return fail(format!("an empty name at place {number}"));
            }
            if classes.numbers.insert(name.clone(), number).is_some() {
                return fail(format!("`{name}` twice"));
            }
        }
        classes.names = names.to_vec();
        Ok(classes)
    }

    /// Distinct names in order: of their values when all are whole numbers, of their code points otherwise.
    fn occurring<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        names.dedup();
        if names.iter().all(|name| name.parse::<i64>().is_ok()) {
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or(i64::MAX));
        }
        let numbers = names.iter().enumerate().map(|(number, name)| ((*name).to_owned(), number)).collect();
        Classes { names: names.into_iter().map(str::to_owned).collect(), numbers }
    }

    /// The number of the class `name`.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The names in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What to say when a name is none of the classes.
    pub fn expected(&self) -> String {
        const SHOWN: usize = 12;
        let mut text: Vec<String> = self.names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
        if self.names.len() > SHOWN {
            text.push(format!("… ({} in all)", self.names.len()));
        }
        format!("one of the classes {}", text.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn where_classes_come_from() {
        let found = ["b", "a", "b"];
        let choose = |setting: Option<&[&str]>, known: &[&str], found: &[&str]| {
            let setting = setting.map(strings);
            let classes = Classes::choose(setting.as_deref(), &strings(known), found.iter().copied()).unwrap();
            classes.names().to_vec()
        };
        assert_eq!(choose(None, &[], &found), ["a", "b"]);
        assert_eq!(choose(None, &["z", "b"], &found), ["z", "b"]);
        assert_eq!(choose(Some(&["q"]), &["z"], &found), ["q"]);
        assert_eq!(choose(None, &[], &["10", "-1", "9"]), ["-1", "9", "10"], "numbers by value");
        assert_eq!(choose(None, &[], &["10", "x", "9"]), ["10", "9", "x"]);
    }

    #[test]
    fn bad_lists() {
        for (names, found) in
            [(&[][..], "an empty list"), (&["a", ""], "an empty name at place 1"), (&["a", "a"], "`a` twice")]
        {
            let error = Classes::choose(Some(&strings(names)), &[], [].into_iter()).unwrap_err().to_string();
            assert_eq!(error, format!("classes: expected a list of names, each once and none empty, found {found}"));
        }
    }

    #[test]
    fn long_lists_are_cut_in_messages() {
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let classes = Classes::choose(Some(&names), &[], [].into_iter()).unwrap();
        assert_eq!(classes.number("7"), Some(7));
        assert_eq!(classes.number("20"), None);
        assert!(classes.expected().ends_with("`11`, … (20 in all)"));
    }
}
