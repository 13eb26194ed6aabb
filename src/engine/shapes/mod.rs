//! The type and shape of every value of a model, without running it.
//!
//! Two ways meet here. First the operators' own shape rules are applied once to what the model declares, symbols
//! included: what they say is exact. They pass no symbol through arithmetic, though (`Shape` → `Gather` → `Concat` →
//! `Reshape`, the output of a strided convolution). So the same rules are applied again with numbers in the place of the
//! symbols, many times over, and each size that is still unknown is compared with the numbers it came from: what never
//! changes is known, what follows a symbol is that symbol, and what is an expression of one or two symbols is that
//! expression, in the manner of ONNX Runtime's symbolic shape inference: `2*N + 1`, `floor((T + 1)/2)`, `N*T`.

mod fit;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use self::fit::{Sample, fit};
use self::walk::walk;
use super::error::EngineError;
use super::op::ValueType;
use super::pool::Pool;
use super::program::{Program, ValueId};
use crate::onnx::{Model, ValueInfo, ValueKind};
use crate::tensor::{DType, Dim, SymbolicShape};

/// What is known of a value of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// Its data type.
    pub dtype: DType,
    /// Its shape, as far as it follows from the model. A [`Dim::Symbol`] is a symbol of the model's inputs or an
    /// expression of them, such as `2*N`, `N + T`, `floor((T + 1)/2)`.
    pub shape: SymbolicShape,
}

/// The sizes that symbols are tried at. Consecutive ones tell roundings apart, those with many divisors suit heads and
/// groups, large ones outgrow windows and limits.
const SIZES: [usize; 40] = [
    12, 24, 7, 32, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16, 17, 28, 31, 33, 48, 63, 64, 65, 96, 100, 127, 128,
    160, 224, 225, 240, 256, 320, 384, 512, 1000, 1024,
];
/// How far apart in [`SIZES`] neighbouring symbols are; it shares no divisor with the number of sizes.
const STRIDE: usize = 7;
/// The fewest assignments that a statement is drawn from.
const FEWEST: usize = 4;
/// Nodes that are looked at in all assignments together, about: a model of many nodes is tried at fewer.
const WORK: usize = 1_000_000;
/// The most bytes that values computed ahead may take in one assignment.
const FOLDED: usize = 1 << 22;
/// Weights of at most so many elements may decide shapes by their values (the scales of Resize).
const BY_VALUE: usize = 64;

/// The type and shape of every value of the model's own graph, by name: inputs, initializers, and what nodes compute, but
/// not what lies inside of functions and of the bodies of If, Loop and Scan.
///
/// A dimension is
/// - known or a symbol of the inputs, where the operators' shape rules say so of the symbols themselves: that is exact;
/// - known, a symbol or an expression also where it was so for all of several dozen sizes of the symbols that the graph
///   accepts (each symbol from 1 to 1024; at least four accepted assignments, in which every symbol varies). A size that
///   turns out differently only beyond those is not noticed;
/// - else unknown. So is what depends on the *values* of inputs, and on dimensions of inputs that have no name.
///
/// A value whose data type does not follow is left out. What the file declares of values between inputs and outputs is
/// not read. Fails when an operator is not covered, or the shapes contradict one another: the error names the node.
///
/// ```
/// use percept::engine::{Builder, Conv, infer_shapes};
/// use percept::tensor::DType;
///
/// let mut graph = Builder::new("strided", 1);
/// let x = graph.input("x", DType::F32, &[None, Some(8), None])?;
/// let y = Conv::new("conv", 4, &[3]).stride(2).padding(1).apply(&mut graph, &x)?;
/// graph.output("y", &y)?;
/// let types = infer_shapes(&graph.finish())?;
/// assert_eq!(types["y"].shape.to_string(), "[batch, 4, floor((x_2 + 1)/2)]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn infer_shapes(model: &Model) -> Result<BTreeMap<String, Inferred>, EngineError> {
    let program = Program::new(model)?;
    let pool = Pool::new(1)?;
    let symbols = Symbols::of(&program);
    let direct = walk(&program, &given(&program, |_, dim| dim.clone()), &pool, FOLDED)?;
    let left_open = |id: &&ValueId| {
        let known = direct[**id].as_ref();
        known.is_some_and(|known| known.dims().is_none_or(|dims| dims.contains(&Dim::Any)))
    };
    let open: Vec<ValueId> = program.values.values().filter(left_open).copied().collect();
    let tried = if open.is_empty() { Vec::new() } else { symbols.tried(&program, &open, &pool) };
    let places: HashMap<ValueId, usize> = open.iter().enumerate().map(|(place, id)| (*id, place)).collect();
    let mut inferred = BTreeMap::new();
    for (name, id) in &program.values {
        let Some(known) = &direct[*id] else { continue };
        let shape = match places.get(id) {
            None => known.shape.clone(),
            Some(place) => {
                let samples =
                    tried.iter().filter_map(|(sizes, shapes)| Some((sizes.as_slice(), shapes[*place].as_ref()?)));
                merged(&known.shape, &samples.collect::<Vec<_>>(), &symbols.names)
            }
        };
        inferred.insert(name.clone(), Inferred { dtype: known.dtype, shape });
    }
    Ok(inferred)
}

