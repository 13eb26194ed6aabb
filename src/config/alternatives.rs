//! `anyOf` and `oneOf`: when nothing matches, the alternative that was meant is the one to complain about.

use serde_json::Value as Json;

use super::mismatch::named;
use super::node::join;
use super::schema::{Document, MAX_NESTED, alternatives, constants, literal};
use super::suggest::{listed, suggest};
use super::validate::Validator;
use super::{Fault, Faults, Node, Value};

/// An alternative of a fitting type, and what is wrong with it.
struct Trial<'a> {
    schema: &'a Json,
    faults: Faults,
}

impl<'a> Validator<'a> {
    /// Accepts what any of `choices` accepts. Otherwise reports the faults of the alternative that was meant (by type, by
    /// a constant key such as `type: x`, by the one key of an externally tagged enum, by the fewest faults), or what
    /// the alternatives are, in words.
    pub fn check_alternatives(&mut self, node: &Node, choices: &'a [Json], path: &str, faults: &mut Faults) {
        let mut trials = Vec::new();
        for choice in choices {
            if !self.document.fits(node, choice) {
                continue;
            }
            let mut trial = Faults::new();
            self.check(node, choice, path, &mut trial);
            if !trial.has_errors() {
                faults.extend(trial);
                return;
            }
            if trial.iter().any(|fault| fault.code == "bad-schema") {
                faults.extend(trial);
                return;
            }
            trials.push(Trial { schema: self.document.resolved(choice), faults: trial });
        }
        if trials.iter().all(|trial| only_constants(self.document, trial.schema)) && node.as_str().is_some() {
            faults.push(self.none_of(node, choices, path));
        } else if let (Value::Mapping(_), true) = (&node.value, trials.len() > 1) {
            faults.extend(self.faults_of_mapping(node, trials, choices, path));
        } else {
            faults.extend(self.fewest(node, trials, choices, path));
        }
    }

    /// The fault of a value that is none of the choices: which constants and which other things would do.
    fn none_of(&self, node: &Node, choices: &'a [Json], path: &str) -> Fault {
        let mut values = Vec::new();
        let mut others = Vec::new();
        for choice in choices {
            let before = values.len();
            collect_constants(self.document, choice, &mut values);
            let words = self.document.describe(choice);
            if values.len() == before && words != "nothing" && !others.contains(&words) {
                others.push(words);
            }
        }
        if values.iter().any(|value| value.is_string()) && node.as_str().is_some() {
            return self.unknown_value(node, &values, &others, path);
        }
        let types: Vec<&str> = choices.iter().filter_map(|choice| self.document.types(choice)).flatten().collect();
        let known: Vec<String> = values.into_iter().map(literal).chain(others).collect();
        Fault::error("wrong-type", format!("{} has a value that does not fit", named(path)))
            .expected(listed(&known, "or"))
            .found(node.describe())
            .maybe_help(self.type_help(node, &types))
            .at_node(node, self.source)
            .path(path)
    }

    /// The faults of the alternative that has the fewest, or, when several have as few, what would do.
    fn fewest(&self, node: &Node, mut trials: Vec<Trial<'a>>, choices: &'a [Json], path: &str) -> Faults {
        trials.sort_by_key(|trial| trial.faults.len());
        let tie = trials.len() > 1 && trials[0].faults.len() == trials[1].faults.len();
        match trials.into_iter().next() {
            Some(best) if !tie => best.faults,
            _ => self.none_of(node, choices, path).into(),
        }
    }

    fn faults_of_mapping(&self, node: &Node, trials: Vec<Trial<'a>>, choices: &'a [Json], path: &str) -> Faults {
        if let Some(key) = trials.first().and_then(|trial| tag_key(self.document, trial.schema, &trials)) {
            let values: Vec<&Json> =
                trials.iter().flat_map(|trial| tag_values(self.document, trial.schema, key)).collect();
            let Some(tag) = node.get(key) else {
                let mut fault = self.missing_key(node, key, None, path);
                fault.expected = Some(listed(&values.into_iter().map(literal).collect::<Vec<_>>(), "or"));
                return fault.into();
            };
            let value = super::to_json(tag);
            let chosen =
                trials.into_iter().find(|trial| tag_values(self.document, trial.schema, key).contains(&&value));
            return match chosen {
                Some(trial) => trial.faults,
                None => self.unknown_value(tag, &values, &[], &join(path, key)).into(),
            };
        }
        let variants: Option<Vec<&str>> = trials.iter().map(|trial| only_key(trial.schema)).collect();
        let Some(variants) = variants else {
            return self.fewest(node, trials, choices, path);
        };
        let entries = node.as_mapping().unwrap_or_default();
        if let Some((_, trial)) =
            variants.iter().zip(&trials).find(|(variant, _)| entries.iter().any(|(key, _)| key.name == **variant))
        {
            return trial.faults.clone();
        }
        match entries.first() {
            Some((key, _)) => {
                let meant = suggest(&key.name, variants.iter().copied());
                self.unknown_key(key, &variants, meant, &join(path, &key.name)).into()
            }
            None => self.none_of(node, choices, path).into(),
        }
    }
}

/// The key whose constant tells all these alternatives apart, such as `type`.
fn tag_key<'a>(document: Document<'a>, schema: &'a Json, trials: &[Trial<'a>]) -> Option<&'a str> {
    let mut keys = schema.get("properties")?.as_object()?.keys();
    let tells = |key: &&String| trials.iter().all(|trial| !tag_values(document, trial.schema, key).is_empty());
    keys.find(tells).map(String::as_str)
}

/// The constants that a property of an alternative may have.
fn tag_values<'a>(document: Document<'a>, schema: &'a Json, key: &str) -> Vec<&'a Json> {
    let property = schema.get("properties").and_then(|properties| properties.get(key));
    property.and_then(|property| constants(document.resolved(property))).unwrap_or_default()
}

/// The key of a variant of an externally tagged enum: the only property, and required.
fn only_key(schema: &Json) -> Option<&str> {
    let [Json::String(name)] = schema.get("required")?.as_array()?.as_slice() else {
        return None;
    };
    let properties = schema.get("properties")?.as_object()?;
    (properties.len() == 1 && properties.contains_key(name)).then_some(name)
}

fn only_constants<'a>(document: Document<'a>, schema: &'a Json) -> bool {
    let mut values = Vec::new();
    collect_constants(document, schema, &mut values)
}

/// Adds the constants of a schema and of its alternatives; whether it accepts constants only.
fn collect_constants<'a>(document: Document<'a>, schema: &'a Json, values: &mut Vec<&'a Json>) -> bool {
    collect_within(document, schema, values, MAX_NESTED)
}

fn collect_within<'a>(document: Document<'a>, schema: &'a Json, values: &mut Vec<&'a Json>, depth: usize) -> bool {
    let schema = document.resolved(schema);
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    if let Some(constants) = constants(schema) {
        for value in constants {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        return true;
    }
    let Some(choices) = alternatives(schema) else {
        return false;
    };
    let mut only = true;
    for choice in choices {
        only &= collect_within(document, choice, values, depth);
    }
    only
}
