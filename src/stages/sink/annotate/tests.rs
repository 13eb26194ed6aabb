use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::codec::{PictureLimits, VideoOptions, VideoReader, read_picture};
use crate::config::{Source, parse};
use crate::media::{Affine, Image, Keypoint, Label, Labels, Mask, PixelFormat, Place, Point, Rect, Region, Regions};
use crate::stage::{Settings, Solo};
use crate::stages::sink::kit::{packet, stream, transcript};

fn gray(width: u32, height: u32) -> Image {
    let bytes = vec![100u8; width as usize * height as usize * 3];
    Image::new(bytes, width, height, PixelFormat::Rgb8).unwrap()
}

fn label(name: &str, score: f32) -> Labels {
    Labels { entries: [Label { index: 3, name: Some(name.into()), score }].into() }
}

fn regions(entries: Vec<Region>) -> Regions {
    Regions { frame_width: 80, frame_height: 60, entries: entries.into() }
}

fn boxed(x: f32, y: f32, width: f32, height: f32) -> Region {
    Region::new(Rect { x, y, width, height }, 0.75)
}

fn open(annotate: Annotate, folder: &Path) -> Solo {
    let annotate = Annotate { base: folder.to_owned(), ..annotate };
    let formats = annotate.contract().inputs.into_iter().map(|port| port.format).collect();
    Solo::open(&annotate, stream(0, "cam"), formats).unwrap()
}

/// Draws what lies on one picture; where it differs from the bare one.
fn changed(image: &Image, results: Vec<(usize, Payload)>, annotate: Annotate) -> Vec<(usize, usize)> {
    let folder = tempfile::tempdir().unwrap();
    let mut solo = open(annotate, folder.path());
    solo.push(IMAGE, packet(0, 40, image.clone())).unwrap();
    for (port, payload) in results {
        solo.push(port, packet(0, 40, payload)).unwrap();
    }
    solo.flush().unwrap();
    let drawn = read_picture(&folder.path().join("a.png"), &PictureLimits::default()).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (image.width(), image.height()));
    let (before, after) = (image.packed(), drawn.packed());
    let width = image.width() as usize;
    let pairs = before.chunks(3).zip(after.chunks(3)).enumerate();
    pairs.filter(|(_, (a, b))| a != b).map(|(at, _)| (at % width, at / width)).collect()
}

