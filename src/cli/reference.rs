//! The keys of a kind, read out of its JSON Schema: the same struct gives the check and this reference.

use serde_json::{Map, Value as Json};

/// How deeply keys of keys are listed.
const MAX_DEPTH: usize = 4;
/// How many `$ref`s in a row are followed; more is a cycle.
const MAX_REFERENCES: usize = 32;

/// A key of a kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    /// Its name; that of a key in a mapping after the mapping's, with a dot: `batch.max`.
    pub name: String,
    /// What it takes, in words: `whole number, 1 to 100`.
    pub takes: String,
    /// Whether it must be given.
    pub required: bool,
    /// What it is when it is not given, as YAML.
    pub default: Option<String>,
    /// What it is for.
    pub docs: String,
    /// For a choice of words that are explained: each word, and what it means.
    pub choices: Vec<(String, String)>,
}

/// The keys that a schema names, in its order, keys of mappings after the mapping.
pub(super) fn keys(schema: &Json) -> Vec<Key> {
    let mut keys = Vec::new();
    collect(schema, schema, "", 0, false, &mut keys);
    keys
}

/// `is_choice`: whether it is one of several that may stand here.
fn collect(root: &Json, schema: &Json, path: &str, depth: usize, is_choice: bool, keys: &mut Vec<Key>) {
    let schema = resolve(root, schema);
    if depth >= MAX_DEPTH {
        return;
    }
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    for (name, key) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let name = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let target = resolve(root, key);
        let text = |word: &str| key.get(word).or_else(|| target.get(word));
        let about = |schema: &Json| schema.get("description").and_then(Json::as_str).unwrap_or_default().to_owned();
        let docs = text("description").and_then(Json::as_str).unwrap_or_default().to_owned();
        let mut found = Key {
            takes: takes(root, key, 0),
            required: required.iter().any(|required| name.rsplit('.').next() == Some(required)),
            default: key.get("default").filter(|value| !value.is_null()).map(yaml),
            docs: if docs.is_empty() { about(schema) } else { docs },
            choices: choices(root, key),
            name: name.clone(),
        };
        if key.get("const").is_some() {
            // What names one of several mappings: a choice of words, each explained by its mapping.
            found.choices = vec![(found.takes.clone(), found.docs)];
            found.docs = "Which of them it is.".to_owned();
        } else if is_choice {
            found.required = false;
        }
        match keys.iter_mut().find(|known| known.name == name) {
            None => keys.push(found),
            // A key of another of the mappings that may stand here.
            Some(known) if key.get("const").is_some() => {
                known.takes = format!("{} | {}", known.takes, found.takes);
                known.choices.extend(found.choices);
            }
            Some(_) => {}
        }
        collect(root, target, &name, depth + 1, false, keys);
        for part in alternatives(target) {
            collect(root, part, &name, depth + 1, true, keys);
        }
    }
    // Of parts that stand for the same mapping: alternatives, flattened structs.
    for part in alternatives(schema) {
        collect(root, part, path, depth + 1, true, keys);
    }
    for part in list(schema, "allOf") {
        collect(root, part, path, depth + 1, is_choice, keys);
    }
}

fn list<'a>(schema: &'a Json, word: &str) -> impl Iterator<Item = &'a Json> {
    schema.get(word).and_then(Json::as_array).into_iter().flatten()
}

fn alternatives(schema: &Json) -> impl Iterator<Item = &Json> {
    list(schema, "anyOf").chain(list(schema, "oneOf"))
}

