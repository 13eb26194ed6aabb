use std::process::Command;

use super::*;

/// Whether ffmpeg is here; where it is not, what needs it is not shown.
fn ffmpeg_is_here() -> bool {
    let here = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !here {
        eprintln!("skipped: ffmpeg is not installed");
    }
    here
}

/// Runs ffmpeg on words in which spaces separate.
fn ffmpeg(folder: &Path, arguments: &str) {
    let mut command = Command::new("ffmpeg");
    command.current_dir(folder).args(["-v", "error", "-nostdin", "-y"]).args(arguments.split(' '));
    assert!(command.status().unwrap().success(), "{arguments}");
}

/// The times of the frames as ffprobe has them, in seconds.
fn probed(path: &Path) -> Vec<f64> {
    let arguments = "-v error -select_streams v:0 -show_entries frame=best_effort_timestamp_time -of csv=p=0";
    let output = Command::new("ffprobe").args(arguments.split(' ')).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.trim_matches([',', ' '])).filter(|line| !line.is_empty());
    lines.map(|line| line.parse().unwrap()).collect()
}

fn read_all(path: &Path) -> (VideoSpec, Vec<VideoFrame>, Option<VideoError>) {
    let mut reader = VideoReader::open(path, &VideoOptions::default()).unwrap();
    let (mut frames, mut error) = (Vec::new(), None);
    loop {
        match reader.read() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => break,
            Err(fault) => {
                error = Some(fault);
                assert!(reader.read().unwrap().is_none(), "nothing comes after an error");
                break;
            }
        }
    }
    assert_eq!(reader.position(), frames.len() as u64);
    (reader.spec().clone(), frames, error)
}

#[test]
fn frames_and_times_are_those_of_ffprobe() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = |rate: &str| format!("-f lavfi -i testsrc2=size=64x48:rate={rate}:duration=1");
    for (name, arguments, count) in [
        ("steady.mp4", format!("{} -c:v mpeg4 -bf 2", source("30000/1001")), 30),
        ("varies.mp4", format!("{} -vf select=not(eq(mod(n\\,3)\\,1)) -vsync vfr -c:v mpeg4", source("25")), 17),
        ("slow.mkv", format!("{} -c:v mpeg4", source("5")), 5),
        ("odd.avi", "-f lavfi -i testsrc2=size=63x47:rate=10:duration=1 -c:v mjpeg -pix_fmt yuvj444p".into(), 10),
        ("one.mkv", "-f lavfi -i color=red:size=4x4:rate=10 -vf format=rgb24,crop=1:1 -frames:v 1 -c:v png".into(), 1),
        ("later.mkv", format!("{} -c:v mpeg4 -output_ts_offset 3", source("25")), 25),
    ] {
        ffmpeg(folder.path(), &format!("{arguments} {name}"));
        let path = folder.path().join(name);
        let (spec, frames, error) = read_all(&path);
        assert!(error.is_none(), "{name}: {error:?}");
        let expected = probed(&path);
        assert_eq!((frames.len(), expected.len()), (count, count), "{name}");
        // Times count from the file's start.
        let first = expected[0];
        for (frame, expected) in frames.iter().zip(expected) {
            let found = frame.start.as_seconds();
            assert!((found - (expected - first)).abs() < 1e-6, "{name}: {found}, expected {expected}");
            assert_eq!((frame.image.width(), frame.image.height()), (spec.width, spec.height), "{name}");
        }
        assert!(spec.period.is_some(), "{name}");
    }
    let (_, frames, _) = read_all(&folder.path().join("one.mkv"));
    let red = frames[0].image.packed();
    assert!(red[0] > 250 && red[1] < 5 && red[2] < 5, "{red:?}");
}

