//! Tokens that the services of a test accept.

use web::tokens::{Issuer, KeyPair, Purpose, SigningKeys};

/// The keys of [`World::api`](crate::World::api): their ids and seeds.
pub const SESSIONS: (&str, &[u8; 32]) = ("test", b"The seed of test sessions alone!");
/// Like [`SESSIONS`], for imports.
pub const IMPORTS: (&str, &[u8; 32]) = ("test-import", b"The seed of test imports, alone!");

/// The key of sessions of [`World::api`](crate::World::api).
pub fn session_keys() -> KeyPair {
    KeyPair::from_seed(SESSIONS.0, SESSIONS.1)
}

/// The key of imports of [`World::api`](crate::World::api).
pub fn import_keys() -> KeyPair {
    KeyPair::from_seed(IMPORTS.0, IMPORTS.1)
}

/// The token of a session, as [`World::api`](crate::World::api) issues it.
pub fn issue(account_id: i64) -> String {
    issue_with(Purpose::Session, session_keys(), account_id)
}

/// A token for imports that [`World::api`](crate::World::api) accepts.
pub fn issue_import(account_id: i64) -> String {
    issue_with(Purpose::Import, import_keys(), account_id)
}

fn issue_with(purpose: Purpose, keys: KeyPair, account_id: i64) -> String {
    let issuer = Issuer::new(purpose, &SigningKeys::new(keys.signing), "commonplace", 3600).unwrap();
    issuer.issue(account_id, 0).unwrap().token
}
