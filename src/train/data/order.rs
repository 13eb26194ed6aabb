//! The order of an epoch.

use super::random::{Purpose, Random};

/// The numbers below `len` in a random order that follows from `seed` and `epoch` alone.
pub fn epoch_order(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    Random::new(seed, Purpose::Order, &[epoch]).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_is_another_permutation() {
        let orders: Vec<Vec<usize>> = (0..3).map(|epoch| epoch_order(50, 7, epoch)).collect();
        assert_eq!(orders[1], epoch_order(50, 7, 1));
        assert_ne!(orders[0], orders[1]);
        assert_ne!(orders[1], orders[2]);
        assert_ne!(orders[0], epoch_order(50, 8, 0));
        for mut order in orders {
            order.sort_unstable();
            assert_eq!(order, (0..50).collect::<Vec<_>>());
        }
        assert_eq!(epoch_order(0, 1, 0), Vec::<usize>::new());
    }

    #[test]
    fn every_sample_comes_first_equally_often() {
        let mut counts = [0i32; 5];
        (0..5000).for_each(|epoch| counts[epoch_order(5, 1, epoch)[0]] += 1);
        assert!(counts.iter().all(|count| (count - 1000).abs() < 150), "{counts:?}");
    }
}
