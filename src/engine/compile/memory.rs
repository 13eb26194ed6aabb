//! Which value lies in which cell: cells are reused as soon as nobody reads them any more.

use std::collections::HashMap;

use crate::engine::cell::Cell;
use crate::engine::plan::{Place, Step};
use crate::tensor::DType;

/// How many elements a shape holds; `None` when that is more than can be counted.
pub(super) fn element_count(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul((*size).max(1)))?;
    Some(if shape.contains(&0) { 0 } else { count })
}

/// Bytes that the elements of a value take, those of text without what they say; `None` when that is more than can be
/// counted. An empty dimension counts as one element: kernels may keep something for each element of the others, whose
/// sizes nothing else bounds.
pub(super) fn byte_len(dtype: DType, shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul((*size).max(1)))?;
    count.checked_mul(width(dtype))
}

fn width(dtype: DType) -> usize {
    dtype.byte_width().unwrap_or(size_of::<String>())
}

/// The cells of a plan, its steps with places in the stead of variables, and the place of every variable.
pub(super) type Assigned = (Vec<Cell>, Vec<Step<Place>>, Vec<Place>);

/// A plan in the making: its steps speak of variables, which get their cells at the end.
pub(super) struct Layout {
    vars: Vec<Var>,
    steps: Vec<Step<usize>>,
    constants: Vec<Cell>,
}

struct Var {
    home: Home,
    dtype: DType,
    len: usize,
    pinned: bool,
}

enum Home {
    /// Somebody else's memory.
    Given(Place),
    /// A cell of its own, filled already.
    Constant(usize),
    /// A cell to be found.
    Planned,
}

impl Layout {
    pub fn new() -> Self {
        Layout { vars: Vec::new(), steps: Vec::new(), constants: Vec::new() }
    }

    /// A variable that needs a cell.
    pub fn var(&mut self, dtype: DType, len: usize) -> usize {
        self.push(Home::Planned, dtype, len)
    }

    /// A variable in somebody else's memory.
    pub fn given(&mut self, place: Place, dtype: DType, len: usize) -> usize {
        self.push(Home::Given(place), dtype, len)
    }

    /// A constant.
    pub fn constant(&mut self, cell: Cell) -> usize {
        let (dtype, len) = (cell.dtype(), cell.len());
        self.constants.push(cell);
        self.push(Home::Constant(self.constants.len() - 1), dtype, len)
    }

    fn push(&mut self, home: Home, dtype: DType, len: usize) -> usize {
        self.vars.push(Var { home, dtype, len, pinned: false });
        self.vars.len() - 1
    }

    /// Keeps what a variable holds to the end.
    pub fn pin(&mut self, var: usize) {
        self.vars[var].pinned = true;
    }

    pub fn step(&mut self, step: Step<usize>) {
        self.steps.push(step);
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Assigns the cells: the steps with places in the stead of variables, and the place of every variable. `None` when
    /// the cells would take more than `limit` bytes.
    pub fn finish(self, limit: usize) -> Option<Assigned> {
        let Layout { vars, steps, constants } = self;
        let mut last_use: HashMap<usize, usize> = HashMap::new();
        for (index, step) in steps.iter().enumerate() {
            step.each(|var| {
                last_use.insert(*var, index);
            });
        }
        let mut cells = constants;
        let mut free: HashMap<DType, Vec<(usize, usize)>> = HashMap::new();
        let mut sizes: Vec<(usize, DType)> = cells.iter().map(|cell| (cell.len(), cell.dtype())).collect();
        let mut places: Vec<Place> = vars
            .iter()
            .map(|var| match var.home {
                Home::Given(place) => place,
                Home::Constant(cell) => Place::Cell { cell, len: var.len },
                Home::Planned => Place::Absent,
            })
            .collect();
        for (index, step) in steps.iter().enumerate() {
            step.each_write(|var| {
                if !matches!(places[*var], Place::Absent) {
                    return;
                }
                let Var { dtype, len, pinned, .. } = vars[*var];
                let free = free.entry(dtype).or_default();
                // The smallest that is large enough, else the largest, which grows.
                let fits =
                    free.iter().enumerate().filter(|(_, (_, size))| *size >= len).min_by_key(|(_, (_, size))| *size);
                let found = fits.or_else(|| free.iter().enumerate().max_by_key(|(_, (_, size))| *size));
                let cell = match found.map(|(at, _)| at) {
                    Some(at) if !pinned => free.swap_remove(at).0,
                    _ => {
                        sizes.push((0, dtype));
                        sizes.len() - 1
                    }
                };
                sizes[cell].0 = sizes[cell].0.max(len);
                places[*var] = Place::Cell { cell, len };
            });
            let mut ended: Vec<usize> = Vec::new();
            step.each(|var| {
                let planned = matches!(vars[*var].home, Home::Planned) && !vars[*var].pinned;
                if planned && last_use.get(var) == Some(&index) && !ended.contains(var) {
                    ended.push(*var);
                }
            });
            for var in ended {
                if let Place::Cell { cell, .. } = places[var] {
                    free.entry(vars[var].dtype).or_default().push((cell, sizes[cell].0));
                }
            }
        }
        let total =
            sizes.iter().try_fold(0usize, |total, (len, dtype)| total.checked_add(len.checked_mul(width(*dtype))?));
        if total.is_none_or(|total| total > limit) {
            return None;
        }
        for (len, dtype) in sizes.into_iter().skip(cells.len()) {
            cells.push(Cell::zeros(dtype, len)?);
        }
        let steps = steps.into_iter().map(|step| step.map(|var| places[var])).collect();
        Some((cells, steps, places))
    }
}
