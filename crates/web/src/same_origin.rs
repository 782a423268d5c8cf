//! Checks whether a request comes from a page of the same site. Routes need this check if a cookie alone would let other
//! sites act on a reader's behalf. The browser states the origin; a request without that information counts as foreign.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

/// Whether one of our own pages made the request. Browsers send no `Sec-Fetch-Site` without TLS; then `Origin` is compared
/// with the requested host and the scheme under which browsers reach us. A page of the same host without TLS is another
/// site, because anyone on the network could have written it.
#[must_use]
pub fn holds(headers: &HeaderMap, over_tls: bool) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let (Some(origin), Some(host)) = (headers.get(ORIGIN), headers.get(HOST)) else { return false };
    let (Ok(origin), Ok(host)) = (origin.to_str(), host.to_str()) else { return false };
    let ours = if over_tls { "https" } else { "http" };
    origin
        .split_once("://")
        .is_some_and(|(scheme, from)| scheme.eq_ignore_ascii_case(ours) && from.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_forms_from_our_own_pages_are_accepted() {
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
            assert_eq!(holds(&headers(fields), true), good, "{fields:?}");
        }
    }

    #[test]
    fn a_page_with_another_scheme_belongs_to_another_site() {
        for (scheme, over_tls, good) in
            [("http", true, false), ("https", true, true), ("http", false, true), ("https", false, false)]
        {
            let origin = HeaderValue::from_str(&format!("{scheme}://a.example")).unwrap();
            let fields =
                HeaderMap::from_iter([(ORIGIN, origin), (HOST, HeaderValue::from_static("a.example"))]);
            assert_eq!(holds(&fields, over_tls), good, "{scheme} {over_tls}");
        }
    }
}
