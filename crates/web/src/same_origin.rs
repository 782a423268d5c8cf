//! Does a request come from a page of the same site? Asked where a cookie alone would let other sites act in a reader's
//! name. The browser itself says it; requests that do not say it are taken for foreign.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

/// Was the request made by a page of ours? What a browser sends without TLS has no `Sec-Fetch-Site`; then the host of
/// `Origin` is compared with the one that was asked.
#[must_use]
pub fn holds(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let (Some(origin), Some(host)) = (headers.get(ORIGIN), headers.get(HOST)) else { return false };
    let (Ok(origin), Ok(host)) = (origin.to_str(), host.to_str()) else { return false };
    origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_form_comes_from_a_page_of_ours() {
        for (good, fields) in [
            (true, &[("sec-fetch-site", "same-origin")][..]),
            (
                false,
                &[("sec-fetch-site", "same-site"), ("origin", "http://a.example"), ("host", "a.example")],
            ),
            (false, &[("sec-fetch-site", "cross-site")]),
            (false, &[("sec-fetch-site", "none")]),
            (true, &[("origin", "https://a.example:8080"), ("host", "a.example:8080")]),
            (false, &[("origin", "https://a.example"), ("host", "a.example:8080")]),
            (false, &[("origin", "null"), ("host", "a.example")]),
            (false, &[("host", "a.example")]),
            (false, &[]),
        ] {
            assert_eq!(holds(&headers(fields)), good, "{fields:?}");
        }
    }
}
