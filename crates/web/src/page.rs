//! Keyset pagination: a cursor is the key of the last item shown, and the next page begins right after it, whatever was
//! inserted or deleted since. A cursor is opaque to clients.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use crate::problem::{Problem, Result};

/// Items per page if the client gives no limit.
pub const LIMIT_DEFAULT: u8 = 20;
/// Maximum items per page.
pub const LIMIT_MAX: u8 = 100;

/// Identifies the format, so that a cursor of an older version or another list is rejected instead of misread.
const FORM: u8 = 1;
const FORM_OF_IDS: u8 = 2;
const FORM_OF_RANKS: u8 = 3;

/// The position in a list, newest first, after which a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The time of the last item shown, to the microsecond.
    pub time: Timestamp,
    /// Its id, which orders items with the same time.
    pub id: i64,
}

impl Cursor {
    /// Before the first item: every item is older than this.
    pub const START: Self = Self { time: Timestamp::MAX, id: i64::MAX };

    /// Reads what [`Cursor::encode`] wrote.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn decode(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(not_ours)
    }

    /// The cursor as text that can be used in a URL.
    #[must_use]
    pub fn encode(self) -> String {
        let mut bytes = [FORM; 17];
        let (_, key) = bytes.split_at_mut(1);
        let (time, id) = key.split_at_mut(8);
        time.copy_from_slice(&self.time.as_microsecond().to_be_bytes());
        id.copy_from_slice(&self.id.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read(text: &str) -> Option<Self> {
        let bytes: [u8; 17] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (form, key) = bytes.split_first()?;
        let (time, id) = key.split_first_chunk::<8>()?;
        let time = Timestamp::from_microsecond(i64::from_be_bytes(*time)).ok()?;
        let id = i64::from_be_bytes(id.try_into().ok()?);
        // No item is older than 1970, and the database cannot represent every older time.
        (*form == FORM && time >= Timestamp::UNIX_EPOCH).then_some(Self { time, id })
    }
}

/// The position in a list ordered by id, lowest first, after which a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdCursor(
    /// The id of the last item shown.
    pub i64,
);

impl IdCursor {
    /// Before the first item.
    pub const START: Self = Self(i64::MIN);

    /// Reads what [`IdCursor::encode`] wrote.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn decode(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(not_ours)
    }

    /// The cursor as text that can be used in a URL.
    #[must_use]
    pub fn encode(self) -> String {
        let mut bytes = [FORM_OF_IDS; 9];
        let (_, id) = bytes.split_at_mut(1);
        id.copy_from_slice(&self.0.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read(text: &str) -> Option<Self> {
        let bytes: [u8; 9] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (form, id) = bytes.split_first()?;
        (*form == FORM_OF_IDS).then_some(Self(i64::from_be_bytes(id.try_into().ok()?)))
    }
}

/// The position in a list ordered by a number, highest first, after which a page begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankCursor {
    /// The number of the last item shown; never NaN.
    pub rank: f64,
    /// Its id, which orders items with the same number, highest first.
    pub id: i64,
}

impl RankCursor {
    /// Before the first item.
    pub const START: Self = Self { rank: f64::INFINITY, id: i64::MAX };

    /// Reads what [`RankCursor::encode`] wrote.
    ///
    /// # Errors
    /// 400 for anything else.
    pub fn decode(text: &str) -> Result<Self> {
        Self::read(text).ok_or_else(not_ours)
    }

    /// The cursor as text that can be used in a URL.
    #[must_use]
    pub fn encode(self) -> String {
        let mut bytes = [FORM_OF_RANKS; 17];
        let (_, key) = bytes.split_at_mut(1);
        let (rank, id) = key.split_at_mut(8);
        rank.copy_from_slice(&self.rank.to_be_bytes());
        id.copy_from_slice(&self.id.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read(text: &str) -> Option<Self> {
        let bytes: [u8; 17] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (form, key) = bytes.split_first()?;
        let (rank, id) = key.split_first_chunk::<8>()?;
        let rank = f64::from_be_bytes(*rank);
        let id = i64::from_be_bytes(id.try_into().ok()?);
        (*form == FORM_OF_RANKS && rank.is_finite()).then_some(Self { rank, id })
    }
}

fn not_ours() -> Problem {
    Problem::bad_parameter("cursor", "was not issued by this API; start again without a cursor")
}

/// The number of items per page, from the client's `limit`.
///
/// # Errors
/// 400 if it is not in the range 1 to [`LIMIT_MAX`].
pub fn limit(asked: Option<&str>) -> Result<i64> {
    let Some(asked) = asked else { return Ok(LIMIT_DEFAULT.into()) };
    asked
        .parse()
        .ok()
        .filter(|limit| (1..=i64::from(LIMIT_MAX)).contains(limit))
        .ok_or_else(|| Problem::bad_parameter("limit", format!("must be a number from 1 to {LIMIT_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_back(micros in 0_i64..250_000_000_000_000_000, id: i64) {
            let cursor = Cursor { time: Timestamp::from_microsecond(micros).unwrap(), id };
            prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn an_id_cursor_is_read_back_and_refused_by_other_lists(id: i64) {
            let text = IdCursor(id).encode();
            prop_assert_eq!(IdCursor::decode(&text).unwrap(), IdCursor(id));
            prop_assert!(Cursor::decode(&text).is_err());
        }

        #[test]
        fn a_rank_cursor_is_read_back_and_refused_by_other_lists(rank in -1e300_f64..1e300, id: i64) {
            let cursor = RankCursor { rank, id };
            prop_assert_eq!(RankCursor::decode(&cursor.encode()).unwrap(), cursor);
            prop_assert!(Cursor::decode(&cursor.encode()).is_err());
            let no_number = RankCursor { rank: f64::NAN, id }.encode();
            prop_assert!(RankCursor::decode(&no_number).is_err());
        }

        #[test]
        fn decoding_any_text_never_panics(text in "\\PC{0,40}") {
            let _ = Cursor::decode(&text);
            let _ = IdCursor::decode(&text);
            let _ = RankCursor::decode(&text);
        }

        #[test]
        fn decoding_never_panics_and_accepts_only_canonical_cursors(bytes: [u8; 17]) {
            let text = URL_SAFE_NO_PAD.encode(bytes);
            if let Ok(cursor) = Cursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }

    #[test]
    fn the_error_of_an_invalid_cursor_names_the_parameter() {
        let before_1970 = Cursor { time: Timestamp::from_microsecond(-1).unwrap(), id: 1 }.encode();
        for text in ["", "x", "AAAA", "AQ==", "no cursor!", &before_1970] {
            assert_eq!(Cursor::decode(text).unwrap_err().errors()[0].field, "cursor");
        }
    }

    #[test]
    fn a_limit_is_from_1_to_100() {
        assert_eq!(limit(None).unwrap(), 20);
        assert_eq!(limit(Some("100")).unwrap(), 100);
        for asked in ["", "0", "-1", "101", "1e1", "99999999999999999999"] {
            assert_eq!(limit(Some(asked)).unwrap_err().status(), 400);
        }
    }
}
