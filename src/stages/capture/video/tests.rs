use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::config::Source as Text;
use crate::stage::{EventKind, Flow, Output, Settings};
use crate::stages::capture::trial::{self, Ran};
use crate::units::{TimeSpan, VirtualClock};

/// Whether ffmpeg is here; where it is not, what needs it is not shown.
fn ffmpeg_is_here() -> bool {
    let here = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !here {
        eprintln!("skipped: ffmpeg is not installed");
    }
    here
}

/// Runs ffmpeg on words in which spaces separate.
fn make(folder: &Path, arguments: &str) {
    let mut command = Command::new("ffmpeg");
    command.current_dir(folder).args(["-v", "error", "-nostdin", "-y"]).args(arguments.split(' '));
    assert!(command.status().unwrap().success(), "{arguments}");
}

/// A Y4M file of two gray pixels, whose frames count from 16 on, 25 a second.
fn y4m(folder: &Path, name: &str, frames: u8) {
    let mut bytes = b"YUV4MPEG2 W2 H1 F25:1 Cmono XCOLORRANGE=FULL\n".to_vec();
    for frame in 0..frames {
        bytes.extend_from_slice(b"FRAME\n");
        bytes.extend([16 + frame; 2]);
    }
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// Start and duration of each frame in milliseconds, and its first sample.
fn frames(ran: &Ran) -> Vec<(i64, i64, u8)> {
    let pictures = ran.drafts.iter().filter_map(|draft| Some((draft, draft.payload.image().ok()?)));
    let shown = pictures.map(|(draft, image)| {
        (draft.start.as_nanos() / 1_000_000, draft.duration.as_nanos() / 1_000_000, image.packed()[0])
    });
    shown.collect()
}

#[tokio::test]
async fn a_folder_is_a_stream_a_file_and_bad_files_fail_alone() {
    let folder = tempfile::tempdir().unwrap();
    y4m(folder.path(), "a.y4m", 3);
    y4m(folder.path(), "c.Y4M", 1);
    std::fs::write(folder.path().join("b.y4m"), "YUV4MPEG2 W2 H1 C420p10\n").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let video = Video::new(".").base(folder.path());
    assert!(video.contract().many_streams);
    assert_eq!(video.probe(), []);
    let (streams, errors) = trial::run(&video).await;
    assert_eq!(streams.len(), 2, "{errors:?}");
    assert_eq!((streams[0].info.name.as_str(), streams[1].info.name.as_str()), ("./a.y4m", "./c.Y4M"));
    assert_eq!(frames(&streams[0]), [(0, 40, 16), (40, 40, 17), (80, 40, 18)]);
    assert_eq!(frames(&streams[1]), [(0, 40, 16)]);
    assert_eq!(streams[0].info.formats, [Format::image(Some(PixelFormat::Rgb8), Some(2), Some(1))]);
    assert_eq!(streams[0].info.file, Some(folder.path().join("./a.y4m")));
    assert_eq!(streams[0].info.seconds, Some(0.12));
    let notice = "1 file was left out, as its name does not look like a video: 1 .txt";
    assert_eq!(streams[0].told(), [(EventKind::Notice, notice)]);
    assert!(errors.len() == 1 && errors[0].contains("b.y4m: expected colours of 8 bits"), "{errors:?}");
}

#[tokio::test]
async fn frames_are_sampled_and_last_until_the_next_one_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    y4m(folder.path(), "a.y4m", 6);
    for (every, fps, expected) in [
        (2, None, vec![(0, 80, 16), (80, 80, 18), (160, 80, 20)]),
        (4, None, vec![(0, 160, 16), (160, 80, 20)]),
        (1, Some(10.0), vec![(0, 120, 16), (120, 80, 19), (200, 40, 21)]),
        (1, Some(1000.0), (0..6).map(|n| (n * 40, 40, 16 + n as u8)).collect()),
    ] {
        let video = Video { every, fps, ..Video::new("a.y4m").base(folder.path()) };
        let (streams, errors) = trial::run(&video).await;
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(frames(&streams[0]), expected, "every {every}, {fps:?}");
    }
}