#[test]
fn a_turned_video_stands_upright() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ffmpeg(folder.path(), "-f lavfi -i testsrc2=size=64x48:rate=5:duration=1 -c:v mpeg4 flat.mp4");
    ffmpeg(folder.path(), "-i flat.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4");
    let arguments = "-v error -show_entries stream_side_data=rotation -of csv=p=0 turned.mp4";
    let output = Command::new("ffprobe").current_dir(folder.path()).args(arguments.split(' ')).output().unwrap();
    if String::from_utf8_lossy(&output.stdout).contains("90") {
        let (spec, frames, _) = read_all(&folder.path().join("turned.mp4"));
        assert_eq!((spec.width, spec.height, frames.len()), (48, 64, 5));
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("empty.mp4", b"");
    let mut table = vec![
        ("gone.mp4", "gone.mp4: there is no such file"),
        ("empty.mp4", "empty.mp4: expected a video, found nothing (0 bytes)"),
        (".", "expected a video, found a folder"),
        ("gone%03d.png", "gone%03d.png: there is no such file"),
    ];
    if ffmpeg_is_here() {
        write("text.mp4", b"this is no video at all, and ffmpeg says so");
        ffmpeg(folder.path(), "-f lavfi -i sine=frequency=440:duration=0.2 sound.wav");
        ffmpeg(folder.path(), "-f lavfi -i testsrc2=size=64x48:rate=25:duration=2 -c:v mpeg4 whole.mp4");
        let whole = std::fs::read(folder.path().join("whole.mp4")).unwrap();
        write("cut.mp4", &whole[..whole.len() / 2]);
        ffmpeg(folder.path(), "-f lavfi -i color=size=9000x12000:rate=1:duration=1 -c:v ffv1 large.mkv");
        table.extend([
            ("text.mp4", "expected a video that ffmpeg can read, found that it says: "),
            ("text.mp4", "Invalid data found when processing input"),
            ("sound.wav", "sound.wav: expected a file with video, found only sound (pcm_s16le); use `capture: file`"),
            ("cut.mp4", "moov atom not found"),
            ("large.mkv", "expected frames of at most 100000000 pixels, found 9000 × 12000"),
        ]);
    }
    for (name, says) in table {
        let error = VideoReader::open(&folder.path().join(name), &VideoOptions::default()).unwrap_err().to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[test]
fn a_file_that_is_cut_gives_what_it_has() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = "-f lavfi -i testsrc2=size=64x48:rate=25:duration=2 -c:v mpeg4";
    ffmpeg(folder.path(), &format!("{source} -movflags +faststart whole.mp4"));
    let path = folder.path().join("whole.mp4");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() * 2 / 3]).unwrap();
    let (spec, frames, error) = read_all(&path);
    assert_eq!(spec.frames, Some(50));
    assert!((5..50).contains(&frames.len()), "{}", frames.len());
    let error = error.unwrap().to_string();
    let says = format!("whole.mp4: truncated after {} frames of 50 (ffmpeg says: ", frames.len());
    assert!(error.contains(&says), "{error}");
}

#[test]
fn damage_that_ffmpeg_steps_over_is_told_at_the_end() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    ffmpeg(folder.path(), "-f lavfi -i testsrc2=size=64x48:rate=25:duration=1 -c:v mpeg4 a.avi");
    let path = folder.path().join("a.avi");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    for (n, byte) in bytes[middle..middle + 600].iter_mut().enumerate() {
        *byte = (n * 37) as u8;
    }
    std::fs::write(&path, bytes).unwrap();
    let mut reader = VideoReader::open(&path, &VideoOptions::default()).unwrap();
    while reader.read().unwrap_or(None).is_some() {}
    assert!(reader.position() > 10);
    assert!(reader.complaint().is_some_and(|said| said.contains("mpeg4")), "{:?}", reader.complaint());
}

/// A test picture that never ends.
fn endless() -> VideoDevice {
    VideoDevice { format: "lavfi".into(), name: "testsrc2=size=32x16:rate=25".into(), options: Vec::new() }
}

