use std::path::Path;

use super::*;
use crate::codec::{PictureFormat, encode_picture, read_picture};
use crate::config::Source as Text;
use crate::media::{Image, PixelFormat};
use crate::stage::{EventKind, Settings};
use crate::stages::capture::trial::{self, Ran};

const DATA: &str = "tests/data/picture";

fn write(folder: &Path, name: &str, image: &Image) {
    std::fs::write(folder.join(name), encode_picture(image, PictureFormat::Png).unwrap()).unwrap();
}

fn image(width: u32, height: u32, format: PixelFormat) -> Image {
    let bytes = width as usize * height as usize * format.bytes();
    Image::new((0..bytes).map(|n| n as u8).collect::<Vec<u8>>(), width, height, format).unwrap()
}

/// What a stream gave: its format, starts and durations in milliseconds, and that packets are of its format.
fn times(ran: &Ran) -> Vec<(i64, i64)> {
    let format = &ran.info.formats[0];
    ran.drafts.iter().for_each(|draft| assert_eq!(&draft.payload.format(), format, "{}", ran.info.name));
    ran.drafts.iter().map(|draft| (draft.start.as_nanos() / 1_000_000, draft.duration.as_nanos() / 1_000_000)).collect()
}

#[tokio::test]
async fn a_folder_is_a_stream_a_file_and_bad_files_fail_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (first, last) = (image(4, 3, PixelFormat::Rgb8), image(2, 5, PixelFormat::Gray8));
    write(folder.path(), "a.png", &first);
    write(folder.path(), "d.PNG", &last);
    std::fs::write(folder.path().join("b.jpg"), "this is no picture").unwrap();
    std::fs::write(folder.path().join("c.gif"), "").unwrap();
    let cut = encode_picture(&image(64, 64, PixelFormat::Rgb8), PictureFormat::Png).unwrap();
    std::fs::write(folder.path().join("c2.png"), &cut[..cut.len() / 2]).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    for concurrent in [1, 2, 100] {
        let mut images = Images::new(".").base(folder.path()).pixels(Pixels::AsStored);
        images.concurrent = concurrent;
        assert!(images.contract().many_streams);
        assert_eq!(images.probe(), []);
        let (streams, errors) = trial::run(&images).await;
        let names: Vec<_> = streams.iter().map(|stream| stream.info.name.as_str()).collect();
        assert_eq!(names, ["./a.png", "./d.PNG"]);
        for (stream, expected) in streams.iter().zip([&first, &last]) {
            assert_eq!(times(stream), [(0, 0)]);
            assert_eq!(stream.drafts[0].payload.image().unwrap(), expected);
            assert_eq!((stream.info.live, stream.error.as_deref()), (false, None));
            assert_eq!(stream.info.file, Some(folder.path().join(&stream.info.name)));
        }
        let notice = "1 file was left out, as its name does not look like a picture: 1 .txt";
        assert_eq!(streams[0].told(), [(EventKind::Notice, notice)]);
        assert_eq!(streams[1].told(), []);
        assert_eq!(errors.len(), 3);
        for (error, says) in errors.iter().zip([
            "b.jpg: expected a picture (PNG, JPEG, WebP, BMP, GIF or PNM), found text",
            "c.gif: expected a picture, found nothing (0 bytes)",
            "c2.png: truncated PNG file",
        ]) {
            assert!(error.contains(says), "{error}");
        }
    }
}

