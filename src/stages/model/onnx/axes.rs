//! Batch axes: where each tensor of a graph holds one item for each stream, and whether there is room for several.

use super::binder::Binder;
use super::binding::Binding;
use crate::cards::Exactness;
use crate::config::{Fault, suggest};
use crate::inference::Port;
use crate::stage::BatchPolicy;
use crate::tensor::Dim;
use crate::units::TimeSpan;

impl Binder<'_> {
    /// Names in `batch_axis` that no port has, and axes that it lacks.
    pub(super) fn named_axes(&mut self) {
        for (name, axis) in &self.config.batch_axis {
            let path = ["batch_axis", name.as_str()];
            let port = self.graph.input(name).or(self.graph.output(name)).cloned();
            let Some(port) = port else {
                let known = self.graph.inputs.iter().chain(&self.graph.outputs).map(|port| port.name.as_str());
                let meant = suggest(name, known).map(|meant| format!("did you mean `{meant}`?"));
                let fault =
                    Fault::error("unknown-input", format!("`{}` has no input or output `{name}`", self.model()));
                self.put(&path, fault.maybe_help(meant));
                continue;
            };
            if let (Some(axis), Some(rank)) = (axis, port.shape.rank())
                && *axis >= rank
            {
                let fault = Fault::error("batch-axis", format!("`{name}` has no axis {axis}"))
                    .expected(format!("an axis of {}, counted from 0", port.shape));
                self.put(&path, fault);
            }
        }
    }

    pub(super) fn dim<'p>(&self, port: &'p Port, axis: usize) -> Option<&'p Dim> {
        port.shape.dims()?.get(axis)
    }

    pub(super) fn data_axis(&self, port: &Port) -> Option<usize> {
        match self.config.batch_axis.get(&port.name) {
            Some(axis) => axis.filter(|axis| self.dim(port, *axis).is_some()),
            None => self.first_axis(port),
        }
    }

    /// Axis 0, where its size is unknown or 1.
    pub(super) fn first_axis(&self, port: &Port) -> Option<usize> {
        self.dim(port, 0)?.known().is_none_or(|size| size == 1).then_some(0)
    }

    pub(super) fn symbol_axis(&self, port: &Port, symbol: Option<&str>) -> Option<usize> {
        let is_batch = |dim: &Dim| matches!((dim, symbol), (Dim::Symbol(name), Some(symbol)) if **name == *symbol);
        port.shape.dims()?.iter().position(is_batch)
    }

    pub(super) fn output_axis(&self, port: &Port, symbol: Option<&str>) -> Option<usize> {
        match self.config.batch_axis.get(&port.name) {
            Some(axis) => *axis,
            None if port.shape.rank().is_none() => Some(0),
            None => self.symbol_axis(port, symbol).or_else(|| self.first_axis(port)),
        }
    }

    pub(super) fn state_axis(&self, port: &Port, symbol: Option<&str>) -> Option<usize> {
        if let Some(axis) = self.config.batch_axis.get(&port.name) {
            return *axis;
        }
        let unknown = |dim: &Dim| dim.known().is_none();
        let dims = port.shape.dims()?;
        let lone = dims.iter().position(unknown).filter(|_| dims.iter().filter(|dim| unknown(dim)).count() == 1);
        self.symbol_axis(port, symbol).or(lone).or_else(|| self.first_axis(port))
    }

    pub(super) fn constant_axis(&self, name: &str, symbol: Option<&str>) -> Option<usize> {
        match self.config.batch_axis.get(name) {
            Some(axis) => *axis,
            None => self.symbol_axis(self.graph.input(name)?, symbol),
        }
    }

    /// Several streams in one call, where the model and its ports allow it.
    pub(super) fn batch(&mut self, binding: &Binding) -> BatchPolicy {
        let Some(batch) = self.config.batch.filter(|batch| batch.max > 1) else {
            return BatchPolicy::ALONE;
        };
        let card = self.files.card();
        let exact = card.map_or(self.config.batch_exact, |card| card.spec().batch == Exactness::Exact);
        if !exact {
            let fault = Fault::error(
                "batch-never",
                format!("several streams in one call change what `{}` gives", self.model()),
            )
            .expected(if card.is_some() { "a model whose card says `batch: exact`" } else { "`batch_exact: true`" })
            .found(if card.is_some() { "`batch: never` in its card" } else { "a model without a card" });
            let fault = fault.help(if card.is_some() {
                "leave `batch` out"
            } else {
                "leave `batch` out, or set `batch_exact: true` if each stream's result does not depend on the others"
            });
            self.put(&["batch"], fault);
            return BatchPolicy::ALONE;
        }
        let data = binding.inputs.iter().map(|input| (&input.port, input.batch_axis));
        let carried = binding.states.iter().flat_map(|state| [&state.input, &state.output]).chain(&binding.outputs);
        for (port, axis) in data.chain(carried.map(|carried| (&carried.port, carried.batch_axis))) {
            let size = axis.and_then(|axis| self.dim(port, axis)).and_then(Dim::known);
            let fault = match (axis, size) {
                (None, _) => Fault::error("batch-axis", format!("`{}` has no batch axis", port.name))
                    .found(port.shape.to_string())
                    .help(format!("name it, if it has one: `batch_axis: {{{}: 0}}`", port.name)),
                (Some(axis), Some(size)) => Fault::error(
                    "batch-axis",
                    format!("axis {axis} of `{}` is always {size}, so there is no room for several streams", port.name),
                )
                .expected("an axis of unknown size")
                .found(port.shape.to_string())
                .help("leave `batch` out, or export the model with a dynamic batch axis"),
                _ => continue,
            };
            self.put(&["batch"], fault);
        }
        BatchPolicy { max: batch.max.into(), wait: TimeSpan::from_millis(batch.wait_ms.into()) }
    }
}
