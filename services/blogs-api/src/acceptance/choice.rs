//! Chooses the write path of a request: the request's own choice if the settings allow it, else the configured one.

use std::net::IpAddr;

use axum::http::HeaderMap;
use events::{UnknownWritePath, WritePath};

use super::refusal::Refusal;
use super::settings::Settings;
use crate::problem::{Problem, Result};

/// The header in which a request chooses its write path, if that is allowed.
const HEADER: &str = "x-write-path";

/// The write path of a request.
pub(crate) fn choose(settings: &Settings, peer: Option<IpAddr>, headers: &HeaderMap) -> Result<WritePath> {
    let wanted = headers.get(HEADER).filter(|_| may_choose(settings, peer, headers));
    let Some(wanted) = wanted else { return Ok(settings.write_path) };
    let path = wanted
        .to_str()
        .map_err(|_| UnknownWritePath)
        .and_then(str::parse)
        .map_err(|error| Problem::bad_request(format!("X-Write-Path: {error}")))?;
    if path != WritePath::Message && !settings.direct_path {
        return Err(Refusal::NotEnabled.into());
    }
    Ok(path)
}

/// Whether this caller may choose. The peer of the connection decides, because anyone can send a forwarded address. A
/// request that was forwarded by a proxy may not choose.
fn may_choose(settings: &Settings, peer: Option<IpAddr>, headers: &HeaderMap) -> bool {
    let is_forwarded = ["x-forwarded-for", "forwarded", "via"].iter().any(|name| headers.contains_key(*name));
    let from = &settings.write_path_header_from;
    settings.allow_write_path_header
        && !is_forwarded
        && peer.is_some_and(|peer| from.iter().any(|network| network.contains(&peer.to_canonical())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acceptance::settings::tests::settings;

    fn chosen(header: Option<&str>, allowed: bool, direct_path: bool) -> std::result::Result<WritePath, u16> {
        let settings = Settings { allow_write_path_header: allowed, direct_path, ..settings() };
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(HEADER, value.parse().unwrap());
        }
        choose(&settings, Some([127, 0, 0, 1].into()), &headers).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn write_path_header_is_ignored_unless_allowed() {
        assert_eq!(chosen(None, true, true), Ok(WritePath::Message));
        assert_eq!(chosen(Some("direct"), true, true), Ok(WritePath::Direct));
        assert_eq!(chosen(Some("direct-batched"), true, true), Ok(WritePath::DirectBatched));
        assert_eq!(chosen(Some("message"), true, false), Ok(WritePath::Message));
        assert_eq!(chosen(Some("direct"), false, true), Ok(WritePath::Message));
    }

    #[test]
    fn only_callers_from_the_networks_may_choose() {
        let settings = Settings { allow_write_path_header: true, direct_path: true, ..settings() };
        let chosen = |peer: Option<&str>, other: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), "direct".parse().unwrap())]);
            for (name, value) in other {
                headers.insert(*name, value.parse().unwrap());
            }
            choose(&settings, peer.map(|peer| peer.parse().unwrap()), &headers).ok()
        };
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(chosen(Some(peer), &[]), Some(WritePath::Direct), "{peer}");
        }
        assert_eq!(chosen(Some("192.0.2.1"), &[]), Some(WritePath::Message));
        assert_eq!(chosen(None, &[]), Some(WritePath::Message));
        for name in ["x-forwarded-for", "forwarded", "via"] {
            assert_eq!(chosen(Some("127.0.0.1"), &[(name, "127.0.0.1")]), Some(WritePath::Message), "{name}");
        }
    }

    #[test]
    fn unknown_or_disabled_write_path_is_a_bad_request() {
        assert_eq!(chosen(Some("pigeon"), true, true), Err(400));
        assert_eq!(chosen(Some(""), true, true), Err(400));
        assert_eq!(chosen(Some("direct"), true, false), Err(400));
        assert_eq!(chosen(Some("direct-batched"), true, false), Err(400));
    }
}
