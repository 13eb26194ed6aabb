//! Devices: what there is, and a thread that holds one open. The only code that knows cpal.
//!
//! Opening, closing and even a callback may block for as long as a driver likes, so every open device has a thread of its
//! own, which the stream only talks to through a [`Line`].

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{BufferSize, ErrorKind, SampleFormat, StreamConfig, SupportedStreamConfigRange};
use thiserror::Error;
use tokio::sync::oneshot;

use super::ring::{RingReader, RingWriter, ring};
use crate::units::Rate;

/// Rates beyond these are what virtual devices claim, not what anybody records.
const SANE_RATES: std::ops::RangeInclusive<u32> = 4_000..=768_000;
/// The rate of a device that claims anything.
const USUAL_RATE: u32 = 48_000;
/// Devices that an error lists.
const LISTED: usize = 20;

/// A device that can record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its stable name, for `device:`, as in `hw:CARD=1,DEV=0`.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Whether it is taken when no device is named.
    pub default: bool,
}

/// Why a microphone cannot be used.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no such device.
    #[error("no microphone `{wanted}`; {}", listed(.found))]
    Missing {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: Vec<Device>,
    },
    /// There is no default input.
    #[error("there is no default microphone; {}", listed(.found))]
    NoDefault {
        /// What there is.
        found: Vec<Device>,
    },
    /// It cannot record what is asked for.
    #[error("the microphone {device} does not record {wanted}; it offers {offered}")]
    Unsupported {
        /// The device.
        device: String,
        /// What was asked for.
        wanted: String,
        /// What it offers, in words.
        offered: String,
    },
    /// The system refused to open it, or it failed while it was open.
    #[error("the microphone {device} {doing}: {reason}{}", hint(.busy))]
    Failed {
        /// The device.
        device: String,
        /// What was being done with it.
        doing: &'static str,
        /// The system's word.
        reason: String,
        /// Whether another program has it.
        busy: bool,
    },
}

fn listed(devices: &[Device]) -> String {
    if devices.is_empty() {
        return "this machine has none; plug one in, or read a recording with `- capture: file`".into();
    }
    let shown: Vec<_> =
        devices.iter().take(LISTED).map(|device| format!("`{}` ({})", device.id, device.name)).collect();
    let more = devices.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("there are {}{more}", shown.join(", "))
}

fn hint(busy: &bool) -> &'static str {
    if *busy { "; close the program that has it" } else { "" }
}

/// The devices that can record. Opens none; empty when the system has no sound at all. ALSA's `null`, which records
/// nothing, is left out.
pub fn list() -> Vec<Device> {
    let host = cpal::default_host();
    let default = host.default_input_device().and_then(|device| device.id().ok()).map(|id| id.id().to_owned());
    let Ok(devices) = host.input_devices() else { return Vec::new() };
    devices.filter_map(|device| describe(&device, default.as_deref())).filter(|device| device.id != "null").collect()
}

fn describe(device: &cpal::Device, default: Option<&str>) -> Option<Device> {
    let id = device.id().ok()?.id().to_owned();
    let name = device.description().map_or_else(|_| id.clone(), |description| description.name().to_owned());
    Some(Device { default: default == Some(id.as_str()), id, name })
}

/// Finds a device: by its id, by its name, by a part of either; the default without a wish.
fn find(wanted: Option<&str>) -> Result<cpal::Device, DeviceError> {
    let host = cpal::default_host();
    let Some(wanted) = wanted else {
        return host.default_input_device().ok_or_else(|| DeviceError::NoDefault { found: list() });
    };
    let devices: Vec<(Device, cpal::Device)> = host
        .input_devices()
        .into_iter()
        .flatten()
        .filter_map(|device| Some((describe(&device, None)?, device)))
        .collect();
    let choice = choose(wanted, &devices.iter().map(|(known, _)| known.clone()).collect::<Vec<_>>());
    match choice.and_then(|choice| devices.into_iter().nth(choice)) {
        Some((_, device)) => Ok(device),
        None => Err(DeviceError::Missing { wanted: wanted.to_owned(), found: list() }),
    }
}

