//! percept: recognition on live streams.
//!
//! A pipeline is a short YAML file; each of its lines becomes a typed, supervised actor:
//! **capture → preprocess → model → decoder → sink**. Models are ONNX graphs that run on ONNX Runtime, or on
//! percept's own [engine], which trains them too.
//!
//! # A first program
//!
//! ```no_run
//! use percept::Pipeline;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut pipeline = Pipeline::open("pipelines/speech.yaml")?; // every fault at once, or none
//! let mut transcripts = pipeline.subscribe("transcript", 64)?;
//! let running = pipeline.start()?;
//! while let Some(received) = transcripts.recv() {
//!     println!("{}: {}", received.stream, received.packet.payload.transcript()?.text);
//! }
//! assert!(running.wait().is_clean());
//! # Ok(())
//! # }
//! ```
//!
//! `examples/robot.rs` pushes audio from a program and reads commands back; `examples/custom_stage.rs` adds a kind of
//! stage of one's own.
//!
//! # The words
//!
//! | concept | word |
//! |---|---|
//! | the declared whole | [pipeline](Pipeline) |
//! | one unit of it | [stage](stage::Stage), of a [kind](stage::Kind), in a [role](stage::Role) |
//! | endpoint of a stage | [port](stage::Contract) |
//! | connection of two ports | [link](pipeline::PlannedLink), bounded |
//! | what travels on it | [packet](media::Packet) |
//! | what may travel on it | [format](media::Format) |
//! | one logical source of packets | [stream](media::StreamInfo) |
//! | the end of a run | [report](runtime::Report), with its [books](runtime::Books) |
//!
//! # The floors
//!
//! A module imports only from floors below its own, and modules of one floor do not import each other; a test holds this.
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 0 | [`units`], [`files`] | time, durations, rates, the clock; files that are replaced whole or not at all |
//! | 1 | [`tensor`], [`config`] | tensors and shapes; YAML with spans, faults |
//! | 2 | [`media`], [`dsp`], [`onnx`] | packets and formats; signal functions; the ONNX file format |
//! | 3 | [`codec`], [`engine`], [`stage`] | sound and subtitle files; graphs that run and train; what a stage is |
//! | 4 | [`cards`], [`zoo`], [`learn`] | model cards, the cache, fetching; architectures built from layers; learning from a stream |
//! | 5 | [`inference`] | one session trait; behind it ONNX Runtime, and the engine |
//! | 6 | [`stages`], [`pipeline`] | one file a kind; from a file to a plan |
//! | 7 | [`train`] | data sets, recipes, the trainer |
//! | 8 | [`runtime`] | actors, links, supervision, books, metrics |
//! | 9 | `serve` | a running pipeline from outside: the web page, the control socket |
//! | 10 | `cli` | the command line, one file a verb |
//!
//! # What a running pipeline promises
//!
//! 1. Actors carry control, bounded links carry data: no mailbox ever holds a packet.
//! 2. Bounds hold per link and stream; a full link touches only the stream that filled it; a diamond cannot lock up.
//! 3. Nothing is lost in silence: both ends of a link count, each packet ends in exactly one column of the books, and a
//!    loss that no policy of the file asked for shows in the report and in the exit code.
//! 4. The end is an event: it flushes every window, batch and decoder, in order, within a deadline.
//! 5. Time always advances: a stage with nothing to say still moves the watermark.
//! 6. One stream's failure is its own. Panics are caught, stages are rebuilt with a growing wait, other streams go on.
//! 7. Silence is noticed by the clock, not by the next sample.
//! 8. Providers are honest: asking for CUDA and getting the CPU is an error unless the file allows it.
//! 9. Everything is refused before it starts: check reads the real model files and reports every fault at once.
//!
//! # Manners
//!
//! The library installs no signal handler, metrics recorder, tracing subscriber or panic hook. It works from sync code
//! and inside an existing async runtime, and several pipelines live in one process. Metrics go through the `metrics`
//! facade and carry the pipeline's name, log lines through `tracing`. No type of ort, ractor or tokio is in the API.
//!
//! # Features
//!
//! | feature | default | what it brings |
//! |---|---|---|
//! | `cli` | yes | the `percept` program, the web page of a run, its control socket |
//! | `microphone` | yes | `capture: microphone` (Linux: needs libasound2-dev to build) |
//! | `codecs` | yes | flac, mp3, ogg/vorbis, m4a and more; without it wav and raw PCM |
//! | `onnxruntime` | yes | models on ONNX Runtime, loaded at run time |
//! | `gpu` | no | its CUDA and TensorRT providers |

pub mod cards;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codec;
pub mod config;
pub mod dsp;
pub mod engine;
pub mod files;
pub mod inference;
pub mod learn;
pub mod media;
pub mod onnx;
pub mod pipeline;
pub mod runtime;
#[cfg(feature = "cli")]
pub mod serve;
pub mod stage;
pub mod stages;
pub mod tensor;
pub mod train;
pub mod units;
pub mod zoo;

pub use runtime::Pipeline;