#[test]
fn each_kind_of_result_is_drawn_where_it_lies() {
    let bare = || Annotate { scores: false, line_px: Some(2), ..Annotate::new("a.png") };
    let grid = |value| Mask { width: 2, height: 1, values: vec![0, value].into(), to_frame: Affine::scale(40.0, 60.0) };
    let masked = |value| Region { mask: Some(grid(value)), ..boxed(0.0, 0.0, 80.0, 60.0) };
    let outline: Arc<[Point]> = [(30.0, 20.0), (50.0, 20.0), (40.0, 40.0)].map(|(x, y)| Point { x, y }).into();
    let eye = Keypoint { point: Point { x: 60.5, y: 30.5 }, score: 1.0, name: None };
    let low = Keypoint { point: Point { x: 5.0, y: 5.0 }, score: 0.1, name: None };
    let point = Region { keypoints: [eye, low].into(), ..boxed(58.0, 28.0, 5.0, 5.0) };
    let at_least = |min_score| Annotate { min_score, ..bare() };
    type Case = (&'static str, usize, Payload, Annotate, &'static [(usize, usize)], &'static [(usize, usize)]);
    let table: Vec<Case> = vec![
        ("nothing", 1, regions(vec![]).into(), bare(), &[], &[(0, 0), (40, 30)]),
        (
            "box",
            1,
            regions(vec![boxed(20.0, 30.0, 40.0, 20.0)]).into(),
            bare(),
            &[(20, 30), (40, 30), (40, 50), (60, 40), (19, 40)],
            &[(40, 40), (15, 40), (40, 27)],
        ),
        (
            "below the least score",
            1,
            regions(vec![boxed(20.0, 30.0, 40.0, 20.0)]).into(),
            at_least(0.8),
            &[],
            &[(20, 30)],
        ),
        (
            "outline",
            1,
            regions(vec![Region { outline, ..boxed(30.0, 20.0, 20.0, 20.0) }]).into(),
            bare(),
            &[(40, 20), (45, 30), (35, 30)],
            &[(49, 39), (31, 39), (40, 28)],
        ),
        ("keypoint", 1, regions(vec![point]).into(), at_least(0.5), &[(60, 30)], &[(5, 5)]),
        ("mask", 1, regions(vec![masked(255)]).into(), bare(), &[(75, 5), (61, 55), (79, 0)], &[(10, 30), (0, 0)]),
        ("heat", 3, regions(vec![masked(200)]).into(), bare(), &[(75, 5), (61, 55)], &[(10, 30)]),
        ("labels", 2, label("cat", 0.5).into(), bare(), &[(0, 0), (8, 8)], &[(79, 0), (0, 59), (40, 40)]),
        ("labels below", 2, label("cat", 0.5).into(), at_least(0.6), &[], &[(0, 0)]),
        ("text", 4, transcript(0, 40, "hello", true).payload, bare(), &[(40, 50)], &[(0, 0), (40, 10)]),
    ];
    for (name, port, payload, annotate, drawn, untouched) in table {
        let found = changed(&gray(80, 60), vec![(port, payload)], annotate);
        assert_eq!(found.is_empty(), drawn.is_empty(), "{name}");
        for place in drawn {
            assert!(found.contains(place), "{name}: nothing at {place:?}");
        }
        for place in untouched {
            assert!(!found.contains(place), "{name}: something at {place:?}");
        }
    }
}

#[test]
fn what_lies_in_the_frame_is_drawn_where_the_picture_shows_it() {
    // The left half of the frame, made half as large.
    let place = Place { to_frame: Affine::scale(2.0, 2.0), frame_width: 160, frame_height: 120 };
    let image = gray(40, 60).at(place);
    let annotate = Annotate { scores: false, line_px: Some(2), ..Annotate::new("a.png") };
    let found = changed(&image, vec![(1, regions(vec![boxed(20.0, 60.0, 200.0, 40.0)]).into())], annotate);
    assert!(found.contains(&(10, 40)) && found.contains(&(39, 30)) && found.contains(&(20, 50)), "{found:?}");
    assert!(!found.contains(&(20, 40)) && !found.contains(&(5, 40)));
}

#[test]
fn a_tag_names_what_was_found_and_stays_within_the_picture() {
    let named = |x, y| Region {
        label: Some(Label { index: 1, name: Some("face".into()), score: 0.9 }),
        track: Some(7),
        ..boxed(x, y, 10.0, 10.0)
    };
    let annotate = || Annotate { text_px: Some(11), ..Annotate::new("a.png") };
    for (x, y) in [(5.0, 40.0), (75.0, 2.0), (-50.0, -50.0), (f32::NAN, 0.0), (1e30, 1e30)] {
        // Nothing is drawn outside, and nothing panics.
        changed(&gray(80, 60), vec![(1, regions(vec![named(x, y)]).into())], annotate());
    }
    let bare = changed(
        &gray(80, 60),
        vec![(1, regions(vec![boxed(5.0, 40.0, 10.0, 10.0)]).into())],
        Annotate { scores: false, ..annotate() },
    );
    let tagged = changed(&gray(80, 60), vec![(1, regions(vec![named(5.0, 40.0)]).into())], annotate());
    assert!(tagged.len() > bare.len() + 100 && tagged.iter().any(|(_, y)| *y < 35), "a tag above the box");
}

#[test]
fn a_picture_waits_for_its_own_results() {
    let folder = tempfile::tempdir().unwrap();
    let mut solo = open(Annotate::new("{stream}/{index}.png"), folder.path());
    let mut push = |port: usize, origin: u64, start: i64, end: i64, payload: Payload| {
        let mut packet = packet(start, end, payload);
        packet.origin.sequence = origin;
        solo.push(port, packet).unwrap();
    };
    // A label for the first frame, whose span reaches over the second; the third has its own, and none is drawn on it.
    push(0, 0, 0, 40, gray(80, 60).into());
    push(2, 0, 0, 80, label("cat", 0.9).into());
    push(0, 1, 40, 80, gray(80, 60).into());
    push(0, 2, 80, 120, gray(80, 60).into());
    push(2, 2, 80, 120, Labels::default().into());
    push(0, 3, 120, 160, gray(80, 60).into());
    let mut partial = packet(120, 160, label("dog", 0.9));
    partial.flags.partial = true;
    solo.push(2, partial).unwrap();
    assert!(folder.path().join("cam/0002.png").exists() && !folder.path().join("cam/0003.png").exists());
    solo.flush().unwrap();
    let drawn: Vec<bool> = (0..4)
        .map(|n| {
            let path = folder.path().join(format!("cam/{n:04}.png"));
            let picture = read_picture(&path, &PictureLimits::default()).unwrap();
            picture.packed()[..] != gray(80, 60).packed()[..]
        })
        .collect();
    assert_eq!(drawn, [true, true, false, false]);
}

#[test]
fn pictures_of_any_format_become_files() {
    for (format, level) in [(PixelFormat::Gray8, 100), (PixelFormat::Rgb8, 100), (PixelFormat::Rgba8, 39)] {
        let folder = tempfile::tempdir().unwrap();
        let mut solo = open(Annotate::new("{stream}.jpg"), folder.path());
        let image = Image::new(vec![100u8; 16 * 16 * format.bytes()], 16, 16, format).unwrap();
        for start in [0, 40] {
            solo.push(IMAGE, packet(start, start + 40, image.clone())).unwrap();
        }
        solo.flush().unwrap();
        for name in ["cam.jpg", "cam-2.jpg"] {
            let found = read_picture(&folder.path().join(name), &PictureLimits::default()).unwrap();
            assert!(found.packed().iter().all(|sample| sample.abs_diff(level) < 3), "{format} {:?}", found.packed()[0]);
        }
    }
}

#[test]
fn a_video_has_the_times_of_its_source() {
    if std::process::Command::new("ffmpeg").arg("-version").output().is_err() {
        eprintln!("skipped: ffmpeg is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut solo = open(Annotate::new("{stream}.annotated.mp4"), folder.path());
    let starts = [0, 40, 500, 533];
    for start in starts {
        solo.push(IMAGE, packet(start, start + 40, gray(64, 48))).unwrap();
    }
    // Another size goes on in another file.
    solo.push(IMAGE, packet(600, 640, gray(32, 32))).unwrap();
    solo.flush().unwrap();
    let times = |name: &str| {
        let mut reader = VideoReader::open(&folder.path().join(name), &VideoOptions::default()).unwrap();
        let frames = std::iter::from_fn(|| reader.read().unwrap());
        frames.map(|frame| frame.start.as_nanos() / 1_000_000).collect::<Vec<_>>()
    };
    assert_eq!(times("cam.annotated.mp4"), starts);
    assert_eq!(times("cam.annotated-2.mp4").len(), 1);
}

#[test]
fn faults_at_their_place() {
    let read = |yaml: &str| {
        let source = Source::new("test.yaml", yaml);
        let node = parse(&source).unwrap();
        let settings = Settings::default();
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        (KIND.read)(&context).map_err(|faults| faults.to_string())
    };
    assert!(read("path: a/{stream}.MP4").is_ok() && read("path: '{stream}-{index}.jpeg'").is_ok());
    for (yaml, says) in [
        ("path: a.txt", ".png, .jpg, .mp4"),
        ("path: a", "ends neither like a picture nor like a video"),
        ("path: '{stream}-{index}.mp4'", "a video holds many pictures"),
        ("path: '{frame}.png'", "`{stream}` or `{index}`"),
        ("path: '-'", "this sink writes files"),
        ("path: a.png\nmin_score: 2", "a number from 0 to 1"),
        ("path: a.png\nmask_opacity: -1", "a number from 0 to 1"),
        ("path: a.png\nlabels: 3", "max_labels"),
    ] {
        let faults = read(yaml).unwrap_err();
        assert!(faults.contains(says) && faults.contains("test.yaml"), "{yaml}: {faults}");
    }
    let missing = Annotate { ffmpeg: "/nowhere/ffmpeg".into(), ..Annotate::new("a.mp4") };
    assert!(missing.probe().iter().any(|fault| fault.code == "no-ffmpeg"), "{:?}", missing.probe());
    assert_eq!(Annotate { ffmpeg: "/nowhere/ffmpeg".into(), ..Annotate::new("a.png") }.probe(), []);
}
