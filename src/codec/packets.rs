//! The one place that knows symphonia: finds the container, the track and the decoder, and steps through its packets.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{
    AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions, well_known,
};
use symphonia::core::errors::{Error, Result as SymphoniaResult};
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;

use super::input::{Input, Stream};

/// Faults of the container, one after the other, before it is given up: some repeat for ever.
const MAX_FAULTS_IN_A_ROW: u32 = 64;
/// A hole in the time stamps longer than this is no damage but a break in a broadcast.
const MAX_HOLE_SECONDS: u64 = 60;

/// Rate and channels of decoded sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Frames per second.
    pub(super) rate: u32,
    /// Samples in a frame.
    pub(super) channels: u16,
}

/// What came next.
pub(super) enum Event {
    /// A block of interleaved samples.
    Samples(Vec<f32>),
    /// A damaged place that lasted this many frames.
    Lost(u64),
    /// The container's end.
    End,
}

/// Why nothing comes any more.
#[derive(Debug)]
pub(super) enum Fault {
    /// The bytes end before the container does.
    CutOff,
    /// The system's error.
    Read(io::Error),
    /// No container or no header was understood.
    Malformed(String),
    /// Only tracks of other kinds, so many.
    NoTrack(usize),
    /// No decoder for this codec.
    Codec(String),
    /// Another shape from here on.
    Changed(Shape),
    /// The decoder or the container cannot go on.
    Undecodable(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => Fault::CutOff,
            Error::IoError(error) => Fault::Read(error),
            error => Fault::Undecodable(error.to_string()),
        }
    }
}

/// A decoder, what its track promises, and the unit of the track's time stamps.
type OpenTrack = (Box<dyn AudioDecoder>, Promise, Option<TimeBase>);

/// The packets of one audio track, decoded.
pub(super) struct Packets {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    time_base: Option<TimeBase>,
    /// The container's time stamps come from the file, not from counting packets: a jump means loss.
    stamped: bool,
    shape: Option<Shape>,
    /// The rate in the header, which damage before the first samples is measured by.
    promised_rate: u32,
    /// The shape of the last packet, if it was another one than before.
    suspect: Option<Shape>,
    next_tick: Option<i64>,
    /// A packet behind a hole that was reported first.
    held: Option<Packet>,
    faults_in_a_row: u32,
    bytes_read: Arc<AtomicU64>,
    /// Damaged places so far.
    pub(super) damaged: u64,
    /// Packets that gave samples.
    pub(super) good_packets: u64,
    /// Their bytes.
    pub(super) good_bytes: u64,
}

/// What a track's header promises.
pub(super) struct Promise {
    /// The track's number in its container.
    pub(super) track: u32,
    /// Rate and channels, where they are said.
    pub(super) shape: Option<Shape>,
    /// Frames without what the decoder trims.
    pub(super) frames: Option<u64>,
    /// `frames` comes with the encoder's delay and padding, so it is exact.
    pub(super) exact: bool,
}

