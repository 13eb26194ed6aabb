//! What a model's file takes and gives, known before it is loaded.

use std::path::PathBuf;

use super::files::ModelFiles;
use crate::config::{Fault, Faults};
use crate::inference::{Port, PortRole, Session};
use crate::onnx::{self, OnnxError, ValueInfo};
use crate::tensor::{Dim, SymbolicShape};

/// A graph in a file, and its ports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Graph {
    /// The model's name in messages.
    pub model: String,
    /// The file.
    pub path: PathBuf,
    /// What it takes, in the graph's order.
    pub inputs: Vec<Port>,
    /// What it gives, in the graph's order, without what is no tensor.
    pub outputs: Vec<Port>,
    /// Whether the ports are the card's word alone: an `.ort` file, which only ONNX Runtime reads.
    pub unverified: bool,
}

impl Graph {
    /// Reads the ports of the file of `role`. Where the card states them too, both must agree, and what one knows of a
    /// shape goes before what the other leaves open.
    ///
    /// Codes: those of [`ModelFiles::file`]; `bad-model` for a file that is no model; `ort-ports` for an `.ort` file
    /// whose card does not state its ports; `unsupported-port` for an input that is no tensor; `card-ports` where file
    /// and card disagree.
    pub fn read(files: &ModelFiles, role: &str) -> Result<Graph, Faults> {
        let path = files.file(role)?;
        let stated = files.card().and_then(|card| card.ports(role));
        let mut graph = Graph { model: files.name(), path, inputs: Vec::new(), outputs: Vec::new(), unverified: false };
        let header = match onnx::inspect(&graph.path) {
            Ok(header) => header,
            Err(error) if is_ort_format(&error) => {
                let Some(stated) = stated else {
                    return Err(files
                        .fault("ort-ports", format!("the ports of `{}` are not known before it runs", graph.model))
                        .expected("a card that states them, or an .onnx file")
                        .found("an .ort file, which only ONNX Runtime reads")
                        .help(format!(
                            "state them in a card.yaml (`ports: {{{role}: …}}`), or name the .onnx file it comes from"
                        ))
                        .into());
                };
                graph.inputs = from_card(&stated.inputs);
                graph.outputs = from_card(&stated.outputs);
                graph.unverified = true;
                return Ok(graph);
            }
            Err(error) => return Err(files.fault("bad-model", error.to_string()).into()),
        };
        let mut faults = Faults::new();
        for input in &header.inputs {
            match Port::of_value(input) {
                Some(port) => graph.inputs.push(port),
                None => faults.push(unsupported(files, input)),
            }
        }
        graph.outputs = header.outputs.iter().filter_map(Port::of_value).collect();
        if let Some(stated) = stated {
            let mut differences = Vec::new();
            merge(PortRole::Input, &mut graph.inputs, &from_card(&stated.inputs), &mut differences);
            merge(PortRole::Output, &mut graph.outputs, &from_card(&stated.outputs), &mut differences);
            for Difference { port, stated, found } in differences {
                faults.push(
                    files
                        .fault("card-ports", format!("{port}: the card of `{}` and its file disagree", graph.model))
                        .expected(format!("{stated}, as the card says"))
                        .found(format!("{found} in {}", graph.path.display()))
                        .help("correct `ports` in the card, or bring the file that the card means"),
                );
            }
        }
        faults.into_result(graph).map(|(graph, _)| graph)
    }

    /// The input of this name.
    pub fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// The output of this name.
    pub fn output(&self, name: &str) -> Option<&Port> {
        self.outputs.iter().find(|port| port.name == name)
    }

    /// Where the loaded model is another than was read before it was loaded: for an `.ort` file, where the card errs.
    /// The first difference in words; `None` where all ports agree.
    pub fn difference(&self, session: &dyn Session) -> Option<String> {
        let mut differences = Vec::new();
        merge(PortRole::Input, &mut session.inputs().to_vec(), &self.inputs, &mut differences);
        merge(PortRole::Output, &mut session.outputs().to_vec(), &self.outputs, &mut differences);
        differences
            .first()
            .map(|Difference { port, stated, found }| format!("{port}: expected {stated}, found {found}"))
    }
}

/// A port of which two sources say different things.
struct Difference {
    port: String,
    stated: String,
    found: String,
}

/// Adds what `stated` knows to `ports`, which come from the file.
fn merge(role: PortRole, ports: &mut [Port], stated: &[Port], differences: &mut Vec<Difference>) {
    for port in stated.iter().filter(|stated| !ports.iter().any(|port| port.name == stated.name)) {
        let found = "no such port".to_owned();
        differences.push(Difference { port: format!("{role} `{}`", port.name), stated: text(port), found });
    }
    for port in ports {
        let at = format!("{role} `{}`", port.name);
        match stated.iter().find(|stated| stated.name == port.name) {
            None => differences.push(Difference { port: at, stated: "no such port".into(), found: text(port) }),
            Some(stated) if stated.dtype != port.dtype || stated.shape.accepts(&port.shape).is_err() => {
                differences.push(Difference { port: at, stated: text(stated), found: text(port) });
            }
            Some(stated) => port.shape = sharper(&port.shape, &stated.shape),
        }
    }
}

fn text(port: &Port) -> String {
    format!("{} {}", port.dtype, port.shape)
}

/// What both shapes know together: a size before a name, the second's name before the first's, a name before nothing.
fn sharper(file: &SymbolicShape, card: &SymbolicShape) -> SymbolicShape {
    let (Some(ours), Some(theirs)) = (file.dims(), card.dims()) else {
        return if file.rank().is_some() { file.clone() } else { card.clone() };
    };
    let sharper = |(ours, theirs): (&Dim, &Dim)| match (ours, theirs) {
        (Dim::Known(_), _) | (_, Dim::Any) => ours.clone(),
        _ => theirs.clone(),
    };
    SymbolicShape::Ranked(ours.iter().zip(theirs).map(sharper).collect())
}

