//! Who is asking: tokens, which every HTTP service verifies alike ([`web::tokens`]), and the passwords that they are issued
//! for, which only this one knows.

mod passwords;
mod tries;
mod weak;

pub(crate) use passwords::{
    LENGTH_MAX as PASSWORD_LENGTH_MAX, LENGTH_MIN as PASSWORD_LENGTH_MIN, PasswordSettings, Passwords,
};
pub(crate) use tries::Tries;
pub(crate) use weak::{letter, weakness};
pub(crate) use web::tokens::{Epochs, Issued, Known, Signed, TokenSettings, Tokens};

/// The scope of a token that may bring in events of the past.
pub const SCOPE_IMPORT: &str = "import";
