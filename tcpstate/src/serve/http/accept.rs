//! What a client would rather have: `Accept` and `Accept-Encoding` (RFC 9110, 12.4.2).

use axum::http::{HeaderMap, HeaderName};

/// The weight that a client gives to something by its name, 0 to 1; `None` where it does not name it.
pub(in crate::serve) fn weight(headers: &HeaderMap, header: HeaderName, name: &str) -> Option<f32> {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    let weights = values.flat_map(|value| value.split(',')).filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        parts.next().filter(|found| found.eq_ignore_ascii_case(name))?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some(weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
    });
    weights.reduce(f32::max)
}

/// Whether a client wants something by its name.
pub(in crate::serve) fn wants(headers: &HeaderMap, header: HeaderName, name: &str) -> bool {
    weight(headers, header, name).is_some_and(|weight| weight > 0.0)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header::ACCEPT};

    use super::*;

    #[test]
    fn weight_is_the_one_beside_the_name() {
        for (accepted, expected) in [
            ("text/plain", Some(1.0)),
            ("a/b;q=0.5, Text/Plain; version=0.0.4 ;q=0.3,*/*;q=0.2", Some(0.3)),
            ("text/plain;q=0", Some(0.0)),
            ("text/plain;q=much", Some(0.0)),
            ("text/plain;q=0.2,text/plain;version=1;q=0.4", Some(0.4)),
            ("*/*", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accepted))]);
            assert_eq!(weight(&headers, ACCEPT, "text/plain"), expected, "{accepted}");
        }
    }
}
