//! Values as whole numbers, and those packed into as few bytes as their range needs.
//!
//! | metric | kept as | error at most |
//! |---|---|---|
//! | cpu, memory, steal | 1/10,000 | 0.00005 |
//! | errors | 1/1,000,000 | 0.0000005 |
//! | disk, net, response, requests | 13 significant bits | 0.013 %, and none for whole numbers to 8,192 |
//!
//! A value is rounded once, when it comes in, so that the head, the sealed chunks and an export all say the same.

use crate::metrics::Metric;

/// A value in its metric's quantum, or [`GAP`].
pub type Cell = u32;
pub const GAP: Cell = u32::MAX;

/// Bits that a 32-bit float loses: 12 of its 23 stored bits of fraction remain.
const DROPPED_BITS: u32 = 11;

/// How many parts make one; `None` for what is kept by significant bits.
const fn parts(metric: Metric) -> Option<f64> {
    match metric {
        Metric::Cpu | Metric::Memory | Metric::Steal => Some(10_000.0),
        Metric::Errors => Some(1_000_000.0),
        Metric::Disk | Metric::Net | Metric::Response | Metric::Requests => None,
    }
}

/// Nothing that is measured here is negative: such a value, NaN and infinity are gaps.
pub fn to_cell(metric: Metric, value: f64) -> Cell {
    if !value.is_finite() || value < 0.0 {
        return GAP;
    }
    match parts(metric) {
        Some(parts) => (value * parts).round().min(f64::from(GAP - 1)) as Cell,
        None => {
            let bits = (value.min(f64::from(f32::MAX)) as f32).to_bits();
            let half = 1 << (DROPPED_BITS - 1);
            // Rounding up must not reach infinity.
            let largest = f32::MAX.to_bits() >> DROPPED_BITS;
            ((bits + half) >> DROPPED_BITS).min(largest)
        }
    }
}

/// NaN for a gap.
pub fn to_value(metric: Metric, cell: Cell) -> f64 {
    if cell == GAP {
        return f64::NAN;
    }
    match parts(metric) {
        Some(parts) => f64::from(cell) / parts,
        None => f64::from(f32::from_bits(
            cell.min(u32::MAX >> DROPPED_BITS) << DROPPED_BITS,
        )),
    }
}

/// Bytes of the head of a packed run of cells.
const PACKED_HEAD: usize = 5;

/// Appends `cells` as their least value and, for each, the distance from it in as many bytes as the largest needs.
pub fn pack(cells: &[Cell], out: &mut Vec<u8>) {
    let present = || cells.iter().copied().filter(|cell| *cell != GAP);
    let (Some(least), Some(most)) = (present().min(), present().max()) else {
        out.push(0);
        out.extend_from_slice(&GAP.to_le_bytes());
        return;
    };
    let gaps = cells.contains(&GAP);
    let width = match most - least + 1 {
        1 if !gaps => 0,
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 3,
        _ => 4,
    };
    out.push(width as u8);
    out.extend_from_slice(&least.to_le_bytes());
    if width == 0 {
        return;
    }
    for cell in cells {
        // 0 stands for a gap.
        let code = if *cell == GAP { 0 } else { cell - least + 1 };
        out.extend_from_slice(&code.to_le_bytes()[..width]);
    }
}

/// Where a packed run of cells lies in its blob.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    width: usize,
    least: Cell,
    /// Of the first code.
    offset: usize,
    count: usize,
}

impl Packed {
    /// Finds a run of `count` cells at `offset`; `None` when the blob is too short for it.
    pub fn find(blob: &[u8], offset: usize, count: usize) -> Option<Self> {
        let head = blob.get(offset..offset + PACKED_HEAD)?;
        let found = Self {
            width: usize::from(head[0]),
            least: u32::from_le_bytes(head[1..].try_into().ok()?),
            offset: offset + PACKED_HEAD,
            count,
        };
        (found.width <= 4 && found.end() <= blob.len()).then_some(found)
    }

