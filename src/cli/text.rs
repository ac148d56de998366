//! Numbers and tables as people read them.

use comfy_table::{CellAlignment, Table, presets};

use crate::tensor::Tensor;

/// `4.23 M`: three digits and a power of a thousand.
pub fn si(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        v if v >= 1e12 => (value / 1e12, " T"),
        v if v >= 1e9 => (value / 1e9, " G"),
        v if v >= 1e6 => (value / 1e6, " M"),
        v if v >= 1e3 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    if unit.is_empty() && value.fract() == 0.0 {
        return format!("{value}");
    }
    let digits = if scaled.abs() < 10.0 { 2 } else { usize::from(scaled.abs() < 100.0) };
    format!("{scaled:.digits$}{unit}")
}

/// Seconds as milliseconds with a sensible number of digits.
pub fn ms(seconds: f64) -> String {
    let ms = seconds * 1e3;
    let digits = match ms {
        v if v < 1.0 => 3,
        v if v < 100.0 => 2,
        _ => 1,
    };
    format!("{ms:.digits$} ms")
}

/// Seconds as milliseconds, or as microseconds where they are few.
pub fn time(seconds: f64) -> String {
    if seconds >= 1e-4 {
        return ms(seconds);
    }
    let us = seconds * 1e6;
    let digits = if us < 10.0 { 2 } else { 1 };
    format!("{us:.digits$} µs")
}

/// `26.7 MB`: bytes, with powers of a thousand.
pub fn bytes(n: u64) -> String {
    let number = si(n as f64);
    if number.contains(' ') { format!("{number}B") } else { format!("{number} B") }
}

/// `"1 layer"`, `"2 layers"`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// `text`, or its start and end with `…` between where it is longer than `most` characters.
pub fn elide(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let tail = most.saturating_sub(1) / 2;
    let head = most.saturating_sub(1) - tail;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{start}…{end}")
}

/// A table without lines; columns for which `header` starts with `>` are aligned to the right.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = bare_table(rows);
    table.set_header(header.map(|title| title.trim_start_matches('>')));
    for (column, title) in table.column_iter_mut().zip(header) {
        if title.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    lines(&table)
}

/// The rows of a table without a header.
pub fn rows_only<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> String {
    lines(&bare_table(rows))
}

fn bare_table<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The smallest and the largest value; `None` where a value is not finite.
pub fn range(tensor: &Tensor) -> Option<(f32, f32)> {
    let finite = tensor.data().iter().all(|value| value.is_finite());
    finite.then(|| {
        tensor
            .data()
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(si(568_740_352.0), "569 M");
        assert_eq!(si(4_231_976.0), "4.23 M");
        assert_eq!(si(61_100.0), "61.1 k");
        assert_eq!(si(999.0), "999");
        assert_eq!(si(0.5), "0.50");
        assert_eq!([bytes(0), bytes(999), bytes(26_712_000)], ["0 B", "999 B", "26.7 MB"]);
        assert_eq!(ms(0.0123456), "12.35 ms");
        assert_eq!(ms(0.0000123), "0.012 ms");
        assert_eq!([time(2e-7), time(0.0000123), time(0.00025)], ["0.20 µs", "12.3 µs", "0.250 ms"]);
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(elide("layer1.0", 8), "layer1.0");
        assert_eq!(elide("blocks.0.{conv … relu}", 11), "block…relu}");
    }

    #[test]
    fn tables_align_their_columns() {
        let text = table(["name", ">ms"], [["a".into(), "1.0".into()], ["long".into(), "10.25".into()]]);
        assert_eq!(text, "name     ms\na       1.0\nlong  10.25\n");
    }
}
