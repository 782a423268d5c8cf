//! Rejects passwords that attackers try first.
//!
//! A password is rejected in three cases: it has fewer than five different characters, where a run such as `12345` or
//! `qwerty` counts as one; it is a common password, or a common word with a few digits and symbols around it; or it is
//! made of the handle or the e-mail address. Substituted letters (`p@ssw0rd`) and repetitions are recognised.
//!
//! The crate `zxcvbn` is not used: for 128 crafted characters it takes a second (about 90 ms for the first 32), longer
//! than the hash itself, and it depends on `chrono`, which is banned. The word list is derived from its list.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Minimum number of different characters.
const DIFFERENT_MIN: usize = 5;
/// Number of other characters around a common word above which the password is accepted.
const AROUND_MAX: usize = 8;

const SAME: &str =
    "must have at least 5 different characters besides spaces; runs such as 12345 and qwerty count as one";
const COMMON: &str =
    "is a password that attackers try first; adding a few digits or symbols to a common word does not help";
const OWN: &str = "must not be made of your handle or e-mail address";

static COMMON_PASSWORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("common_passwords.txt").lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).collect()
});

/// The same words with [`letter`] applied to every character.
static COMMON_LETTERS: LazyLock<HashSet<String>> =
    LazyLock::new(|| COMMON_PASSWORDS.iter().map(|word| word.chars().map(letter).collect()).collect());

/// Neighbouring keys, by rows and by columns.
const KEYBOARDS: [&str; 11] = [
    "1234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "azertyuiop",
    "qsdfghjklm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "йцукенгшщзхъ",
    "фывапролджэ",
    "ячсмитьбю",
];

/// Why a password is weak for this account, if it is.
pub(crate) fn weakness(password: &str, handle: &str, email: &str) -> Option<&'static str> {
    let lower = password.trim().to_lowercase();
    if different(&lower) < DIFFERENT_MIN {
        return Some(SAME);
    }
    let unit = repeated(&lower);
    let local = email.rsplit_once('@').map_or(email, |(local, _)| local);
    let own = [handle, email, local].map(str::to_lowercase);
    if own.iter().any(|own| is_made_of(unit, own)) {
        return Some(OWN);
    }
    let is_common = |text: &str| COMMON_PASSWORDS.contains(text);
    let bare = unit.trim_matches(|character: char| !character.is_alphanumeric());
    let Words { plain, letters } = Words::of(unit);
    let is_word = plain.chars().count() >= 4 && is_common(&plain)
        || letters.chars().count() >= 4 && COMMON_LETTERS.contains(&letters);
    (is_common(&lower) || is_common(bare) || is_word).then_some(COMMON)
}

/// The number of different characters that do not continue a run.
fn different(text: &str) -> usize {
    steps(text).collect::<HashSet<char>>().len()
}

/// The characters that do not continue a run, without spaces.
fn steps(text: &str) -> impl Iterator<Item = char> {
    let mut before = None;
    text.chars().filter(|character| !character.is_whitespace()).filter(move |&character| {
        let follows = before.replace(character).is_some_and(|before| follows(before, character));
        !follows
    })
}

/// Whether the character repeats the previous one, or is next to it in the alphabet or on the keyboard.
fn follows(before: char, character: char) -> bool {
    let is_beside = |(first, second): (char, char)| {
        (first, second) == (before, character) || (second, first) == (before, character)
    };
    let are_letters = before.is_alphanumeric() && character.is_alphanumeric();
    before == character
        || are_letters && u32::from(before).abs_diff(u32::from(character)) == 1
        || KEYBOARDS.iter().any(|keys| keys.chars().zip(keys.chars().skip(1)).any(is_beside))
}

/// The repeated part if the text is a repetition; otherwise the text.
fn repeated(text: &str) -> &str {
    let is_unit =
        |unit: &&str| text.len().is_multiple_of(unit.len()) && unit.repeat(text.len() / unit.len()) == text;
    let starts = text.char_indices().skip(1).map_while(|(end, _)| text.get(..end));
    starts.take_while(|unit| unit.len() <= text.len() / 2).find(is_unit).unwrap_or(text)
}

/// Whether the password consists of this name and only a few characters around it.
fn is_made_of(password: &str, name: &str) -> bool {
    let letters_and_digits = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let (whole, of_name, of_password) = (letters_and_digits(name), Words::of(name), Words::of(password));
    !whole.is_empty() && letters_and_digits(password) == whole
        || !of_name.plain.is_empty()
            && (of_password.plain == of_name.plain || of_password.letters == of_name.letters)
}

/// The text without the non-letters at both ends. Empty if there are too many of them.
#[derive(Default)]
struct Words {
    /// As typed.
    plain: String,
    /// With digits and symbols replaced by the letters that they resemble.
    letters: String,
}

impl Words {
    fn of(text: &str) -> Self {
        let inner = text.trim_matches(|character: char| !character.is_alphabetic());
        let around = text.split(inner).flat_map(steps).count();
        if inner.is_empty() || around > AROUND_MAX {
            return Self::default();
        }
        Self {
            plain: inner.chars().filter(|c| c.is_alphabetic()).collect(),
            letters: inner.chars().map(letter).filter(|c| c.is_alphabetic()).collect(),
        }
    }
}

/// The letter that a digit or symbol resembles. A 1 can be an i or an l, so both map to the same letter.
pub(crate) fn letter(character: char) -> char {
    match character {
        '0' => 'o',
        '1' | '!' | '|' | 'l' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_ada(password: &str) -> Option<&'static str> {
        weakness(password, "ada-lovelace", "ada.l1815@example.org")
    }

    #[test]
    fn passwords_with_few_different_characters_are_rejected() {
        for password in [
            "          ",
            "aaaaaaaaaa",
            "ababababab",
            "1234567890",
            "abcdefghijkl",
            " qwertyuiop ",
            "1qaz2wsx3edc",
            "9876543210",
        ] {
            assert_eq!(of_ada(password), Some(SAME), "{password:?}");
        }
    }

    #[test]
    fn disguised_common_words_are_rejected() {
        for password in [
            "Password123",
            "P@ssw0rd2026!",
            "passwordpassword",
            "dragon1dragon1",
            "iloveyou1!",
            "we1come2026",
            "Sunshine2026",
            "contraseña1",
            "ПАРОЛЬ-98",
            "q1w2e3r4t5",
            "commonplace!1",
        ] {
            assert_eq!(of_ada(password), Some(COMMON), "{password:?}");
        }
    }

    #[test]
    fn passwords_made_of_handle_or_e_mail_are_rejected() {
        for password in [
            "ada-lovelace",
            "Ada-Lovelace1",
            "AdaLovelace99",
            "ada_lovelace!",
            "ad4-l0velace",
            "ada.l1815@example.org",
            "ada.l1815!",
            "ada.l1815ada.l1815",
        ] {
            assert_eq!(of_ada(password), Some(OWN), "{password:?}");
        }
        assert_eq!(weakness("grace12345", "grace", "g@example.org"), Some(OWN));
    }

    #[test]
    fn strong_passwords_are_accepted() {
        let long = "éàüöñ".repeat(12);
        for password in [
            "correct horse battery",
            "battery staple correct",
            "a new password",
            "another good password",
            "q7#xk2!vmd",
            "for this run only",
            "four words are enough",
            "sunshine-4810-29375",
            "9f86d081884c7d65",
            &long[..],
        ] {
            assert_eq!(of_ada(password), None, "{password:?}");
        }
        // Many passwords contain a one-letter handle.
        assert_eq!(weakness("q7#xk2!vmd", "q7", "q@example.org"), None);
    }
}
