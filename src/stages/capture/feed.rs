//! Sound that a thread reads ahead: what `file` and `stdin` share.
//!
//! Reading and decoding block, so they have a thread of their own for each stream. It hands over blocks of whole packets
//! through a bounded queue; samples that are not finite numbers are made silence on the way, and counted.

use tokio::sync::mpsc;

use super::error::CaptureError;
use crate::codec::{AudioReader, AudioSpec, CodecError};
use crate::units::{Rate, TimeSpan};

/// Blocks that wait to be taken.
const BLOCKS_AHEAD: usize = 2;

/// Something that gives samples, blocking.
pub(super) trait Samples {
    /// Rate and channels; the same at all times.
    fn spec(&self) -> AudioSpec;
    /// Appends interleaved samples and returns how many frames; 0 is the end. Samples appended before an error are good.
    fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError>;
    /// Damaged places so far; the final count only after the end.
    fn damaged(&self) -> u64 {
        0
    }
    /// Bytes at the end that make no whole frame.
    fn leftover_bytes(&self) -> usize {
        0
    }
}

impl Samples for AudioReader {
    fn spec(&self) -> AudioSpec {
        AudioReader::spec(self)
    }

    fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        AudioReader::read(self, out)
    }

    fn damaged(&self) -> u64 {
        AudioReader::damaged(self)
    }
}

/// How samples become packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutting {
    /// The length of a packet.
    pub packet_ms: u32,
    /// How much is read before it is handed over; 0: every packet as soon as it is whole.
    pub gather_ms: u32,
}

impl Cutting {
    /// Frames of a packet at `rate`, at least one.
    pub(super) fn packet_frames(self, rate: Rate) -> usize {
        frames(rate, self.packet_ms)
    }
}

fn frames(rate: Rate, ms: u32) -> usize {
    usize::try_from(rate.samples_in(TimeSpan::from_millis(ms.into()))).unwrap_or(usize::MAX).max(1)
}

/// Samples handed over, and what was found in them.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Interleaved; whole packets, unless it is the last block.
    pub samples: Vec<f32>,
    /// Samples that were NaN or infinite and are 0 now.
    pub not_finite: u64,
    /// The frame of the first of them, counted from the beginning of the stream.
    pub first_not_finite: Option<u64>,
    /// Damaged places in the stream so far.
    pub damaged: u64,
}

/// How a stream ended.
#[derive(Debug)]
pub(super) struct Ending {
    /// Samples that make no whole packet, or more of them.
    pub last: Block,
    /// Why, unless it is the regular end.
    pub error: Option<CodecError>,
    /// Bytes that make no whole frame.
    pub leftover_bytes: usize,
}

/// What the thread hands over: first how the stream opened, then blocks, then the ending.
#[derive(Debug)]
pub(super) enum Fed {
    Opened(Result<AudioSpec, CaptureError>),
    Block(Block),
    End(Ending),
}

/// The receiving end. Dropping it ends the thread at its next block.
#[derive(Debug)]
pub(super) struct Feed {
    name: String,
    receiver: mpsc::Receiver<Fed>,
}

impl Feed {
    /// Starts a thread that opens a stream, called `name` in messages, and reads it to its end.
    pub(super) fn start<S: Samples>(
        name: &str,
        cutting: Cutting,
        open: impl FnOnce() -> Result<S, CaptureError> + Send + 'static,
    ) -> Result<Feed, CaptureError> {
        let (sender, receiver) = mpsc::channel(BLOCKS_AHEAD);
        std::thread::Builder::new()
            .name("percept/reader".into())
            .spawn(move || match open() {
                Ok(mut samples) => read_all(&mut samples, cutting, &sender),
                // Nobody listens any more: the stream was given up meanwhile.
                Err(error) => drop(sender.blocking_send(Fed::Opened(Err(error)))),
            })
            .map_err(|source| CaptureError::Thread { name: name.to_owned(), source })?;
        Ok(Feed { name: name.to_owned(), receiver })
    }

    /// Waits until the stream is open. Called first; cancel safe.
    pub(super) async fn opened(&mut self) -> Result<AudioSpec, CaptureError> {
        match self.receiver.recv().await {
            Some(Fed::Opened(result)) => result,
            _ => Err(self.panicked()),
        }
    }

    /// The next block, or the ending, after which it is not called again. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Fed, CaptureError> {
        match self.receiver.recv().await {
            Some(fed) => Ok(fed),
            None => Err(self.panicked()),
        }
    }

    /// What lies ready, without waiting.
    pub(super) fn ready(&mut self) -> Option<Fed> {
        self.receiver.try_recv().ok()
    }

    fn panicked(&self) -> CaptureError {
        CaptureError::DecoderPanicked { name: self.name.clone() }
    }
}

fn read_all(samples: &mut impl Samples, cutting: Cutting, sender: &mpsc::Sender<Fed>) {
    let spec = samples.spec();
    if sender.blocking_send(Fed::Opened(Ok(spec))).is_err() {
        return;
    }
    let channels = usize::from(spec.channels).max(1);
    let packet = cutting.packet_frames(spec.sample_rate).saturating_mul(channels);
    let gather = frames(spec.sample_rate, cutting.gather_ms).saturating_mul(channels).max(packet);
    let mut block = Block::default();
    let mut handed: u64 = 0;
    loop {
        let before = block.samples.len();
        let result = samples.read(&mut block.samples);
        repair(&mut block, before, handed, channels);
        block.damaged = samples.damaged();
        let error = match result {
            Ok(0) => None,
            Ok(_) if block.samples.len() < gather => continue,
            Ok(_) => {
                let rest = block.samples.split_off(block.samples.len() / packet * packet);
                let next = Block { samples: rest, ..Block::default() };
                let full = std::mem::replace(&mut block, next);
                handed += (full.samples.len() / channels) as u64;
                if sender.blocking_send(Fed::Block(full)).is_err() {
                    return;
                }
                continue;
            }
            Err(error) => Some(error),
        };
        let ending = Ending { last: block, error, leftover_bytes: samples.leftover_bytes() };
        // Nobody listens any more: the stream was given up meanwhile.
        drop(sender.blocking_send(Fed::End(ending)));
        return;
    }
}

