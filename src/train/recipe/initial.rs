//! The first values of a built-in architecture's weights, where the recipe says how they are drawn.

use std::collections::BTreeMap;

use crate::engine::{Initializer, mix};
use crate::onnx::{AttributeValue, Model, Node};
use crate::tensor::{DType, Tensor};

/// Draws by `initializer` the weights that inputs are multiplied with: those of dense, convolution and recurrent layers,
/// each gate of the latter by itself. Their biases become zero. All other weights (embeddings, the scales of
/// normalisations) stay as they are.
pub(super) fn fill(model: &mut Model, initializer: Initializer, seed: u64) {
    let mut drawn: BTreeMap<String, Part> = BTreeMap::new();
    for node in &model.graph.nodes {
        for (operand, part) in parts(node) {
            if let Some(name) = node.inputs.get(operand) {
                drawn.entry(name.clone()).or_insert(part);
            }
        }
    }
    for (number, (name, part)) in drawn.into_iter().enumerate() {
        let known = model.graph.initializers.iter_mut().find(|(known, _)| *known == name);
        let Some((_, tensor)) = known.filter(|(_, tensor)| tensor.dtype() == DType::F32) else { continue };
        if let Some(values) = part.values(tensor.shape(), initializer, mix(seed, number as u64))
            && let Ok(filled) = Tensor::new(tensor.shape().to_vec(), values)
        {
            *tensor = filled;
        }
    }
}

/// What an operand of a node is.
#[derive(Clone, Copy)]
enum Part {
    /// `[out, in, d…]`.
    OutIn,
    /// `[in, out, d…]`.
    InOut,
    /// `[in, out]`.
    Matrix,
    /// `[directions, gates·hidden, in]`, of so many gates.
    Gates(usize),
    Bias,
}

/// The weights among the operands of a node.
fn parts(node: &Node) -> Vec<(usize, Part)> {
    let is_transposed = matches!(node.attribute("transB"), Some(AttributeValue::Int(turned)) if *turned != 0);
    let recurrent = |gates| vec![(1, Part::Gates(gates)), (2, Part::Gates(gates)), (3, Part::Bias)];
    match (node.domain.as_str(), node.op_type.as_str()) {
        ("", "Gemm") => vec![(1, if is_transposed { Part::OutIn } else { Part::InOut }), (2, Part::Bias)],
        ("", "MatMul") => vec![(1, Part::Matrix)],
        ("", "Conv") => vec![(1, Part::OutIn), (2, Part::Bias)],
        ("", "ConvTranspose") => vec![(1, Part::InOut), (2, Part::Bias)],
        ("", "RNN") => recurrent(1),
        ("", "GRU") => recurrent(3),
        ("", "LSTM") => recurrent(4),
        _ => Vec::new(),
    }
}

