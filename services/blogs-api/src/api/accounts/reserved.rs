//! Handles that readers would take for official accounts. Existing accounts keep theirs.

use crate::auth::letter;

/// Written without hyphens.
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

/// Whether the handle suggests an official role, also when it is written with hyphens (`ad-min`), with digits for letters
/// (`adm1n`), or with a number at the end (`admin-2`).
pub(super) fn is_reserved(handle: &str) -> bool {
    let letters =
        |text: &str| text.chars().filter(|&character| character != '-').map(letter).collect::<String>();
    let without_number = handle.trim_end_matches(|character: char| character.is_ascii_digit());
    let spellings = [letters(handle), letters(without_number)];
    RESERVED.iter().any(|reserved| spellings.contains(&letters(reserved)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_handles_are_recognised_in_every_spelling() {
        for handle in [
            "admin", "ad-min", "adm1n", "r00t", "0perator", "he1p", "no-reply", "5upport", "b111ing",
            "admin1", "admin-2",
        ] {
            assert!(is_reserved(handle), "{handle}");
        }
        for handle in ["ada", "adminton", "supporter", "root-beer", "author", "grace"] {
            assert!(!is_reserved(handle), "{handle}");
        }
    }
}
