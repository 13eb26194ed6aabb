//! From stages to a plan: names, links, cycles, formats, files. Collects faults; never stops at the first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::plan::{Plan, PlannedLink, PlannedStage};
use super::spec::{COMPANION_LINK, LinkRequest, StageSpec};
use crate::config::{self, Fault, Faults};
use crate::media::Format;
use crate::stage::{Companion, CompanionSource, Contract, PortIndex, Role, Settings};

/// A plan, or every fault that stands in its way. Faults that are only warnings come with the plan.
pub(super) fn assemble(
    name: Arc<str>,
    memory_bytes: usize,
    settings: Settings,
    mut stages: Vec<StageSpec>,
    mut faults: Faults,
) -> Result<(Plan, Faults), Faults> {
    stages.iter_mut().for_each(StageSpec::name_inputs);
    let own = stages.len();
    let (beside, companions): (Vec<_>, Vec<_>) = (0..own).filter_map(|index| stages[index].companion(index)).unzip();
    stages.extend(beside);
    let mut assembly = Assembly {
        contracts: stages.iter().map(|stage| stage.blueprint.as_ref().map(|blueprint| blueprint.contract())).collect(),
        stages: &stages,
        companions: &companions,
        links: Vec::new(),
        origins: Vec::new(),
        faults: Faults::new(),
    };
    assembly.ids();
    assembly.wire();
    assembly.roles();
    assembly.unread();
    let formats = assembly.order().map(|order| assembly.formats(&order)).unwrap_or_default();
    assembly.files();
    assembly.probes();
    let Assembly { contracts, links, faults: found, .. } = assembly;
    faults.extend(found);
    if faults.has_errors() {
        return Err(faults);
    }
    let owner = |index: usize, owner: Option<usize>| Some((owner?, companions.get(index.checked_sub(own)?)?.gives));
    let planned = stages.iter().zip(contracts).enumerate().filter_map(|(index, (stage, contract))| {
        Some(PlannedStage {
            id: stage.id.clone(),
            role: stage.role,
            kind: stage.kind.clone(),
            blueprint: stage.blueprint.clone()?,
            contract: contract?,
            owner: owner(index, stage.owner),
        })
    });
    Ok((Plan { name, stages: planned.collect(), links, formats, settings, memory_bytes }, faults))
}

struct Assembly<'a> {
    stages: &'a [StageSpec],
    /// Of the last of them.
    companions: &'a [Companion],
    /// `None`: the stage's own keys are at fault, so its ports are not known.
    contracts: Vec<Option<Contract>>,
    links: Vec<PlannedLink>,
    /// For each link, the request that it comes from: stage and place in its list; `None` for one from the stage above.
    origins: Vec<Option<LinkRequest>>,
    faults: Faults,
}