/// Writes what [`infer_shapes`] finds into the model, so that a saved file carries it: every value that nodes compute is
/// declared. Where nothing is known of a dimension, what the file says stays; elsewhere the inferred one takes its place.
/// On an error the model is as it was.
pub fn write_shapes(model: &mut Model) -> Result<(), EngineError> {
    let mut inferred = infer_shapes(model)?;
    let graph = &mut model.graph;
    for input in &graph.inputs {
        inferred.remove(&input.name);
    }
    for (name, _) in &graph.initializers {
        inferred.remove(name);
    }
    for value in graph.outputs.iter_mut().chain(&mut graph.value_info) {
        let Some(known) = inferred.remove(&value.name) else { continue };
        if !matches!(value.kind, ValueKind::Tensor | ValueKind::Untyped) {
            continue;
        }
        value.shape = overlaid(known.shape, &value.shape);
        value.dtype = Some(known.dtype);
        value.kind = ValueKind::Tensor;
    }
    // In the order in which nodes compute them.
    for name in graph.nodes.iter().flat_map(|node| &node.outputs) {
        if let Some(Inferred { dtype, shape }) = inferred.remove(name) {
            graph.value_info.push(ValueInfo::tensor(name.clone(), dtype, shape));
        }
    }
    Ok(())
}

/// `inferred`, with what `declared` says of dimensions of which nothing is known.
fn overlaid(inferred: SymbolicShape, declared: &SymbolicShape) -> SymbolicShape {
    match (inferred, declared) {
        (SymbolicShape::Unranked, declared) => declared.clone(),
        (SymbolicShape::Ranked(mut dims), SymbolicShape::Ranked(declared)) if dims.len() == declared.len() => {
            for (dim, declared) in dims.iter_mut().zip(declared) {
                if *dim == Dim::Any {
                    *dim = declared.clone();
                }
            }
            SymbolicShape::Ranked(dims)
        }
        (inferred, _) => inferred,
    }
}

/// An assignment of the symbols, and the shapes of some values under it.
type Trial = (Vec<usize>, Vec<Option<SymbolicShape>>);

/// Which dimension of which input.
type PlaceOfDim = (ValueId, usize);

/// The unknown sizes of a model's inputs.
struct Symbols {
    /// The name of each; `None` for a dimension that has none.
    names: Vec<Option<Arc<str>>>,
    /// Which one each dimension is.
    places: HashMap<PlaceOfDim, usize>,
}

impl Symbols {
    fn of(program: &Program) -> Self {
        let mut symbols = Symbols { names: Vec::new(), places: HashMap::new() };
        let mut known: HashMap<Arc<str>, usize> = HashMap::new();
        for input in &program.inputs {
            let dims = input.declared.as_ref().and_then(ValueType::dims).unwrap_or(&[]);
            for (index, dim) in dims.iter().enumerate() {
                let (name, symbol) = match dim {
                    Dim::Known(_) => continue,
                    Dim::Any => (None, symbols.names.len()),
                    Dim::Symbol(name) => {
                        (Some(name.clone()), *known.entry(name.clone()).or_insert(symbols.names.len()))
                    }
                };
                if symbol == symbols.names.len() {
                    symbols.names.push(name);
                }
                symbols.places.insert((input.id, index), symbol);
            }
        }
        symbols
    }

    /// The size of a dimension of an input, under an assignment; `None` of one that is no symbol.
    fn at(&self, place: PlaceOfDim, sizes: &[usize]) -> Option<usize> {
        self.places.get(&place).and_then(|symbol| sizes.get(*symbol)).copied()
    }