/// The first device with this id, else with this name, else with this text in its id or name, letters' case ignored.
fn choose(wanted: &str, devices: &[Device]) -> Option<usize> {
    let bare = wanted.split_once(':').filter(|(host, _)| *host == "alsa").map_or(wanted, |(_, id)| id);
    let lower = wanted.to_lowercase();
    let exact = |device: &Device| device.id == wanted || device.id == bare;
    let named = |device: &Device| device.name == wanted;
    let part =
        |device: &Device| device.id.to_lowercase().contains(&lower) || device.name.to_lowercase().contains(&lower);
    let first = |test: &dyn Fn(&Device) -> bool| devices.iter().position(test);
    first(&exact).or_else(|| first(&named)).or_else(|| first(&part))
}

/// Whether the device that is wished for is there; opens nothing.
pub(super) fn look_for(wanted: Option<&str>) -> Result<(), DeviceError> {
    find(wanted)?;
    // A system without any device still claims to have a default one.
    if wanted.is_none() && list().is_empty() {
        return Err(DeviceError::NoDefault { found: Vec::new() });
    }
    Ok(())
}

/// What is wished of a device.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub device: Option<String>,
    /// `None`: the device's own.
    pub sample_rate_hz: Option<u32>,
    /// `None`: one channel; the mean of the device's channels when it has no less.
    pub channels: Option<u16>,
    /// How much sound the ring holds.
    pub buffer_ms: u32,
}

/// A device that is open and delivers.
#[derive(Debug)]
pub(super) struct Connected {
    /// Its name for people.
    pub name: String,
    pub rate: Rate,
    pub channels: u16,
    pub ring: RingReader,
    /// Why it is gone, once it is.
    pub failure: Failure,
}

/// Why an open device is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    /// Tells it; the first reason stays.
    pub(super) fn set(&self, reason: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The line to a thread that opens a device and holds it until the line is hung up.
#[derive(Debug)]
pub(super) struct Line {
    /// How the opening went.
    pub answer: oneshot::Receiver<Result<Connected, DeviceError>>,
    /// Dropped to close the device.
    pub hold: mpsc::Sender<()>,
    /// Ends, with an error, when the device is closed.
    pub closed: oneshot::Receiver<()>,
}

/// Starts to open a device.
pub(super) fn dial(wish: &Wish) -> Line {
    let (answering, answer) = oneshot::channel();
    let (hold, held) = mpsc::channel::<()>();
    let (open, closed) = oneshot::channel::<()>();
    let wish = wish.clone();
    let device = wish.device.clone().unwrap_or_else(|| "default".into());
    let spawned = std::thread::Builder::new().name("percept/microphone".into()).spawn(move || {
        let _open = open;
        let hush = Hush::begin();
        let connected = connect(&wish);
        hush.tell();
        match connected {
            Ok((stream, connected)) => {
                if answering.send(Ok(connected)).is_ok() {
                    // Nothing is ever sent: it returns when the line is hung up.
                    let _ = held.recv();
                }
                drop(stream);
            }
            Err(error) => drop(answering.send(Err(error))),
        }
    });
    if let Err(error) = spawned {
        // The thread's ends are gone with it, so an answer is made up here.
        let (answering, answer) = oneshot::channel();
        let failed = DeviceError::Failed { device, doing: "got no thread", reason: error.to_string(), busy: false };
        drop(answering.send(Err(failed)));
        return Line { answer, hold, closed };
    }
    Line { answer, hold, closed }
}

/// Keeps ALSA's library from writing to the standard error in this thread, which it does at length for each thing that it
/// looks for in vain. What matters of that comes back as an error of the call.
struct Hush {
    #[cfg(target_os = "linux")]
    said: Option<std::rc::Rc<std::cell::RefCell<alsa::Output>>>,
}

impl Hush {
    fn begin() -> Hush {
        Hush {
            // Where there is no memory for it, the lines are written as ever.
            #[cfg(target_os = "linux")]
            said: alsa::Output::local_error_handler().ok(),
        }
    }

    /// Logs what was kept.
    fn tell(&self) {
        #[cfg(target_os = "linux")]
        if let Some(said) = &self.said {
            let said = said.borrow().to_string();
            said.lines().for_each(|line| tracing::debug!("{line}"));
        }
    }
}

fn connect(wish: &Wish) -> Result<(cpal::Stream, Connected), DeviceError> {
    let device = find(wish.device.as_deref())?;
    let name = device.description().map_or_else(|_| "without a name".into(), |found| found.name().to_owned());
    let failed = |doing| {
        let device = format!("\"{name}\"");
        move |error: cpal::Error| DeviceError::Failed {
            device,
            doing,
            reason: error.to_string(),
            busy: error.kind() == ErrorKind::DeviceBusy,
        }
    };
    let offers: Vec<_> = device.supported_input_configs().map_err(failed("does not say what it records"))?.collect();
    let own_rate = device.default_input_config().ok().map(|config| config.sample_rate());
    let Some(choice) = pick(&offers, wish, own_rate) else {
        return Err(DeviceError::Unsupported {
            device: format!("\"{name}\""),
            wanted: wanted(wish),
            offered: offered(&offers),
        });
    };
    let rate = Rate::hz(choice.rate).map_err(|error| DeviceError::Failed {
        device: format!("\"{name}\""),
        doing: "has no rate",
        reason: error.to_string(),
        busy: false,
    })?;
    let frames = u64::from(choice.rate) * u64::from(wish.buffer_ms) / 1000;
    let channels = if choice.mixed { 1 } else { choice.channels };
    let (writer, reader) = ring(usize::try_from(frames).unwrap_or(usize::MAX), channels);
    let failure = Failure::default();
    let stream = build(&device, choice, writer, failure.clone()).map_err(failed("cannot be opened"))?;
    stream.play().map_err(failed("does not start"))?;
    Ok((stream, Connected { name, rate, channels, ring: reader, failure }))
}

/// How a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Choice {
    format: SampleFormat,
    rate: u32,
    /// The device's channels.
    channels: u16,
    /// Whether they are mixed into one.
    mixed: bool,
}

