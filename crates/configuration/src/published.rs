//! Secrets that are published in this repository, and the rule that they may only be used on one machine.
//!
//! `docker-compose.yml` starts with the values in [`PUBLISHED`], which anyone can read. A process that finds one of them in
//! its settings starts only if no setting makes the system reachable from other machines. The rule is part of loading
//! settings, so every service and every command with a secret applies it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use config::{Map, Value, ValueKind};
use percent_encoding::percent_decode_str;

use crate::SettingsError;
use crate::table::{self, joined};

/// A secret and its value in the compose files.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// The variable of `.env` that replaces it.
    pub variable: &'static str,
    /// The published value. For a key with an id, the part after the id.
    pub value: &'static str,
    /// The form of a new value.
    pub kind: Kind,
}

/// The form of a secret's new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is valid in an address.
    Password,
    /// 32 bytes in base64.
    Key,
    /// `id:seed`, the private key of sessions.
    SigningKeys,
    /// `id:key`, its public half. It is not secret, but a service that trusts a published one accepts tokens that anyone can
    /// create.
    VerifyingKeys,
}

/// All secrets in the compose files: the lines of `published.txt`.
pub static PUBLISHED: LazyLock<Vec<Published>> = LazyLock::new(|| LIST.lines().filter_map(listed).collect());

const LIST: &str = include_str!("published.txt");

/// A line of the list; `None` for a comment or an empty line.
fn listed(line: &'static str) -> Option<Published> {
    let mut words = line.split_whitespace();
    let (variable, kind, value) = (words.next()?, words.next()?, words.next()?);
    let kind = match kind {
        "password" => Kind::Password,
        "key" => Kind::Key,
        "signing-keys" => Kind::SigningKeys,
        "verifying-keys" => Kind::VerifyingKeys,
        _ => return None,
    };
    Some(Published { variable, value, kind })
}

/// The passwords and keys that earlier releases published.
const EARLIER: [&str; 2] = ["commonplace", "b25seS1mb3ItbG9jYWwtdXNlLWNoYW5nZS1tZS1pbi0uZW52"];

/// The section that states how the system can be reached. Only this rule reads it.
pub(crate) const SECTION: &str = "exposure";

/// Keys with one of these endings contain secrets, and so do all keys of the section `secrets`.
const SECRET_KEYS: [&str; 6] = ["url", "password", "secret", "keys", "token", "cookie"];

/// Published secrets are in use, and no setting makes the system reachable from other machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    names: Vec<String>,
    addresses: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "published secrets: reachable from this machine only ({}). Before other machines can reach it, replace {}",
            self.addresses,
            self.names.join(", ")
        )
    }
}

/// Applies the rule to settings.
pub(crate) fn check(values: &Map<String, Value>) -> Result<Option<Notice>, SettingsError> {
    let exposure = Exposure::of(values);
    let mut names = BTreeSet::new();
    find(values, "", &mut names);
    let names: Vec<String> = names.into_iter().collect();
    if names.is_empty() {
        return Ok(None);
    }
    if exposure.reasons.is_empty() {
        return Ok(Some(Notice { names, addresses: exposure.addresses.join(", ") }));
    }
    Err(SettingsError::Published { names: names.join(", "), reasons: exposure.reasons.join(", ") })
}

/// How the system can be reached, according to the settings.
#[derive(Default)]
struct Exposure {
    /// The addresses for clients.
    addresses: Vec<String>,
    /// Why other machines can reach it.
    reasons: Vec<String>,
}

