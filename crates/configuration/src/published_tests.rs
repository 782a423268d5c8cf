//! Published secrets are found in every setting, and rejected if other machines can reach the system.

use super::*;
use crate::Loader;

const DEFAULTS: &str = r#"
[http]
address = "127.0.0.1:8080"
operations_address = ""
[requests]
trusted_proxies = []
[pages]
secure_cookies = false
[roles]
blogs_api_password = ""
[tokens]
signing_keys = ""
[secrets]
"#;

fn load(settings: &[(&'static str, &str)]) -> Result<Option<Notice>, SettingsError> {
    let mut loader = Loader::new(DEFAULTS).environment([]);
    for (key, value) in settings {
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        loader = match *key {
            key if key.ends_with("cookies") => loader.set(key, *value == "true"),
            key if key.ends_with("proxies") || key.ends_with("addresses") => loader.set(key, list()),
            key => loader.set(key, *value),
        };
    }
    loader.load_noticing::<toml::Table>().map(|(_, notice)| notice)
}

#[test]
fn a_published_secret_is_found_in_every_form_of_a_setting() {
    for (key, value, name) in [
        (
            "database.url",
            "postgres://blogs_api:published-blogs-api@db:5432/commonplace",
            "BLOGS_API_PASSWORD",
        ),
        ("broker.url", "amqp://console:published-console@rabbitmq:5672/%2f", "CONSOLE_PASSWORD"),
        ("roles.blogs_api_password", "published-operator", "OPERATOR_PASSWORD"),
        ("secrets.signing_keys", "local:c2Vzc2lvbnMtZm9yLWxvY2FsLXVzZS0tc2VlLS5lbnY=", "SIGNING_KEYS"),
        // In every form: libpq parameters, percent-encoding, base64 without padding or in the URL alphabet.
        ("database.url", "host=db user=blogs_api password='published-blogs-api'", "BLOGS_API_PASSWORD"),
        ("database.url", "postgres://blogs_api@db/x?a=b&password=published-blogs-api", "BLOGS_API_PASSWORD"),
        ("broker.url", "amqp://console:published%2Dconsole@rabbitmq:5672/%2f", "CONSOLE_PASSWORD"),
        ("secrets.signing_keys", "x:c2Vzc2lvbnMtZm9yLWxvY2FsLXVzZS0tc2VlLS5lbnY", "SIGNING_KEYS"),
        ("tokens.verifying_keys", "x:rZNqD5C2XWzYa_VFrJVsbPmQIOmeDWhhGJMFmuLg2sQ", "VERIFYING_KEYS"),
        (
            "secrets.signing_keys",
            "new:bmV3, local:c2Vzc2lvbnMtZm9yLWxvY2FsLXVzZS0tc2VlLS5lbnY=",
            "SIGNING_KEYS",
        ),
        ("tokens.verifying_keys", "local:rZNqD5C2XWzYa/VFrJVsbPmQIOmeDWhhGJMFmuLg2sQ=", "VERIFYING_KEYS"),
        ("secrets.rabbitmq_erlang_cookie", "published-erlang-cookie", "RABBITMQ_ERLANG_COOKIE"),
        ("secrets.postgres_password", "commonplace", "POSTGRES_PASSWORD"),
        ("database.url", "postgres://postgres:commonplace@db:5432/commonplace", "the secret in database.url"),
    ] {
        let notice = load(&[(key, value)]).unwrap().unwrap_or_else(|| panic!("{key} = {value}"));
        assert_eq!(notice.names, [name]);
        assert!(notice.to_string().contains("reachable from this machine only (127.0.0.1:8080)"), "{notice}");
    }
    let own = "postgres://blogs_api:of-ones-own@db:5432/commonplace";
    assert_eq!(load(&[("database.url", own), ("secrets.console_token", "of one's own")]).unwrap(), None);
}

#[test]
fn published_secrets_are_refused_once_other_machines_can_reach_the_system() {
    let published = ("database.url", "postgres://blogs_api:published-blogs-api@db:5432/commonplace");
    for (key, value, reason) in [
        ("http.address", "0.0.0.0:8080", "http.address is 0.0.0.0:8080"),
        ("http.address", "[::]:8080", "http.address is [::]:8080"),
        ("http.operations_address", "0.0.0.0:9080", "http.operations_address is 0.0.0.0:9080"),
        (
            "exposure.addresses",
            "127.0.0.1,192.0.2.1",
            "(LISTEN_ADDRESS, CONSOLE_LISTEN_ADDRESS) is 192.0.2.1",
        ),
        ("exposure.addresses", "blogs.example.org", "is blogs.example.org"),
        ("exposure.trusted_proxies", "172.18.0.1/32", "(TRUSTED_PROXIES) is 172.18.0.1/32"),
        ("requests.trusted_proxies", "172.18.0.1/32", "(TRUSTED_PROXIES) is 172.18.0.1/32"),
        ("exposure.secure_cookies", "true", "(SECURE_COOKIES) is true"),
        ("pages.secure_cookies", "true", "(SECURE_COOKIES) is true"),
    ] {
        let refused = load(&[published, (key, value)]).unwrap_err().to_string();
        for part in ["BLOGS_API_PASSWORD", reason, "commonplace secrets new"] {
            assert!(refused.contains(part), "{key} = {value}: {refused}");
        }
        let own = ("database.url", "postgres://blogs_api:of-ones-own@db:5432/commonplace");
        assert_eq!(load(&[own, (key, value)]).unwrap(), None, "{key} = {value}");
    }
}

#[test]
fn loopback_addresses_are_reachable_from_this_machine_only() {
    let published = ("roles.blogs_api_password", "published-blogs-api");
    for address in ["127.0.0.1", "127.0.0.2", "[::1]", "::1", "localhost"] {
        // The address inside a container does not matter if the host's address is known.
        let found = load(&[published, ("http.address", "0.0.0.0:8080"), ("exposure.addresses", address)]);
        assert!(found.unwrap().is_some(), "{address}");
    }
}

#[test]
fn each_secret_has_a_published_value_of_its_own() {
    let values: BTreeSet<_> = PUBLISHED.iter().map(|published| published.value).collect();
    assert_eq!(values.len(), PUBLISHED.len());
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(lines.count(), PUBLISHED.len(), "every line of published.txt is read");
}