/// Sample formats in the order in which they are chosen: what needs the least conversion first.
const FORMATS: [SampleFormat; 10] = [
    SampleFormat::F32,
    SampleFormat::I16,
    SampleFormat::I32,
    SampleFormat::I24,
    SampleFormat::F64,
    SampleFormat::U16,
    SampleFormat::U32,
    SampleFormat::U24,
    SampleFormat::U8,
    SampleFormat::I8,
];

/// The best of what a device offers.
fn pick(offers: &[SupportedStreamConfigRange], wish: &Wish, own_rate: Option<u32>) -> Option<Choice> {
    let mut best: Option<((bool, u16, u32, usize), Choice)> = None;
    for offer in offers {
        let Some(order) = FORMATS.iter().position(|format| *format == offer.sample_format()) else { continue };
        let (low, high) = (offer.min_sample_rate(), offer.max_sample_rate());
        let (low, high) = (low.max(*SANE_RATES.start()), high.min(*SANE_RATES.end()));
        let rate = match wish.sample_rate_hz {
            Some(rate) if (low..=high).contains(&rate) => rate,
            None if low <= high => {
                own_rate.filter(|rate| SANE_RATES.contains(rate)).unwrap_or(USUAL_RATE).clamp(low, high)
            }
            _ => continue,
        };
        let channels = offer.channels();
        if channels == 0 || wish.channels.is_some_and(|wanted| wanted != channels) {
            continue;
        }
        let mixed = wish.channels.is_none() && channels > 1;
        // The fewest channels to mix, then the device's own rate, then the format.
        let away = own_rate.filter(|_| wish.sample_rate_hz.is_none()).map_or(0, |own| own.abs_diff(rate));
        let rank = (mixed, if mixed { channels } else { 0 }, away, order);
        if best.is_none_or(|(known, _)| rank < known) {
            best = Some((rank, Choice { format: offer.sample_format(), rate, channels, mixed }));
        }
    }
    best.map(|(_, choice)| choice)
}

