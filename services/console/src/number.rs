//! Formats numbers for display: three significant digits and a unit.

/// A rate or a count, such as `0`, `3.2`, `812`, `12 400`.
pub(crate) fn plain(value: f64) -> String {
    if value < 9.95 && value.fract().abs() > 0.049 { format!("{value:.1}") } else { whole(value) }
}

/// A whole number, with thousands grouped by a narrow space.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::with_capacity(digits.len() * 2);
    if value <= -0.5 {
        text.push('\u{2212}');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A whole number.
pub(crate) fn count(value: i64) -> String {
    // Beyond 2^53 the last digits do not matter.
    whole(value as f64)
}

/// A time, such as `0.4 ms`, `12 ms`, `1.5 s`.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        s if s < 0.00995 => format!("{:.1}\u{a0}ms", s * 1e3),
        s if s < 0.9995 => format!("{:.0}\u{a0}ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1}\u{a0}s"),
        s => format!("{}\u{a0}s", whole(s)),
    }
}

/// Bytes, such as `812 B`, `3.1 kB`, `12 MB`.
pub(crate) fn bytes(value: f64) -> String {
    match value {
        b if b < 999.5 => format!("{}\u{a0}B", whole(b)),
        b if b < 999_500.0 => format!("{}\u{a0}kB", plain(b / 1e3)),
        b if b < 999_500_000.0 => format!("{}\u{a0}MB", plain(b / 1e6)),
        b => format!("{}\u{a0}GB", plain(b / 1e9)),
    }
}

/// A value, or a dash if it is unknown.
pub(crate) fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "\u{2013}".to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(
            [0.0, 0.04, 3.24, 9.96, 812.4, 12_400.0, -3.0].map(plain),
            ["0", "0", "3.2", "10", "812", "12\u{202f}400", "\u{2212}3"]
        );
        assert_eq!(
            [0.0004, 0.0123, 1.5, 12.0].map(seconds),
            ["0.4\u{a0}ms", "12\u{a0}ms", "1.5\u{a0}s", "12\u{a0}s"]
        );
        assert_eq!(
            [812.0, 3100.0, 12e6, 2.5e9].map(bytes),
            ["812\u{a0}B", "3.1\u{a0}kB", "12\u{a0}MB", "2.5\u{a0}GB"]
        );
        assert_eq!(or_dash(None::<f64>, plain), "\u{2013}");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
