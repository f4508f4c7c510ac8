//! Text of others on its way to a terminal or a log: a process may give itself a name that would steer the terminal, or
//! make a line look like another one.

/// Makes visible what is not: control characters, what turns the direction of writing (Unicode's bidirectional controls),
/// separators of lines, and characters without width.
#[must_use]
pub fn printable(text: &str) -> String {
    let visible = |c: char| if is_hidden(c) { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(visible).collect()
}

fn is_hidden(c: char) -> bool {
    let steers = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    c.is_control() || steers
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_done() {
        for (text, shown) in [
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("two\nlines\u{2028}\u{85}", "two\\nlines\\u{2028}\\u{85}"),
            ("na\u{200b}me", "na\\u{200b}me"),
            ("größer → 東京 \u{fffd}", "größer → 東京 \u{fffd}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
