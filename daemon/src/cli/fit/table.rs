//! Tables for people.

use std::ops::Range;

/// Lines with columns as wide as their widest cell; each row has as many cells as the first. The columns in `numbers` stand
/// to the right, the last column is not filled up.
pub fn table(rows: &[Vec<String>], numbers: Range<usize>) -> String {
    let mut widths = vec![0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let fill = |(column, (cell, &width)): (usize, (&String, &usize))| {
        if numbers.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    };
    let line = |row: &Vec<String>| row.iter().zip(&widths).enumerate().map(fill).collect::<Vec<_>>().join("  ");
    rows.iter().map(|row| line(row).trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = [["strategy", "×", "verdict"], ["cpu:int8", "100", "no"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, 1..2), "strategy    ×  verdict\ncpu:int8  100  no\n");
        assert_eq!(table(&[], 0..0), "");
    }
}
