//! What is checked before a backend sees a run: every backend calls these, so every backend's messages are the same.

use super::{InferenceError, Port, PortRole, Value};

/// Checks that `given` names every port of `ports` once and nothing else, each with its data type and a shape that it
/// accepts.
pub fn inputs(model: &str, ports: &[Port], given: &[(&str, &Value)]) -> Result<(), InferenceError> {
    for (i, (name, value)) in given.iter().enumerate() {
        let Some(port) = ports.iter().find(|port| port.name == *name) else {
            let known = ports.iter().map(|port| &*port.name);
            return Err(InferenceError::unknown_name(model, PortRole::Input, name, known));
        };
        if given.iter().take(i).any(|(earlier, _)| earlier == name) {
            return Err(InferenceError::DuplicateInput { model: model.to_owned(), input: port.name.clone() });
        }
        input(model, port, value)?;
    }
    match ports.iter().find(|port| !given.iter().any(|(name, _)| port.name == *name)) {
        Some(port) => Err(InferenceError::MissingInput {
            model: model.to_owned(),
            input: port.name.clone(),
            dtype: port.dtype,
            shape: port.shape.clone(),
            given: given.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }),
        None => Ok(()),
    }
}

/// Checks that every name of `asked` is one of `ports`.
pub fn outputs(model: &str, ports: &[Port], asked: &[&str]) -> Result<(), InferenceError> {
    match asked.iter().find(|name| !ports.iter().any(|port| port.name == **name)) {
        Some(name) => {
            let known = ports.iter().map(|port| &*port.name);
            Err(InferenceError::unknown_name(model, PortRole::Output, name, known))
        }
        None => Ok(()),
    }
}

fn input(model: &str, port: &Port, value: &Value) -> Result<(), InferenceError> {
    let (model, input) = (model.to_owned(), port.name.clone());
    if value.dtype() != port.dtype {
        return Err(InferenceError::DType { model, input, expected: port.dtype, found: value.dtype() });
    }
    let (expected, found) = (port.shape.clone(), value.shape().to_vec());
    if port.shape.rank().is_some_and(|rank| rank != found.len()) {
        return Err(InferenceError::Rank { model, input, expected, found });
    }
    match port.shape.accepts(&crate::tensor::SymbolicShape::known(&found)) {
        Ok(()) => Ok(()),
        Err(_) => Err(InferenceError::Shape { model, input, expected, found }),
    }
}

/// What a run was given, in words: `x f32 [1, 4], state f32 [2, 1, 128]`.
pub fn describe(given: &[(&str, &Value)]) -> String {
    let words: Vec<String> =
        given.iter().map(|(name, value)| format!("{name} {} {:?}", value.dtype(), value.shape())).collect();
    if words.is_empty() { "no input".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{DType, Dim, SymbolicShape, Tensor};

    fn ports() -> Vec<Port> {
        vec![
            Port {
                name: "x".into(),
                dtype: DType::F32,
                shape: SymbolicShape::Ranked(vec![Dim::Symbol("N".into()), Dim::Known(4)]),
            },
            Port { name: "sr".into(), dtype: DType::I64, shape: SymbolicShape::Unranked },
        ]
    }

    fn zeros(dtype: DType, shape: &[usize]) -> Value {
        Tensor::zeros(dtype, shape.to_vec()).unwrap().into()
    }

    #[test]
    fn every_fault_has_its_message() {
        let (x, sr) = (zeros(DType::F32, &[3, 4]), zeros(DType::I64, &[]));
        let table: Vec<(Vec<(&str, Value)>, &str)> = vec![
            (vec![("x", x.clone())], "model `m.onnx` needs input `sr` (i64 […]), which was not given; given: x"),
            (vec![], "model `m.onnx` needs input `x` (f32 [N, 4]), which was not given; given: nothing"),
            (
                vec![("xx", x.clone()), ("sr", sr.clone())],
                "model `m.onnx` has no input `xx` (did you mean `x`?); it has: x, sr",
            ),
            (
                vec![("x", x.clone()), ("x", x.clone()), ("sr", sr.clone())],
                "input `x` of model `m.onnx` was given more than once; give it once",
            ),
            (
                vec![("x", zeros(DType::F64, &[3, 4])), ("sr", sr.clone())],
                "input `x` of model `m.onnx`: expected f32, found f64; convert it before the model",
            ),
            (
                vec![("x", zeros(DType::F32, &[4])), ("sr", sr.clone())],
                "input `x` of model `m.onnx`: expected rank 2 [N, 4], found rank 1 [4]; reshape it before the model",
            ),
            (
                vec![("sr", sr.clone()), ("x", zeros(DType::F32, &[3, 5]))],
                "input `x` of model `m.onnx`: expected shape [N, 4], found [3, 5]",
            ),
        ];
        for (given, message) in table {
            let given: Vec<(&str, &Value)> = given.iter().map(|(name, value)| (*name, value)).collect();
            assert_eq!(inputs("m.onnx", &ports(), &given).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn what_fits_passes_in_any_order() {
        for rows in [0, 1, 7] {
            for rank in [vec![], vec![1], vec![1, 1]] {
                let (x, sr) = (zeros(DType::F32, &[rows, 4]), zeros(DType::I64, &rank));
                assert!(inputs("m", &ports(), &[("sr", &sr), ("x", &x)]).is_ok());
                assert!(inputs("m", &ports(), &[("x", &x), ("sr", &sr)]).is_ok());
            }
        }
    }

    #[test]
    fn an_output_that_is_not_there_is_named() {
        assert!(outputs("m", &ports(), &["sr", "x", "x"]).is_ok());
        let error = outputs("m", &ports(), &["x", "y"]).unwrap_err().to_string();
        assert_eq!(error, "model `m` has no output `y`; it has: x, sr");
    }

    #[test]
    fn a_run_is_described_by_names_types_and_shapes() {
        let x = zeros(DType::F32, &[1, 4]);
        assert_eq!(describe(&[("x", &x)]), "x f32 [1, 4]");
        assert_eq!(describe(&[]), "no input");
    }
}
