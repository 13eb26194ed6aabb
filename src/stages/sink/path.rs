//! The `path` key of sinks: placeholders, the folder it starts at, and whether it can be written.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::advice;
use crate::config::{Fault, Faults};
use crate::media::StreamInfo;
use crate::stage::{ReadContext, fill_template};

/// The name of the stream.
pub(super) const STREAM: &str = "{stream}";
/// The number of a file in its stream.
pub(super) const INDEX: &str = "{index}";
/// Stands for the index in a filled path: no stream's name and no template can hold it.
const INDEX_MARK: &str = "\0";

/// A fault at the key `path` unless `template` can be a path: not empty, not `-`, and no placeholder but those `known`.
pub(super) fn check(context: &ReadContext<'_>, template: &str, known: &[&str]) -> Result<(), Faults> {
    let fault = |message: &str| context.fault("path", "bad-path", message).found(format!("`{template}`"));
    if template.contains('\0') {
        return Err(fault("a path cannot hold a zero byte").into());
    }
    if template.is_empty() || template == "-" {
        let help = format!("name a file, such as `results/{STREAM}.out`");
        return Err(fault("this sink writes files").expected("the path of a file").help(help).into());
    }
    match placeholders(template).find(|found| !known.contains(found)) {
        Some(unknown) => {
            let expected = known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(" or ");
            Err(fault(&format!("`{unknown}` stands for nothing here")).expected(expected).into())
        }
        None => Ok(()),
    }
}

/// Everything of the form `{…}`.
fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    template.match_indices('{').filter_map(|(at, _)| {
        let rest = &template[at..];
        let end = rest.find('}')?;
        (!rest[1..end].contains('{')).then(|| &rest[..=end])
    })
}

/// The path for one stream, seen from `base`; [`with_index`] fills what is left.
pub(super) fn for_stream(base: &Path, template: &str, stream: &StreamInfo) -> PathBuf {
    base.join(fill_template(&template.replace(INDEX, INDEX_MARK), stream))
}

/// The path of file number `index`, with at least four digits.
pub(super) fn with_index(path: &Path, index: u64) -> PathBuf {
    let digits = format!("{index:04}");
    // A part that is no UTF-8 comes from the base, which holds no mark.
    path.iter()
        .map(|part| part.to_str().map_or_else(|| part.to_owned(), |part| part.replace(INDEX_MARK, &digits).into()))
        .collect()
}