impl Part {
    /// Values for a weight of `shape`; none where this part has not such a shape.
    fn values(self, shape: &[usize], initializer: Initializer, seed: u64) -> Option<Vec<f32>> {
        let draw = |shape: &[usize], seed: u64| Some(initializer.tensor(shape, seed).as_slice::<f32>().ok()?.to_vec());
        match (self, shape) {
            (Part::Bias, _) => Some(vec![0.0; shape.iter().product()]),
            (Part::OutIn, [_, _, ..]) => draw(shape, seed),
            (Part::InOut, [inputs, outputs, rest @ ..]) => {
                let turned: Vec<usize> = [*outputs, *inputs].iter().chain(rest).copied().collect();
                let (values, inner) = (draw(&turned, seed)?, rest.iter().product::<usize>());
                let place = |input: usize, output: usize| (output * inputs + input) * inner;
                let pairs = (0..*inputs).flat_map(|input| (0..*outputs).map(move |output| (input, output)));
                Some(pairs.flat_map(|(i, o)| values[place(i, o)..place(i, o) + inner].iter().copied()).collect())
            }
            (Part::Matrix, [_, _]) => Part::InOut.values(shape, initializer, seed),
            (Part::Gates(gates), [directions, rows, inputs]) if rows % gates == 0 => {
                let each = [rows / gates, *inputs];
                let drawn = (0..directions * gates).map(|gate| draw(&each, mix(seed, gate as u64)));
                Some(drawn.collect::<Option<Vec<_>>>()?.concat())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo::{Architecture, Cell, Lenet5, Mlp, RecurrentTagger, Unet};

    fn filled(architecture: &dyn Architecture, initializer: Initializer, seed: u64) -> (Model, Model) {
        let before = architecture.build(1).unwrap();
        let mut after = before.clone();
        fill(&mut after, initializer, seed);
        (before, after)
    }

    fn values(model: &Model, name: &str) -> Vec<f32> {
        model.graph.initializer(name).unwrap().as_slice::<f32>().unwrap().to_vec()
    }

    fn deviation(values: &[f32]) -> f64 {
        (values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    }

    #[test]
    fn weights_spread_as_their_place_in_the_graph_says() {
        let mlp = Mlp { inputs: vec![300], hidden: vec![200], outputs: 100 };
        let tagger =
            RecurrentTagger { vocabulary: 9, classes: 90, cell: Cell::Gru, embedding: 80, hidden: 60, lengths: false };
        let unet = Unet { classes: 3, depth: 1, width: 16, ..Unet::default() };
        let he = |inputs: usize| (2.0 / inputs as f64).sqrt();
        let cases: &[(&dyn Architecture, &str, f64)] = &[
            (&mlp, "hidden1.weight", he(300)),
            (&mlp, "out.weight", he(200)),
            (&tagger, "recurrent.input", he(80)),
            (&tagger, "recurrent.state", he(60)),
            // Read by MatMul: `[in, out]`.
            (&tagger, "out.weight", he(60)),
            (&Lenet5::default(), "conv2.weight", he(6 * 25)),
            (&unet, "up1.conv.weight", he(32 * 4)),
        ];
        for (architecture, name, expected) in cases {
            let (before, after) = filled(*architecture, Initializer::He, 3);
            let found = deviation(&values(&after, name));
            assert!((found / expected - 1.0).abs() < 0.08, "{name}: {found}, expected {expected}");
            assert_ne!(values(&before, name), values(&after, name), "{name}");
            assert_eq!(values(&after, name), values(&filled(*architecture, Initializer::He, 3).1, name), "{name}");
            assert_ne!(values(&after, name), values(&filled(*architecture, Initializer::He, 4).1, name), "{name}");
            crate::engine::Network::new(&after).unwrap();
        }
        let (before, after) = filled(&tagger, Initializer::He, 3);
        assert_eq!(values(&before, "embedding.weight"), values(&after, "embedding.weight"));
        assert!(values(&before, "recurrent.bias").iter().any(|value| *value != 0.0));
        assert!(values(&after, "recurrent.bias").iter().all(|value| *value == 0.0));
    }

    #[test]
    fn orthogonal_rows_are_orthonormal_in_every_layout() {
        let tagger =
            RecurrentTagger { vocabulary: 9, classes: 5, cell: Cell::Lstm, embedding: 4, hidden: 6, lengths: false };
        let (_, after) = filled(&tagger, Initializer::Orthogonal, 3);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let expect = |rows: Vec<Vec<f32>>| {
            for (i, row) in rows.iter().enumerate() {
                for (j, other) in rows.iter().enumerate() {
                    let expected = f32::from(u8::from(i == j));
                    assert!((dot(row, other) - expected).abs() < 1e-5, "{i} {j}");
                }
            }
        };
        // Each of four gates.
        for gate in values(&after, "recurrent.state").chunks(36) {
            expect(gate.chunks(6).map(<[f32]>::to_vec).collect());
        }
        // `[6, 5]` of `[in, out]`: the five columns.
        let out = values(&after, "out.weight");
        expect((0..5).map(|column| (0..6).map(|row| out[row * 5 + column]).collect()).collect());
    }
}