impl Exposure {
    fn of(values: &Map<String, Value>) -> Self {
        let kind = |section: &str, key: &str| {
            let section = values.get(section).and_then(table::of)?;
            section.get(key).map(|value| &value.kind)
        };
        let text = |kind: &ValueKind| match kind {
            ValueKind::String(text) => Some(text.clone()),
            _ => None,
        };
        let list = |section: &str, key: &str| -> Vec<String> {
            let Some(ValueKind::Array(items)) = kind(section, key) else { return Vec::new() };
            let mut list: Vec<_> = items.iter().filter_map(|item| text(&item.kind)).collect();
            list.dedup();
            list
        };
        let is_on = |section: &str, key: &str| kind(section, key) == Some(&ValueKind::Boolean(true));
        let mut exposure = Self { addresses: list("exposure", "addresses"), reasons: Vec::new() };
        let mut reasons = Vec::new();
        for address in exposure.addresses.iter().filter(|address| !is_loopback(address)) {
            reasons.push(format!("exposure.addresses (LISTEN_ADDRESS, CONSOLE_LISTEN_ADDRESS) is {address}"));
        }
        if exposure.addresses.is_empty() {
            for key in ["address", "operations_address"] {
                let address = kind("http", key).and_then(text);
                let Some(address) = address.filter(|address| !address.is_empty()) else { continue };
                if !is_loopback(&address) {
                    reasons.push(format!("http.{key} is {address}"));
                }
                exposure.addresses.push(address);
            }
        }
        exposure.reasons = reasons;
        let proxies = ["exposure", "requests"]
            .iter()
            .find_map(|section| Some(list(section, "trusted_proxies")).filter(|proxies| !proxies.is_empty()));
        if let Some(proxies) = proxies {
            exposure.reasons.push(format!("trusted_proxies (TRUSTED_PROXIES) is {}", proxies.join(",")));
        }
        if ["exposure", "pages", "access"].iter().any(|section| is_on(section, "secure_cookies")) {
            exposure.reasons.push("secure_cookies (SECURE_COOKIES) is true".to_owned());
        }
        exposure
    }
}

/// Whether only this machine can reach an address, with or without a port.
fn is_loopback(address: &str) -> bool {
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let ip = address.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| bare.parse::<IpAddr>());
    bare == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Collects the names of the published secrets below `values`.
fn find(values: &Map<String, Value>, path: &str, names: &mut BTreeSet<String>) {
    for (name, value) in values {
        let key = joined(path, name);
        match &value.kind {
            ValueKind::Table(below) => find(below, &key, names),
            ValueKind::String(text) if is_secret(&key) => {
                names.extend(secrets_in(text).iter().filter_map(|secret| name_of(secret, &key)));
            }
            _ => {}
        }
    }
}

/// Whether a key's name means that it contains a secret.
pub(crate) fn is_secret(key: &str) -> bool {
    let last_word = key.rsplit(['.', '_']).next();
    key.starts_with("secrets.") || last_word.is_some_and(|word| SECRET_KEYS.contains(&word))
}

/// The possible secrets in a text: the text itself; the secrets of a list `id:secret,id:secret`; and the password in an
/// address, in its query, or in a libpq parameter list.
fn secrets_in(text: &str) -> Vec<String> {
    let login = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    let of_login = login.and_then(|(login, _)| login.split_once(':')).map(|(_, password)| password);
    let of_parameters =
        text.split(|c: char| c.is_whitespace() || matches!(c, '?' | '&')).filter_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            (name == "password").then(|| value.trim_matches('\''))
        });
    let items = text.split(',').map(str::trim);
    let of_items = items.clone().filter_map(|item| item.split_once(':')).map(|(_, secret)| secret);
    let passwords = of_login
        .into_iter()
        .chain(of_parameters)
        .map(|password| percent_decode_str(password).decode_utf8_lossy().into_owned());
    items.chain(of_items).map(str::to_owned).chain(passwords).collect()
}

/// Decodes a key from any variant of base64.
fn unpadded(key: &str) -> String {
    key.trim_end_matches('=').replace('-', "+").replace('_', "/")
}

impl Published {
    fn is(&self, secret: &str) -> bool {
        match self.kind {
            Kind::Password => self.value == secret,
            Kind::Key | Kind::SigningKeys | Kind::VerifyingKeys => unpadded(self.value) == unpadded(secret),
        }
    }
}

fn name_of(secret: &str, key: &str) -> Option<String> {
    if let Some(published) = PUBLISHED.iter().find(|published| published.is(secret)) {
        return Some(published.variable.to_owned());
    }
    EARLIER.contains(&secret).then(|| match key.strip_prefix("secrets.") {
        Some(variable) => variable.to_ascii_uppercase(),
        None => format!("the secret in {key}"),
    })
}

#[cfg(test)]
#[path = "published_tests.rs"]
mod tests;
