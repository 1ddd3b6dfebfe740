//! A block: the open values of a few VMs in one step of the roll-ups, laid out so that one series is found at once.
//!
//! ```text
//! crc32 | columns u8 | steps u16 | metrics of each lane u16 × 16 | offset u32 for each series | packed cells…
//! ```

use super::{
    cell::{Bytes, CHECKSUM, Cell, GAP, Packed, checked, pack, seal_with_checksum},
    tier::LANES,
};

const HEAD: usize = 3 + 2 * LANES as usize;
/// Bits of a lane's mask.
const METRICS: usize = 16;

/// A block in memory: for each lane and metric nothing, or `columns × steps` cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub columns: usize,
    pub steps: usize,
    series: Vec<Option<Vec<Cell>>>,
}

impl Block {
    pub fn new(columns: usize, steps: usize) -> Self {
        Self {
            columns,
            steps,
            series: vec![None; LANES as usize * METRICS],
        }
    }

    pub fn get(&self, lane: usize, metric: usize) -> Option<&[Cell]> {
        self.series[lane * METRICS + metric].as_deref()
    }

    pub fn cells(&mut self, lane: usize, metric: usize) -> &mut [Cell] {
        let length = self.columns * self.steps;
        self.series[lane * METRICS + metric].get_or_insert_with(|| vec![GAP; length])
    }

    pub fn clear(&mut self, lane: usize, metric: usize) {
        self.series[lane * METRICS + metric] = None;
    }

    pub fn is_empty(&self) -> bool {
        self.series.iter().all(Option::is_none)
    }

    /// Lane, metric and cells of every series.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, &[Cell])> {
        self.series.iter().enumerate().filter_map(|(index, cells)| {
            Some((index / METRICS, index % METRICS, cells.as_deref()?))
        })
    }

    pub fn encode(&self, key: i64) -> Vec<u8> {
        let mut blob = vec![0; CHECKSUM];
        blob.push(self.columns as u8);
        blob.extend_from_slice(&(self.steps as u16).to_le_bytes());
        for lane in self.series.chunks(METRICS) {
            let mask = (0..METRICS).fold(0_u16, |mask, metric| {
                mask | (u16::from(lane[metric].is_some()) << metric)
            });
            blob.extend_from_slice(&mask.to_le_bytes());
        }
        let offsets = blob.len();
        let count = self.series.iter().flatten().count();
        blob.resize(offsets + 4 * count, 0);
        for (index, cells) in self.series.iter().flatten().enumerate() {
            let offset = (blob.len() - CHECKSUM) as u32;
            blob[offsets + 4 * index..offsets + 4 * index + 4]
                .copy_from_slice(&offset.to_le_bytes());
            pack(cells, &mut blob);
        }
        seal_with_checksum(key, &mut blob);
        blob
    }

    /// `None` when the blob is not what was written.
    pub fn decode(key: i64, blob: &[u8]) -> Option<Self> {
        let view = View::new(checked(key, blob)?)?;
        let mut block = Self::new(view.columns, view.steps);
        for (index, series) in block.series.iter_mut().enumerate() {
            if let Some(packed) = view.find(index / METRICS, index % METRICS)? {
                *series = Some(packed.cells(view.rest).collect());
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
    #[allow(clippy::option_option)]
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
            filled in proptest::collection::vec((0..16_usize, 0..16_usize, 0..30_usize, 0..GAP), 0..40),
            key in any::<i64>(),
        ) {
            let mut block = Block::new(1, 30);
            for (lane, metric, step, cell) in filled {
                block.cells(lane, metric)[step] = cell;
            }
            let blob = block.encode(key);
            let view = View::of(key, &blob).unwrap();
            for lane in 0..16 {
                for metric in 0..16 {
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
