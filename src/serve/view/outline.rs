//! What a page shows of a plan: its stages and links, and which outputs are looked into.

use std::sync::Arc;

use serde::Serialize;

use crate::media::Format;
use crate::pipeline::Plan;
use crate::stage::Role;

/// The plan as the page draws it, and the outputs that it looks into.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outline {
    name: Arc<str>,
    version: &'static str,
    stages: Vec<StageOutline>,
    links: Vec<LinkOutline>,
    /// The outputs that are looked into.
    pub ports: Vec<PortOutline>,
}

#[derive(Clone, Debug, Serialize)]
struct StageOutline {
    id: Arc<str>,
    role: &'static str,
    kind: String,
    /// For a companion: the stage that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<usize>,
}

#[derive(Clone, Debug, Serialize)]
struct LinkOutline {
    from: usize,
    to: usize,
    name: String,
    format: String,
    queue: usize,
    overflow: &'static str,
    feedback: bool,
}

/// An output that is looked into.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PortOutline {
    /// Its name for people.
    pub name: String,
    /// Its stage and port in the plan.
    #[serde(skip)]
    pub from: (usize, usize),
    /// What of it is shown.
    pub shows: Shows,
}

/// What of an output is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shows {
    /// The latest picture.
    Pictures,
    /// Transcripts, texts, labels, regions, as they come.
    Results,
    /// A curve of one number.
    Number,
    /// A curve of the sound's level.
    Level,
}

impl Outline {
    /// What is shown of a plan.
    pub fn of(plan: &Plan) -> Outline {
        let stages = plan.stages.iter().map(|stage| StageOutline {
            id: stage.id.clone(),
            role: stage.role.key(),
            kind: stage.kind.clone(),
            owner: stage.owner.map(|(owner, _)| owner),
        });
        let links = plan.links.iter().map(|link| LinkOutline {
            from: link.from.0,
            to: link.to.0,
            name: plan.link_name(link),
            format: plan.format(link.from.0, link.from.1).to_string(),
            queue: link.settings.queue,
            overflow: link.settings.overflow.name(),
            feedback: link.settings.feedback,
        });
        Outline {
            name: plan.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            stages: stages.collect(),
            links: links.collect(),
            ports: ports(plan),
        }
    }
}

fn ports(plan: &Plan) -> Vec<PortOutline> {
    let outputs = || {
        plan.stages.iter().enumerate().flat_map(|(stage, planned)| {
            (0..planned.contract.outputs.len()).map(move |port| ((stage, port), plan.format(stage, port)))
        })
    };
    let has_transcripts = outputs().any(|(_, format)| *format == Format::Transcript);
    let pictures = pictures(plan);
    let shown = outputs().filter_map(|(from, format)| {
        let shows = match format {
            Format::Image { .. } if pictures.contains(&from) => Shows::Pictures,
            // A transcript says what the text before it said.
            Format::Text if has_transcripts => return None,
            Format::Text | Format::Transcript | Format::Labels | Format::Regions => Shows::Results,
            Format::Audio { .. } if plan.stages[from.0].role == Role::Capture => Shows::Level,
            Format::Tensor { shape, .. } => match shape.sizes() {
                Some(sizes) if sizes.iter().product::<usize>() == 1 => Shows::Number,
                _ => return None,
            },
            _ => return None,
        };
        Some(PortOutline { name: plan.output_name(from.0, from.1), from, shows })
    });
    shown.collect()
}

/// The outputs whose pictures are shown: those that `annotate` writes, else those that it reads, else those of the
/// captures, else all.
fn pictures(plan: &Plan) -> Vec<(usize, usize)> {
    let is_image = |from: &(usize, usize)| matches!(plan.format(from.0, from.1), Format::Image { .. });
    let of = |keep: &dyn Fn(usize) -> bool| -> Vec<(usize, usize)> {
        let stages = (0..plan.stages.len()).filter(|&stage| keep(stage));
        stages
            .flat_map(|stage| (0..plan.stages[stage].contract.outputs.len()).map(move |port| (stage, port)))
            .filter(is_image)
            .collect()
    };
    let annotates = |stage: usize| plan.stages[stage].kind == "annotate";
    let mut read: Vec<_> = plan.links.iter().filter(|link| annotates(link.to.0)).map(|link| link.from).collect();
    read.retain(is_image);
    read.sort_unstable();
    read.dedup();
    let tiers = [of(&annotates), read, of(&|stage| plan.stages[stage].role == Role::Capture), of(&|_| true)];
    tiers.into_iter().find(|tier| !tier.is_empty()).unwrap_or_default()
}
