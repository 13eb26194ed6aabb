//! A model learns from the stream that it works on, and a better copy takes its place between two packets.
//!
//! `cargo run --release --example online_learning`

use std::collections::BTreeMap;
use std::thread;

use percept::Pipeline;
use percept::engine::{Builder, Dense};
use percept::media::Format;
use percept::stage::{Draft, Settings};
use percept::stages::REGISTRY;
use percept::stages::capture::push::{Push, PushError};
use percept::stages::sink::collect::Collect;
use percept::tensor::{DType, Tensor};
use percept::units::{TimeSpan, Timestamp};

/// What two sensors say at this second.
fn reading(second: i64) -> Vec<f32> {
    vec![(second as f32 * 0.7).sin(), (second as f32 * 1.3).cos()]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A model that knows nothing yet. Any ONNX file will do.
    let folder = std::env::temp_dir().join(format!("percept-online-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut graph = Builder::new("sensors", 1);
    let x = graph.input("reading", DType::F32, &[None, Some(2)])?;
    let y = Dense::new("calibration", 2).apply(&mut graph, &x)?;
    graph.output("calibrated", &y)?;
    graph.finish().save(folder.join("sensors.onnx"))?;

    // What is right comes from another stage: here a formula, as well a person, a table, a slower model.
    let truth = "preprocess: normalize\nid: truth\nscale: 3.0\noffset: -1.0";
    let model = "model: sensors.onnx\nbackend: engine\nlearn:\n  labels: {from: truth}\n  loss: squared\n  \
                 optimizer: {kind: adam, learning_rate: 0.01}\n  promote: {every_s: 100}\n";
    let push = Push::of(Format::ANY_TENSOR).live(false);
    let (input, (collect, mut output)) = (push.handle(), Collect::new(64));
    let settings = Settings { base_dir: folder.clone(), ..Settings::default() };
    let builder = Pipeline::builder("online").settings(settings).stage("in", push).yaml(&REGISTRY, truth);
    let builder = builder.yaml(&REGISTRY, model).from("in").stage("out", collect);
    let running = Pipeline::build(builder)?.start()?;

    let pushing = thread::spawn(move || -> Result<(), PushError> {
        let mut stream = input.open_stream("robot")?;
        for second in 0..3000 {
            let start = Timestamp::ZERO + TimeSpan::from_millis(1000 * second);
            stream.push(Draft::new(start, TimeSpan::from_millis(1000), Tensor::from_vec(reading(second))))?;
        }
        input.finish();
        Ok(())
    });
    let mut errors = BTreeMap::<u32, Vec<f32>>::new();
    while let Some(received) = output.recv() {
        let packet = received.packet;
        let right = 3.0 * reading(packet.start.as_nanos() / 1_000_000_000)[0] - 1.0;
        let said = packet.payload.tensor()?.as_slice::<f32>()?[0];
        errors.entry(packet.weights).or_default().push((said - right).abs());
    }
    pushing.join().map_err(|_| "the pushing thread panicked")??;
    for (version, errors) in &errors {
        let mean = errors.iter().sum::<f32>() / errors.len() as f32;
        println!("version {version}: off by {mean:.3} on average, {} readings", errors.len());
    }
    std::fs::remove_dir_all(folder)?;
    assert!(running.wait().is_clean());
    Ok(())
}