fn wanted(wish: &Wish) -> String {
    let channels = match wish.channels {
        None => "sound".to_owned(),
        Some(1) => "1 channel".to_owned(),
        Some(channels) => format!("{channels} channels"),
    };
    wish.sample_rate_hz.map_or(channels.clone(), |rate| format!("{channels} at {rate} Hz"))
}

fn offered(offers: &[SupportedStreamConfigRange]) -> String {
    let mut words: Vec<String> = offers
        .iter()
        .map(|offer| {
            let (low, high) = (offer.min_sample_rate(), offer.max_sample_rate().min(*SANE_RATES.end()));
            let rates = if low >= high { format!("{high} Hz") } else { format!("{low} to {high} Hz") };
            format!("{} channels at {rates}", offer.channels())
        })
        .collect();
    words.sort();
    words.dedup();
    words.truncate(LISTED);
    if words.is_empty() { "nothing to record".into() } else { words.join(", ") }
}

fn build(
    device: &cpal::Device,
    choice: Choice,
    writer: RingWriter,
    failure: Failure,
) -> Result<cpal::Stream, cpal::Error> {
    match choice.format {
        SampleFormat::F32 => build_as::<f32>(device, choice, writer, failure, |sample| sample),
        SampleFormat::F64 => build_as::<f64>(device, choice, writer, failure, |sample| sample as f32),
        SampleFormat::I8 => build_as::<i8>(device, choice, writer, failure, |sample| f32::from(sample) / 128.0),
        SampleFormat::I16 => build_as::<i16>(device, choice, writer, failure, |sample| f32::from(sample) / 32_768.0),
        SampleFormat::I24 => {
            build_as::<cpal::I24>(device, choice, writer, failure, |sample| sample.inner() as f32 / 8_388_608.0)
        }
        SampleFormat::I32 => {
            build_as::<i32>(device, choice, writer, failure, |sample| (f64::from(sample) / 2_147_483_648.0) as f32)
        }
        SampleFormat::U8 => {
            build_as::<u8>(device, choice, writer, failure, |sample| (f32::from(sample) - 128.0) / 128.0)
        }
        SampleFormat::U16 => {
            build_as::<u16>(device, choice, writer, failure, |sample| (f32::from(sample) - 32_768.0) / 32_768.0)
        }
        SampleFormat::U24 => build_as::<cpal::U24>(device, choice, writer, failure, |sample| {
            (sample.inner() - 8_388_608) as f32 / 8_388_608.0
        }),
        SampleFormat::U32 => build_as::<u32>(device, choice, writer, failure, |sample| {
            ((f64::from(sample) - 2_147_483_648.0) / 2_147_483_648.0) as f32
        }),
        _ => Err(cpal::Error::new(ErrorKind::UnsupportedConfig)),
    }
}

fn build_as<T: cpal::SizedSample + 'static>(
    device: &cpal::Device,
    choice: Choice,
    mut writer: RingWriter,
    failure: Failure,
    convert: fn(T) -> f32,
) -> Result<cpal::Stream, cpal::Error> {
    let config = StreamConfig { channels: choice.channels, sample_rate: choice.rate, buffer_size: BufferSize::Default };
    let bell = writer.bell();
    let finite = move |sample: T| {
        let sample = convert(sample);
        if sample.is_finite() { sample } else { 0.0 }
    };
    let (width, scale) = (usize::from(choice.channels).max(1), 1.0 / f32::from(choice.channels.max(1)));
    device.build_input_stream::<T, _, _>(
        config,
        move |samples, _| {
            if choice.mixed {
                let mean = |frame: &[T]| frame.iter().map(|sample| finite(*sample)).sum::<f32>() * scale;
                writer.write(samples.chunks_exact(width).map(mean));
            } else {
                writer.write(samples.iter().map(|sample| finite(*sample)));
            }
        },
        move |error| match error.kind() {
            ErrorKind::Xrun => bell.ring(),
            // The stream goes on as it is.
            ErrorKind::RealtimeDenied | ErrorKind::DeviceChanged => {}
            _ => failure.set(error.to_string()),
        },
        None,
    )
}

