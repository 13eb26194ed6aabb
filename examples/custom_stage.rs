//! A stage of one's own: a gain, between a program's audio and the program.
//!
//! `cargo run --example custom_stage`

use percept::Pipeline;
use percept::media::{Audio, Format, StreamInfo};
use percept::stage::{Blueprint, Contract, ContractFault, Draft, Input, Opened, Output, Runnable, Stage, StageError};
use percept::stages::capture::push::Push;
use percept::stages::sink::collect::Collect;

/// Multiplies every sample.
#[derive(Clone, Debug)]
struct Gain(f32);

impl Blueprint for Gain {
    fn contract(&self) -> Contract {
        Contract::new().input("audio", Format::ANY_AUDIO).output("audio")
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(inputs.to_vec())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for Gain {
    type State = ();

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: inputs.to_vec() })
    }

    fn process(&mut self, _: &mut (), input: Input, out: &mut Output) -> Result<(), StageError> {
        let (start, duration) = (input.packet.start, input.packet.duration);
        let audio = input.packet.payload.audio()?;
        let louder: Vec<f32> = audio.samples().iter().map(|sample| sample * self.0).collect();
        let audio = Audio::new(louder, audio.channels(), audio.rate()).map_err(StageError::skip)?;
        out.emit(0, Draft::new(start, duration, audio));
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let push = Push::sound(16_000, 1)?;
    let input = push.handle();
    let (collect, mut output) = Collect::new(16);
    let builder = Pipeline::builder("gain").stage("in", push).stage("gain", Gain(2.0)).stage("out", collect);
    let running = Pipeline::build(builder)?.start()?;

    let mut stream = input.open_stream("one")?;
    stream.push_audio(&[0.1, -0.2, 0.3])?;
    stream.close();
    input.finish();

    while let Some(received) = output.recv() {
        println!("{}: {:?}", received.stream, received.packet.payload.audio()?.samples());
    }
    assert!(running.wait().is_clean());
    Ok(())
}