#[tokio::test]
async fn numbered_pictures_are_a_stream() {
    use crate::codec::{PictureFormat, encode_picture};
    use crate::media::Image;
    let folder = tempfile::tempdir().unwrap();
    for number in [8u8, 9, 10] {
        let image = Image::new(vec![number; 4], 2, 2, PixelFormat::Gray8).unwrap();
        let bytes = encode_picture(&image, PictureFormat::Png).unwrap();
        std::fs::write(folder.path().join(format!("f{number:04}.png")), bytes).unwrap();
    }
    let video = Video { sequence_fps: 10, ..Video::new("f%04d.png").base(folder.path()) };
    assert_eq!(video.probe(), []);
    let (streams, errors) = trial::run(&video).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(frames(&streams[0]), [(0, 100, 8), (100, 100, 9), (200, 100, 10)]);
    let image = streams[0].drafts[0].payload.image().unwrap();
    assert_eq!(image.format(), PixelFormat::Rgb8, "gray pictures become rgb8");
}

#[tokio::test]
async fn a_loop_begins_again_and_its_times_go_on() {
    let folder = tempfile::tempdir().unwrap();
    y4m(folder.path(), "a.y4m", 2);
    let video = Video { again: true, ..Video::new("a.y4m").base(folder.path()) };
    let context = trial::context();
    let mut capture = trial::capture(&video).unwrap();
    let mut source = capture.next_stream(&context).await.unwrap().unwrap();
    assert_eq!(source.info().seconds, None);
    let mut ran = trial::begun(&*source);
    let mut out = Output::new();
    while ran.drafts.len() < 5 {
        assert_eq!(source.read(&mut out).await.unwrap(), Flow::More);
        trial::collect(&mut ran, &mut out);
    }
    assert_eq!(frames(&ran), [(0, 40, 16), (40, 40, 17), (80, 40, 16), (120, 40, 17), (160, 40, 16)]);
}

#[tokio::test]
async fn real_time_is_the_time_of_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    y4m(folder.path(), "a.y4m", 3);
    let video = Video { realtime: true, ..Video::new("a.y4m").base(folder.path()) };
    let clock = std::sync::Arc::new(VirtualClock::new());
    let context = CaptureContext { clock: clock.clone() };
    let mut capture = trial::capture(&video).unwrap();
    let mut source = capture.next_stream(&context).await.unwrap().unwrap();
    assert!(source.info().live);
    let mut out = Output::new();
    source.read(&mut out).await.unwrap();
    assert_eq!(out.drain_emitted().count(), 1);
    let early = tokio::time::timeout(Duration::from_millis(50), source.read(&mut out)).await;
    assert!(early.is_err() && out.is_empty(), "the second frame is not due");
    clock.advance(TimeSpan::from_millis(40));
    source.read(&mut out).await.unwrap();
    assert_eq!(out.drain_emitted().next().unwrap().draft.start.as_nanos(), 40_000_000);
}

