//! What commands print: tables for people, JSON for programs; errors on stderr.

use serde::Serialize;

#[derive(Clone, Copy)]
pub struct Output {
    pub is_json: bool,
}

impl Output {
    /// One result: as JSON, or as the text that `people` makes of it.
    pub fn print<T: Serialize>(self, value: &T, people: impl FnOnce(&T) -> String) {
        if self.is_json {
            println!("{}", serde_json::to_string(value).expect("our results have only texts and numbers"));
        } else {
            print!("{}", people(value));
        }
    }

    pub fn error(self, code: u8, message: &str) {
        if self.is_json {
            eprintln!("{}", serde_json::json!({ "error": message, "exit_code": code }));
        } else {
            eprintln!("error: {message}");
        }
    }
}

/// Columns of equal width, the first row a heading.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let head = line(heading.iter().map(|cell| cell.trim()).collect());
    rows.iter().fold(head, |text, row| text + &line(row.iter().map(String::as_str).collect()))
}

/// Bytes as people read them.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A span of time as people say it.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
