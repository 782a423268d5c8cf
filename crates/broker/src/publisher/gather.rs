//! Chooses the waiting items for the next envelope. Pure functions.

use events::{ENVELOPE_BYTES_MAX, ENVELOPE_EVENTS_MAX};

use super::events_encoded::BRACKETS;

/// How much of an envelope an item fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// It is a complete envelope.
    Whole,
    /// Events that can share an envelope with others.
    Events { count: usize, bytes: usize },
}

/// Takes items in order while they fit into one envelope with `first`, which always fits. Also returns the first item that
/// did not fit, if there was one: it must be the first item of the next envelope.
pub(super) fn gather<T>(
    first: T,
    mut next: impl FnMut() -> Option<T>,
    size: impl Fn(&T) -> Size,
) -> (Vec<T>, Option<T>) {
    let Size::Events { mut count, mut bytes } = size(&first) else { return (vec![first], None) };
    bytes += BRACKETS;
    let mut taken = vec![first];
    while let Some(item) = next() {
        match size(&item) {
            Size::Events { count: more, bytes: more_bytes }
                if count + more <= ENVELOPE_EVENTS_MAX && bytes + 1 + more_bytes <= ENVELOPE_BYTES_MAX =>
            {
                count += more;
                bytes += 1 + more_bytes;
                taken.push(item);
            }
            _ => return (taken, Some(item)),
        }
    }
    (taken, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item() -> impl Strategy<Value = Size> {
        let events = |counts: std::ops::Range<usize>, bytes: std::ops::Range<usize>| {
            (counts, bytes).prop_map(|(count, bytes)| Size::Events { count, bytes })
        };
        prop_oneof![
            1 => Just(Size::Whole),
            6 => events(1..3, 1..300),
            2 => events(1..ENVELOPE_EVENTS_MAX + 1, 1..300),
            2 => events(1..3, 1..ENVELOPE_BYTES_MAX - BRACKETS + 1),
        ]
    }

    proptest! {
        #[test]
        fn nothing_is_lost_split_or_reordered_and_no_envelope_is_too_large(
            items in proptest::collection::vec(item(), 0..800),
        ) {
            let mut waiting = items.iter().copied().enumerate();
            let mut head = waiting.next();
            let mut seen = Vec::new();
            while let Some(first) = head.take() {
                let (taken, left) = gather(first, || waiting.next(), |(_, size)| *size);
                let stopped = left.is_some();
                head = left.or_else(|| waiting.next());

                let (mut count, mut bytes, mut whole) = (0, 1, 0);
                for (_, size) in &taken {
                    match size {
                        Size::Whole => whole += 1,
                        Size::Events { count: more, bytes: more_bytes } => {
                            count += more;
                            bytes += 1 + more_bytes;
                        }
                    }
                }
                prop_assert!(count <= ENVELOPE_EVENTS_MAX);
                // One bracket is counted as the comma before the first event, the other at the start.
                prop_assert!(bytes <= ENVELOPE_BYTES_MAX);
                prop_assert!(whole == 0 || taken.len() == 1, "a complete envelope shares with no other item");
                if stopped && whole == 0 {
                    let fits = match head.unwrap().1 {
                        Size::Whole => false,
                        Size::Events { count: more, bytes: more_bytes } => {
                            count + more <= ENVELOPE_EVENTS_MAX && bytes + 1 + more_bytes <= ENVELOPE_BYTES_MAX
                        }
                    };
                    prop_assert!(!fits, "an item that would have fitted was left behind");
                }
                seen.extend(taken);
            }
            prop_assert_eq!(seen, items.into_iter().enumerate().collect::<Vec<_>>());
        }
    }
}
