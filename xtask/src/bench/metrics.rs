//! Reads what `/metrics` says.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// One page of `/metrics`.
pub(super) struct Page(String);

impl Page {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The sum of all series of that name.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn sum(&self, name: &str) -> Result<u64> {
        self.sum_where(name, "")
    }

    /// The sum of those series of that name that have the label, written as `name="value"`.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn sum_where(&self, name: &str, label: &str) -> Result<u64> {
        let mut sum = None;
        for (series, value) in self.samples() {
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            if found == name && labels.contains(label) {
                let value: u64 = value.parse().with_context(|| format!("{series} is no whole number"))?;
                sum = Some(sum.unwrap_or(0) + value);
            }
        }
        sum.with_context(|| format!("the daemon has no metric {name} {label}"))
    }

    /// The values of all series of that name, by the value of their only label.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn by_label(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let mut values = BTreeMap::new();
        for (series, value) in self.samples() {
            let Some((found, labels)) = series.split_once('{') else { continue };
            if let (true, Some(label)) = (found == name, labels.split('"').nth(1)) {
                let value = value.parse().with_context(|| format!("{series} is no whole number"))?;
                values.insert(label.to_owned(), value);
            }
        }
        ensure!(!values.is_empty(), "the daemon has no metric {name}");
        Ok(values)
    }

    /// How many series there are.
    ///
    /// # Errors
    /// When the page is empty.
    pub(super) fn series(&self) -> Result<u64> {
        let count = self.samples().count() as u64;
        ensure!(count > 0, "the daemon has no metrics");
        Ok(count)
    }

    fn samples(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '))
    }
}

#[cfg(test)]
mod tests {
    use super::Page;

    fn page() -> Page {
        let text = "# HELP lost_total What was lost.\n# TYPE lost_total counter\n\
            lost_total{kind=\"missed\"} 3\nlost_total{kind=\"a b\"} 4\nlost_total_more 9\nplain 5\nshare 0.5\n";
        Page::new(text.to_owned())
    }

    #[test]
    fn all_series_of_a_name_are_added_up_and_no_other() {
        assert_eq!(page().sum("lost_total").unwrap(), 7);
        assert_eq!(page().sum("plain").unwrap(), 5);
        assert_eq!(page().sum_where("lost_total", "kind=\"missed\"").unwrap(), 3);
    }

    #[test]
    fn values_are_told_by_their_label() {
        let values = page().by_label("lost_total").unwrap();
        assert_eq!(values.into_iter().collect::<Vec<_>>(), [("a b".to_owned(), 4), ("missed".to_owned(), 3)]);
    }

    #[test]
    fn what_is_not_there_is_an_error_and_not_zero() {
        assert!(page().sum("lost").unwrap_err().to_string().contains("no metric lost"));
        assert!(page().sum_where("lost_total", "kind=\"none\"").is_err());
        assert!(page().sum("share").unwrap_err().to_string().contains("share"));
        assert!(page().by_label("plain").is_err());
    }

    #[test]
    fn series_are_counted_without_comments() {
        assert_eq!(page().series().unwrap(), 5);
        assert!(Page::new(String::new()).series().is_err());
    }
}