impl Packets {
    /// Opens the first audio track. Without `seekable` the bytes are read strictly one after the other.
    pub(super) fn open(input: Input, seekable: bool) -> Result<(Packets, Promise), Fault> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let source: Box<dyn MediaSource> = match input {
            Input::File { file, .. } if seekable => Box::new(file),
            input => Box::new(ReadOnlySource::new(Counted { stream: input.into_stream(), count: bytes_read.clone() })),
        };
        let format = guard(|| {
            let stream = MediaSourceStream::new(source, Default::default());
            let (options, metadata) = (FormatOptions::default(), MetadataOptions::default());
            symphonia::default::get_probe().probe(&Hint::new(), stream, options, metadata)
        })
        .map_err(|fault| match fault {
            Fault::CutOff => Fault::Malformed("expected a header, found the end inside it".to_owned()),
            Fault::Undecodable(detail) => Fault::Malformed(detail),
            fault => fault,
        })?;
        let (decoder, promise, time_base) = open_track(format.as_ref())?;
        let stamped = matches!(format.format_info().short_name, "ogg" | "flac");
        // A flac file of known length starts at 0; other streams may have been joined midway.
        let first_tick = promise.frames.filter(|_| format.format_info().short_name == "flac").map(|_| 0);
        let packets = Packets {
            format,
            decoder,
            track: promise.track,
            time_base,
            stamped,
            shape: None,
            promised_rate: promise.shape.map_or(0, |shape| shape.rate),
            suspect: None,
            next_tick: first_tick,
            held: None,
            faults_in_a_row: 0,
            bytes_read,
            damaged: 0,
            good_packets: 0,
            good_bytes: 0,
        };
        Ok((packets, promise))
    }

    /// Rate and channels, known with the first samples.
    pub(super) fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Bytes read from an input that does not seek.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// At the end: whether the samples have the checksum that the file gives for them, if it gives one (flac).
    pub(super) fn verified(&mut self) -> bool {
        let decoder = &mut self.decoder;
        guard(|| Ok(decoder.finalize().verify_ok != Some(false))).unwrap_or(false)
    }

    /// Reads and decodes up to the next event. Not called again after an end or a fault.
    pub(super) fn next(&mut self) -> Result<Event, Fault> {
        loop {
            let Some(packet) = self.next_packet()? else {
                return Ok(Event::End);
            };
            if let Some(hole) = self.hole_before(&packet) {
                self.held = Some(packet);
                self.damaged += 1;
                return Ok(Event::Lost(hole));
            }
            let (decoder, mut block) = (&mut self.decoder, Vec::new());
            let decoded = guard(|| match decoder.decode(&packet) {
                Ok(buffer) => {
                    buffer.copy_to_vec_interleaved::<f32>(&mut block);
                    let channels = u16::try_from(buffer.spec().channels().count()).unwrap_or(u16::MAX);
                    Ok(Some(Shape { rate: buffer.spec().rate(), channels }))
                }
                // The packet is lost, the next one may be good.
                Err(Error::DecodeError(_) | Error::IoError(_) | Error::ResetRequired) => Ok(None),
                Err(error) => Err(error),
            })?;
            match decoded {
                None => {
                    self.damaged += 1;
                    return Ok(Event::Lost(self.frames_of(packet.dur.get())));
                }
                // A decoder may need a first packet, of any length, before it gives sound: no hole can be told behind it.
                Some(_) if block.is_empty() => self.next_tick = None,
                Some(shape) if *self.shape.get_or_insert(shape) == shape => {
                    self.suspect = None;
                    self.good_packets += 1;
                    self.good_bytes += packet.data.len() as u64;
                    return Ok(Event::Samples(block));
                }
                // Damage can look like the head of a packet of another shape; two of them are a change.
                Some(shape) if !self.stamped && self.suspect != Some(shape) => {
                    self.suspect = Some(shape);
                    self.damaged += 1;
                }
                Some(shape) => return Err(Fault::Changed(shape)),
            }
        }
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        if let Some(packet) = self.held.take() {
            return Ok(Some(packet));
        }
        loop {
            let format = &mut self.format;
            // A fault in one place of the container, or the start of a chained stream, ends nothing.
            let found = guard(|| match format.next_packet() {
                Err(Error::ResetRequired) => Ok(Err(true)),
                Err(Error::DecodeError(_)) => Ok(Err(false)),
                other => other.map(Ok),
            })?;
            match found {
                Ok(Some(packet)) if packet.track_id != self.track => continue,
                Ok(packet) => {
                    self.faults_in_a_row = 0;
                    return Ok(packet);
                }
                Err(true) => {
                    let (decoder, promise, time_base) = open_track(self.format.as_ref())?;
                    (self.decoder, self.track, self.time_base) = (decoder, promise.track, time_base);
                    self.next_tick = None;
                }
                Err(false) => self.damaged += 1,
            }
            self.faults_in_a_row += 1;
            if self.faults_in_a_row > MAX_FAULTS_IN_A_ROW {
                return Err(Fault::Undecodable(format!("{MAX_FAULTS_IN_A_ROW} damaged places in a row")));
            }
        }
    }

    /// The frames missing between the last packet and this one, as their time stamps tell.
    fn hole_before(&mut self, packet: &Packet) -> Option<u64> {
        let start = packet.pts.get();
        let expected = self.next_tick.replace(start.saturating_add_unsigned(packet.dur.get()));
        let hole = start.checked_sub(expected?).filter(|hole| self.stamped && *hole > 0)?;
        Some(self.frames_of(hole.unsigned_abs()))
    }

    /// The frames in a span of the container's time; 0 if it is too long to be damage.
    fn frames_of(&self, ticks: u64) -> u64 {
        let Some(base) = self.time_base else { return 0 };
        let rate = self.shape.map_or(self.promised_rate, |shape| shape.rate);
        let product = u128::from(ticks) * u128::from(base.numer.get()) * u128::from(rate);
        let frames = u64::try_from(product / u128::from(base.denom.get())).unwrap_or(u64::MAX);
        if frames > MAX_HOLE_SECONDS * u64::from(rate) { 0 } else { frames }
    }
}

