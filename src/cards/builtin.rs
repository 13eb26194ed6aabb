//! The cards that are part of percept: one line a card here, one folder a card in `models/`.

/// A card that is part of the program, with the small files that lie beside it.
#[derive(Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// The card's name, and its folder's in `models/`.
    pub name: &'static str,
    /// The text of its `card.yaml`.
    pub card: &'static str,
    /// The files beside it: path below the folder, content.
    pub files: &'static [(&'static str, &'static [u8])],
}

macro_rules! built_in {
    ($name:literal $(, $file:literal)*) => {
        BuiltIn {
            name: $name,
            card: include_str!(concat!("../../models/", $name, "/card.yaml")),
            files: &[$(($file, include_bytes!(concat!("../../models/", $name, "/", $file)))),*],
        }
    };
}

/// Every built-in card, in the order of their names.
pub const BUILT_IN: &[BuiltIn] = &[
    built_in!("blazeface", "blazeface.onnx", "LICENSE"),
    built_in!("moonshine-tiny"),
    built_in!("onnxruntime"),
    built_in!("selfie-segmentation", "selfie-segmentation.onnx", "LICENSE"),
    built_in!("silero-vad", "silero_vad_16k_op15.onnx", "LICENSE"),
];

/// Models of percept's repository whose files are too large to be part of the program: a pipeline names their folder, which a
/// user of the program alone copies from there.
pub const NOT_INCLUDED: &[&str] = &["centerface", "efficientnet-lite0", "spoken-digits"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::super::card::Card;
    use super::super::digest::Sha256;
    use super::*;

    const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models");

    #[test]
    fn the_table_is_the_folder() {
        let folders: BTreeSet<String> = fs::read_dir(MODELS)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("card.yaml").is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        let table: Vec<_> = BUILT_IN.iter().map(|card| card.name.to_owned()).collect();
        assert!(table.is_sorted() && NOT_INCLUDED.is_sorted());
        let all: BTreeSet<_> = table.into_iter().chain(NOT_INCLUDED.iter().map(|name| (*name).to_owned())).collect();
        assert_eq!(folders, all);
        let list = fs::read_to_string(Path::new(MODELS).join("README.md")).unwrap();
        for name in all {
            assert!(list.contains(&format!("`{name}`")), "models/README.md names {name}");
        }
    }

    #[test]
    fn every_card_is_sound_and_carries_what_it_promises() {
        for entry in BUILT_IN {
            let name = entry.name;
            let card = Card::built_in(name).unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(card.name(), name);
            let spec = card.spec();
            let all = spec.platform_files.values().chain([&spec.files]).flatten();
            let mut beside = BTreeSet::new();
            for (role, file) in all {
                let (Some(sum), Some(bytes)) = (file.sha256, file.bytes) else {
                    panic!("{name}: `{role}` needs a sum and a size");
                };
                if file.from.is_none() {
                    beside.insert(file.path.as_str());
                    let content = entry.files.iter().find(|(path, _)| *path == file.path);
                    let (_, content) = content.unwrap_or_else(|| panic!("{name}: {} is not in the table", file.path));
                    assert_eq!((Sha256::of(content), content.len() as u64), (sum, bytes), "{name}: {}", file.path);
                }
            }
            let embedded: BTreeSet<_> = entry.files.iter().map(|(path, _)| *path).collect();
            assert_eq!(embedded, beside, "{name}: every file of the table has a role");
        }
    }

    #[test]
    fn cards_that_are_not_included_are_sound_too() {
        for name in NOT_INCLUDED {
            let folder = Path::new(MODELS).join(name);
            let card = Card::open(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
            let spec = card.spec();
            assert_eq!((card.name(), spec.platform_files.len()), (*name, 0));
            assert!(spec.files.contains_key("licence"), "{name}: the role `licence` is missing");
            for (role, file) in &spec.files {
                let content =
                    fs::read(folder.join(&file.path)).unwrap_or_else(|error| panic!("{name}: {role}: {error}"));
                let found = (Some(Sha256::of(&content)), Some(content.len() as u64));
                assert_eq!(found, (file.sha256, file.bytes), "{name}: {}", file.path);
            }
            let licence = fs::read_to_string(folder.join("LICENSE")).unwrap();
            let known = ["Apache License", "MIT License"].iter().any(|known| licence.contains(known));
            assert!(licence.contains("Copyright") && known, "{name}");
        }
    }

    #[test]
    fn weights_come_with_their_licence() {
        for entry in BUILT_IN {
            let spec = Card::built_in(entry.name).unwrap().unwrap().spec().clone();
            let shared = [&spec.files];
            let sets: Vec<_> =
                if spec.platform_files.is_empty() { shared.to_vec() } else { spec.platform_files.values().collect() };
            for files in sets {
                assert!(files.contains_key("licence"), "{}: the role `licence` is missing", entry.name);
            }
            if let Some((_, text)) = entry.files.iter().find(|(path, _)| *path == "LICENSE") {
                let text = std::str::from_utf8(text).unwrap();
                assert!(text.contains("Copyright") && text.contains(&spec.licence), "{}: {text}", entry.name);
            }
        }
    }

    #[test]
    fn ort_files_have_ports() {
        for entry in BUILT_IN {
            let spec = Card::built_in(entry.name).unwrap().unwrap().spec().clone();
            for (role, file) in &spec.files {
                if file.path.ends_with(".ort") {
                    let ports = spec.ports.get(role).unwrap_or_else(|| panic!("{}: ports of {role}", entry.name));
                    assert!(!ports.inputs.is_empty() && !ports.outputs.is_empty());
                }
            }
        }
    }
}