    pub const fn end(&self) -> usize {
        self.offset + self.width * self.count
    }

    pub fn get(&self, blob: &[u8], index: usize) -> Cell {
        if self.width == 0 {
            return self.least;
        }
        let start = self.offset + index * self.width;
        let Some(bytes) = blob.get(start..start + self.width) else {
            return GAP;
        };
        let mut code = [0; 4];
        code[..self.width].copy_from_slice(bytes);
        match u32::from_le_bytes(code) {
            0 => GAP,
            code => self.least.saturating_add(code - 1),
        }
    }

    pub fn cells<'a>(&self, blob: &'a [u8]) -> impl Iterator<Item = Cell> + use<'a> {
        let packed = *self;
        (0..self.count).map(move |index| packed.get(blob, index))
    }
}

/// The checksum that a blob begins with covers its key too: a row that was moved is as wrong as one that was changed.
pub fn seal_with_checksum(key: i64, blob: &mut [u8]) {
    let sum = checksum(key, &blob[CHECKSUM..]);
    blob[..CHECKSUM].copy_from_slice(&sum.to_le_bytes());
}

pub const CHECKSUM: usize = 4;

/// The blob without its checksum; `None` when that is wrong.
pub fn checked(key: i64, blob: &[u8]) -> Option<&[u8]> {
    let (sum, rest) = blob.split_at_checked(CHECKSUM)?;
    (checksum(key, rest).to_le_bytes() == sum).then_some(rest)
}

fn checksum(key: i64, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// Little-endian numbers taken one after another from a blob.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.take(2)
            .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.take(4)
            .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "what is kept comes back to the bit")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_stay_within_the_documented_bounds() {
        for value in [0.0, 0.2, 0.4, 0.99995, 1.0] {
            assert!((to_value(Metric::Cpu, to_cell(Metric::Cpu, value)) - value).abs() <= 5.1e-5);
        }
        for whole in [0.0, 1.0, 3.0, 4095.0, 8191.0, 8192.0] {
            assert_eq!(to_value(Metric::Disk, to_cell(Metric::Disk, whole)), whole);
        }
        for wrong in [f64::NAN, f64::INFINITY, -0.5] {
            assert_eq!(to_cell(Metric::Net, wrong), GAP);
        }
        assert!(to_value(Metric::Net, to_cell(Metric::Net, f64::MAX)).is_finite());
    }

    proptest! {
        #[test]
        fn rounding_twice_changes_nothing(value in 0.0..1e12_f64, index in 0..Metric::COUNT) {
            let metric = Metric::ALL[index];
            let once = to_cell(metric, value);
            let back = to_value(metric, once);
            prop_assert_eq!(to_cell(metric, back), once);
            if parts(metric).is_none() && value > 1e-30 {
                prop_assert!((back - value).abs() <= value * 1.3e-4);
            }
        }

        #[test]
        fn packed_cells_come_back(
            cells in proptest::collection::vec(prop_oneof![Just(GAP), 0..300_u32, any::<u32>()], 0..50)
        ) {
            let mut blob = vec![7, 7];
            pack(&cells, &mut blob);
            let packed = Packed::find(&blob, 2, cells.len()).unwrap();
            prop_assert_eq!(packed.end(), blob.len());
            prop_assert_eq!(packed.cells(&blob).collect::<Vec<_>>(), cells);
        }

        #[test]
        fn a_changed_byte_or_key_is_noticed(
            mut blob in proptest::collection::vec(any::<u8>(), 5..60), at in 4..60_usize, flip in 1..=255_u8, key in any::<i64>()
        ) {
            seal_with_checksum(key, &mut blob);
            prop_assert!(checked(key, &blob).is_some());
            prop_assert!(checked(key.wrapping_add(1), &blob).is_none());
            let at = at % blob.len();
            blob[at] ^= flip;
            prop_assert!(checked(key, &blob).is_none());
        }
    }
}
