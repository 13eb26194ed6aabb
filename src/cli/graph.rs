//! `percept graph`: a pipeline as a picture.

use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;

use super::error::CliError;
use super::exit::Exit;
use super::global::Global;
use super::lanes;
use super::load::Changes;
use super::output;
use crate::media::Format;
use crate::pipeline::{LinkSettings, Plan, PlannedLink};
use crate::stage::Role;

/// Draw a pipeline: its stages, its links and what travels on them
///
/// The pipeline is checked first, so that each link shows the format that check solved for it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline file
    file: PathBuf,
    /// What to draw it as
    #[arg(long, value_enum, default_value_t)]
    format: Picture,
    #[command(flatten)]
    changes: Changes,
}

/// What to draw a pipeline as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Picture {
    /// A picture for the terminal
    #[default]
    Text,
    /// A Mermaid flowchart, for Markdown
    Mermaid,
    /// For Graphviz: `percept graph x.yaml --format dot | dot -Tsvg`
    Dot,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let pipeline = args.changes.load(&args.file, global)?;
    let plan = pipeline.plan();
    output::print(&match args.format {
        Picture::Text => lanes::draw(plan, &global.stdout()),
        Picture::Mermaid => mermaid(plan),
        Picture::Dot => dot(plan),
    })?;
    Ok(Exit::Done)
}

/// The role and kind of a stage; the kind only where the id does not say it.
pub(super) fn role(plan: &Plan, stage: usize) -> String {
    let planned = &plan.stages[stage];
    if let Some((owner, gives)) = planned.owner {
        return format!("{gives} → {}", plan.stages[owner].id);
    }
    match *planned.id == *planned.kind {
        true => planned.role.to_string(),
        false => format!("{}: {}", planned.role, planned.kind),
    }
}

/// What travels on a link, when that is known.
pub(super) fn format(plan: &Plan, stage: usize, port: usize) -> Option<String> {
    let format = plan.format(stage, port);
    (*format != Format::Any).then(|| format.to_string())
}