#[test]
fn a_killed_program_is_an_error_and_leaves_nothing_behind() {
    if !ffmpeg_is_here() {
        return;
    }
    let options = VideoOptions::default();
    let mut reader = VideoReader::open_device(&endless(), &options).unwrap();
    for n in 0..3 {
        let frame = reader.read().unwrap().unwrap();
        assert_eq!((frame.image.width(), frame.image.height()), (32, 16));
        assert_eq!(frame.start, Timestamp::from_nanos(n * 40_000_000));
    }
    let stopper = options.stopper;
    let exists = |process: u32| Path::new(&format!("/proc/{process}")).exists();
    let process = stopper.process().unwrap();
    assert!(exists(process) || !cfg!(target_os = "linux"));
    stopper.stop();
    let error = loop {
        match reader.read() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if nothing had happened"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("ffmpeg ended too early (signal: 9") || !cfg!(unix), "{error}");
    assert!(error.contains(" frames"), "{error}");
    assert!(!exists(process), "no zombie");
    // One that is dropped in the middle.
    let options = VideoOptions::default();
    let mut reader = VideoReader::open_device(&endless(), &options).unwrap();
    reader.read().unwrap();
    let process = options.stopper.process().unwrap();
    drop(reader);
    assert!(!exists(process), "neither it nor a zombie");
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    if !ffmpeg_is_here() {
        return;
    }
    let device = VideoDevice { format: "v4l2".into(), name: "/dev/video99".into(), options: Vec::new() };
    let error = VideoReader::open_device(&device, &VideoOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("/dev/video99: "), "{error}");
}

#[test]
fn y4m_and_sequences_need_no_program() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    let bytes = [&b"YUV4MPEG2 W2 H1 F30000:1001 Cmono\nFRAME\n"[..], &[16, 235], b"FRAME\n", &[235, 16]].concat();
    std::fs::write(&path, bytes).unwrap();
    let options = VideoOptions { ffmpeg: Ffmpeg::at("/nowhere/ffmpeg"), ..VideoOptions::default() };
    let mut reader = VideoReader::open(&path, &options).unwrap();
    let spec = reader.spec().clone();
    assert_eq!((spec.width, spec.height, spec.frames), (2, 1, Some(2)));
    let frames: Vec<VideoFrame> = std::iter::from_fn(|| reader.read().unwrap()).collect();
    let starts: Vec<i64> = frames.iter().map(|frame| frame.start.as_nanos()).collect();
    assert_eq!(starts, [0, 33_366_667]);
    assert_eq!(&frames[1].image.packed()[..], [255, 255, 255, 0, 0, 0]);
    std::fs::write(folder.path().join("b.mp4"), b"....ftyp").unwrap();
    let error = VideoReader::open(&folder.path().join("b.mp4"), &options).unwrap_err().to_string();
    assert!(error.contains("which was not found; install it"), "{error}");
}

#[test]
fn written_videos_keep_the_times_of_their_frames() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let picture = |width: u32, height: u32, colour: [u8; 3]| {
        Image::new(colour.repeat((width * height) as usize), width, height, PixelFormat::Rgb8).unwrap()
    };
    let colours = [[250, 20, 20], [20, 250, 20], [20, 20, 250], [200, 200, 200]];
    for (name, (width, height), times_ms) in [
        ("steady.mp4", (64, 48), [0, 40, 80, 120]),
        ("varies.mp4", (64, 48), [0, 40, 500, 533]),
        ("later.mkv", (64, 48), [300, 340, 380, 420]),
        ("odd.mp4", (35, 17), [0, 40, 80, 120]),
        ("same.mp4", (64, 48), [0, 0, 0, 40]),
    ] {
        let path = folder.path().join(name);
        let mut writer = VideoWriter::create(&path, width, height, &Ffmpeg::default()).unwrap();
        for (time, colour) in times_ms.iter().zip(colours) {
            writer.write(&picture(width, height, colour), Timestamp::from_nanos(time * 1_000_000)).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), 4);
        let found = probed(&path);
        assert_eq!(found.len(), 4, "{name}");
        for (found, expected) in found.iter().zip(times_ms) {
            // Matroska counts milliseconds; equal times move a little apart.
            assert!((found * 1000.0 - expected as f64).abs() < 1.01, "{name}: {found} s, expected {expected} ms");
        }
        let (spec, frames, error) = read_all(&path);
        assert!(error.is_none());
        assert_eq!((spec.width, spec.height), (width.next_multiple_of(2), height.next_multiple_of(2)), "{name}");
        for (frame, colour) in frames.iter().zip(colours) {
            let pixels = frame.image.packed();
            let middle = (height as usize / 2 * spec.width as usize + width as usize / 2) * 3;
            let near = pixels[middle..middle + 3].iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12);
            assert!(near, "{name}: {:?}, expected {colour:?}", &pixels[middle..middle + 3]);
        }
    }
}

