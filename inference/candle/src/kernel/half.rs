//! Sixteen-bit floats, for where the processor has no instruction for them.

/// The value of an IEEE 754 binary16 number.
pub fn to_f32(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 0x1f, bits & 0x3ff);
    let magnitude = match exponent {
        // Subnormal: the fraction counts units of 2^-24.
        #[expect(clippy::cast_precision_loss, reason = "ten bits are kept exactly")]
        0 => (fraction as f32 / 16_777_216.0).to_bits(),
        0x1f => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(magnitude | sign << 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_convert() {
        let check = |bits: u16, number: f32| assert_eq!(to_f32(bits.to_le_bytes()), number);
        check(0x3c00, 1.0);
        check(0xc000, -2.0);
        check(0x3555, 0.333_251_95);
        check(0x0001, 5.960_464_5e-8);
        check(0x7bff, 65504.0);
        check(0xfc00, f32::NEG_INFINITY);
        assert!(to_f32(0x7e00u16.to_le_bytes()).is_nan());
    }
}
