//! Pairing rows with columns at the least cost.

/// The pairing of the rows of a matrix with its columns whose sum of costs is least: for each row its column, `None`
/// for rows left over where there are more rows than columns. `cost(row, column)` must be finite.
///
/// The Hungarian method with potentials, in O(rows² · columns) steps: H. W. Kuhn, "The Hungarian method for the
/// assignment problem" (1955), in the shortest augmenting path form of J. Edmonds and R. M. Karp (1972).
pub(super) fn assign(rows: usize, columns: usize, cost: &dyn Fn(usize, usize) -> f64) -> Vec<Option<usize>> {
    if rows > columns {
        let mut pairs = vec![None; rows];
        for (column, row) in assign(columns, rows, &|column, row| cost(row, column)).into_iter().enumerate() {
            if let Some(row) = row {
                pairs[row] = Some(column);
            }
        }
        return pairs;
    }
    // Rows and columns count from 1; column 0 holds the row that is being paired.
    let mut row_potential = vec![0.0; rows + 1];
    let mut column_potential = vec![0.0; columns + 1];
    let mut row_of = vec![0; columns + 1];
    let mut came_from = vec![0; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut column = 0;
        let mut distance = vec![f64::INFINITY; columns + 1];
        let mut done = vec![false; columns + 1];
        while row_of[column] != 0 {
            done[column] = true;
            let from = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for other in (1..=columns).filter(|other| !done[*other]) {
                let reduced = cost(from - 1, other - 1) - row_potential[from] - column_potential[other];
                if reduced < distance[other] {
                    distance[other] = reduced;
                    came_from[other] = column;
                }
                if distance[other] < step {
                    (step, next) = (distance[other], other);
                }
            }
            if next == 0 {
                // Costs that are not finite lead nowhere: the row stays alone.
                break;
            }
            for other in 0..=columns {
                if done[other] {
                    row_potential[row_of[other]] += step;
                    column_potential[other] -= step;
                } else {
                    distance[other] -= step;
                }
            }
            column = next;
        }
        if row_of[column] == 0 {
            while column != 0 {
                row_of[column] = row_of[came_from[column]];
                column = came_from[column];
            }
        }
    }
    let mut pairs = vec![None; rows];
    for (column, row) in row_of.iter().enumerate().skip(1).filter(|(_, row)| **row != 0) {
        pairs[row - 1] = Some(column - 1);
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn by_hand() {
        let cost = [[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]];
        assert_eq!(assign(3, 3, &|row, column| cost[row][column]), [Some(1), Some(0), Some(2)]);
        assert_eq!(assign(1, 3, &|row, column| cost[row][column]), [Some(1)]);
        assert_eq!(assign(3, 1, &|row, column| cost[row][column]), [None, Some(0), None]);
        assert!(assign(0, 3, &|_, _| 0.0).is_empty());
        assert_eq!(assign(2, 0, &|_, _| 0.0), [None, None]);
    }

    /// The least sum over all pairings of the rows from `row` on.
    fn least(cost: &[Vec<f64>], row: usize, taken: &mut Vec<bool>) -> f64 {
        if row == cost.len() {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for column in 0..taken.len() {
            if !taken[column] {
                taken[column] = true;
                best = best.min(cost[row][column] + least(cost, row + 1, taken));
                taken[column] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn no_pairing_costs_less(cost in (1usize..5, 5usize..7).prop_flat_map(|(rows, columns)| {
            prop::collection::vec(prop::collection::vec(-9.0f64..9.0, columns), rows)
        })) {
            let (rows, columns) = (cost.len(), cost[0].len());
            let pairs = assign(rows, columns, &|row, column| cost[row][column]);
            let mut used: Vec<usize> = pairs.iter().map(|column| column.unwrap()).collect();
            let sum: f64 = used.iter().enumerate().map(|(row, column)| cost[row][*column]).sum();
            used.sort_unstable();
            used.dedup();
            prop_assert_eq!(used.len(), rows);
            prop_assert!((sum - least(&cost, 0, &mut vec![false; columns])).abs() < 1e-9);
            // The other way round it is the same pairing.
            let turned = assign(columns, rows, &|column, row| cost[row][column]);
            let costs = turned.iter().enumerate().filter_map(|(column, row)| row.map(|row| cost[row][column]));
            let other: f64 = costs.sum();
            prop_assert!((sum - other).abs() < 1e-9);
        }
    }
}
