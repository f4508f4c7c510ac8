//! Tables in Markdown.

/// A table with these heads; the first column holds names, and the others numbers.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = line(heads.iter().copied());
    text += &line(heads.iter().enumerate().map(|(column, _)| if column == 0 { "---" } else { "---:" }));
    for row in rows {
        text += &line(row.iter().map(String::as_str));
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let cells: Vec<_> = cells.collect();
    format!("| {} |\n", cells.join(" | "))
}

/// What stands where nothing was measured.
pub(super) fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_has_its_heads_a_rule_and_a_line_for_each_row() {
        let rows = [vec!["empty".to_owned(), "0.99".to_owned()], vec!["x".to_owned(), "-".to_owned()]];
        let expected = "| subject | ratio |\n| --- | ---: |\n| empty | 0.99 |\n| x | - |\n";
        assert_eq!(table(&["subject", "ratio"], &rows), expected);
    }
}
