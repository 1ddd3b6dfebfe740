//! A block: the open values of a few VMs in one step of the roll-ups, laid out so that one series is found at once.
//!
//! ```text
//! crc32 | columns u8 | steps u16 | metrics of each lane u16 × 32 | offset u32 for each series | packed cells…
//! ```

use super::{
    cell::{Bytes, CHECKSUM, Cell, GAP, Packed, checked, pack, seal_with_checksum},
    tier::LANES,
};
use crate::metrics::Metric;

const HEAD: usize = 3 + 2 * LANES as usize;
/// No block holds more cells a series than this; one that says so is damaged.
const MAX_CELLS: usize = 4 * 300;

/// A block in memory: `columns × steps` cells for each lane and metric, in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub columns: usize,
    pub steps: usize,
    /// The metrics that a lane has.
    masks: [u16; LANES as usize],
    cells: Vec<Cell>,
}

impl Block {
    pub fn new(columns: usize, steps: usize) -> Self {
        Self {
            columns,
            steps,
            masks: [0; LANES as usize],
            cells: vec![GAP; LANES as usize * Metric::COUNT * columns * steps],
        }
    }

    fn place(&self, lane: usize, metric: usize) -> std::ops::Range<usize> {
        let length = self.columns * self.steps;
        let start = (lane * Metric::COUNT + metric) * length;
        start..start + length
    }

    pub fn get(&self, lane: usize, metric: usize) -> Option<&[Cell]> {
        let there = self.masks[lane] & (1 << metric) != 0;
        there.then(|| &self.cells[self.place(lane, metric)])
    }

    pub fn cells(&mut self, lane: usize, metric: usize) -> &mut [Cell] {
        self.masks[lane] |= 1 << metric;
        let place = self.place(lane, metric);
        &mut self.cells[place]
    }

    pub fn clear(&mut self, lane: usize, metric: usize) {
        self.cells(lane, metric).fill(GAP);
        self.masks[lane] &= !(1 << metric);
    }

    pub fn is_empty(&self) -> bool {
        self.masks.iter().all(|mask| *mask == 0)
    }

    /// Lane, metric and cells of every series.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, &[Cell])> {
        (0..LANES as usize).flat_map(move |lane| {
            (0..Metric::COUNT)
                .filter_map(move |metric| Some((lane, metric, self.get(lane, metric)?)))
        })
    }

    pub fn encode(&self, key: i64) -> Vec<u8> {
        let mut blob = vec![0; CHECKSUM];
        blob.push(self.columns as u8);
        blob.extend_from_slice(&(self.steps as u16).to_le_bytes());
        for mask in self.masks {
            blob.extend_from_slice(&mask.to_le_bytes());
        }
        let offsets = blob.len();
        let count: u32 = self.masks.iter().map(|mask| mask.count_ones()).sum();
        blob.resize(offsets + 4 * count as usize, 0);
        for (index, (_, _, cells)) in self.iter().enumerate() {
            let offset = (blob.len() - CHECKSUM) as u32;
            let at = offsets + 4 * index;
            blob[at..at + 4].copy_from_slice(&offset.to_le_bytes());
            pack(cells, &mut blob);
        }
        seal_with_checksum(key, &mut blob);
        blob
    }

    /// `None` when the blob is not what was written.
    pub fn decode(key: i64, blob: &[u8]) -> Option<Self> {
        let view = View::new(checked(key, blob)?)?;
        if view.columns * view.steps > MAX_CELLS {
            return None;
        }
        let mut block = Self::new(view.columns, view.steps);
        for lane in 0..LANES as usize {
            // Metrics that are not known here: it is not of this schema.
            if view.mask(lane) >> Metric::COUNT != 0 {
                return None;
            }
            for metric in 0..Metric::COUNT {
                if let Some(packed) = view.find(lane, metric)? {
                    for (cell, found) in block
                        .cells(lane, metric)
                        .iter_mut()
                        .zip(packed.cells(view.rest))
                    {
                        *cell = found;
                    }
                }
            }
        }
        Some(block)
    }
}

/// A block as it lies in the file.
pub struct View<'a> {
    pub columns: usize,
    pub steps: usize,
    rest: &'a [u8],
}

impl<'a> View<'a> {
    /// Checks the whole block; `None` when it is not what was written.
    pub fn of(key: i64, blob: &'a [u8]) -> Option<Self> {
        Self::new(checked(key, blob)?)
    }

    /// For a blob whose checksum was found right before.
    pub fn unchecked(blob: &'a [u8]) -> Option<Self> {
        Self::new(blob.get(CHECKSUM..)?)
    }

    fn new(rest: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(rest);
        let columns = usize::from(bytes.u8()?);
        let steps = usize::from(bytes.u16()?);
        (columns > 0 && steps > 0 && rest.len() >= HEAD).then_some(Self {
            columns,
            steps,
            rest,
        })
    }

    fn mask(&self, lane: usize) -> u16 {
        let at = 3 + 2 * lane;
        u16::from_le_bytes([self.rest[at], self.rest[at + 1]])
    }

    /// Outer `None`: damaged. Inner: no such series.
    #[allow(clippy::option_option)] // two different answers, told apart only here
    fn find(&self, lane: usize, metric: usize) -> Option<Option<Packed>> {
        let mask = self.mask(lane);
        if mask & (1 << metric) == 0 {
            return Some(None);
        }
        let before: u32 = (0..lane).map(|lane| self.mask(lane).count_ones()).sum();
        let within = (mask & ((1 << metric) - 1)).count_ones();
        let at = HEAD + 4 * (before + within) as usize;
        let offset = Bytes(self.rest.get(at..)?).u32()? as usize;
        Packed::find(self.rest, offset, self.columns * self.steps).map(Some)
    }

    /// The cells of one series, column after column; nothing where there are none.
    pub fn cells(
        &self,
        lane: usize,
        metric: usize,
    ) -> Option<impl Iterator<Item = Cell> + use<'a>> {
        Some(self.find(lane, metric)??.cells(self.rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_comes_back_whole_and_by_series(
            filled in proptest::collection::vec((0..32_usize, 0..8_usize, 0..30_usize, 0..GAP), 0..40),
            key in any::<i64>(),
        ) {
            let mut block = Block::new(1, 30);
            for (lane, metric, step, cell) in filled {
                block.cells(lane, metric)[step] = cell;
            }
            let blob = block.encode(key);
            let view = View::of(key, &blob).unwrap();
            for lane in 0..32 {
                for metric in 0..8 {
                    let seen: Option<Vec<Cell>> = view.cells(lane, metric).map(Iterator::collect);
                    prop_assert_eq!(seen.as_deref(), block.get(lane, metric));
                }
            }
            prop_assert_eq!(Block::decode(key, &blob).unwrap(), block);
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 4..200)) {
            seal_with_checksum(1, &mut bytes);
            let _ = Block::decode(1, &bytes);
            if let Some(view) = View::of(1, &bytes) {
                let _ = view.cells(3, 3).map(Iterator::count);
            }
        }
    }
}