#[tokio::test]
async fn pixels_are_those_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for format in [PixelFormat::Gray8, PixelFormat::Rgb8, PixelFormat::Rgba8] {
        write(folder.path(), &format!("{format}.png"), &image(3, 2, format));
    }
    for (pixels, solved) in [
        (Pixels::Rgb8, Some(PixelFormat::Rgb8)),
        (Pixels::Rgba8, Some(PixelFormat::Rgba8)),
        (Pixels::Gray8, Some(PixelFormat::Gray8)),
        (Pixels::AsStored, None),
    ] {
        let images = Images::new("*.png").base(folder.path()).pixels(pixels);
        assert_eq!(images.outputs(&[]).unwrap(), [Format::image(solved, None, None)]);
        let (streams, errors) = trial::run(&images).await;
        assert_eq!((streams.len(), errors.len()), (3, 0));
        for stream in streams {
            let found = stream.drafts[0].payload.image().unwrap();
            assert_eq!(found.format(), solved.unwrap_or(found.format()));
            assert_eq!(stream.info.name, format!("{}.png", stored(&stream.info.name, folder.path())));
            assert_eq!(stream.info.formats, [Format::image(Some(found.format()), Some(3), Some(2))]);
        }
    }
}

/// The format that a file holds, as the codec reads it.
fn stored(name: &str, folder: &Path) -> PixelFormat {
    read_picture(&folder.join(name), &PictureLimits::default()).unwrap().format()
}

#[tokio::test]
async fn animations_are_packets_at_their_times() {
    let (streams, errors) = trial::run(&Images::new("animated.*").base(DATA)).await;
    assert_eq!((streams.len(), errors.len()), (3, 0), "{errors:?}");
    for stream in streams {
        let times = times(&stream);
        assert!(times.len() > 1, "{}", stream.info.name);
        assert!(times.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "end to end: {times:?}");
        assert!(times[0].0 == 0 && times.iter().all(|(_, duration)| *duration > 0), "{times:?}");
    }
}

/// A GIF whose frames are shown for so many milliseconds each.
fn gif(delays_ms: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = ::image::codecs::gif::GifEncoder::new(&mut bytes);
    for delay in delays_ms {
        let delay = ::image::Delay::from_numer_denom_ms(*delay, 1);
        encoder.encode_frame(::image::Frame::from_parts(::image::RgbaImage::new(3, 2), 0, 0, delay)).unwrap();
    }
    drop(encoder);
    bytes
}

#[tokio::test]
async fn delays_become_starts_and_durations() {
    let folder = tempfile::tempdir().unwrap();
    for (delays, expected) in [
        (&[0u32, 250, 20][..], &[(0, 100), (100, 250), (350, 20)][..]),
        (&[40, 40, 40], &[(0, 40), (40, 40), (80, 40)]),
        (&[500], &[(0, 500)]),
    ] {
        std::fs::write(folder.path().join("a.gif"), gif(delays)).unwrap();
        let (streams, errors) = trial::run(&Images::new("a.gif").base(folder.path())).await;
        assert_eq!((streams.len(), errors.len()), (1, 0), "{errors:?}");
        assert_eq!(times(&streams[0]), expected, "{delays:?}");
    }
}

#[tokio::test]
async fn an_animation_that_breaks_off_gives_what_it_has_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let whole = gif(&[100, 100, 100]);
    std::fs::write(folder.path().join("a.gif"), &whole[..whole.len() - 8]).unwrap();
    let (streams, errors) = trial::run(&Images::new("a.gif").base(folder.path())).await;
    assert_eq!((streams.len(), errors.len()), (1, 0), "{errors:?}");
    assert_eq!(times(&streams[0]), [(0, 100), (100, 100)]);
    let error = streams[0].error.as_deref().unwrap_or_default();
    assert!(error.contains("a.gif") && error.contains("GIF"), "{error}");
}

#[tokio::test]
async fn a_picture_over_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "large.png", &image(11, 10, PixelFormat::Gray8));
    write(folder.path(), "small.png", &image(10, 10, PixelFormat::Gray8));
    let mut images = Images::new(".").base(folder.path());
    images.max_pixels = 100;
    let (streams, errors) = trial::run(&images).await;
    assert_eq!(streams.len(), 1);
    assert!(errors[0].contains("expected at most 100 pixels, found 11 × 10"), "{errors:?}");
}

