//! Text in columns, for people.
//!
//! Used by the commands that print tables and by the reports of `eval` and `quantize`.

use std::fmt;

use crate::visible::visible;

/// How a column's cells stand in it, and how wide it is at least, in characters.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Cells to the left.
    Left(usize),
    /// Cells to the right, as numbers.
    Right(usize),
}

/// Rows of cells, laid out when they are written: a column is as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    gap: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns two spaces apart.
    #[must_use]
    pub fn new(columns: &[Column]) -> Table {
        Table {
            columns: columns.to_vec(),
            gap: 2,
            rows: Vec::new(),
        }
    }

    /// A key and a value in each row; the values begin after `width` characters.
    #[must_use]
    pub fn of_pairs(width: usize) -> Table {
        Table {
            columns: vec![Column::Left(width), Column::Left(0)],
            gap: 0,
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells that it lacks are empty. No terminal obeys what they hold.
    pub fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows
            .push(cells.map(|cell| visible(cell).into_owned()).to_vec());
    }
}

impl fmt::Display for Table {
    /// One line a row, without spaces at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let columns = self.columns.iter().enumerate();
        let columns: Vec<Column> = columns
            .map(|(i, column)| match *column {
                Column::Left(least) => Column::Left(least.max(widest(i))),
                Column::Right(least) => Column::Right(least.max(widest(i))),
            })
            .collect();
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(&columns)
                .map(|(cell, column)| match *column {
                    Column::Left(width) => format!("{cell:<width$}"),
                    Column::Right(width) => format!("{cell:>width$}"),
                });
            let line = cells.collect::<Vec<_>>().join(&" ".repeat(self.gap));
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_no_line_ends_in_spaces() {
        let mut table = Table::new(&[Column::Left(0), Column::Right(5), Column::Left(0)]);
        table.row(["name", "ms", "kind"]);
        table.row(["3×3 conv", "1.25", ""]);
        table.row(["a"]);
        assert_eq!(
            table.to_string(),
            "name         ms  kind\n3×3 conv   1.25\na\n"
        );
    }

    #[test]
    fn cell_stays_in_its_row_whatever_it_holds() {
        let mut table = Table::new(&[Column::Left(0), Column::Left(0)]);
        table.row(["a\nb", "\u{1b}[2J"]);
        assert_eq!(table.to_string(), "a\\u000ab  \\u001b[2J\n");
    }

    #[test]
    fn values_of_pairs_begin_in_one_column_whatever_the_keys() {
        let mut table = Table::of_pairs(6);
        table.row(["key", "value"]);
        assert_eq!(table.to_string(), "key   value\n");
        table.row(["longer key ", "other"]);
        assert_eq!(table.to_string(), "key        value\nlonger key other\n");
    }
}
