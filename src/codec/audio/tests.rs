use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// Everything a reader gave.
struct Outcome {
    spec: AudioSpec,
    samples: Vec<f32>,
    damaged: u64,
    error: Option<CodecError>,
}

impl Outcome {
    fn whole(self) -> Self {
        assert!(self.error.is_none(), "{:?}", self.error);
        assert_eq!(self.damaged, 0);
        self
    }
}

fn read(mut reader: AudioReader) -> Outcome {
    let mut samples = Vec::new();
    let error = loop {
        let before = samples.len();
        match reader.read(&mut samples) {
            Ok(0) => break None,
            Ok(frames) => assert_eq!(samples.len() - before, frames * usize::from(reader.spec().channels)),
            Err(error) => break Some(error),
        }
    };
    assert_eq!(reader.read(&mut samples).unwrap(), 0, "an end is an end");
    Outcome { spec: reader.spec(), samples, damaged: reader.damaged(), error }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio").join(name)
}

#[cfg(feature = "codecs")]
fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(data(name)).unwrap()
}

fn file(name: &str) -> Outcome {
    read(AudioReader::open(&data(name)).unwrap())
}

fn stream(bytes: Vec<u8>) -> Result<Outcome, CodecError> {
    AudioReader::from_stream(Box::new(std::io::Cursor::new(bytes)), None).map(read)
}

/// The bytes as a file.
fn saved(bytes: &[u8]) -> Result<Outcome, CodecError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    AudioReader::open(file.path()).map(read)
}

#[test]
fn wav_equals_what_hound_reads() {
    let outcome = file("speech.wav").whole();
    let expected: Vec<f32> = hound::WavReader::open(data("speech.wav"))
        .unwrap()
        .samples::<i16>()
        .map(|sample| f32::from(sample.unwrap()) / 32_768.0)
        .collect();
    assert_eq!(outcome.spec.to_string(), "16000 Hz with 1 channel");
    assert_eq!(outcome.spec.frames, Some(expected.len() as u64));
    assert_eq!(outcome.samples, expected);
}

#[test]
fn bad_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("empty.wav"), b"").unwrap();
    std::fs::write(at("text.wav"), b"This is no sound at all.\n").unwrap();
    std::fs::write(at("picture.mp3"), b"\x89PNG\r\n\x1a\n0000").unwrap();
    std::fs::write(at("noise.flac"), [7u8, 0, 3].repeat(3000)).unwrap();
    for (name, expected) in [
        ("missing.wav", "there is no such file; check the path"),
        ("folder", "found a folder; name a file in it, or use a glob such as"),
        ("empty.wav", "found nothing (0 bytes)"),
        ("text.wav", "found text (\"This is no sound at all.\")"),
        ("picture.mp3", "found a PNG picture (first bytes 89 50 4E 47 0D 0A 1A 0A)"),
        ("noise.flac", "found unknown content (first bytes 07 00 03 07 00 03 07 00)"),
    ] {
        let message = AudioReader::open(&at(name)).expect_err(name).to_string();
        assert!(message.starts_with(at(name).to_str().unwrap()), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let announced = AudioReader::from_stream(Box::new(&b"Usage: ffmpeg"[..]), Some("wav")).unwrap_err().to_string();
    assert!(announced.starts_with("-: ") && announced.contains("where wav was announced"), "{announced}");
}

/// A file that cannot be opened is another fault than one that is missing. (The superuser may open anything.)
#[cfg(unix)]
#[test]
fn a_forbidden_file_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o0)).unwrap();
    if std::fs::File::open(file.path()).is_err() {
        let message = AudioReader::open(file.path()).unwrap_err().to_string();
        assert!(message.contains("ask for the right to read it"), "{message}");
    }
}

#[cfg(not(feature = "codecs"))]
#[test]
fn other_formats_name_the_feature() {
    for (name, format) in [("speech.flac", "flac"), ("speech.mp3", "mp3"), ("speech.ogg", "ogg"), ("speech.m4a", "m4a")]
    {
        let message = AudioReader::open(&data(name)).unwrap_err().to_string();
        assert!(message.contains(&format!("reading {format}")), "{message}");
        assert!(message.contains("--features codecs"), "{message}");
    }
}

#[cfg(feature = "codecs")]
mod compressed {
    use super::*;