#[test]
fn what_cannot_be_written_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp4");
    let error = VideoWriter::create(&path, 4, 4, &Ffmpeg::at("/nowhere/ffmpeg")).unwrap_err().to_string();
    assert!(error.contains("needs the program `/nowhere/ffmpeg`"), "{error}");
    if !ffmpeg_is_here() {
        return;
    }
    let frame = Image::new(vec![0u8; 48], 4, 4, PixelFormat::Rgb8).unwrap();
    let mut writer = VideoWriter::create(&folder.path().join("gone/a.mp4"), 4, 4, &Ffmpeg::default()).unwrap();
    let mut result = Ok(());
    for n in 0..1000 {
        result = writer.write(&frame, Timestamp::from_nanos(n * 40_000_000));
        if result.is_err() {
            break;
        }
    }
    let error = result.and_then(|()| writer.finish().map(|_| ())).unwrap_err().to_string();
    assert!(error.contains("gone/a.mp4: ffmpeg cannot write it") && error.contains("No such file"), "{error}");
    let mut writer = VideoWriter::create(&path, 8, 8, &Ffmpeg::default()).unwrap();
    let error = writer.write(&frame, Timestamp::ZERO).unwrap_err().to_string();
    assert!(error.contains("expected frames of 8 × 8 rgb8, found 4 × 4 rgb8"), "{error}");
}

#[test]
fn the_sound_of_a_video_is_read_whatever_its_codec() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pictures = "-f lavfi -i testsrc2=size=64x48:rate=25:duration=1";
    let sound = "-f lavfi -i sine=frequency=440:sample_rate=16000:duration=1";
    // AC-3 is not read here, so it goes through ffmpeg; it has blocks of 1536 frames.
    for (name, codec, rate) in
        [("a.mp4", "aac", 16_000), ("b.mkv", "pcm_s16le", 16_000), ("c.mkv", "ac3 -ar 32000", 32_000)]
    {
        ffmpeg(folder.path(), &format!("{pictures} {sound} -c:v mpeg4 -c:a {codec} {name}"));
        let (mut reader, begin) = video_sound(&folder.path().join(name), &VideoOptions::default()).unwrap();
        assert_eq!(reader.spec().sample_rate, Rate::hz(rate).unwrap(), "{name}");
        assert!(begin < TimeSpan::from_millis(20), "{name}: {begin}");
        let mut samples = Vec::new();
        while reader.read(&mut samples).unwrap() > 0 {}
        let expected = rate as usize;
        assert!(samples.len().abs_diff(expected) <= 1600, "{name}: {} samples", samples.len());
        let power = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
        assert!((0.001..0.1).contains(&power), "{name}: {power}");
    }
    ffmpeg(folder.path(), &format!("{pictures} -c:v mpeg4 silent.mp4"));
    let error = video_sound(&folder.path().join("silent.mp4"), &VideoOptions::default()).err().unwrap().to_string();
    assert!(error.contains("silent.mp4: the video has no sound"), "{error}");
}
