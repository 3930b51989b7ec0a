//! Numbers of bytes, as people read and write them.

const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// Says it in the largest unit that it has at least one of, with one decimal if it is not a whole number of them.
#[must_use]
pub fn described(bytes: u64) -> String {
    match UNITS.into_iter().find(|(_, bits)| bytes >> bits > 0) {
        Some((unit, bits)) if bytes.trailing_zeros() >= bits => format!("{} {unit}", bytes >> bits),
        Some((unit, bits)) => {
            let tenths = (u128::from(bytes) * 10) >> bits;
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} bytes"),
    }
}

/// Reads it: a number of bytes, or of a unit's.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let unit = UNITS.into_iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?.trim_end(), bits)));
    let (digits, bits) = unit.unwrap_or((text, 0));
    // No sign, which the number's own reader would take.
    let number: u64 = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    number.checked_mul(1 << bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_said_in_a_unit_that_fits_it() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (10 << 30, "10 GiB"),
            ((10 << 30) + 1, "10.0 GiB"),
            ((10 << 30) - 1, "9.9 GiB"),
            (1 << 20, "1 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(described(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn a_size_is_read_with_a_unit_or_without() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1048576", Some(1 << 20)),
            ("100GiB", Some(100 << 30)),
            ("2 TiB", Some(2 << 40)),
            ("16777215TiB", Some(((1 << 24) - 1) << 40)),
            ("16777216TiB", None),
            ("99999999999999999999", None),
            ("", None),
            ("GiB", None),
            ("-1GiB", None),
            ("+1GiB", None),
            ("1.5GiB", None),
            ("1GB", None),
            ("1 G", None),
        ] {
            assert_eq!(parse(text), bytes, "{text:?}");
        }
    }
}