    /// The correlation of two signals of about the same length, and the lag of the second at which it is highest.
    fn correlation(a: &[f32], b: &[f32]) -> (f64, i64) {
        let at = |lag: i64| {
            let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
            for (i, x) in a.iter().enumerate() {
                let j = i as i64 + lag;
                let y = usize::try_from(j).ok().and_then(|j| b.get(j)).copied().unwrap_or(0.0);
                ab += f64::from(x * y);
                aa += f64::from(x * x);
                bb += f64::from(y * y);
            }
            ab / (aa * bb).sqrt().max(1e-12)
        };
        (-40..=40).map(|lag| (at(lag), lag)).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
    }

    #[test]
    fn flac_is_exact_from_a_file_and_from_a_pipe() {
        let wav = file("speech.wav").samples;
        let flac = file("speech.flac").whole();
        assert_eq!(flac.spec.frames, Some(wav.len() as u64));
        assert_eq!(flac.samples, wav);
        assert_eq!(stream(bytes_of("speech.flac")).unwrap().whole().samples, wav);
    }

    /// Lossy files have the source's length, its place in time and its shape; from a pipe they are the same.
    #[test]
    fn lossy_formats_are_like_the_source_and_gapless() {
        for (name, source, length_is_kept) in [
            ("speech.mp3", "speech.wav", true),
            ("speech.ogg", "speech.wav", true),
            ("speech.m4a", "speech.wav", true),
            ("speech-faststart.m4a", "speech.wav", true),
            ("speech-adpcm.wav", "speech.wav", false),
            ("stereo.mp3", "stereo.flac", true),
            ("stereo.ogg", "stereo.flac", true),
            ("stereo.m4a", "stereo.flac", true),
        ] {
            let source = file(source).whole();
            let lossy = file(name).whole();
            assert_eq!((lossy.spec.sample_rate, lossy.spec.channels), (source.spec.sample_rate, source.spec.channels));
            let frames = lossy.samples.len() as u64 / u64::from(lossy.spec.channels);
            assert_eq!(lossy.spec.frames, Some(frames), "{name}");
            if length_is_kept {
                assert_eq!(lossy.samples.len(), source.samples.len(), "{name}");
            }
            let channels = usize::from(source.spec.channels);
            for channel in 0..channels {
                let of = |samples: &[f32]| samples.iter().skip(channel).step_by(channels).copied().collect::<Vec<_>>();
                let (similar, lag) = correlation(&of(&source.samples), &of(&lossy.samples));
                assert!(similar > 0.97 && lag == 0, "{name}: correlation {similar} at lag {lag}");
            }
            if !matches!(name, "speech.m4a" | "stereo.m4a" | "speech-adpcm.wav") {
                assert_eq!(stream(bytes_of(name)).unwrap().whole().samples, lossy.samples, "{name}");
            }
        }
    }

    #[test]
    fn an_mp3_without_a_tag_has_no_known_length() {
        let bare = file("speech-bare.mp3").whole();
        assert_eq!(bare.spec.frames, None);
        assert!(bare.samples.len() >= file("speech.wav").samples.len());
    }

    #[test]
    fn cut_files_give_what_is_there_and_say_so() {
        for name in ["speech.flac", "speech.mp3", "speech.ogg", "speech-faststart.m4a", "stereo.mp3"] {
            let bytes = bytes_of(name);
            let whole = file(name);
            let cut = &bytes[..bytes.len() * 7 / 10];
            for outcome in [saved(cut).unwrap(), stream(cut.to_vec()).unwrap()] {
                let Some(CodecError::Truncated { after, .. }) = &outcome.error else {
                    panic!("{name}: {:?}", outcome.error)
                };
                let frames = outcome.samples.len() as u64 / u64::from(outcome.spec.channels);
                assert_eq!(*after, seconds_of(&outcome.spec, frames), "{name}");
                assert!(frames > 0 && outcome.samples.len() < whole.samples.len(), "{name}");
                assert_eq!(outcome.samples[..], whole.samples[..outcome.samples.len()], "{name}");
            }
        }
        let error = saved(&bytes_of("speech.m4a")[..4000]).err().unwrap().to_string();
        assert!(error.contains("expected an index (moov box), found none"), "{error}");
        let error = saved(&bytes_of("speech.ogg")[..100]).err().unwrap().to_string();
        assert!(error.contains("damaged ogg file"), "{error}");
    }

