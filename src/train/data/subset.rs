//! A part of a data set.

use std::sync::Arc;

use super::{DataError, DataSet, Raw, Sample, Tokens, expect_index};
use crate::tensor::Tensor;

/// Some samples of a data set, numbered anew in the order given.
pub struct Subset {
    data: Arc<dyn DataSet>,
    indices: Vec<usize>,
}

impl Subset {
    /// The samples `indices` of `data`. Fails when there is no such sample.
    pub fn new(data: Arc<dyn DataSet>, indices: Vec<usize>) -> Result<Self, DataError> {
        indices.iter().try_for_each(|index| expect_index(*index, data.len()))?;
        Ok(Subset { data, indices })
    }

    /// The numbers of its samples in the whole.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl DataSet for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        expect_index(index, self.len())?;
        self.data.sample(self.indices[index])
    }

    fn target(&self, index: usize) -> Result<Tensor, DataError> {
        expect_index(index, self.len())?;
        self.data.target(self.indices[index])
    }

    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        expect_index(index, self.len())?;
        self.data.raw(self.indices[index])
    }

    fn labels(&self) -> &[String] {
        self.data.labels()
    }

    fn vocabulary(&self) -> &[String] {
        self.data.vocabulary()
    }

    fn tokens(&self) -> Option<Tokens> {
        self.data.tokens()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::numbered;
    use super::*;

    #[test]
    fn samples_are_numbered_anew() {
        let subset = Subset::new(Arc::new(numbered(5)), vec![4, 0]).unwrap();
        assert_eq!((subset.len(), subset.indices()), (2, &[4, 0][..]));
        assert_eq!(subset.sample(0).unwrap(), numbered(5).sample(4).unwrap());
        assert_eq!(subset.target(1).unwrap(), numbered(5).target(0).unwrap());
        assert!(matches!(subset.sample(2), Err(DataError::Index { index: 2, len: 2 })));
        assert!(matches!(Subset::new(Arc::new(numbered(5)), vec![0, 5]), Err(DataError::Index { index: 5, len: 5 })));
    }
}