fn resolve<'a>(root: &'a Json, mut schema: &'a Json) -> &'a Json {
    for _ in 0..MAX_REFERENCES {
        let name = schema.get("$ref").and_then(Json::as_str).and_then(|name| name.strip_prefix('#'));
        match name.and_then(|name| root.pointer(name)) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

/// What a schema takes, in words.
fn takes(root: &Json, schema: &Json, depth: usize) -> String {
    let schema = resolve(root, schema);
    if depth >= MAX_DEPTH {
        return "anything".to_owned();
    }
    if let Some(value) = schema.get("const") {
        return yaml(value);
    }
    if let Some(values) = schema.get("enum").and_then(Json::as_array) {
        return values.iter().filter(|value| !value.is_null()).map(yaml).collect::<Vec<_>>().join(" | ");
    }
    let mut words: Vec<String> = Vec::new();
    let mut add = |word: String| {
        if !word.is_empty() && !words.contains(&word) {
            words.push(word);
        }
    };
    let null = |part: &Json| part.get("type").and_then(Json::as_str) == Some("null");
    alternatives(schema).filter(|part| !null(part)).for_each(|part| add(takes(root, part, depth + 1)));
    match schema.get("type") {
        Some(Json::String(name)) => add(type_words(root, schema, name, depth)),
        Some(Json::Array(names)) => {
            names.iter().filter_map(Json::as_str).for_each(|name| add(type_words(root, schema, name, depth)));
        }
        _ => {}
    }
    if words.is_empty()
        && let Some(part) = list(schema, "allOf").next()
    {
        return takes(root, part, depth + 1);
    }
    if words.is_empty() { "anything".to_owned() } else { words.join(" | ") }
}

fn type_words(root: &Json, schema: &Json, name: &str, depth: usize) -> String {
    match name {
        "null" => String::new(),
        "boolean" => "true | false".to_owned(),
        "integer" => format!("whole number{}", bounds(schema)),
        "number" => format!("number{}", bounds(schema)),
        "string" => "text".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", takes(root, items, depth + 1)),
            None => "list".to_owned(),
        },
        "object" => match schema.get("additionalProperties") {
            Some(values @ Json::Object(_)) => format!("mapping of names to {}", takes(root, values, depth + 1)),
            _ => "mapping".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// The range of a number, as `, 1 to 100`.
fn bounds(schema: &Json) -> String {
    let bound = |word: &str| schema.get(word).filter(|value| value.is_number()).map(yaml);
    let least = bound("minimum").map(|value| format!("at least {value}"));
    let least = least.or_else(|| bound("exclusiveMinimum").map(|value| format!("above {value}")));
    let most = bound("maximum").map(|value| format!("at most {value}"));
    let most = most.or_else(|| bound("exclusiveMaximum").map(|value| format!("below {value}")));
    match (bound("minimum"), bound("maximum"), least, most) {
        (Some(least), Some(most), ..) => format!(", {least} to {most}"),
        (.., Some(least), Some(most)) => format!(", {least}, {most}"),
        (.., Some(one), None) | (.., None, Some(one)) => format!(", {one}"),
        _ => String::new(),
    }
}

/// The words that an enum explains.
fn choices(root: &Json, schema: &Json) -> Vec<(String, String)> {
    let schema = resolve(root, schema);
    let mut choices = Vec::new();
    for part in alternatives(schema).map(|part| resolve(root, part)) {
        match (part.get("const"), part.get("description").and_then(Json::as_str)) {
            (Some(value), Some(docs)) => choices.push((yaml(value), docs.to_owned())),
            // `Option<Enum>`: the enum is itself an alternative, beside null.
            _ => choices
                .extend(alternatives(part).filter_map(|part| {
                    Some((yaml(part.get("const")?), part.get("description")?.as_str()?.to_owned()))
                })),
        }
    }
    choices
}

/// A JSON value as one would write it in YAML, on one line.
fn yaml(value: &Json) -> String {
    match value {
        Json::String(text) if text.is_empty() || text.trim() != text => format!("{text:?}"),
        Json::String(text) => text.clone(),
        Json::Number(number) => match number.as_f64() {
            // The default of an `f32` reads as it was written: 0.1, not 0.10000000149011612.
            Some(float) if number.is_f64() && f64::from(float as f32) == float => (float as f32).to_string(),
            _ => number.to_string(),
        },
        Json::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        Json::Object(entries) => format!("{{{}}}", entries_yaml(entries)),
        other => other.to_string(),
    }
}

fn entries_yaml(entries: &Map<String, Json>) -> String {
    entries.iter().map(|(key, value)| format!("{key}: {}", yaml(value))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::config::schema_of;

    fn tenth() -> f32 {
        0.1
    }

    fn two() -> Batch {
        Batch { max: 2, wait_ms: None }
    }

    /// What to do.
    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code, reason = "only described, never read")]
    enum Mode {
        /// Wait.
        Block,
        /// Forget.
        DropOldest,
    }

    #[derive(Deserialize, serde::Serialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Batch {
        /// Most packets.
        #[schemars(range(min = 1, max = 64))]
        max: usize,
        /// Longest wait.
        wait_ms: Option<u32>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only described, never read")]
    struct Config {
        /// Samples
        /// per second.
        rate_hz: u32,
        /// Gain.
        #[serde(default = "tenth")]
        gain: f32,
        /// Mode.
        mode: Option<Mode>,
        /// Batching.
        #[serde(default = "two")]
        batch: Batch,
        /// Paths.
        paths: Vec<String>,
        /// Level.
        #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
        level: Option<f64>,
    }

    #[test]
    fn keys_of_a_struct() {
        let keys = keys(&schema_of::<Config>());
        let lines: Vec<_> = keys
            .iter()
            .map(|key| {
                let default = key.default.clone().unwrap_or_default();
                format!("{}|{}|{}|{default}|{}", key.name, key.takes, key.required, key.docs)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "rate_hz|whole number, at least 0|true||Samples\nper second.",
                "gain|number|false|0.1|Gain.",
                "mode|block | drop_oldest|false||Mode.",
                "batch|mapping|false|{max: 2, wait_ms: null}|Batching.",
                "batch.max|whole number, 1 to 64|true||Most packets.",
                "batch.wait_ms|whole number, at least 0|false||Longest wait.",
                "paths|list of text|true||Paths.",
                "level|number, above 0, at most 1|false||Level.",
            ]
        );
        let choices: Vec<_> = keys[2].choices.iter().map(|(word, docs)| (word.as_str(), docs.as_str())).collect();
        assert_eq!(choices, [("block", "Wait."), ("drop_oldest", "Forget.")]);
    }

    #[test]
    fn schemas_that_refer_to_themselves_have_an_end() {
        let schema = serde_json::json!({
            "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#/$defs/x"}, "c": {"type": "array", "items": {"$ref": "#/properties/c"}}},
            "$defs": {"x": {"$ref": "#/$defs/x"}}
        });
        assert!(keys(&schema).iter().any(|key| key.name == "a.b" && key.takes == "anything"));
    }
}
