//! The two formats of a page, and which one a scraper wants.

use axum::http::{HeaderMap, header::ACCEPT};
use prometheus::{
    TextEncoder,
    proto::{MetricFamily, MetricType},
};

use crate::serve::http::accept::weight;

/// How a page is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// Prometheus's text format.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that a scraper prefers: text unless it names `OpenMetrics`, and does not rank text above it.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let open = weight(headers, ACCEPT, "application/openmetrics-text").unwrap_or(0.0);
        let text = weight(headers, ACCEPT, "text/plain").unwrap_or(0.0);
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Writes a page.
    pub(super) fn page(self, families: &[MetricFamily]) -> prometheus::Result<String> {
        match self {
            Self::Text => TextEncoder::new().encode_to_string(families),
            Self::OpenMetrics => open_metrics(families),
        }
    }
}

/// The text format with what `OpenMetrics` has otherwise: a counter's family is named without `_total`, quotes in a help
/// text are escaped, the bounds of buckets are written with a fraction, and the page has an end.
fn open_metrics(families: &[MetricFamily]) -> prometheus::Result<String> {
    let mut page = String::new();
    for family in families {
        let name = family.name();
        let named = match family.get_field_type() {
            MetricType::COUNTER => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let text = TextEncoder::new().encode_to_string(std::slice::from_ref(family))?;
        for line in text.lines() {
            let comment = ["# HELP ", "# TYPE "]
                .into_iter()
                .find_map(|kind| Some((kind, line.strip_prefix(kind)?.strip_prefix(name)?)));
            match comment {
                Some((kind, rest)) => page.extend([kind, named, &rest.replace('"', "\\\"")]),
                None => page.push_str(&with_fraction(line)),
            }
            page.push('\n');
        }
    }
    page.push_str("# EOF\n");
    Ok(page)
}

/// A sample, in which a bound that is a whole number is written as `1.0`.
fn with_fraction(line: &str) -> String {
    const BOUND: &str = ",le=\"";
    let whole = line.split_once(BOUND).and_then(|(before, rest)| {
        let (bound, after) = rest.split_once('"')?;
        let is_whole = bound.bytes().all(|byte| byte.is_ascii_digit());
        is_whole.then(|| format!("{before}{BOUND}{bound}.0\"{after}"))
    });
    whole.unwrap_or_else(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_prefer_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                          version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accepted, expected) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.3", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("text/plain", Format::Text),
            ("*/*", Format::Text),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accepted))]);
            assert_eq!(Format::wanted(&headers), expected, "{accepted}");
        }
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Text);
    }
}
