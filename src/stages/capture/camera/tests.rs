use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::*;
use crate::stage::{EventKind, Flow, Output};
use crate::stages::capture::trial::{self, Ran};
use crate::units::{Clock, SystemClock};

/// Whether ffmpeg is here; where it is not, what needs it is not shown.
fn ffmpeg_is_here() -> bool {
    let here = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !here {
        eprintln!("skipped: ffmpeg is not installed");
    }
    here
}

fn test_picture(source: &str) -> Camera {
    Camera { format: "lavfi".into(), device: source.into(), reopen_ms: 20, ..Camera::default() }
}

/// Reads until `enough` says so.
async fn watch(camera: &Camera, mut enough: impl FnMut(&Ran) -> bool) -> Ran {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let context = CaptureContext { clock };
    let mut capture = trial::capture(camera).unwrap();
    let mut source = capture.next_stream(&context).await.unwrap().unwrap();
    let mut ran = trial::begun(&*source);
    let mut out = Output::new();
    while !enough(&ran) {
        assert_eq!(source.read(&mut out).await.unwrap(), Flow::More);
        trial::collect(&mut ran, &mut out);
    }
    ran
}

#[tokio::test]
async fn frames_come_at_the_cameras_pace() {
    if !ffmpeg_is_here() {
        return;
    }
    let ran = watch(&test_picture("testsrc2=size=64x48:rate=50"), |ran| ran.drafts.len() >= 10).await;
    assert!(ran.info.live && ran.info.wall.is_some());
    assert_eq!(ran.info.formats, [Format::image(Some(PixelFormat::Rgb8), Some(64), Some(48))]);
    let starts: Vec<i64> = ran.drafts.iter().map(|draft| draft.start.as_nanos()).collect();
    assert!(starts.is_sorted());
    for (draft, pair) in ran.drafts[1..].iter().zip(starts.windows(2)) {
        // A reader that is held up loses frames, and says so.
        assert!((pair[1] - pair[0]) % 20_000_000 == 0, "{starts:?}");
        assert!(draft.flags.gap || pair[1] - pair[0] == 20_000_000, "{starts:?}");
    }
}

#[tokio::test]
async fn a_camera_that_goes_away_is_told_and_opened_again() {
    if !ffmpeg_is_here() {
        return;
    }
    // A test picture of five frames: a camera that is pulled out again and again.
    let ran = watch(&test_picture("testsrc2=size=32x16:rate=20:duration=0.25"), |ran| ran.drafts.len() >= 12).await;
    let kinds: Vec<EventKind> = ran.told().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        kinds[..4],
        [EventKind::DeviceLost, EventKind::DeviceBack, EventKind::DeviceLost, EventKind::DeviceBack]
    );
    let told = ran.told();
    assert!(told[0].1.contains("is gone: it has ended; trying to open it again"), "{told:?}");
    assert!(told[1].1.contains("delivers again (it has ended before)"), "{told:?}");
    let starts: Vec<i64> = ran.drafts.iter().map(|draft| draft.start.as_nanos()).collect();
    assert!(starts.is_sorted(), "{starts:?}");
    let gaps: Vec<usize> = (0..12).filter(|n| ran.drafts[*n].flags.gap).collect();
    assert_eq!(gaps, [5, 10]);
    // By the clock: a program was started in between, which takes longer than a frame.
    assert!(starts[5] - starts[4] > 50_000_000 - 20_000_000, "{starts:?}");
}

#[tokio::test]
async fn a_camera_that_is_not_there_is_an_error_at_the_start() {
    if !ffmpeg_is_here() {
        return;
    }
    for (camera, says) in [
        (Camera { format: "v4l2".into(), device: "/dev/video99".into(), ..Camera::default() }, "/dev/video99"),
        (test_picture("nosuchsource"), "nosuchsource"),
        (Camera { ffmpeg: "/nowhere/ffmpeg".into(), ..test_picture("testsrc2") }, "which was not found; install it"),
    ] {
        let context = trial::context();
        let mut capture = trial::capture(&camera).unwrap();
        let error = capture.next_stream(&context).await.err().unwrap();
        assert!(matches!(error, StageError::Fatal(_)) && error.to_string().contains(says), "{error}");
    }
}

#[test]
fn what_is_asked_of_the_device() {
    let wanted = |camera: Camera| camera.wanted().options.join(" ");
    let v4l2 = || Camera { format: "v4l2".into(), ..Camera::default() };
    assert_eq!(wanted(v4l2()), "");
    let sized = Camera { width: Some(640), height: Some(480), fps: Some(15.0), ..v4l2() };
    assert_eq!(wanted(sized), "-framerate 15 -video_size 640x480");
    let options = vec!["-input_format".to_owned(), "mjpeg".to_owned()];
    assert_eq!(wanted(Camera { options, ..v4l2() }), "-input_format mjpeg");
    assert_eq!(wanted(Camera { fps: Some(5.0), ..test_picture("testsrc2") }), "-re");
}

#[test]
fn an_absent_camera_is_a_warning() {
    if !ffmpeg_is_here() {
        return;
    }
    let absent = Camera { format: "v4l2".into(), device: "/dev/video99".into(), ..Camera::default() };
    let [fault] = &absent.probe()[..] else { panic!("{:?}", absent.probe()) };
    assert!(fault.to_string().contains("there is no camera `/dev/video99`"), "{fault}");
    assert_eq!(test_picture("testsrc2").probe(), []);
    assert!(!Path::new("/dev/video99").exists());
    let missing = Camera { ffmpeg: "/nowhere/ffmpeg".into(), ..Camera::default() };
    assert_eq!(missing.probe()[0].code, "no-ffmpeg");
}