impl Assembly<'_> {
    fn fault_at_stage(&mut self, stage: usize, fault: Fault) {
        let fault = if fault.span.is_none() { self.stages[stage].place.put(fault) } else { fault };
        self.faults.push(fault);
    }

    /// The name of a stage for people.
    fn id(&self, stage: usize) -> &str {
        &self.stages[stage].id
    }

    fn ids(&mut self) {
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (index, stage) in self.stages.iter().enumerate() {
            if let Some(earlier) = first.insert(&stage.id, index) {
                first.insert(&stage.id, earlier);
                let fault = Fault::error("duplicate-id", format!("two stages have the id `{}`", stage.id))
                    .help("give one of them an `id` of its own");
                let mut fault = stage.place.put(fault);
                if let Some(span) = self.stages[earlier].place.span_in(&stage.place) {
                    fault = fault.related(span, "the first one");
                }
                self.faults.push(fault);
            }
        }
    }

    fn wire(&mut self) {
        for index in 0..self.stages.len() {
            match &self.stages[index].from {
                // Beside its owner, whose links are there already.
                Some(_) if self.stages[index].owner.is_some() => self.link_companion(index),
                Some(requests) => {
                    for request in requests {
                        self.link(index, request);
                    }
                }
                None => self.link_above(index),
            }
        }
        for index in 0..self.stages.len() {
            self.missing_inputs(index);
        }
    }

    /// A link that the file asks for.
    fn link(&mut self, index: usize, request: &LinkRequest) {
        // What a companion writes is named by its owner, as a port of it: `digits.learner`.
        let whole = request.output.as_ref().map(|output| format!("{}.{output}", request.stage));
        let companion = self.stages.iter().position(|stage| whole.as_deref() == Some(&*stage.id));
        let request = &match companion {
            Some(place) => LinkRequest { stage: self.id(place).to_owned(), output: None, ..request.clone() },
            None => request.clone(),
        };
        let Some(from) = self.stages.iter().position(|stage| *stage.id == *request.stage) else {
            let known = self.stages.iter().map(|stage| &*stage.id).filter(|id| *id != self.id(index));
            let meant = config::suggest(&request.stage, known.clone()).map(|meant| format!("did you mean `{meant}`?"));
            let names: Vec<_> = known.map(|id| format!("`{id}`")).collect();
            let fault = Fault::error("unknown-stage", format!("there is no stage `{}`", request.stage))
                .expected(if names.is_empty() {
                    "another stage".into()
                } else {
                    format!("one of {}", names.join(", "))
                })
                .maybe_help(meant);
            self.faults.push(request.place.put(fault));
            return;
        };
        let Some(to_port) = self.input_port(index, request) else { return };
        let Some(from_port) = self.output_port(from, request) else { return };
        let link = PlannedLink { from: (from, from_port), to: (index, to_port), settings: request.settings };
        if self.links.iter().any(|other| other.from == link.from && other.to == link.to) {
            let fault = Fault::error("duplicate-link", format!("`{}` is read twice by one port", request.stage));
            self.faults.push(request.place.put(fault));
            return;
        }
        self.links.push(link);
        self.origins.push(Some(request.clone()));
    }

    /// `None` when there is no such port, or it cannot be known; the fault is then reported.
    fn input_port(&mut self, index: usize, request: &LinkRequest) -> Option<PortIndex> {
        let contract = self.contracts[index].clone()?;
        let id = self.stages[index].id.clone();
        let names: Vec<String> = contract.inputs.iter().map(|port| format!("`{}`", port.name)).collect();
        if names.is_empty() {
            let fault = Fault::error("no-input", format!("`{id}` is a capture and reads from no stage"));
            self.faults.push(request.place.put(fault.help("remove `from`")));
            return None;
        }
        match &request.port {
            None if contract.inputs.len() == 1 => Some(0),
            None => {
                let example: Vec<_> = contract.inputs.iter().map(|port| format!("{}: …", port.name)).collect();
                let fault =
                    Fault::error("which-port", format!("`{id}` has {} inputs, so each must be named", names.len()))
                        .expected(format!("`from: {{{}}}`", example.join(", ")));
                self.faults.push(request.place.put(fault));
                None
            }
            Some(port) => {
                let found = contract.inputs.iter().position(|known| known.name == port.name);
                if found.is_none() {
                    let known = contract.inputs.iter().map(|port| port.name.as_str());
                    let meant = config::suggest(&port.name, known).map(|meant| format!("did you mean `{meant}`?"));
                    let fault = Fault::error("unknown-port", format!("`{id}` has no input `{}`", port.name))
                        .expected(format!("one of {}", names.join(", ")))
                        .maybe_help(meant);
                    self.faults.push(request.place.put(fault));
                }
                found
            }
        }
    }

    fn output_port(&mut self, from: usize, request: &LinkRequest) -> Option<PortIndex> {
        let contract = self.contracts[from].clone()?;
        let id = self.stages[from].id.clone();
        if contract.outputs.is_empty() {
            let fault = Fault::error("no-output", format!("`{id}` is a sink and writes to no stage"))
                .help("read from the stage before it");
            self.faults.push(request.place.put(fault));
            return None;
        }
        let Some(output) = &request.output else { return Some(0) };
        let found = contract.outputs.iter().position(|known| known.name == *output);
        if found.is_none() {
            let names: Vec<_> = contract.outputs.iter().map(|port| format!("`{id}.{}`", port.name)).collect();
            let meant = config::suggest(output, contract.outputs.iter().map(|port| port.name.as_str()));
            let fault = Fault::error("unknown-port", format!("`{id}` has no output `{output}`"))
                .expected(format!("one of {}", names.join(", ")))
                .maybe_help(meant.map(|meant| format!("did you mean `{id}.{meant}`?")));
            self.faults.push(request.place.put(fault));
        }
        found
    }

    /// The links of a companion: those of its own, and what its owner reads and writes.
    fn link_companion(&mut self, index: usize) {
        for request in self.stages[index].from.iter().flatten() {
            self.link(index, request);
        }
        let first = self.stages.len() - self.companions.len();
        let (Some(owner), Some(companion)) = (self.stages[index].owner, self.companions.get(index - first)) else {
            return;
        };
        for (port, source) in &companion.reads {
            let found: Vec<(usize, PortIndex)> = match source {
                CompanionSource::Named(..) => continue,
                CompanionSource::Output(output) => vec![(owner, *output)],
                CompanionSource::Input(input) => {
                    self.links.iter().filter(|link| link.to == (owner, *input)).map(|link| link.from).collect()
                }
            };
            for from in found {
                self.links.push(PlannedLink { from, to: (index, *port), settings: COMPANION_LINK });
                self.origins.push(None);
            }
        }
    }

    /// A stage without `from` reads from the nearest stage above that writes.
    fn link_above(&mut self, index: usize) {
        let Some(contract) = &self.contracts[index] else { return };
        let inputs = contract.inputs.iter().filter(|port| !port.optional).count();
        if contract.inputs.is_empty() {
            return;
        }
        if inputs > 1 {
            let names: Vec<_> = contract.inputs.iter().map(|port| format!("{}: …", port.name)).collect();
            let fault =
                Fault::error("which-port", format!("`{}` has {inputs} inputs, so each must be named", self.id(index)))
                    .expected(format!("`from: {{{}}}`", names.join(", ")));
            self.fault_at_stage(index, fault);
            return;
        }
        // A stage whose ports are unknown may well write: the chain is taken to go on from it, without a link.
        let above = (0..index).rev().find(|&above| match &self.contracts[above] {
            Some(contract) => !contract.outputs.is_empty(),
            None => self.stages[above].role != Role::Sink,
        });
        match above {
            Some(above) if self.contracts[above].is_some() => {
                let port = contract.inputs.iter().position(|port| !port.optional).unwrap_or(0);
                self.links.push(PlannedLink { from: (above, 0), to: (index, port), settings: Default::default() });
                self.origins.push(None);
            }
            Some(_) => {}
            None => {
                let fault =
                    Fault::error("no-source", format!("nothing above `{}` writes what it could read", self.id(index)))
                        .help("begin with a capture, or say where to read with `from`");
                self.fault_at_stage(index, fault);
            }
        }
    }

    /// Ports that must be read and are not. Not told of a stage whose requests are themselves at fault.
    fn missing_inputs(&mut self, index: usize) {
        let (Some(contract), Some(requests)) = (self.contracts[index].clone(), &self.stages[index].from) else {
            return;
        };
        let linked = self.links.iter().filter(|link| link.to.0 == index).count();
        if linked < requests.len() {
            return;
        }
        for (port, input) in contract.inputs.iter().enumerate() {
            if !input.optional && !self.links.iter().any(|link| link.to == (index, port)) {
                let fault = Fault::error(
                    "missing-input",
                    format!("nothing is read on input `{}` of `{}`", input.name, self.id(index)),
                )
                .expected(format!("`from: {{{}: …}}`, a stage that writes {}", input.name, input.format));
                self.fault_at_stage(index, fault);
            }
        }
    }

    fn roles(&mut self) {
        if !self.stages.is_empty() && !self.stages.iter().any(|stage| stage.role == Role::Capture) {
            let fault = Fault::error("no-capture", "this pipeline has no capture, so nothing ever comes in")
                .help("add one, such as `- capture: microphone` or `- capture: file`");
            self.fault_at_stage(0, fault);
        }
    }

    /// Outputs that nobody reads.
    fn unread(&mut self) {
        if self.contracts.iter().any(Option::is_none) {
            // A stage at fault might have read them.
            return;
        }
        for index in 0..self.stages.len() {
            let outputs = self.contracts[index].clone().map(|contract| contract.outputs).unwrap_or_default();
            for (port, output) in outputs.iter().enumerate() {
                if !output.optional && !self.links.iter().any(|link| link.from == (index, port)) {
                    let name = if outputs.len() > 1 {
                        format!("{}.{}", self.id(index), output.name)
                    } else {
                        self.id(index).to_owned()
                    };
                    let fault = Fault::error("unread-output", format!("nobody reads what `{name}` writes")).help(
                        format!("add a stage that reads it (`from: {name}`), such as `- sink: jsonl`, or remove it"),
                    );
                    self.fault_at_stage(index, fault);
                }
            }
        }
    }

    /// Stages in an order in which writers come before readers; `None` when there is a cycle, which is reported.
    fn order(&mut self) -> Option<Vec<usize>> {
        let count = self.stages.len();
        let mut waits: Vec<usize> = vec![0; count];
        let links: Vec<(usize, usize)> =
            self.links.iter().filter(|link| !link.settings.feedback).map(|link| (link.from.0, link.to.0)).collect();
        for (_, to) in &links {
            waits[*to] += 1;
        }
        let mut order: Vec<usize> = (0..count).filter(|&stage| waits[stage] == 0).collect();
        let mut next = 0;
        while next < order.len() {
            let stage = order[next];
            next += 1;
            for (_, to) in links.iter().filter(|(from, _)| *from == stage) {
                waits[*to] -= 1;
                if waits[*to] == 0 {
                    order.push(*to);
                }
            }
        }
        if order.len() == count {
            return Some(order);
        }
        let cycle = find_cycle(count, &links);
        let names: Vec<_> = cycle.iter().chain(cycle.first()).map(|&stage| self.id(stage).to_owned()).collect();
        let fault = Fault::error("cycle", "these stages read from each other in a circle")
            .found(names.join(" → "))
            .help("break it, or mark the link that goes back with `feedback: true`");
        let place = cycle.first().copied().unwrap_or_default();
        self.fault_at_stage(place, fault);
        None
    }

    /// Lets formats flow from the captures to the sinks: for each stage, those of its output ports; none where a fault
    /// stands in the way.
    fn formats(&mut self, order: &[usize]) -> Vec<Vec<Format>> {
        let mut written: Vec<Option<Vec<Format>>> = vec![None; self.stages.len()];
        for &index in order {
            let Some(contract) = self.contracts[index].clone() else { continue };
            let Some(blueprint) = self.stages[index].blueprint.clone() else { continue };
            let mut inputs = vec![Format::Any; contract.inputs.len()];
            let mut fits = true;
            for place in 0..self.links.len() {
                let link = self.links[place].clone();
                if link.to.0 != index {
                    continue;
                }
                let found = written[link.from.0].as_ref().and_then(|formats| formats.get(link.from.1)).cloned();
                let found = found.unwrap_or(Format::Any);
                let port = &contract.inputs[link.to.1];
                if let Err(mismatch) = port.format.accepts(&found) {
                    fits = false;
                    self.mismatch(place, &port.name, &mismatch.expected.to_string(), &found, None);
                } else if let Err(mismatch) = inputs[link.to.1].accepts(&found) {
                    fits = false;
                    self.mismatch(
                        place,
                        &port.name,
                        &mismatch.expected.to_string(),
                        &found,
                        Some("the links merged into one port carry one format".into()),
                    );
                } else if found != Format::Any {
                    inputs[link.to.1] = found;
                }
            }
            if !fits {
                continue;
            }
            match blueprint.outputs(&inputs) {
                Ok(formats) => written[index] = Some(formats),
                Err(faults) => {
                    for fault in faults {
                        let port = contract.inputs.iter().position(|port| port.name == fault.port);
                        let link = self.links.iter().position(|link| link.to.0 == index && Some(link.to.1) == port);
                        let message = self.mismatch_message(index, &fault.port, contract.inputs.len());
                        let mut report = Fault::error("format-mismatch", message)
                            .expected(fault.expected)
                            .found(self.found_text(link, &fault.found));
                        report.help = fault.help;
                        self.put_on_link(link, index, report);
                    }
                }
            }
        }
        written.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn mismatch_message(&self, index: usize, port: &str, ports: usize) -> String {
        match ports {
            1 => format!("`{}` cannot read this", self.id(index)),
            _ => format!("`{}` cannot read this on its input `{port}`", self.id(index)),
        }
    }

    fn found_text(&self, link: Option<usize>, found: &str) -> String {
        match link {
            Some(link) => format!("{found}, from `{}`", self.id(self.links[link].from.0)),
            None => found.to_owned(),
        }
    }

    fn mismatch(&mut self, link: usize, port: &str, expected: &str, found: &Format, help: Option<String>) {
        let index = self.links[link].to.0;
        let ports = self.contracts[index].as_ref().map_or(1, |contract| contract.inputs.len());
        let fault = Fault::error("format-mismatch", self.mismatch_message(index, port, ports))
            .expected(expected)
            .found(self.found_text(Some(link), &found.to_string()))
            .maybe_help(help);
        self.put_on_link(Some(link), index, fault);
    }

    /// Puts a fault where the link is written, or else at the reading stage.
    fn put_on_link(&mut self, link: Option<usize>, index: usize, fault: Fault) {
        match link.and_then(|link| self.origins[link].clone()) {
            Some(request) => self.faults.push(request.place.put(fault)),
            None => self.fault_at_stage(index, fault),
        }
    }

    /// Two stages, or many streams, behind one file.
    fn files(&mut self) {
        let captures = self.stages.iter().filter(|stage| stage.role == Role::Capture).count();
        let many = captures > 1 || self.contracts.iter().flatten().any(|contract| contract.many_streams);
        let mut writers: BTreeMap<String, usize> = BTreeMap::new();
        for index in 0..self.stages.len() {
            let Some(contract) = self.contracts[index].clone() else { continue };
            let Some(path) = contract.writes else { continue };
            if path == "-" {
                continue;
            }
            if let Some(&other) = writers.get(&path) {
                let fault = Fault::error(
                    "same-file",
                    format!("`{}` and `{}` write the same file", self.id(other), self.id(index)),
                )
                .found(format!("`{path}`"))
                .help("give each a path of its own");
                self.fault_at_stage(index, fault);
            }
            if many && !contract.shares && !path.contains("{stream}") {
                let fault = Fault::error(
                    "one-file",
                    format!("the streams of this pipeline would all be written to one file by `{}`", self.id(index)),
                )
                .found(format!("`{path}`"))
                .help("put `{stream}` into the path: it becomes the stream's name");
                self.fault_at_stage(index, fault);
            }
            writers.insert(path, index);
        }
    }

    /// What only the machine shows.
    fn probes(&mut self) {
        for index in 0..self.stages.len() {
            let Some(blueprint) = self.stages[index].blueprint.clone() else { continue };
            for fault in blueprint.probe() {
                self.fault_at_stage(index, fault);
            }
        }
    }
}

/// The stages of one cycle, in the order of their links.
fn find_cycle(count: usize, links: &[(usize, usize)]) -> Vec<usize> {
    for start in 0..count {
        let mut path = vec![start];
        let mut seen = vec![false; count];
        // Depth first, by hand: a pipeline may be as long as a file allows.
        let mut choices = vec![0usize];
        while let (Some(&stage), Some(choice)) = (path.last(), choices.last_mut()) {
            let next = links.iter().filter(|(from, _)| *from == stage).nth(*choice).map(|(_, to)| *to);
            *choice += 1;
            match next {
                Some(to) if to == start => return path,
                Some(to) if !seen[to] => {
                    seen[to] = true;
                    path.push(to);
                    choices.push(0);
                }
                Some(_) => {}
                None => {
                    path.pop();
                    choices.pop();
                }
            }
        }
    }
    Vec::new()
}
