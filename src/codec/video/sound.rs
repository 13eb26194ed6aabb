//! The sound of a video.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::ChildStdout;

use super::super::audio::AudioReader;
use super::program::{Running, Work};
use super::{VideoError, VideoOptions, how, probe};
use crate::units::TimeSpan;

/// The first stream of sound of the video at `path`, and how long after the file's start it begins.
///
/// What [`AudioReader`] reads itself it does; anything else goes through ffmpeg.
pub fn video_sound(path: &Path, options: &VideoOptions) -> Result<(AudioReader, TimeSpan), VideoError> {
    if !path.is_file() || super::is_y4m(path)? {
        return Err(VideoError::NoSound { path: path.to_owned() });
    }
    let about = probe::probe(&options.ffmpeg, path, &options.limits)?;
    let begin = about.sound.ok_or_else(|| VideoError::NoSound { path: path.to_owned() })?;
    if let Ok(reader) = AudioReader::open(path) {
        return Ok((reader, begin));
    }
    let mut arguments: Vec<OsString> = vec!["-i".into(), probe::file_argument(path)];
    arguments.extend("-map 0:a:0 -vn -c:a pcm_f32le -f wav pipe:1".split(' ').map(OsString::from));
    let mut running = options.ffmpeg.start(path, Work::Gives, &arguments, &options.stopper)?;
    let output = running.output.take();
    let pipe = SoundPipe { running, output };
    let reader = AudioReader::from_stream(Box::new(pipe), Some("wav"))
        .map_err(|error| VideoError::Unreadable { path: path.to_owned(), detail: error.to_string() })?;
    Ok((reader, begin))
}

/// What ffmpeg writes. Its failure is an error of the last read.
struct SoundPipe {
    running: Running,
    output: Option<ChildStdout>,
}

impl Read for SoundPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(output) = &mut self.output else { return Ok(0) };
        let count = output.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.output = None;
            let (status, detail) = self.running.end();
            if !status.is_some_and(|status| status.success()) {
                return Err(io::Error::other(format!("ffmpeg ended too early ({}): {detail}", how(status))));
            }
        }
        Ok(count)
    }
}