/// Makes silence of what is no finite number in the samples from `from` on.
fn repair(block: &mut Block, from: usize, handed: u64, channels: usize) {
    for (index, sample) in block.samples.iter_mut().enumerate().skip(from) {
        if !sample.is_finite() {
            *sample = 0.0;
            block.not_finite += 1;
            block.first_not_finite.get_or_insert(handed + (index / channels) as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its samples in reads of the given lengths, then ends as told.
    struct Scripted {
        reads: Vec<Vec<f32>>,
        error: Option<CodecError>,
        panics: bool,
    }

    impl Samples for Scripted {
        fn spec(&self) -> AudioSpec {
            AudioSpec { sample_rate: Rate::hz(1000).unwrap(), channels: 2, frames: None }
        }

        fn read(&mut self, out: &mut Vec<f32>) -> Result<usize, CodecError> {
            assert!(!self.panics, "as told");
            if self.reads.is_empty() {
                return self.error.take().map_or(Ok(0), Err);
            }
            let samples = self.reads.remove(0);
            out.extend(&samples);
            Ok(samples.len() / 2)
        }
    }

    fn scripted(lengths: &[usize]) -> Scripted {
        let mut next = 0u16;
        let reads = lengths
            .iter()
            .map(|frames| {
                (0..frames * 2)
                    .map(|_| {
                        next += 1;
                        f32::from(next)
                    })
                    .collect()
            })
            .collect();
        Scripted { reads, error: None, panics: false }
    }

    async fn read(scripted: Scripted, cutting: Cutting) -> (Vec<Block>, Ending) {
        let mut feed = Feed::start("test", cutting, move || Ok(scripted)).unwrap();
        assert_eq!(feed.opened().await.unwrap().channels, 2);
        let mut blocks = Vec::new();
        loop {
            match feed.next().await.unwrap() {
                Fed::Block(block) => blocks.push(block),
                Fed::End(ending) => return (blocks, ending),
                Fed::Opened(_) => panic!("opened twice"),
            }
        }
    }

    #[tokio::test]
    async fn blocks_are_whole_packets_and_nothing_is_lost() {
        // Packets of 4 frames: block lengths in frames, then the rest.
        for (reads, gather_ms, blocks, rest) in [
            (&[10][..], 0, &[8][..], 2),
            (&[3, 3, 3, 3], 0, &[4, 4, 4], 0),
            (&[3, 3, 3, 3], 8, &[8], 4),
            (&[1, 1], 0, &[], 2),
            (&[], 0, &[], 0),
        ] {
            let (found, ending) = read(scripted(reads), Cutting { packet_ms: 4, gather_ms }).await;
            let lengths: Vec<_> = found.iter().map(|block| block.samples.len() / 2).collect();
            assert_eq!(lengths, blocks, "{reads:?}");
            assert_eq!(ending.last.samples.len() / 2, rest, "{reads:?}");
            let all: Vec<f32> = found.into_iter().chain([ending.last]).flat_map(|block| block.samples).collect();
            let total: usize = reads.iter().sum();
            assert_eq!(all, (1..=total * 2).map(|sample| sample as f32).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn what_is_no_number_becomes_silence_and_is_counted() {
        let mut script = scripted(&[4, 4]);
        script.reads[0][3] = f32::NAN;
        script.reads[1][0] = f32::INFINITY;
        script.reads[1][5] = f32::NEG_INFINITY;
        let (blocks, ending) = read(script, Cutting { packet_ms: 4, gather_ms: 0 }).await;
        assert_eq!(blocks[0].samples, [1.0, 2.0, 3.0, 0.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!((blocks[0].not_finite, blocks[0].first_not_finite), (1, Some(1)));
        assert_eq!((blocks[1].not_finite, blocks[1].first_not_finite), (2, Some(4)));
        assert_eq!((ending.last.not_finite, ending.last.first_not_finite), (0, None));
    }

    #[tokio::test]
    async fn an_error_comes_after_the_samples_before_it() {
        let mut script = scripted(&[3]);
        script.error = Some(CodecError::Empty { path: "x".into() });
        let (blocks, ending) = read(script, Cutting { packet_ms: 4, gather_ms: 0 }).await;
        assert!(blocks.is_empty());
        assert_eq!(ending.last.samples.len(), 6);
        assert!(matches!(ending.error, Some(CodecError::Empty { .. })));
    }

    #[tokio::test]
    async fn a_panic_of_the_decoder_is_an_error() {
        let mut script = scripted(&[3]);
        script.panics = true;
        let mut feed = Feed::start("talk.mp3", Cutting { packet_ms: 4, gather_ms: 0 }, move || Ok(script)).unwrap();
        feed.opened().await.unwrap();
        let error = feed.next().await.unwrap_err().to_string();
        assert!(error.starts_with("talk.mp3: its decoder panicked"), "{error}");
    }
}
