//! The plan: a pipeline that was found without fault, ready to run.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::media::Format;
use crate::stage::{Blueprint, Contract, PortIndex, Role, Settings};

/// What a link does when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The writer waits (for this stream only): nothing is lost.
    #[default]
    Block,
    /// The oldest packet that waits is dropped.
    DropOldest,
    /// The new packet is dropped.
    DropNewest,
    /// All that waits is dropped: only the newest packet stays.
    Latest,
}

impl Overflow {
    /// Its name in a pipeline file.
    pub const fn name(self) -> &'static str {
        match self {
            Overflow::Block => "block",
            Overflow::DropOldest => "drop_oldest",
            Overflow::DropNewest => "drop_newest",
            Overflow::Latest => "latest",
        }
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bounds and the policy of a link; each holds per stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// Most packets that wait.
    pub queue: usize,
    /// Most bytes that wait.
    pub queue_bytes: usize,
    /// What happens at either bound.
    pub overflow: Overflow,
    /// Whether it closes a cycle: then it never blocks, carries no watermark and is not awaited at the end.
    pub feedback: bool,
}

impl LinkSettings {
    /// 32 packets.
    pub const DEFAULT_QUEUE: usize = 32;
    /// 64 MiB.
    pub const DEFAULT_QUEUE_BYTES: usize = 64 << 20;
}

impl Default for LinkSettings {
    fn default() -> Self {
        LinkSettings {
            queue: Self::DEFAULT_QUEUE,
            queue_bytes: Self::DEFAULT_QUEUE_BYTES,
            overflow: Overflow::Block,
            feedback: false,
        }
    }
}

/// A stage of the plan.
#[derive(Clone, Debug)]
pub struct PlannedStage {
    /// Its id, unique in the pipeline.
    pub id: Arc<str>,
    /// Its role.
    pub role: Role,
    /// The name of its kind.
    pub kind: String,
    /// How to build it.
    pub blueprint: Arc<dyn Blueprint>,
    /// Its ports and how it runs.
    pub contract: Contract,
    /// For a companion: the stage that it belongs to, and what it gives to it.
    pub owner: Option<(usize, &'static str)>,
}

/// A link of the plan: from an output port to an input port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedLink {
    /// The writing stage (its place in the plan) and its output port.
    pub from: (usize, PortIndex),
    /// The reading stage and its input port.
    pub to: (usize, PortIndex),
    /// Bounds and policy.
    pub settings: LinkSettings,
}

/// A pipeline without faults: stages in the order of the file, links between them, and the settings it was read with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The pipeline's name.
    pub name: Arc<str>,
    /// Its stages.
    pub stages: Vec<PlannedStage>,
    /// Its links.
    pub links: Vec<PlannedLink>,
    /// For each stage, the formats of its output ports as check solved them; see [`Plan::format`].
    pub formats: Vec<Vec<Format>>,
    /// The settings of the process that it was read with.
    pub settings: Settings,
    /// Most bytes that wait in all its links together.
    pub memory_bytes: usize,
}

impl Plan {
    /// 512 MiB.
    pub const DEFAULT_MEMORY_BYTES: usize = 512 << 20;

    /// What an output port carries, as far as check could solve it.
    pub fn format(&self, stage: usize, port: PortIndex) -> &Format {
        self.formats.get(stage).and_then(|ports| ports.get(port)).unwrap_or(&Format::Any)
    }

    /// The name of an output port for people: the stage's id, and the port's name where the stage has several.
    pub fn output_name(&self, stage: usize, port: PortIndex) -> String {
        let planned = &self.stages[stage];
        match planned.contract.outputs.get(port) {
            Some(output) if planned.contract.outputs.len() > 1 => format!("{}.{}", planned.id, output.name),
            _ => planned.id.to_string(),
        }
    }

    /// The name of an input port for people, likewise.
    pub fn input_name(&self, stage: usize, port: PortIndex) -> String {
        let planned = &self.stages[stage];
        match planned.contract.inputs.get(port) {
            Some(input) if planned.contract.inputs.len() > 1 => format!("{}.{}", planned.id, input.name),
            _ => planned.id.to_string(),
        }
    }

    /// A link for people: `resample → endpoint.audio`.
    pub fn link_name(&self, link: &PlannedLink) -> String {
        format!("{} → {}", self.output_name(link.from.0, link.from.1), self.input_name(link.to.0, link.to.1))
    }
}
