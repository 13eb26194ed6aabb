//! A robot that hears: sound in from the program, commands out to the program, no pipeline file.
//!
//! `cargo run --release --example robot` (once before: `percept setup pipelines/speech.yaml`)
//!
//! A real robot would push what its microphone array gives it. This one pushes a short recording in packets of 20 ms, and
//! reads its orders from the transcripts.

use percept::Pipeline;
use percept::codec::AudioReader;
use percept::media::Transcript;
use percept::stages::REGISTRY;
use percept::stages::capture::push::Push;
use percept::stages::decoder::endpoint::Endpoint;
use percept::stages::decoder::transcript::Transcribe;
use percept::stages::sink::collect::Collect;

/// What this robot can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Fetch(&'static str),
}

/// The first command in a transcript.
fn command(transcript: &Transcript) -> Option<Command> {
    const THINGS: [&str; 4] = ["clubs", "spades", "hearts", "diamonds"];
    let said = transcript.text.to_lowercase();
    THINGS.into_iter().find(|thing| said.contains(thing)).map(Command::Fetch)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let push = Push::sound(16_000, 1)?.live(false);
    let ears = push.handle();
    let (collect, mut transcripts) = Collect::new(16);
    let builder = Pipeline::builder("robot")
        .stage("ears", push)
        .yaml(&REGISTRY, "{model: silero-vad, id: voice}")
        .stage("utterances", Endpoint::default())
        .from_port("voice", "voice")
        .from_port("audio", "ears")
        .yaml(&REGISTRY, "{model: moonshine-tiny, id: words}")
        .stage("transcript", Transcribe::default())
        .stage("out", collect);
    let running = Pipeline::build(builder)?.start()?;

    let listening = std::thread::spawn(move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let recording: &[u8] = include_bytes!("../tests/data/speech/cards-001.wav");
        let mut reader = AudioReader::from_stream(Box::new(recording), Some("wav"))?;
        let mut samples = Vec::new();
        while reader.read(&mut samples)? > 0 {}
        let mut stream = ears.open_stream("microphone array")?;
        for packet in samples.chunks(320) {
            stream.push_audio(packet)?;
        }
        stream.close();
        ears.finish();
        Ok(())
    });

    while let Some(received) = transcripts.recv() {
        let transcript = received.packet.payload.transcript()?;
        println!("heard: {}", transcript.text);
        match command(transcript) {
            Some(command) => println!("does: {command:?}"),
            None => println!("does nothing"),
        }
    }
    listening.join().map_err(|_| "the listening thread panicked")?.map_err(|error| error.to_string())?;
    let report = running.wait();
    println!("{} streams, clean: {}", report.streams, report.is_clean());
    Ok(())
}
