//! base62 (`0-9A-Za-z`), big-endian, of fixed length: one number, one spelling.

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text is not the encoding of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// A character outside the alphabet.
    Alphabet,
    /// A number too large for the bytes it stands for: no number encodes to this text.
    Overflow,
}

/// Appends `bytes`, read as one big-endian number, as exactly `length` digits.
///
/// `length` must be enough for the largest number of that many bytes; what does not fit would be lost.
pub(super) fn encode(bytes: &[u8], length: usize, out: &mut String) {
    let mut number = bytes.to_vec();
    let mut digits = vec![ALPHABET[0]; length];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("a remainder below 62 and a byte make a quotient below 256");
            remainder = value % 62;
        }
        *digit = ALPHABET[remainder as usize];
    }
    debug_assert!(number.iter().all(|byte| *byte == 0), "the length holds the whole number");
    zeroize::Zeroize::zeroize(&mut number);
    out.extend(digits.iter().map(|digit| char::from(*digit)));
}

/// Digits that are taken at once: as many as make a number of 64 bits, whatever they are.
const AT_ONCE: usize = 10;
/// Words of 64 bits that a number may have.
const WORDS: usize = 8;

/// Reads digits as one number of exactly `N` bytes, 64 at the most. It is done for every request: ten digits at a time, and not
/// one, so that it takes a fiftieth of the steps.
pub(super) fn decode<const N: usize>(text: &[u8]) -> Result<[u8; N], DecodeError> {
    const { assert!(N <= WORDS * 8) };
    // The lowest first.
    let mut words = [0_u64; WORDS];
    for (number, digits) in text.chunks(AT_ONCE).enumerate() {
        let (mut value, mut power, mut seen) = (0_u64, 1_u64, 0_u8);
        for digit in digits {
            let of_digit = VALUES[usize::from(*digit)];
            seen |= of_digit;
            value = value * 62 + u64::from(of_digit);
            power *= 62;
        }
        if seen & NO_DIGIT != 0 {
            return Err(DecodeError::Alphabet);
        }
        let mut carry = value;
        // So many digits need no more words than they were taken in.
        for word in words.iter_mut().take(number + 1) {
            let product = u128::from(*word) * u128::from(power) + u128::from(carry);
            let bytes = product.to_le_bytes();
            let (low, high) = bytes.split_at(8);
            *word = u64::from_le_bytes(low.try_into().expect("half of sixteen"));
            carry = u64::from_le_bytes(high.try_into().expect("half of sixteen"));
        }
        // A number only grows.
        if carry != 0 {
            return Err(DecodeError::Overflow);
        }
    }
    let mut bytes = [0_u8; WORDS * 8];
    for (place, word) in bytes.rchunks_mut(8).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    let (above, number) = bytes.split_at(WORDS * 8 - N);
    if above.iter().any(|byte| *byte != 0) {
        return Err(DecodeError::Overflow);
    }
    Ok(number.try_into().expect("it is what is left of all but N"))
}

/// What no digit stands for.
const NO_DIGIT: u8 = 0x80;

/// What each character stands for.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0_u8;
    while (digit as usize) < ALPHABET.len() {
        values[ALPHABET[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bytes: &[u8], length: usize) -> String {
        let mut text = String::new();
        encode(bytes, length, &mut text);
        text
    }

    #[test]
    fn known_numbers() {
        assert_eq!(encoded(&[0, 0, 0, 0], 6), "000000");
        assert_eq!(encoded(&[0, 0, 0, 61], 6), "00000z");
        assert_eq!(encoded(&[0, 0, 0, 62], 6), "000010");
        assert_eq!(encoded(&u32::MAX.to_be_bytes(), 6), "4gfFC3");
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for seed in 0..=255_u8 {
            let bytes: [u8; 49] =
                std::array::from_fn(|index| seed.wrapping_mul(31).wrapping_add((index * 97 % 256).try_into().unwrap()));
            assert_eq!(decode::<49>(encoded(&bytes, 66).as_bytes()), Ok(bytes));
        }
        assert_eq!(decode::<49>(encoded(&[0xFF; 49], 66).as_bytes()), Ok([0xFF; 49]));
    }

    #[test]
    fn a_spelling_that_no_number_has_is_refused() {
        assert_eq!(decode::<4>(b"4gfFC4"), Err(DecodeError::Overflow));
        assert_eq!(decode::<4>(b"zzzzzz"), Err(DecodeError::Overflow));
        assert_eq!(decode::<4>(b"00-000"), Err(DecodeError::Alphabet));
    }
}
