//! Text in columns, for people. A column is as wide as the widest cell so far, so that a stream can be
//! printed as well as a list; the terminal's width does not matter.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use crate::printable::printable;

/// Between two columns.
const GAP: &str = "  ";

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
    /// So many characters at least, however short the cells are.
    pub min_width: usize,
}

impl Column {
    /// A column of text.
    #[must_use]
    pub const fn text(title: &'static str) -> Self {
        Self { title, right: false, min_width: 0 }
    }

    /// The column with this width at least: for a stream, whose later cells are not known yet.
    #[must_use]
    pub const fn at_least(self, min_width: usize) -> Self {
        Self { min_width, ..self }
    }

    /// A column of numbers.
    #[must_use]
    pub const fn number(title: &'static str) -> Self {
        Self { title, right: true, min_width: 0 }
    }
}

/// Prints rows under each other.
#[derive(Debug)]
pub struct Table<const N: usize> {
    columns: [Column; N],
    widths: [usize; N],
    begun: bool,
}

impl<const N: usize> Table<N> {
    /// A table of these columns.
    #[must_use]
    pub fn new(columns: [Column; N]) -> Self {
        Self {
            columns,
            widths: columns.map(|column| width(column.title).max(column.min_width)),
            begun: false,
        }
    }

    /// Prints rows, and above the first ones the titles.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn print(&mut self, out: &mut impl Write, rows: &[[String; N]]) -> io::Result<()> {
        let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))).collect();
        for row in &rows {
            for (width_so_far, cell) in self.widths.iter_mut().zip(row) {
                *width_so_far = width(cell).max(*width_so_far);
            }
        }
        if !self.begun {
            self.begun = true;
            self.line(out, &self.columns.map(|column| column.title.to_owned()))?;
        }
        rows.iter().try_for_each(|row| self.line(out, row))
    }

    fn line(&self, out: &mut impl Write, cells: &[String; N]) -> io::Result<()> {
        let mut line = String::new();
        for ((column, cell), width_of_column) in self.columns.iter().zip(cells).zip(self.widths) {
            let padding = " ".repeat(width_of_column - width(cell));
            let (before, after) =
                if column.right { (padding, String::new()) } else { (String::new(), padding) };
            line += &before;
            line += cell;
            line += &after;
            line += GAP;
        }
        writeln!(out, "{}", line.trim_end())
    }
}

fn width(text: &str) -> usize {
    text.width()
}

/// A time for people, in the two largest units: `850ms`, `12s`, `5m07s`, `3h04m`, `2d05h`.
#[must_use]
pub fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// A short time for people: `12µs`, `1.5ms`, `3.2s`; from a minute on as [`age`].
#[must_use]
pub fn spent(ns: u64) -> String {
    let us = ns / 1000;
    match us {
        0..1000 => format!("{us}µs"),
        1000..1_000_000 => format!("{}.{}ms", us / 1000, us / 100 % 10),
        1_000_000..60_000_000 => format!("{}.{}s", us / 1_000_000, us / 100_000 % 10),
        _ => age(us / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(batches: &[&[[&str; 3]]]) -> String {
        let mut table = Table::new([Column::text("NAME"), Column::number("N"), Column::text("END")]);
        let mut out = Vec::new();
        for rows in batches {
            let rows: Vec<_> = rows.iter().map(|row| row.map(str::to_owned)).collect();
            table.print(&mut out, &rows).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = print(&[&[["a", "5", "x"], ["longer", "1234", ""]]]);
        assert_eq!(text, "NAME       N  END\na          5  x\nlonger  1234\n");
    }

    #[test]
    fn a_stream_keeps_the_widths_that_it_has_reached() {
        let text = print(&[&[["a", "5", "x"]], &[["longer", "1", "y"]], &[["b", "2", "z"]]]);
        assert_eq!(text, "NAME  N  END\na     5  x\nlonger  1  y\nb       2  z\n");
    }

    #[test]
    fn a_column_has_at_least_the_width_that_it_was_given() {
        let mut table = Table::new([Column::text("A").at_least(4), Column::number("B").at_least(3)]);
        let mut out = Vec::new();
        table.print(&mut out, &[["x".to_owned(), "1".to_owned()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A       B\nx       1\n");
    }

    #[test]
    fn width_is_what_a_terminal_shows() {
        let text = print(&[&[["≥5s", "1", "→"], ["日本", "2", "x"], ["e\u{301}", "3", "y"]]]);
        assert_eq!(text, "NAME  N  END\n≥5s   1  →\n日本  2  x\ne\u{301}     3  y\n");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let text = print(&[&[["\u{1b}[2Jx\n", "1", "y\u{9b}"]]]);
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn times_are_given_in_their_two_largest_units() {
        let ages = [
            (0, "0ms"),
            (999, "999ms"),
            (1999, "1s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (3_599_999, "59m59s"),
            (3_600_000, "1h00m"),
            (86_399_999, "23h59m"),
            (190_800_000, "2d05h"),
        ];
        for (ms, text) in ages {
            assert_eq!(age(ms), text);
        }
        let times = [
            (0, "0µs"),
            (999_999, "999µs"),
            (1_550_000, "1.5ms"),
            (999_999_999, "999.9ms"),
            (3_250_000_000, "3.2s"),
            (59_999_999_999, "59.9s"),
            (60_000_000_000, "1m00s"),
        ];
        for (ns, text) in times {
            assert_eq!(spent(ns), text);
        }
    }
}