fn from_card(ports: &[crate::cards::Port]) -> Vec<Port> {
    ports.iter().map(|port| Port { name: port.name.clone(), dtype: port.dtype, shape: port.shape.clone() }).collect()
}

fn unsupported(files: &ModelFiles, input: &ValueInfo) -> Fault {
    let elements = input.dtype_name().map(|name| format!(" of {name}")).unwrap_or_default();
    files
        .fault(
            "unsupported-port",
            format!("input `{}` of `{}` is nothing that percept can give", input.name, files.name()),
        )
        .expected("a tensor of floats, integers, bool or string")
        .found(format!("a {}{elements}", input.kind.name()))
        .help("export the model with such inputs")
}

fn is_ort_format(error: &OnnxError) -> bool {
    match error {
        OnnxError::OrtFormat => true,
        OnnxError::InFile { fault, .. } => is_ort_format(fault),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::GRAPH_ROLE;
    use super::super::testing::{Bench, small_model};
    use super::*;

    fn card(ports: &str, file: &str) -> String {
        format!(
            "percept_card: 1\nname: own\nkind: onnx\nsummary: s\nlicence: MIT\nsource: {{text: t}}\n\
             files: {{model: {{path: {file}}}}}\n{ports}"
        )
    }

    fn read(ports: &str, file: &str) -> Result<Graph, Faults> {
        let bench = Bench::new();
        bench.write("models/own/card.yaml", card(ports, file));
        bench.write(&format!("models/own/{file}"), std::fs::read(small_model(file)).unwrap());
        Graph::read(&bench.files("own").unwrap(), GRAPH_ROLE)
    }

    fn words(ports: &[Port]) -> String {
        ports.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_the_card_knows_is_added_to_what_the_file_says() {
        let bench = Bench::new();
        let silero = Graph::read(&bench.files("silero-vad").unwrap(), GRAPH_ROLE).unwrap();
        assert_eq!(words(&silero.inputs), "input: f32 [batch, 576]; state: f32 [2, batch, 128]; sr: i64 []");
        assert_eq!(words(&silero.outputs), "output: f32 [batch, 1]; stateN: f32 [2, batch, 128]");
        let ports =
            "ports: {model: {inputs: [{name: x, dtype: f32, shape: [N, \"?\"]}], outputs: [{name: y, dtype: f32}]}}\n";
        let relu = read(ports, "relu.onnx").unwrap();
        assert_eq!((words(&relu.inputs), words(&relu.outputs)), ("x: f32 [1, 4]".into(), "y: f32 [1, 4]".into()));
        assert!(!relu.unverified);
        let sequence = read("", "sequence.onnx").unwrap();
        assert_eq!(words(&sequence.outputs), "y: f32 [n]");
    }

    #[test]
    fn what_the_card_and_the_file_disagree_about() {
        let both = |x: &str, y: &str| format!("ports: {{model: {{inputs: [{x}], outputs: [{y}]}}}}\n");
        let (x, y) = ("{name: x, dtype: f32, shape: [1, 4]}", "{name: y, dtype: f32, shape: [1, 4]}");
        for (ports, says) in [
            (both("{name: x, dtype: f32, shape: [1, 4, 4]}", y), "input `x`: the card of `own` and its file disagree"),
            (both("{name: x, dtype: f32, shape: [1, 4, 4]}", y), "expected: f32 [1, 4, 4], as the card says"),
            (both("{name: x, dtype: f32, shape: [1, 5]}", y), "found: f32 [1, 4] in "),
            (both("{name: x, dtype: i64, shape: [1, 4]}", y), "i64 [1, 4], as"),
            (both("{name: z, dtype: f32, shape: [1, 4]}", y), "input `z`"),
            (both(x, ""), "output `y`"),
            (both(x, "{name: y, dtype: f32, shape: [2, 4]}"), "output `y`"),
        ] {
            let faults = read(&ports, "relu.onnx").unwrap_err().to_string();
            assert!(faults.contains(says) && faults.contains("[card-ports]"), "{ports}: {faults}");
        }
        assert!(read(&both(x, y), "relu.onnx").is_ok());
    }

    #[test]
    fn files_that_cannot_be_read() {
        for (file, code, says) in [
            ("relu.ort", "ort-ports", "state them in a card.yaml"),
            ("sequence_input.onnx", "unsupported-port", "a sequence of f32"),
        ] {
            let faults = read("", file).unwrap_err().to_string();
            assert!(faults.contains(code) && faults.contains(says), "{faults}");
        }
        let bench = Bench::new();
        let whole = std::fs::read(small_model("identity.onnx")).unwrap();
        for (content, says) in
            [(&whole[..whole.len() / 2], "fetch or export"), (&[][..], "found 0 bytes"), (b"text", "text")]
        {
            bench.write("m.onnx", content);
            let faults = Graph::read(&bench.files("m.onnx").unwrap(), GRAPH_ROLE).unwrap_err().to_string();
            assert!(faults.contains("[bad-model]") && faults.contains(says), "{faults}");
        }
    }

    #[test]
    fn an_ort_file_has_the_ports_of_its_card() {
        let ports =
            "ports: {model: {inputs: [{name: x, dtype: f32, shape: [1, 4]}], outputs: [{name: y, dtype: f32}]}}\n";
        let graph = read(ports, "relu.ort").unwrap();
        assert!(graph.unverified);
        assert_eq!(words(&graph.inputs), "x: f32 [1, 4]");
    }
}
