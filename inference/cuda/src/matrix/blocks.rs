//! Blocks of 32 quants as files store them, brought to the two kinds that the kernels know.

use super::{BLOCK, StoredAs};

/// One row's quants of one block, and their scale.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Of four bits, the first 16 columns in the low halves of the first 16 bytes; or of eight.
    pub(super) quants: [u8; BLOCK],
    /// The scale and the minimum, as 16-bit floats.
    pub(super) scale: [u8; 4],
}

impl Block {
    /// Reads what a file stores for one block.
    pub(super) fn read(stored_as: StoredAs, stored: &[u8]) -> Self {
        let mut quants = [0; BLOCK];
        let mut scale = [stored[0], stored[1], 0, 0];
        match stored_as {
            StoredAs::Q4_0 => {
                quants[..16].copy_from_slice(&stored[2..18]);
                scale[2..].copy_from_slice(&minus_eight_times([stored[0], stored[1]]));
            }
            StoredAs::Q4_1 => {
                quants[..16].copy_from_slice(&stored[4..20]);
                scale[2..].copy_from_slice(&stored[2..4]);
            }
            StoredAs::Q5_0 => quants = five_bits(&stored[2..], 16),
            StoredAs::Q5_1 => {
                quants = five_bits(&stored[4..], 0);
                scale[2..].copy_from_slice(&stored[2..4]);
            }
            StoredAs::Q8_0 => quants.copy_from_slice(&stored[2..34]),
            StoredAs::F16 | StoredAs::Bf16 | StoredAs::F32 => {}
        }
        Self { quants, scale }
    }
}

/// Quants of five bits: the fifth ones of all 32 first, then the others as in four bits. `zero` is taken off each.
fn five_bits(stored: &[u8], zero: u8) -> [u8; BLOCK] {
    let fifth = u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]);
    std::array::from_fn(|column| {
        let byte = stored[4 + column % 16];
        let low = if column < 16 { byte & 15 } else { byte >> 4 };
        let high = u8::from(fifth >> column & 1 == 1) << 4;
        (low | high).wrapping_sub(zero)
    })
}

/// A 16-bit float times -8, which is exact but where it would be more than 65504: no weight is.
fn minus_eight_times(half: [u8; 2]) -> [u8; 2] {
    let bits = u16::from_le_bytes(half);
    let (sign, exponent, fraction) = (bits & 0x8000, bits >> 10 & 0x1f, bits & 0x3ff);
    let magnitude = match exponent {
        0 => subnormal_times_eight(fraction),
        1..=27 => (exponent + 3) << 10 | fraction,
        28..=30 => 0x7bff,
        _ => bits & 0x7fff,
    };
    (magnitude | (sign ^ 0x8000)).to_le_bytes()
}

/// A subnormal's fraction counts units of 2^-24; as a normal number it has its highest bit in the exponent.
fn subnormal_times_eight(fraction: u16) -> u16 {
    let scaled = fraction << 3;
    match scaled >> 10 {
        0 => scaled,
        1 => 1 << 10 | scaled & 0x3ff,
        2..=3 => 2 << 10 | scaled >> 1 & 0x3ff,
        _ => 3 << 10 | scaled >> 2 & 0x3ff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a 16-bit float, by its definition.
    fn value(half: [u8; 2]) -> f64 {
        let bits = u16::from_le_bytes(half);
        let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-24),
            _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    #[test]
    fn minus_eight_times_is_exact_for_every_weight() {
        for bits in 0..=u16::MAX {
            let half = bits.to_le_bytes();
            if bits >> 10 & 0x1f < 28 {
                assert_eq!(value(minus_eight_times(half)), value(half) * -8.0, "{bits:#06x}");
            }
        }
        assert_eq!(value(minus_eight_times(0x7000u16.to_le_bytes())), -65504.0);
    }

    #[test]
    fn five_bits_become_signed_quants_of_eight() {
        let mut stored = [0u8; 22];
        stored[2..6].copy_from_slice(&(1u32 << 3 | 1 << 17).to_le_bytes());
        stored[6 + 3] = 0x05;
        stored[6 + 1] = 0xf0;
        let Block { quants, .. } = Block::read(StoredAs::Q5_0, &stored);
        let quant = |at: usize| quants[at].cast_signed();
        assert_eq!([quant(0), quant(3), quant(17), quant(19)], [-16, 5, 15, -16]);
    }
}
