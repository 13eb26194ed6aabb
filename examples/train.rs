//! A small convolutional network, built in Rust: it learns to read digits and becomes an ONNX file.
//!
//! `cargo run --release --example train`

use std::sync::Arc;

use percept::engine::{Builder, Conv, Dense, Loss, Optimizer, Pool2d, Training, TrainingOptions, optimizers::Adam};
use percept::tensor::DType;
use percept::train::data::{Column, Csv, DataFormat, DataSet, Split, Subset};
use percept::train::{Then, Trainer, TrainerOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut graph = Builder::new("digits", 1);
    let x = graph.input("x", DType::F32, &[None, Some(1), Some(8), Some(8)])?;
    let features = Conv::new("conv", 16, &[3, 3]).padding(1).apply(&mut graph, &x)?;
    let features = graph.relu(&features)?;
    let features = Pool2d::Max(2).apply(&mut graph, &features)?;
    let row = graph.flatten(&features)?;
    let y = Dense::new("out", 10).apply(&mut graph, &row)?;
    graph.output("y", &y)?;

    let columns = Csv { header: false, shape: Some(vec![1, 8, 8]), ..Csv::new("digits.csv.gz", Column::Number(64)) };
    let data: Arc<dyn DataSet> = columns.open("models/digits".as_ref())?.into();
    let parts = Split { validation: 0.0, test: 0.2, ..Split::default() }.divide(&data)?;
    let (train, test) = (Subset::new(data.clone(), parts.train)?, Subset::new(data, parts.test)?);

    let optimizer = Optimizer::Adam(Adam { learning_rate: 0.003, ..Adam::default() });
    let training = Training::new(&graph.finish(), TrainingOptions::new(Loss::cross_entropy(), optimizer))?;
    let options = TrainerOptions { classes: Some(10), ..TrainerOptions::new("x", 32, 5) };
    let mut trainer = Trainer::new(training, Arc::new(train), None, options)?;
    trainer.run(|_| Then::Continue)?;

    let accuracy = trainer.evaluate(Arc::new(test))?.confusion.map_or(0.0, |confusion| confusion.accuracy());
    let path = std::env::temp_dir().join("digits.onnx");
    trainer.training().model().save(&path)?;
    println!("{:.1} % of the digits that it has not seen; written: {}", 100.0 * accuracy, path.display());
    Ok(())
}