    /// What the shapes of `values` are under each assignment that the graph accepts; nothing when those are too few to draw
    /// statements from, or leave a symbol as it is.
    fn tried(&self, program: &Program, values: &[ValueId], pool: &Pool) -> Vec<Trial> {
        let mut tried: Vec<Trial> = Vec::new();
        if self.names.is_empty() {
            return tried;
        }
        for sizes in self.assignments(program.nodes.len()) {
            let given = given(program, |place, dim| self.at(place, &sizes).map_or(dim.clone(), Dim::Known));
            // What the graph refuses says nothing.
            if let Ok(types) = walk(program, &given, pool, FOLDED) {
                let shape = |id: &ValueId| types[*id].as_ref().map(|known| known.shape.clone());
                tried.push((sizes, values.iter().map(shape).collect()));
            }
        }
        let varies = |symbol: usize| tried.iter().any(|(sizes, _)| sizes[symbol] != tried[0].0[symbol]);
        match tried.len() >= FEWEST && (0..self.names.len()).all(varies) {
            true => tried,
            false => Vec::new(),
        }
    }

    /// The assignments to try for a graph of `nodes` nodes: symbols all different, then all equal, as some graphs want.
    fn assignments(&self, nodes: usize) -> Vec<Vec<usize>> {
        let count = self.names.len();
        let different =
            (0..SIZES.len()).map(|round| (0..count).map(|i| SIZES[(round + STRIDE * i) % SIZES.len()]).collect());
        let equal = SIZES.iter().map(|size| vec![*size; count]);
        let mut seen: HashSet<Vec<usize>> = HashSet::new();
        let all = different.chain(equal).filter(|sizes| seen.insert(sizes.clone()));
        all.take((WORK / nodes.max(1)).max(2 * FEWEST)).collect()
    }
}

/// What is known before any node: constants, weights by their types (and small ones by value), and inputs as declared,
/// each dimension as `size` says.
fn given(program: &Program, size: impl Fn(PlaceOfDim, &Dim) -> Dim) -> HashMap<ValueId, ValueType> {
    let constants = program.constants.iter().map(|(id, tensor)| (*id, ValueType::constant(tensor.clone())));
    let weights = program.weights.iter().map(|weight| {
        let mut known = ValueType::constant(weight.initial.clone());
        known.value = known.value.filter(|value| value.len() <= BY_VALUE);
        (weight.id, known)
    });
    let inputs = program.inputs.iter().filter_map(|input| {
        let declared = input.declared.as_ref()?;
        let dims = |dims: &[Dim]| dims.iter().enumerate().map(|(index, dim)| size((input.id, index), dim)).collect();
        let shape = declared.dims().map_or(SymbolicShape::Unranked, |known| SymbolicShape::Ranked(dims(known)));
        Some((input.id, ValueType::new(declared.dtype, shape)))
    });
    constants.chain(weights).chain(inputs).collect()
}

/// What the shape rules say directly, unless a sample says otherwise, and what the samples say of the other dimensions.
fn merged(direct: &SymbolicShape, samples: &[(&[usize], &SymbolicShape)], names: &[Option<Arc<str>>]) -> SymbolicShape {
    let rank = direct.rank().or_else(|| {
        let first = samples.first()?.1.rank()?;
        (samples.len() >= FEWEST && samples.iter().all(|(_, shape)| shape.rank() == Some(first))).then_some(first)
    });
    let Some(rank) = rank else { return SymbolicShape::Unranked };
    let dim = |index: usize| {
        let known = direct.dims().and_then(|dims| dims.get(index)).cloned().unwrap_or(Dim::Any);
        let holds = |(sizes, shape): &(&[usize], &SymbolicShape)| {
            let size = shape.dims().and_then(|dims| dims.get(index)).and_then(Dim::known);
            let expected = match &known {
                Dim::Symbol(name) => {
                    let symbol = names.iter().position(|known| known.as_ref() == Some(name));
                    symbol.and_then(|symbol| sizes.get(symbol)).copied()
                }
                known => known.known(),
            };
            size.zip(expected).is_none_or(|(size, expected)| size == expected)
        };
        if known != Dim::Any && samples.iter().all(holds) {
            return known;
        }
        let found: Option<Vec<Sample<'_>>> = samples
            .iter()
            .map(|(sizes, shape)| Some(Sample { sizes, size: shape.dims()?.get(index)?.known()? }))
            .collect();
        found.filter(|found| found.len() >= FEWEST).map_or(Dim::Any, |found| fit(names, &found))
    };
    SymbolicShape::Ranked((0..rank).map(dim).collect())
}