    /// Bytes overwritten in the middle: the rest is read, at its place in time, and the damage is counted.
    #[test]
    fn damage_is_stepped_over_and_counted() {
        for name in ["speech.flac", "speech.mp3", "speech.ogg", "speech.m4a", "stereo.mp3", "stereo.flac"] {
            let whole = file(name);
            let mut bytes = bytes_of(name);
            let middle = bytes.len() / 2;
            bytes[middle..middle + 60].fill(0);
            let outcome = saved(&bytes).unwrap();
            assert!(outcome.error.is_none(), "{name}: {:?}", outcome.error);
            assert!(outcome.damaged > 0 || name.ends_with("m4a"), "{name}");
            if name.ends_with("mp3") {
                // Nothing in an mp3 tells how long the packets were whose heads are gone.
                assert!(outcome.samples.len() > whole.samples.len() * 4 / 5, "{name}");
                continue;
            }
            assert_eq!(outcome.samples.len(), whole.samples.len(), "{name}");
            let tail = whole.samples.len() * 4 / 5;
            let (similar, lag) = correlation(&whole.samples[tail..], &outcome.samples[tail..]);
            assert!(similar > 0.95 && lag == 0, "{name}: correlation {similar} at lag {lag}");
        }
    }

    #[test]
    fn chained_streams_go_on_and_a_change_is_refused() {
        let one = file("speech.ogg").samples;
        let twice = stream(bytes_of("speech.ogg").repeat(2)).unwrap().whole();
        assert_eq!(twice.samples, [&one[..], &one[..]].concat());

        let mixed = stream([bytes_of("speech.ogg"), bytes_of("stereo.ogg")].concat()).unwrap();
        assert_eq!(mixed.samples, one);
        let message = mixed.error.unwrap().to_string();
        assert!(
            message.contains("from 16000 Hz with 1 channel to 44100 Hz with 2 channels after 0.900 s"),
            "{message}"
        );
    }

    #[test]
    fn faults_of_containers_and_codecs() {
        let opus = AudioReader::open(&data("speech.opus")).unwrap_err().to_string();
        assert!(opus.contains("coded as opus") && opus.contains("convert: ffmpeg -i "), "{opus}");
        let video = AudioReader::open(&data("video-only.mp4")).unwrap_err().to_string();
        assert!(video.contains("no audio track (1 other tracks)"), "{video}");
        let pipe = stream(bytes_of("speech.m4a")).err().unwrap().to_string();
        assert!(pipe.contains("cannot be read from a pipe") && pipe.contains("+faststart"), "{pipe}");
    }

    #[test]
    fn the_name_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("really.wav");
        std::fs::copy(data("speech.mp3"), &path).unwrap();
        assert_eq!(read(AudioReader::open(&path).unwrap()).samples, file("speech.mp3").samples);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Every byte of every kind of file may be wrong: there is an answer, and no panic reaches the caller.
        #[test]
        fn damaged_files_never_panic(
            which in 0usize..9,
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12),
            cut in any::<proptest::sample::Index>(),
            cut_it in any::<bool>(),
        ) {
            let names = ["speech.wav", "speech.flac", "speech.mp3", "speech.ogg", "speech.m4a", "speech.opus",
                "speech-adpcm.wav", "stereo.m4a", "speech-faststart.m4a"];
            let mut bytes = bytes_of(names[which]);
            // Headers are where the damage hurts: half of the changes go there.
            for (position, (index, value)) in changes.iter().enumerate() {
                let range = if position % 2 == 0 { bytes.len().min(600) } else { bytes.len() };
                let at = index.index(range);
                bytes[at] = *value;
            }
            if cut_it {
                bytes.truncate(cut.index(bytes.len()));
            }
            let _ = saved(&bytes);
            let _ = stream(bytes);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        magic in proptest::sample::select(vec![
            &b""[..], b"RIFF\x10\0\0\0WAVEfmt \x10\0\0\0", b"RF64\xff\xff\xff\xffWAVEds64", b"OggS\0\x02", b"fLaC\0\0\0\x22",
            b"ID3\x04\0\0\0\0\0\x05", b"\xff\xfb\x90\x64", b"\xff\xf1\x50\x80", b"\0\0\0\x14ftypM4A \0\0\0\0M4A \0\0\0\x40moov",
            b"caff\0\x01\0\0desc", b"FORM\0\0\x01\0AIFFCOMM\0\0\0\x12", b"\x1a\x45\xdf\xa3\x80",
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let bytes = [magic, &bytes].concat();
        let _ = saved(&bytes);
        let _ = stream(bytes);
    }
}