#[tokio::test]
async fn ten_thousand_files_do_not_open_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = encode_picture(&image(1, 1, PixelFormat::Gray8), PictureFormat::Png).unwrap();
    for number in 0..10_000 {
        std::fs::write(folder.path().join(format!("{number:05}.png")), &bytes).unwrap();
    }
    let images = Images::new(".").base(folder.path());
    let mut capture = trial::capture(&images).unwrap();
    assert_eq!(capture.concurrency(), 8);
    let context = trial::context();
    for number in 0..50 {
        let stream = capture.next_stream(&context).await.unwrap().unwrap();
        assert_eq!(stream.info().name, format!("./{number:05}.png"));
    }
    #[cfg(target_os = "linux")]
    {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok().filter(|name| name.trim() == "percept/reader")
        });
        assert!(threads.count() < 200, "a thread for each file that is open, and for no other");
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_loses_no_stream() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..4 {
        write(folder.path(), &format!("{number}.png"), &image(200, 200, PixelFormat::Rgb8));
    }
    let mut capture = trial::capture(&Images::new(".").base(folder.path())).unwrap();
    let context = trial::context();
    let mut names = Vec::new();
    loop {
        // Asked once and dropped, whether it was ready or not; what was ready is kept.
        let dropped = tokio::select! {
            biased;
            () = std::future::ready(()) => None,
            stream = capture.next_stream(&context) => Some(stream),
        };
        assert!(dropped.is_none());
        match capture.next_stream(&context).await.unwrap() {
            Some(stream) => names.push(stream.info().name),
            None => break,
        }
    }
    assert_eq!(names, ["./0.png", "./1.png", "./2.png", "./3.png"]);
}

#[test]
fn keys() {
    for (text, code) in [
        ("path: a.png\npixels: rgb8\nmax_pixels: 5\nrecursive: true\nconcurrent: 3\nfolder: x", ""),
        ("path: [a.png, b.png]\npixels: as_stored", ""),
        ("path: a.png\nmax_pixels: 0", "out-of-range"),
        ("path: a.png\nconcurrent: 0", "out-of-range"),
        ("path: a.png\nconcurrent: 10001", "out-of-range"),
        ("pixels: rgb8", "missing-key"),
        ("path: a.png\nrealtime: true", "unknown-key"),
    ] {
        let source = Text::new("pipeline.yaml", text);
        let node = crate::config::parse(&source).unwrap();
        let settings = Settings::default();
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        let found = (KIND.read)(&context).map(|_| ()).map_err(|faults| faults.iter().map(|fault| fault.code).collect());
        let expected: Result<(), Vec<_>> = if code.is_empty() { Ok(()) } else { Err(vec![code]) };
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn what_is_not_there_is_a_fault_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    write(folder.path(), "cat.png", &image(1, 1, PixelFormat::Gray8));
    std::fs::create_dir(folder.path().join("texts")).unwrap();
    std::fs::write(folder.path().join("texts/notes.txt"), "x").unwrap();
    for (path, code, says) in [
        ("cap.png", "missing-file", "did you mean `cat.png`?"),
        ("-", "missing-file", "write it to one first"),
        ("texts", "no-files", "there is no picture in the folder `texts`"),
        ("texts", "no-files", "1 file that does not look like a picture by its name"),
        ("*.jpg", "no-files", "no file matches"),
    ] {
        let source = Text::new("pipeline.yaml", format!("path: [\"{path}\"]\n"));
        let node = crate::config::parse(&source).unwrap();
        let settings = Settings { base_dir: folder.path().to_owned(), ..Settings::default() };
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        let blueprint = (KIND.read)(&context).unwrap();
        let faults = blueprint.probe();
        assert_eq!((faults.len(), faults[0].code), (1, code), "{path}");
        assert_eq!(faults[0].place(), "pipeline.yaml:1:8", "{path}");
        assert!(faults[0].to_string().contains(says), "{path}: {}", faults[0]);
        assert!(blueprint.build().is_err(), "{path}");
    }
}