/// Runs code of the decoders. A panic in one, on bytes that it did not expect, is a fault of the file.
fn guard<T>(work: impl FnOnce() -> SymphoniaResult<T>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Fault::from),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            Err(Fault::Undecodable(format!("the decoder failed ({})", text.unwrap_or("no reason given"))))
        }
    }
}

fn open_track(format: &dyn FormatReader) -> Result<OpenTrack, Fault> {
    let track = format.default_track(TrackType::Audio).or_else(|| format.first_track(TrackType::Audio));
    let Some((track, params)) = track.and_then(|track| Some((track, audio_params(track)?))) else {
        return Err(Fault::NoTrack(format.tracks().len()));
    };
    let decoder = guard(|| {
        symphonia::default::get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default().verify(true))
    })
    .map_err(|fault| match fault {
        Fault::Undecodable(detail) => Fault::Codec(format!("{} ({detail})", codec_name(params.codec))),
        fault => fault,
    })?;
    let shape = params
        .sample_rate
        .zip(params.channels.as_ref())
        .map(|(rate, channels)| Shape { rate, channels: u16::try_from(channels.count()).unwrap_or(u16::MAX) });
    let promise = Promise {
        track: track.id,
        shape,
        frames: track.num_frames.filter(|_| track.start_ts.get() <= 0),
        exact: track.delay.is_some(),
    };
    Ok((decoder, promise, track.time_base))
}

fn audio_params(track: &Track) -> Option<&AudioCodecParameters> {
    match &track.codec_params {
        Some(CodecParameters::Audio(params)) => Some(params),
        _ => None,
    }
}

fn codec_name(codec: AudioCodecId) -> String {
    let name = match codec {
        well_known::CODEC_ID_OPUS => "opus",
        well_known::CODEC_ID_SPEEX => "speex",
        well_known::CODEC_ID_AAC => "aac",
        well_known::CODEC_ID_AC3 => "ac3",
        well_known::CODEC_ID_EAC3 => "eac3",
        well_known::CODEC_ID_AC4 => "ac4",
        well_known::CODEC_ID_DCA => "dts",
        well_known::CODEC_ID_WMA => "wma",
        well_known::CODEC_ID_WAVPACK => "wavpack",
        well_known::CODEC_ID_TTA => "tta",
        well_known::CODEC_ID_TRUEHD => "truehd",
        well_known::CODEC_ID_ADPCM_G722 => "g722",
        well_known::CODEC_ID_ADPCM_G726 | well_known::CODEC_ID_ADPCM_G726LE => "g726",
        other => return format!("an unknown codec, number {other}"),
    };
    name.to_owned()
}

struct Counted {
    stream: Stream,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
