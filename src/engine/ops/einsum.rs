//! Einsum: `Y[output labels] = Σ A[labels of A]·B[labels of B]·…`, summed over all labels that the output lacks.
//!
//! Operands are taken from the left, two at a time. Each pair is brought to `[batch, m, k]` and `[batch, k, n]` (labels
//! repeated in one operand: its diagonal; labels that nothing else has: summed away) and multiplied. Backward multiplies
//! with the other operand, and sends each element back to where it was taken from: a diagonal is put on the diagonal, what
//! was summed is repeated, what was repeated is summed. Sizes of 1 are repeated, as in numpy.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Einsum.html>.

use std::collections::{BTreeMap, BTreeSet};

use super::binary::Integer;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::float::with_number;
use crate::engine::kernels::matrix::{View, ViewMut, multiply};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::engine::pool::Pool;
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Einsum", since: 12, parse };

/// The most elements that an intermediate product may have.
const MAX_ELEMENTS: usize = 1 << 34;
/// Products of fewer multiplications than this are not worth a call of the matrix product.
const SMALL: usize = 64;

/// A dimension by name: a letter, or the place in the ellipsis, counted from its end.
type Label = usize;

/// The first label of the ellipsis; letters lie below.
const ELLIPSIS: Label = 256;

#[derive(Clone, Debug)]
struct Einsum {
    equation: String,
    inputs: Vec<Term>,
    output: Term,
}

/// The labels of an operand, around its ellipsis.
#[derive(Clone, Debug, Default, PartialEq)]
struct Term {
    before: Vec<Label>,
    has_ellipsis: bool,
    after: Vec<Label>,
}

impl Term {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let text: String = text.chars().filter(|letter| *letter != ' ').collect();
        let letters = |part: &str| -> Result<Vec<Label>, &'static str> {
            match part.bytes().find(|byte| !byte.is_ascii_alphabetic()) {
                Some(_) => Err("letters, `...`, `,` and `->`"),
                None => Ok(part.bytes().map(Label::from).collect()),
            }
        };
        Ok(match text.split_once("...") {
            Some((before, after)) => Term { before: letters(before)?, has_ellipsis: true, after: letters(after)? },
            None => Term { before: letters(&text)?, ..Term::default() },
        })
    }

    fn letters(&self) -> impl Iterator<Item = Label> {
        self.before.iter().chain(&self.after).copied()
    }

    /// The labels where the ellipsis stands for `count` dimensions.
    fn labels(&self, count: usize) -> Vec<Label> {
        let ellipsis = (0..if self.has_ellipsis { count } else { 0 }).rev().map(|at| ELLIPSIS + at);
        self.before.iter().copied().chain(ellipsis).chain(self.after.iter().copied()).collect()
    }

    /// The labels of an operand of `rank`.
    fn of_rank(&self, rank: usize) -> Option<Vec<Label>> {
        let rest = rank.checked_sub(self.before.len() + self.after.len())?;
        (rest == 0 || self.has_ellipsis).then(|| self.labels(rest))
    }
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let equation = node.string("equation")?.unwrap_or_default();
    let wrong = |expected: &str| OpError::Attribute {
        name: "equation".into(),
        expected: expected.into(),
        found: format!("`{equation}`"),
    };
    if node.any("equation").is_none() {
        return Err(wrong("an equation"));
    }
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    let inputs: Result<Vec<Term>, &str> = left.split(',').map(Term::parse).collect();
    let inputs = inputs.map_err(wrong)?;
    let mut uses: BTreeMap<Label, usize> = BTreeMap::new();
    for label in inputs.iter().flat_map(Term::letters) {
        *uses.entry(label).or_default() += 1;
    }
    let output = match right {
        Some(right) => Term::parse(right).map_err(wrong)?,
        // Implicit: the ellipsis, then what appears once, in alphabetical order.
        None => Term {
            before: Vec::new(),
            has_ellipsis: inputs.iter().any(|term| term.has_ellipsis),
            after: uses.iter().filter(|(_, count)| **count == 1).map(|(label, _)| *label).collect(),
        },
    };
    let mut seen = BTreeSet::new();
    for label in output.letters() {
        if !uses.contains_key(&label) {
            return Err(wrong("labels of the output that an operand has"));
        }
        if !seen.insert(label) {
            return Err(wrong("every label once in the output"));
        }
    }
    if output.has_ellipsis && !inputs.iter().any(|term| term.has_ellipsis) {
        return Err(wrong("an ellipsis in an operand, where the output has one"));
    }
    Ok(Box::new(Einsum { equation: equation.into(), inputs, output }))
}

