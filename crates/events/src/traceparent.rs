//! The W3C trace context of the request that caused an envelope, as text: `00-<trace>-<span>-<flags>`.
//! <https://www.w3.org/TR/trace-context/#traceparent-header>

/// Whether the text has the form of version 00. Other text is not passed on.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    let is_hexadecimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    is_hexadecimal && text.split('-').map(str::len).eq([2, 32, 16, 2])
}

/// Whether the span that the text names is exported: the lowest bit of the flags.
#[must_use]
pub fn is_sampled(text: &str) -> bool {
    let flags = text.rsplit('-').next().and_then(|flags| u8::from_str_radix(flags, 16).ok());
    flags.is_some_and(|flags| flags & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_in_the_form_of_version_00_is_well_formed() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_well_formed(good));
        for bad in ["", "00", &good.replace('a', "g"), &good.replace('-', ""), &format!("{good}-00")] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }

    #[test]
    fn the_lowest_bit_of_the_flags_says_whether_it_is_sampled() {
        for (flags, sampled) in
            [("00", false), ("01", true), ("02", false), ("03", true), ("ff", true), ("zz", false)]
        {
            let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            assert_eq!(is_sampled(&text), sampled, "{text}");
        }
        assert!(!is_sampled(""));
    }
}