#[cfg(test)]
mod tests {
    use cpal::SupportedBufferSize;

    use super::*;

    fn device(id: &str, name: &str) -> Device {
        Device { id: id.into(), name: name.into(), default: false }
    }

    #[test]
    fn devices_are_found_by_id_name_or_a_part() {
        let devices = [
            device("hw:CARD=0,DEV=0", "Webcam"),
            device("default", "Default Audio Device"),
            device("usb", "Blue Yeti"),
        ];
        for (wanted, found) in [
            ("default", Some(1)),
            ("alsa:default", Some(1)),
            ("Blue Yeti", Some(2)),
            ("yeti", Some(2)),
            ("CARD=0", Some(0)),
            ("Web", Some(0)),
            ("gone", None),
        ] {
            assert_eq!(choose(wanted, &devices), found, "{wanted}");
        }
    }

    fn offer(channels: u16, low: u32, high: u32, format: SampleFormat) -> SupportedStreamConfigRange {
        SupportedStreamConfigRange::new(channels, low, high, SupportedBufferSize::Unknown, format)
    }

    fn wish(sample_rate_hz: Option<u32>, channels: Option<u16>) -> Wish {
        Wish { device: None, sample_rate_hz, channels, buffer_ms: 2000 }
    }

    #[test]
    fn the_best_offer_is_picked() {
        use SampleFormat::{DsdU8, F32, I16};
        let everything = [offer(1, 4000, u32::MAX, F32), offer(1, 4000, u32::MAX, I16), offer(2, 4000, u32::MAX, F32)];
        let stereo = [offer(4, 48_000, 48_000, F32), offer(2, 44_100, 48_000, I16), offer(2, 44_100, 44_100, F32)];
        let choice = |format, rate, channels, mixed| Some(Choice { format, rate, channels, mixed });
        for (offers, wish, own, expected) in [
            (&everything[..], wish(None, None), Some(u32::MAX), choice(F32, 48_000, 1, false)),
            (&everything, wish(Some(16_000), None), Some(48_000), choice(F32, 16_000, 1, false)),
            (&everything, wish(None, Some(2)), Some(44_100), choice(F32, 44_100, 2, false)),
            (&stereo, wish(None, None), Some(48_000), choice(I16, 48_000, 2, true)),
            (&stereo, wish(Some(44_100), None), Some(48_000), choice(F32, 44_100, 2, true)),
            (&stereo, wish(None, Some(4)), None, choice(F32, 48_000, 4, false)),
            (&stereo, wish(Some(16_000), None), Some(48_000), None),
            (&stereo, wish(None, Some(1)), Some(48_000), None),
            (&[offer(1, 2_822_400, 2_822_400, DsdU8)], wish(None, None), None, None),
            (&[offer(1, 1_000_000, 2_000_000, F32)], wish(None, None), None, None),
            (&[], wish(None, None), None, None),
        ] {
            assert_eq!(pick(offers, &wish, own), expected, "{offers:?} {wish:?} {own:?}");
        }
    }

    #[test]
    fn errors_say_what_there_is() {
        let found = vec![device("usb", "Blue Yeti")];
        for (error, text) in [
            (
                DeviceError::Missing { wanted: "webcam".into(), found },
                "no microphone `webcam`; there are `usb` (Blue Yeti)",
            ),
            (
                DeviceError::NoDefault { found: Vec::new() },
                "there is no default microphone; this machine has none; plug one in, or read a recording with `- capture: \
                 file`",
            ),
            (
                DeviceError::Unsupported {
                    device: "\"Yeti\"".into(),
                    wanted: wanted(&wish(Some(16_000), Some(1))),
                    offered: offered(&[
                        offer(2, 44_100, 48_000, SampleFormat::F32),
                        offer(2, 44_100, 48_000, SampleFormat::I16),
                    ]),
                },
                "the microphone \"Yeti\" does not record 1 channel at 16000 Hz; it offers 2 channels at 44100 to 48000 Hz",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