/// The path with a number behind the name: `talk.srt` becomes `talk-2.srt`; number 1 is the path itself.
pub(super) fn numbered(path: &Path, number: u64) -> PathBuf {
    let Some(stem) = path.file_stem().filter(|_| number > 1) else {
        return path.to_owned();
    };
    let mut name = stem.to_owned();
    name.push(format!("-{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Whether the files of `template` can be written, without leaving anything behind. Of what lies behind a placeholder
/// only the part before it is looked at.
pub(super) fn probe(base: &Path, template: &str) -> Vec<Fault> {
    let path = base.join(template);
    let cannot =
        |found: String| Fault::error("cannot-write", format!("{} cannot be written", path.display())).found(found);
    let mut folder = match template.split_once('{') {
        None => {
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => {
                    let help = "name a file in it";
                    return vec![cannot("a folder".into()).expected("a file, or a path where none is yet").help(help)];
                }
                Ok(found) if found.is_file() => {
                    let opened = OpenOptions::new().write(true).open(&path);
                    return opened.err().map(|error| because(cannot, &path, &error)).into_iter().collect();
                }
                // A device or a named pipe: opening it can have effects, or wait.
                Ok(_) => return Vec::new(),
                Err(_) => path.parent().map(Path::to_owned).unwrap_or_default(),
            }
        }
        Some((plain, _)) => {
            // `{stream}.srt` joined to the base would lose the base's last part to `parent`.
            let plain = plain.rsplit_once(['/', std::path::MAIN_SEPARATOR]).map_or("", |(folder, _)| folder);
            let absolute = if plain.is_empty() && template.starts_with('/') { "/" } else { plain };
            base.join(absolute)
        }
    };
    loop {
        if folder.as_os_str().is_empty() {
            folder = PathBuf::from(".");
        }
        match fs::metadata(&folder) {
            Ok(found) if found.is_dir() => {
                return try_file(&folder).err().map(|error| because(cannot, &folder, &error)).into_iter().collect();
            }
            Ok(_) => {
                let found = format!("{} is a file", folder.display());
                return vec![cannot(found).expected("a folder").help("choose another path")];
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                if !folder.pop() {
                    return vec![because(cannot, &folder, &error)];
                }
            }
            Err(error) => return vec![because(cannot, &folder, &error)],
        }
    }
}

fn because(cannot: impl Fn(String) -> Fault, place: &Path, error: &io::Error) -> Fault {
    let help = match advice(error).trim_matches([' ', '(', ')']) {
        "" => "choose another path",
        advice => advice,
    };
    cannot(format!("{}: {error}", place.display())).help(help)
}

/// Makes a file in `folder` and removes it again.
fn try_file(folder: &Path) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".percept-probe-{}-{number}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse};
    use crate::stage::Settings;
    use crate::stages::sink::kit::stream;

    #[test]
    fn templates_are_checked() {
        for (template, fault) in [
            ("out.srt", None),
            ("{stream}.srt", None),
            ("a/{stream}/{stream}-{index}.wav", None),
            ("curly{.srt", None),
            ("curly}{.srt", None),
            ("", Some("this sink writes files")),
            ("-", Some("this sink writes files")),
            ("{name}.srt", Some("`{name}` stands for nothing here")),
            ("{{stream}.srt", None),
            ("{stream}-{}.srt", Some("`{}` stands for nothing here")),
            ("{Stream}.srt", Some("expected: `{stream}` or `{index}`")),
        ] {
            let source = Source::new("a.yaml", format!("path: {template:?}\n"));
            let node = parse(&source).unwrap();
            let context = ReadContext { node: &node, model: None, source: &source, settings: &Settings::default() };
            let result = check(&context, template, &[STREAM, INDEX]);
            match fault {
                None => assert!(result.is_ok(), "{template}: {result:?}"),
                Some(fault) => {
                    let text = result.unwrap_err().to_string();
                    assert!(text.contains(fault) && text.starts_with("a.yaml:1:7"), "{template}: {text}");
                }
            }
        }
    }

    #[test]
    fn paths_are_filled() {
        let base = Path::new("/base");
        for (template, name, path) in [
            ("out.wav", "talk", "/base/out.wav"),
            ("{stream}.wav", "in/talk.wav", "/base/in_talk.wav.wav"),
            ("{stream}.wav", "../../etc/passwd", "/base/etc_passwd.wav"),
            ("{stream}-{index}.wav", "a{index}b", "/base/a{index}b-0007.wav"),
            ("/abs/{stream}/{index}", "s", "/abs/s/0007"),
        ] {
            let filled = with_index(&for_stream(base, template, &stream(0, name)), 7);
            assert_eq!(filled, Path::new(path), "{template} of {name}");
        }
        assert_eq!(with_index(Path::new("\0"), 123_456), Path::new("123456"));
    }

    #[test]
    fn numbers_stand_before_the_extension() {
        for (path, number, expected) in [
            ("a/talk.srt", 1, "a/talk.srt"),
            ("a/talk.srt", 2, "a/talk-2.srt"),
            ("a.b/talk", 3, "a.b/talk-3"),
            ("talk.en.srt", 2, "talk.en-2.srt"),
        ] {
            assert_eq!(numbered(Path::new(path), number), Path::new(expected));
        }
    }

    #[test]
    fn a_path_that_can_be_written_has_no_fault_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old.srt"), "old").unwrap();
        for template in
            ["new.srt", "old.srt", "{stream}.srt", "made/later/{stream}.srt", "made/{stream}/a.srt", "a/b.srt"]
        {
            assert_eq!(probe(folder.path(), template), [], "{template}");
        }
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["old.srt"]);
        assert_eq!(fs::read_to_string(folder.path().join("old.srt")).unwrap(), "old");
    }

    #[test]
    fn a_path_that_cannot_be_written_says_why() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        let mut cases = vec![
            ("folder", "found: a folder", "name a file in it"),
            ("file/a.srt", "file is a file", "choose another path"),
            ("file/b/{stream}.srt", "file is a file", "choose another path"),
        ];
        if cfg!(target_os = "linux") {
            cases.push(("/proc/a.srt", "found: /proc: ", "help: "));
            cases.push(("/proc/{stream}.srt", "found: /proc: ", "help: "));
        }
        for (template, found, help) in cases {
            let faults = probe(folder.path(), template);
            assert_eq!(faults.len(), 1, "{template}: {faults:?}");
            let text = faults[0].to_string();
            assert!(text.contains("cannot be written [cannot-write]"), "{template}: {text}");
            assert!(text.contains(found) && text.contains(help), "{template}: {text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_not_opened() {
        assert_eq!(probe(Path::new(""), "/dev/full"), []);
    }
}