impl Einsum {
    /// The labels of each operand and of the output, for operands of these ranks.
    fn labels(&self, ranks: &[usize]) -> Result<(Vec<Vec<Label>>, Vec<Label>), usize> {
        let mut all = Vec::with_capacity(ranks.len());
        for (index, (term, rank)) in self.inputs.iter().zip(ranks).enumerate() {
            all.push(term.of_rank(*rank).ok_or(index)?);
        }
        let ellipsis = all.iter().flatten().filter(|label| **label >= ELLIPSIS).max();
        let output = self.output.labels(ellipsis.map_or(0, |last| last - ELLIPSIS + 1));
        Ok((all, output))
    }
}

impl Op for Einsum {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        vec![("equation", AttributeValue::String(self.equation.clone().into()))]
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(self.inputs.len()..=self.inputs.len(), 1..=1)?;
        let dtype = inputs.number(0)?.dtype;
        let mut shapes = Vec::new();
        for index in 0..inputs.len() {
            inputs.same_dtype(index, dtype)?;
            shapes.push(inputs.required(index)?.dims());
        }
        let Some(shapes) = shapes.into_iter().collect::<Option<Vec<&[Dim]>>>() else {
            return Ok(vec![ValueType::new(dtype, SymbolicShape::Unranked)]);
        };
        let ranks: Vec<usize> = shapes.iter().map(|dims| dims.len()).collect();
        let shape_of = |index: usize| inputs.required(index).map(|known| known.shape.clone());
        let (labels, output) = match self.labels(&ranks) {
            Ok(labels) => labels,
            Err(input) => {
                let term = &self.inputs[input];
                let count = term.before.len() + term.after.len();
                let expected = format!("{count}{}", if term.has_ellipsis { " or more" } else { "" });
                return Err(OpError::Rank { input, expected, found: shape_of(input)? });
            }
        };
        let mut sizes: BTreeMap<Label, Dim> = BTreeMap::new();
        for (input, (labels, dims)) in labels.iter().zip(&shapes).enumerate() {
            for (label, dim) in labels.iter().zip(*dims) {
                let merged = match (sizes.get(label), dim) {
                    (None | Some(Dim::Known(1)), dim) => dim.clone(),
                    (Some(known), Dim::Known(1)) => known.clone(),
                    (Some(Dim::Known(known)), Dim::Known(found)) if known != found => {
                        let name = char::from(u8::try_from(*label).unwrap_or(b'.'));
                        let expected = format!("size {known} for `{name}`");
                        return Err(OpError::Shape { input, expected, found: shape_of(input)? });
                    }
                    (Some(Dim::Known(known)), _) => Dim::Known(*known),
                    (Some(_), Dim::Known(found)) => Dim::Known(*found),
                    (Some(known), dim) => {
                        if known == dim {
                            dim.clone()
                        } else {
                            Dim::Any
                        }
                    }
                };
                sizes.insert(*label, merged);
            }
        }
        let dims = output.iter().map(|label| sizes.get(label).cloned().unwrap_or(Dim::Any)).collect();
        Ok(vec![ValueType::ranked(dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let mut shapes = Vec::new();
        for index in 0..self.inputs.len() {
            shapes.push(signature.input(index)?.shape.as_slice());
        }
        let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
        let labels = self.labels(&ranks).map_err(|_| OpError::Plan { what: "an operand of another rank".into() })?;
        let plan = Contraction::new(&labels.0, &labels.1, &shapes)?;
        with_number!(signature.input(0)?.dtype, T => Box::new(EinsumKernel::<T>::new(plan, signature.wants.clone())))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        if self.inputs.len() == 1 { Reads::NOTHING } else { Reads::INPUTS }
    }
}

/// How elements of one layout are collected (and summed) into another.
#[derive(Clone, Debug)]
struct Collect {
    /// For each loop its size and how far neighbours lie apart in what is read and in what is written.
    loops: Vec<[usize; 3]>,
    /// Elements of what is written.
    len: usize,
    /// Whether several elements fall on one.
    sums: bool,
    /// Whether both layouts are the same.
    is_same: bool,
}

impl Collect {
    /// From elements with these strides by label to a dense layout of `layout`, summed over `summed`.
    fn new(
        strides: &BTreeMap<Label, usize>,
        sizes: &BTreeMap<Label, usize>,
        layout: &[Label],
        summed: &[Label],
        source: usize,
    ) -> Result<Self, OpError> {
        let size = |label: &Label| sizes.get(label).copied().unwrap_or(1);
        let stride = |label: &Label| strides.get(label).copied().unwrap_or(0);
        let mut len = 1usize;
        let mut loops: Vec<[usize; 3]> = Vec::new();
        for label in layout.iter().rev() {
            loops.push([size(label), stride(label), len]);
            len = len.checked_mul(size(label)).filter(|len| *len <= MAX_ELEMENTS).ok_or_else(|| {
                let shape = layout.iter().map(|label| size(label).to_string()).collect::<Vec<_>>().join(", ");
                OpError::TooLarge { shape: format!("[{shape}]") }
            })?;
        }
        loops.reverse();
        loops.extend(summed.iter().map(|label| [size(label), stride(label), 0]));
        let mut dense: Vec<[usize; 3]> = Vec::new();
        for next in loops.into_iter().filter(|one| one[0] != 1) {
            match dense.last_mut() {
                Some(outer) if (1..3).all(|i| outer[i] == next[i] * next[0]) => {
                    *outer = [outer[0] * next[0], next[1], next[2]]
                }
                _ => dense.push(next),
            }
        }
        let is_same = len == source && matches!(dense[..], [] | [[_, 1, 1]]);
        Ok(Collect { loops: dense, len, sums: !summed.is_empty(), is_same })
    }

    /// Calls `run(from, to, count, step from, step to)` for each innermost loop.
    fn runs(&self, mut run: impl FnMut(usize, usize, usize, usize, usize)) {
        if self.loops.iter().any(|one| one[0] == 0) {
            return;
        }
        let Some(([count, step_from, step_to], outer)) = self.loops.split_last() else {
            run(0, 0, 1, 0, 0);
            return;
        };
        let mut counter: smallvec::SmallVec<[usize; 8]> = smallvec::smallvec![0; outer.len()];
        let (mut from, mut to) = (0, 0);
        loop {
            run(from, to, *count, *step_from, *step_to);
            let mut at = outer.len();
            loop {
                if at == 0 {
                    return;
                }
                at -= 1;
                let [size, by_from, by_to] = outer[at];
                counter[at] += 1;
                from += by_from;
                to += by_to;
                if counter[at] < size {
                    break;
                }
                from -= by_from * size;
                to -= by_to * size;
                counter[at] = 0;
            }
        }
    }

    fn forward<T: Number>(&self, x: &[T], y: &mut [T]) {
        if self.sums {
            y.fill(T::default());
            self.runs(|from, to, count, step_from, step_to| {
                for i in 0..count {
                    let y = &mut y[to + i * step_to];
                    *y = y.plus(x[from + i * step_from]);
                }
            });
        } else {
            self.runs(|from, to, count, step_from, step_to| {
                for i in 0..count {
                    y[to + i * step_to] = x[from + i * step_from];
                }
            });
        }
    }

    /// Sends every element of `dy` back to where it came from.
    fn backward<T: Number>(&self, dy: &[T], dx: &mut [T]) {
        dx.fill(T::default());
        self.runs(|from, to, count, step_from, step_to| {
            for i in 0..count {
                let dx = &mut dx[from + i * step_from];
                *dx = dx.plus(dy[to + i * step_to]);
            }
        });
    }
}

/// One pair of operands.
#[derive(Clone, Debug)]
struct Pair {
    left: Collect,
    right: Collect,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

/// All of it: pairs from the left, then the order of the output.
#[derive(Debug)]
struct Contraction {
    pairs: Vec<Pair>,
    last: Collect,
}

impl Contraction {
    fn new(inputs: &[Vec<Label>], output: &[Label], shapes: &[&[usize]]) -> Result<Self, OpError> {
        let mut sizes: BTreeMap<Label, usize> = BTreeMap::new();
        for (label, size) in inputs.iter().flatten().zip(shapes.iter().copied().flatten()) {
            let known = sizes.entry(*label).or_insert(1);
            *known = if *known == 1 { *size } else { *known };
        }
        let strides_of = |labels: &[Label], shape: &[usize]| {
            let mut strides: BTreeMap<Label, usize> = BTreeMap::new();
            let mut stride = 1;
            for (label, size) in labels.iter().zip(shape).rev() {
                *strides.entry(*label).or_default() += if *size == 1 { 0 } else { stride };
                stride *= size;
            }
            strides
        };
        let product = |labels: &[Label]| labels.iter().map(|label| sizes.get(label).copied().unwrap_or(1)).product();
        let (Some(first), Some(shape)) = (inputs.first(), shapes.first()) else {
            return Err(OpError::MissingInput { input: 0 });
        };
        let mut strides = strides_of(first, shape);
        let mut len: usize = shape.iter().product();
        let mut pairs = Vec::new();
        for (index, (labels, shape)) in inputs.iter().zip(shapes).enumerate().skip(1) {
            let later: BTreeSet<Label> = inputs[index + 1..].iter().flatten().chain(output).copied().collect();
            let other = strides_of(labels, shape);
            let choose =
                |from: &BTreeMap<Label, usize>, shared: Option<&BTreeMap<Label, usize>>, in_other: bool, kept| {
                    let wanted = |label: &Label| {
                        shared.is_none_or(|shared| shared.contains_key(label) == in_other)
                            && later.contains(label) == kept
                    };
                    from.keys().copied().filter(wanted).collect::<Vec<Label>>()
                };
            let batch = choose(&strides, Some(&other), true, true);
            let k = choose(&strides, Some(&other), true, false);
            let m = choose(&strides, Some(&other), false, true);
            let n = choose(&other, Some(&strides), false, true);
            let (alone_left, alone_right) =
                (choose(&strides, Some(&other), false, false), choose(&other, Some(&strides), false, false));
            let left = Collect::new(&strides, &sizes, &[&batch[..], &m, &k].concat(), &alone_left, len)?;
            let len_right = shape.iter().product();
            let right = Collect::new(&other, &sizes, &[&batch[..], &k, &n].concat(), &alone_right, len_right)?;
            let result = [&batch[..], &m, &n].concat();
            let shape: Vec<usize> = result.iter().map(|label| sizes.get(label).copied().unwrap_or(1)).collect();
            let elements = shape.iter().try_fold(1usize, |len, size| len.checked_mul(*size));
            len = elements
                .filter(|len| *len <= MAX_ELEMENTS)
                .ok_or_else(|| OpError::TooLarge { shape: format!("{shape:?}") })?;
            strides = strides_of(&result, &shape);
            pairs.push(Pair { left, right, batch: product(&batch), m: product(&m), n: product(&n), k: product(&k) });
        }
        let rest: Vec<Label> = strides.keys().copied().filter(|label| !output.contains(label)).collect();
        let last = Collect::new(&strides, &sizes, output, &rest, len)?;
        Ok(Contraction { pairs, last })
    }
}

/// What Einsum computes with.
trait Number: Scalar + Copy {
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;

    /// `c = a·b`, where `a` and `b` may lie transposed.
    fn product([m, n, k]: [usize; 3], a: (&[Self], bool), b: (&[Self], bool), c: &mut [Self], threads: usize) {
        let _ = threads;
        naive([m, n, k], a, b, c);
    }
}

fn naive<T: Number>([m, n, k]: [usize; 3], a: (&[T], bool), b: (&[T], bool), c: &mut [T]) {
    for row in 0..m {
        for column in 0..n {
            let mut sum = T::default();
            for i in 0..k {
                let x = a.0[if a.1 { i * m + row } else { row * k + i }];
                let y = b.0[if b.1 { column * k + i } else { i * n + column }];
                sum = sum.plus(x.times(y));
            }
            c[row * n + column] = sum;
        }
    }
}

macro_rules! integers {
    ($($rust:ty),*) => {$(
        impl Number for $rust {
            fn plus(self, other: Self) -> Self {
                Integer::add(self, other)
            }

            fn times(self, other: Self) -> Self {
                Integer::mul(self, other)
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! floats {
    ($($rust:ty),*) => {$(
        impl Number for $rust {
            fn plus(self, other: Self) -> Self {
                self + other
            }

            fn times(self, other: Self) -> Self {
                self * other
            }

            fn product(
                [m, n, k]: [usize; 3],
                a: (&[Self], bool),
                b: (&[Self], bool),
                c: &mut [Self],
                threads: usize,
            ) {
                if m * n * k < SMALL {
                    return naive([m, n, k], a, b, c);
                }
                let a = View::oriented(a.0, if a.1 { m } else { k }, a.1);
                let b = View::oriented(b.0, if b.1 { k } else { n }, b.1);
                multiply(m, n, k, ViewMut::rows(c, n), a, b, false, threads);
            }
        }
    )*};
}

floats!(f32, f64);

/// The products of all matrices of a batch.
fn products<T: Number>(
    [m, n, k]: [usize; 3],
    (a, a_transposed): (&[T], bool),
    (b, b_transposed): (&[T], bool),
    c: &mut [T],
    pool: &Pool,
) {
    let threads = if c.len() == m * n { pool.threads() } else { 1 };
    let cost = c.len().saturating_mul(k) / 32;
    pool.for_pieces(c, m * n, cost, |index, c| {
        let (a, b) = (&a[index * m * k..][..m * k], &b[index * k * n..][..k * n]);
        T::product([m, n, k], (a, a_transposed), (b, b_transposed), c, threads);
    });
}

struct EinsumKernel<T> {
    plan: Contraction,
    wants: Vec<bool>,
    pairs: Vec<Buffers<T>>,
}

/// The memory of one pair.
struct Buffers<T> {
    /// Both operands as they are multiplied; empty where they lie so already.
    left: Vec<T>,
    right: Vec<T>,
    product: Vec<T>,
    /// The gradients of those three.
    d_left: Vec<T>,
    d_right: Vec<T>,
    d_product: Vec<T>,
}

impl<T: Number> EinsumKernel<T> {
    fn new(plan: Contraction, wants: Vec<bool>) -> Self {
        let training = wants.contains(&true);
        let pairs = plan.pairs.iter().map(|pair| {
            let zeros = |wanted: bool, len: usize| vec![T::default(); if wanted { len } else { 0 }];
            let (left, right) = (!pair.left.is_same, !pair.right.is_same);
            let product = pair.batch * pair.m * pair.n;
            Buffers {
                left: zeros(left, pair.left.len),
                right: zeros(right, pair.right.len),
                product: zeros(true, product),
                d_left: zeros(left && training, pair.left.len),
                d_right: zeros(right && training, pair.right.len),
                d_product: zeros(training, product),
            }
        });
        let pairs = pairs.collect();
        EinsumKernel { plan, wants, pairs }
    }

    /// Whether a gradient is wanted of any of the first operands, up to `last`.
    fn wants_up_to(&self, last: usize) -> bool {
        self.wants.iter().take(last + 1).any(|wanted| *wanted)
    }
}

impl<T: Number> Kernel for EinsumKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let mut so_far: &[T] = io.input::<T>(0)?;
        for (index, (pair, buffers)) in self.plan.pairs.iter().zip(&mut self.pairs).enumerate() {
            let mut right = io.input::<T>(index + 1)?;
            if !pair.left.is_same {
                pair.left.forward(so_far, &mut buffers.left);
                so_far = &buffers.left;
            }
            if !pair.right.is_same {
                pair.right.forward(right, &mut buffers.right);
                right = &buffers.right;
            }
            let sizes = [pair.m, pair.n, pair.k];
            products(sizes, (so_far, false), (right, false), &mut buffers.product, io.env.pool);
            so_far = &buffers.product;
        }
        self.plan.last.forward(so_far, io.output::<T>(0)?);
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let mut d_first = io.d_input::<T>(0)?;
        match (self.pairs.last_mut(), &mut d_first) {
            (Some(last), _) => self.plan.last.backward(dy, &mut last.d_product),
            (None, Some(dx)) => self.plan.last.backward(dy, dx),
            (None, None) => {}
        }
        for (index, pair) in self.plan.pairs.iter().enumerate().rev() {
            let wants_left = self.wants_up_to(index);
            let (before, rest) = self.pairs.split_at_mut(index);
            let Some(Buffers { left, right, d_left, d_right, d_product, .. }) = rest.first_mut() else { continue };
            let Pair { m, n, k, .. } = *pair;
            let mut before = before.last_mut();
            if let Some(db) = io.d_input::<T>(index + 1)? {
                let left: &[T] = match (&before, pair.left.is_same) {
                    (_, false) => left,
                    (Some(before), true) => &before.product,
                    (None, true) => io.input::<T>(0)?,
                };
                let to: &mut [T] = if pair.right.is_same { &mut *db } else { &mut *d_right };
                products([k, n, m], (left, true), (d_product, false), to, io.env.pool);
                if !pair.right.is_same {
                    pair.right.backward(d_right, db);
                }
            }
            let da: Option<&mut [T]> = match &mut before {
                Some(before) => wants_left.then_some(&mut before.d_product),
                None => d_first.as_deref_mut(),
            };
            if let Some(da) = da {
                let right: &[T] = if pair.right.is_same { io.input::<T>(index + 1)? } else { right };
                let to: &mut [T] = if pair.left.is_same { &mut *da } else { &mut *d_left };
                products([m, k, n], (d_product, false), (right, true), to, io.env.pool);
                if !pair.left.is_same {
                    pair.left.backward(d_left, da);
                }
            }
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        let of = |pair: &Buffers<T>| {
            let all = [&pair.left, &pair.right, &pair.product, &pair.d_left, &pair.d_right, &pair.d_product];
            all.into_iter().map(|buffer| bytes(buffer)).sum::<usize>()
        };
        self.pairs.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    /// A case whose output is computed from the definition: a sum over all labels. Ellipses are written out.
    fn case(equation: &str, written_out: &str, shapes: &[&[usize]]) -> Case {
        let (left, right) = written_out.split_once("->").unwrap();
        let terms: Vec<&[u8]> = left.split(',').map(str::as_bytes).collect();
        let mut case = Case::new().string("equation", equation);
        let mut values = Vec::new();
        for (index, shape) in shapes.iter().enumerate() {
            let tensor = crate::engine::testing::random(shape, 3 + index as u64);
            values.push(tensor.as_slice::<f64>().unwrap().to_vec());
            case = case.tensor(tensor);
        }
        let mut labels: Vec<(u8, usize)> = Vec::new();
        let ordered = right.bytes().chain(terms.iter().flat_map(|term| term.iter().copied()));
        for label in ordered {
            let places = terms.iter().zip(shapes).flat_map(|(term, shape)| term.iter().zip(shape.iter()));
            let size = places
                .filter(|(known, _)| **known == label)
                .map(|(_, size)| *size)
                .fold(1, |a, b| if a == 1 { b } else { a });
            if !labels.iter().any(|(known, _)| *known == label) {
                labels.push((label, size));
            }
        }
        let shape: Vec<usize> = labels[..right.len()].iter().map(|(_, size)| *size).collect();
        let all: usize = labels.iter().map(|(_, size)| size).product();
        let inner: usize = labels[right.len()..].iter().map(|(_, size)| size).product();
        let mut output = vec![0.0; shape.iter().product()];
        for flat in 0..all {
            let mut rest = flat;
            let mut at = vec![0; labels.len()];
            for (at, (_, size)) in at.iter_mut().zip(&labels).rev() {
                *at = rest % size;
                rest /= size;
            }
            let place = |term: &[u8], shape: &[usize]| {
                term.iter().zip(shape).fold(0, |sum, (label, size)| {
                    let index = labels.iter().position(|(known, _)| known == label).unwrap();
                    sum * size + if *size == 1 { 0 } else { at[index] }
                })
            };
            let product: f64 = terms
                .iter()
                .zip(shapes)
                .zip(&values)
                .map(|((term, shape), values)| values[place(term, shape)])
                .product();
            output[flat / inner] += product;
        }
        case.output(&shape, &output)
    }

    #[test]
    fn cases() {
        let same = |equation: &str, shapes: &[&[usize]]| case(equation, equation, shapes);
        check(
            "Einsum",
            &[
                same("ij->ji", &[&[2, 3]]),
                same("ij->i", &[&[2, 3]]),
                same("ij->", &[&[2, 3]]),
                same("->", &[&[]]),
                same("ii->i", &[&[3, 3]]),
                same("iij->ji", &[&[3, 3, 2]]),
                same("aba->", &[&[2, 3, 2]]),
                case("...ii ->...i", "abii->abi", &[&[2, 2, 3, 3]]),
                case("i,i", "i,i->", &[&[4], &[4]]),
                case("bij, bjk -> bik", "bij,bjk->bik", &[&[2, 3, 4], &[2, 4, 5]]),
                case("bij, bjk", "bij,bjk->ik", &[&[2, 3, 4], &[2, 4, 5]]),
                case("ba", "ba->ab", &[&[2, 3]]),
                case("bA", "bA->Ab", &[&[2, 3]]),
                same("ij,jk->ki", &[&[9, 8], &[8, 7]]),
                same("i,j->ij", &[&[3], &[4]]),
                same("ij,ij->ij", &[&[3, 4], &[3, 4]]),
                same("ij,kl->jk", &[&[3, 4], &[2, 3]]),
                same("bhid,bhjd->bhij", &[&[2, 2, 3, 4], &[2, 2, 5, 4]]),
                same("ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 2]]),
                same("a,b,c,d->dcba", &[&[2], &[3], &[2], &[2]]),
                same("ii,ij->j", &[&[3, 3], &[3, 2]]),
                same("ij,ik,il->jkl", &[&[2, 2], &[2, 3], &[2, 2]]),
                case("...ij,jk->...ik", "abij,jk->abik", &[&[2, 2, 3, 2], &[2, 4]]),
                case("...ij,...jk->...ik", "abij,bjk->abik", &[&[2, 2, 1, 2], &[2, 2, 3]]),
                case("...ij,...jk", "abij,abjk->abik", &[&[2, 1, 2, 2], &[2, 3, 2, 2]]),
                case("i...->...", "ia->a", &[&[3, 2]]),
                case("...->", "ab->", &[&[3, 2]]),
                case("...,...->...", "ab,ab->ab", &[&[3, 2], &[1, 2]]),
                same("ij,jk->ik", &[&[2, 1], &[3, 2]]),
                same("ij,jk->ik", &[&[2, 0], &[0, 3]]),
                same("ij,jk->ik", &[&[0, 2], &[2, 3]]),
                same("ij->j", &[&[0, 2]]),
                case("ij->", "ij->", &[&[1, 1]]),
                Case::new()
                    .string("equation", "ij,jk->ik")
                    .ints(&[1, 2], &[3, 4])
                    .ints(&[2, 1], &[5, -6])
                    .output_tensor(Tensor::new(vec![1, 1], vec![-9i64]).unwrap()),
            ],
        );
    }

    #[test]
    fn equations_that_say_nothing_are_refused() {
        let with = |equation: &str, shapes: &[&[usize]]| {
            shapes.iter().fold(Case::new(), |case, shape| case.random_input(shape)).string("equation", equation)
        };
        check(
            "Einsum",
            &[
                with("ij->ik", &[&[2, 2]]).error("labels of the output that an operand has"),
                with("ij->ii", &[&[2, 2]]).error("every label once"),
                with("i1->i", &[&[2, 2]]).error("letters"),
                with("i->i->i", &[&[2]]).error("letters"),
                with("......->...", &[&[2]]).error("letters"),
                with("i->...i", &[&[2]]).error("an ellipsis in an operand"),
                with("ij->i", &[&[2]]).error("expected rank 2"),
                with("ij...->i", &[&[2]]).error("expected rank 2 or more"),
                with("ij,jk->ik", &[&[2, 3], &[2, 3]]).error("size 3 for `j`"),
                with("ii->i", &[&[2, 3]]).error("size 2 for `i`"),
                with("ij,jk->ik", &[&[2, 3]]).error("expected 2 inputs"),
                Case::new().random_input(&[2]).error("an equation"),
                Case::new().random_input(&[2]).ints(&[2], &[1, 2]).string("equation", "i,i->i").error("found i64"),
            ],
        );
    }
}