#[tokio::test]
async fn sound_comes_beside_the_frames_in_the_order_of_time() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pictures = "-f lavfi -i testsrc2=size=64x48:rate=25:duration=1";
    let sound = "-f lavfi -i sine=frequency=440:sample_rate=16000:duration=1";
    make(folder.path(), &format!("{pictures} {sound} -c:v mpeg4 -c:a pcm_s16le a.mkv"));
    make(folder.path(), &format!("{pictures} -c:v mpeg4 silent.mp4"));
    let video = Video::new(vec!["a.mkv".to_owned(), "silent.mp4".to_owned()]).base(folder.path()).sound(true);
    let names: Vec<String> = video.contract().outputs.into_iter().map(|port| port.name).collect();
    assert_eq!(names, ["frames", "sound"]);
    let context = trial::context();
    let mut capture = trial::capture(&video).unwrap();
    let mut source = capture.next_stream(&context).await.unwrap().unwrap();
    let rate = Rate::hz(16_000).ok();
    let image = Format::image(Some(PixelFormat::Rgb8), Some(64), Some(48));
    assert_eq!(source.info().formats, [image, Format::audio(rate, Some(1))]);
    let (mut out, mut order, mut samples) = (Output::new(), Vec::new(), 0);
    loop {
        let flow = source.read(&mut out).await.unwrap();
        for emitted in out.drain_emitted() {
            assert_eq!(emitted.port, usize::from(emitted.draft.payload.audio().is_ok()));
            samples += emitted.draft.payload.audio().map_or(0, |audio| audio.frames());
            order.push((emitted.draft.start, emitted.port));
        }
        if flow == Flow::End {
            break;
        }
    }
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!((order.iter().filter(|(_, port)| *port == 0).count(), samples), (25, 16_000));
    assert_eq!((source.loss().delivered, source.loss().damaged), (16_000, 0));
    let error = capture.next_stream(&context).await.err().unwrap().to_string();
    assert!(error.contains("silent.mp4: the video has no sound; leave out `sound: true`"), "{error}");
}

#[tokio::test]
async fn a_video_that_is_cut_gives_what_it_has_and_tells() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), "-f lavfi -i testsrc2=size=64x48:rate=25:duration=2 -c:v mpeg4 -movflags +faststart a.mp4");
    let path = folder.path().join("a.mp4");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (streams, errors) = trial::run(&Video::new("a.mp4").base(folder.path())).await;
    assert!(errors.is_empty(), "{errors:?}");
    let stream = &streams[0];
    assert!(stream.error.is_none() && (5..50).contains(&stream.drafts.len()));
    assert_eq!(stream.loss.damaged, 1);
    let [(EventKind::Damaged, told)] = stream.told()[..] else { panic!("{:?}", stream.told()) };
    assert!(told.contains("truncated after") && told.contains("of 50"), "{told}");
}

#[test]
fn faults_at_their_place() {
    let folder = tempfile::tempdir().unwrap();
    y4m(folder.path(), "a.y4m", 1);
    std::fs::write(folder.path().join("b.mp4"), "....ftypisom").unwrap();
    let check = |yaml: &str| {
        let source = Text::new("test.yaml", yaml);
        let node = crate::config::parse(&source).unwrap();
        let settings = Settings { base_dir: folder.path().to_owned(), ..Settings::default() };
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        (KIND.read)(&context).map_err(|faults| faults.to_string()).map(|blueprint| {
            blueprint.probe().iter().map(|fault| format!("{} {fault}", fault.place())).collect::<Vec<_>>().join("\n")
        })
    };
    assert_eq!(check("path: a.y4m\nffmpeg: /nowhere/ffmpeg").unwrap(), "", "no program is needed");
    for (yaml, says) in [
        ("path: [a.y4m, b.mp4]\nffmpeg: /nowhere/ffmpeg", "test.yaml:1:15"),
        (
            "path: b.mp4\nffmpeg: /nowhere/ffmpeg",
            "b.mp4: this needs the program `/nowhere/ffmpeg`, which was not found; install it",
        ),
        ("path: c.y4m", "did you mean `a.y4m`?"),
        ("path: '*.avi'", "no file matches `*.avi`"),
    ] {
        let faults = check(yaml).unwrap();
        assert!(faults.contains(says), "{yaml}: {faults}");
    }
    for (yaml, says) in [
        ("path: a.y4m\nfps: .nan", "a finite number"),
        ("path: a.y4m\nfps: -3", "a number above 0"),
        ("path: a.y4m\nevery: 0", "every"),
        ("path: a.y4m\nloops: true", "did you mean `loop`?"),
    ] {
        let faults = check(yaml).unwrap_err();
        assert!(faults.contains(says), "{yaml}: {faults}");
    }
}
