//! Handles that readers would take for the site's own. Accounts that have one already keep it.

use crate::auth::letter;

/// Without hyphens.
const RESERVED: [&str; 60] = [
    "abuse",
    "account",
    "accounts",
    "admin",
    "administrator",
    "administrators",
    "admins",
    "api",
    "billing",
    "blog",
    "blogs",
    "commonplace",
    "contact",
    "feedback",
    "help",
    "helpdesk",
    "hostmaster",
    "info",
    "legal",
    "localhost",
    "login",
    "mail",
    "mailerdaemon",
    "me",
    "mod",
    "moderation",
    "moderator",
    "moderators",
    "mods",
    "news",
    "newsletter",
    "noreply",
    "notifications",
    "null",
    "official",
    "operations",
    "operator",
    "operators",
    "owner",
    "password",
    "postmaster",
    "privacy",
    "root",
    "security",
    "service",
    "settings",
    "signin",
    "signup",
    "staff",
    "status",
    "superuser",
    "support",
    "sysadmin",
    "system",
    "team",
    "trust",
    "undefined",
    "verified",
    "webmaster",
    "www",
];

/// Does the handle speak for the site, also with hyphens in it or digits for letters (`ad-min`, `adm1n`)?
pub(super) fn is_reserved(handle: &str) -> bool {
    let spelt = |one: char| -> String {
        handle.chars().filter(|&character| character != '-').map(|character| letter(character, one)).collect()
    };
    [spelt('i'), spelt('l')].iter().any(|handle| RESERVED.contains(&handle.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_the_site_are_reserved_in_every_spelling() {
        for handle in ["admin", "ad-min", "adm1n", "r00t", "0perator", "he1p", "no-reply", "5upport"] {
            assert!(is_reserved(handle), "{handle}");
        }
        for handle in ["ada", "adminton", "supporter", "root-beer", "author", "grace"] {
            assert!(!is_reserved(handle), "{handle}");
        }
    }
}