/// What is not usual about a link: `queue 64, drop_oldest`.
pub(super) fn settings(link: &PlannedLink) -> Option<String> {
    let (own, usual) = (link.settings, LinkSettings::default());
    let mut words = Vec::new();
    if own.feedback {
        words.push("feedback".to_owned());
    }
    if own.queue != usual.queue {
        words.push(format!("queue {}", own.queue));
    }
    if own.queue_bytes != usual.queue_bytes {
        words.push(format!("queue_mb {}", own.queue_bytes >> 20));
    }
    if own.overflow != usual.overflow {
        words.push(own.overflow.to_string());
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// The label of a link: ports where stages have several, format, unusual settings.
fn label(plan: &Plan, link: &PlannedLink) -> Vec<String> {
    let from = &plan.stages[link.from.0].contract.outputs;
    let to = &plan.stages[link.to.0].contract.inputs;
    let ports = match (from.get(link.from.1), to.get(link.to.1)) {
        (Some(output), Some(input)) => match (from.len() > 1, to.len() > 1) {
            (false, false) => None,
            (true, false) => Some(format!("{} →", output.name)),
            (false, true) => Some(format!("→ {}", input.name)),
            (true, true) => Some(format!("{} → {}", output.name, input.name)),
        },
        _ => None,
    };
    ports.into_iter().chain(format(plan, link.from.0, link.from.1)).chain(settings(link)).collect()
}

/// A flowchart of Mermaid (<https://mermaid.js.org/syntax/flowchart.html>).
fn mermaid(plan: &Plan) -> String {
    let escape =
        |text: &str| text.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;");
    let title = serde_json::Value::from(&*plan.name);
    let mut text = format!("---\ntitle: {title}\n---\nflowchart LR\n");
    for (place, stage) in plan.stages.iter().enumerate() {
        let (open, close) = match stage.role {
            Role::Capture | Role::Sink => ("([", "])"),
            Role::Model => ("{{", "}}"),
            Role::Preprocess | Role::Decoder => ("[", "]"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    s{place}{open}\"{}<br>{}\"{close}", escape(&stage.id), escape(&role(plan, place)));
    }
    for link in &plan.links {
        let arrow = if link.settings.feedback { "-.->" } else { "-->" };
        let words: Vec<_> = label(plan, link).iter().map(|line| escape(line)).collect();
        let words = if words.is_empty() { String::new() } else { format!("|\"{}\"|", words.join("<br>")) };
        let _ = writeln!(text, "    s{} {arrow}{words} s{}", link.from.0, link.to.0);
    }
    for (place, owner, gives) in companions(plan) {
        let _ = writeln!(text, "    s{place} -.->|\"{gives}\"| s{owner}");
    }
    text
}

/// A digraph in the language of Graphviz (<https://graphviz.org/doc/info/lang.html>).
fn dot(plan: &Plan) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text =
        format!("digraph \"{}\" {{\n    rankdir=LR;\n    node [shape=box, style=rounded];\n", escape(&plan.name));
    for (place, stage) in plan.stages.iter().enumerate() {
        let _ = writeln!(text, "    s{place} [label=\"{}\\n{}\"];", escape(&stage.id), escape(&role(plan, place)));
    }
    for link in &plan.links {
        let words: Vec<_> = label(plan, link).iter().map(|line| escape(line)).collect();
        let style = if link.settings.feedback { ", style=dashed, constraint=false" } else { "" };
        let _ = writeln!(text, "    s{} -> s{} [label=\"{}\"{style}];", link.from.0, link.to.0, words.join("\\n"));
    }
    for (place, owner, gives) in companions(plan) {
        let _ = writeln!(text, "    s{place} -> s{owner} [label=\"{gives}\", style=dashed, constraint=false];");
    }
    text.push_str("}\n");
    text
}

/// Each companion, its owner, and what it gives to it other than by packets.
fn companions(plan: &Plan) -> impl Iterator<Item = (usize, usize, &'static str)> {
    plan.stages.iter().enumerate().filter_map(|(place, stage)| {
        let (owner, gives) = stage.owner?;
        Some((place, owner, gives))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::{Overflow, PlannedStage};
    use crate::stage::{Blueprint, Contract, ContractFault, Runnable, Settings, StageError};

    /// A stage that is only looked at.
    #[derive(Debug)]
    struct Shown(Contract);

    impl Blueprint for Shown {
        fn contract(&self) -> Contract {
            self.0.clone()
        }

        fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
            Ok(vec![Format::Any; self.0.outputs.len()])
        }

        fn build(&self) -> Result<Runnable, StageError> {
            Err(StageError::fatal("only looked at"))
        }
    }

    /// `(id, role, kind, inputs, outputs)`.
    type Sketch<'a> = (&'a str, Role, &'a str, &'a [&'a str], &'a [(&'a str, Format)]);

    /// A plan of stages and `(from, output, to, input)`.
    pub(crate) fn plan(stages: &[Sketch<'_>], links: &[(usize, usize, usize, usize)]) -> Plan {
        let planned = stages.iter().map(|(id, role, kind, inputs, outputs)| {
            let contract = inputs.iter().fold(Contract::new(), |contract, input| contract.input(*input, Format::Any));
            let contract = outputs.iter().fold(contract, |contract, (name, _)| contract.output(*name));
            let blueprint = Arc::new(Shown(contract.clone()));
            PlannedStage { id: (*id).into(), role: *role, kind: (*kind).to_owned(), blueprint, contract, owner: None }
        });
        let link = |&(from, output, to, input): &(usize, usize, usize, usize)| PlannedLink {
            from: (from, output),
            to: (to, input),
            settings: LinkSettings::default(),
        };
        Plan {
            name: "a \"name\"".into(),
            stages: planned.collect(),
            links: links.iter().map(link).collect(),
            formats: stages
                .iter()
                .map(|(.., outputs)| outputs.iter().map(|(_, format)| format.clone()).collect())
                .collect(),
            settings: Settings::default(),
            memory_bytes: Plan::DEFAULT_MEMORY_BYTES,
        }
    }

    /// A capture whose audio goes through a gate and around it.
    pub(crate) fn diamond() -> Plan {
        let mut plan = plan(
            &[
                ("in", Role::Capture, "file", &[], &[("out", Format::ANY_AUDIO)]),
                ("vad", Role::Model, "onnx", &["in"], &[("out", Format::ANY_TENSOR)]),
                (
                    "cut",
                    Role::Decoder,
                    "cut",
                    &["voice", "audio"],
                    &[("out", Format::ANY_AUDIO), ("debug", Format::Any)],
                ),
                ("out", Role::Sink, "jsonl", &["in"], &[]),
                ("log", Role::Sink, "jsonl", &["in"], &[]),
            ],
            &[(0, 0, 1, 0), (1, 0, 2, 0), (0, 0, 2, 1), (2, 0, 3, 0), (2, 1, 4, 0)],
        );
        plan.links[2].settings.overflow = Overflow::DropOldest;
        plan.links[2].settings.queue = 64;
        plan
    }

    #[test]
    fn a_flowchart() {
        assert_eq!(
            mermaid(&diamond()),
            "---\ntitle: \"a \\\"name\\\"\"\n---\nflowchart LR\n\
             \x20   s0([\"in<br>capture: file\"])\n\
             \x20   s1{{\"vad<br>model: onnx\"}}\n\
             \x20   s2[\"cut<br>decoder\"]\n\
             \x20   s3([\"out<br>sink: jsonl\"])\n\
             \x20   s4([\"log<br>sink: jsonl\"])\n\
             \x20   s0 -->|\"audio\"| s1\n\
             \x20   s1 -->|\"→ voice<br>tensor\"| s2\n\
             \x20   s0 -->|\"→ audio<br>audio<br>queue 64, drop_oldest\"| s2\n\
             \x20   s2 -->|\"out →<br>audio\"| s3\n\
             \x20   s2 -->|\"debug →\"| s4\n"
        );
    }

    #[test]
    fn a_digraph() {
        let mut plan = diamond();
        plan.links[4].settings.feedback = true;
        let text = dot(&plan);
        for line in [
            "digraph \"a \\\"name\\\"\" {",
            "    s1 [label=\"vad\\nmodel: onnx\"];",
            "    s0 -> s2 [label=\"→ audio\\naudio\\nqueue 64, drop_oldest\"];",
            "    s2 -> s4 [label=\"debug →\\nfeedback\", style=dashed, constraint=false];",
            "}",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
