//! A sealed chunk: one series in one window, gaps as a bitmap, values packed by `pco`.
//!
//! ```text
//! crc32 | step u32 | first u32 | count u32 | gaps u8 | bitmap | (length u32, pco)…
//! ```
//! `first` and `count` are in steps from the window's start. Columns are those of [`Tier::columns`]; all are gaps at once.

use pco::{ChunkConfig, standalone};

use super::cell::{Bytes, CHECKSUM, Cell, GAP, checked, seal_with_checksum};

/// Level 4 packs as well as 8 on these series, in half the time.
const LEVEL: usize = 4;
/// No window holds more steps than this; a blob that says so is damaged.
const MAX_STEPS: u32 = 86_400;

/// Values of one series from the start of a window on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    pub step_seconds: u32,
    /// Each as long as the others.
    pub columns: Vec<Vec<Cell>>,
}

/// How many columns a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    First,
    All,
}

/// `None` where every cell is a gap.
///
/// # Errors
/// When `pco` refuses.
pub fn encode(key: i64, values: &Columns) -> Result<Option<Vec<u8>>, String> {
    let Some(first_column) = values.columns.first() else {
        return Ok(None);
    };
    let is_there = |cell: &Cell| *cell != GAP;
    let (Some(first), Some(last)) = (
        first_column.iter().position(is_there),
        first_column.iter().rposition(is_there),
    ) else {
        return Ok(None);
    };
    let span = &first_column[first..=last];
    let mut blob = vec![0; CHECKSUM];
    blob.extend_from_slice(&values.step_seconds.to_le_bytes());
    blob.extend_from_slice(&(first as u32).to_le_bytes());
    blob.extend_from_slice(&(span.len() as u32).to_le_bytes());
    let gaps = span.contains(&GAP);
    blob.push(u8::from(gaps));
    if gaps {
        for eight in span.chunks(8) {
            let bits = eight.iter().enumerate();
            blob.push(bits.fold(0, |byte, (bit, cell)| {
                byte | (u8::from(*cell == GAP) << bit)
            }));
        }
    }
    let config = ChunkConfig::default().with_compression_level(LEVEL);
    let mut present = Vec::with_capacity(span.len());
    for column in &values.columns {
        present.clear();
        present.extend(
            span.iter()
                .zip(&column[first..=last])
                .filter(|(there, _)| **there != GAP)
                .map(|(_, cell)| *cell),
        );
        let packed =
            standalone::simple_compress(&present, &config).map_err(|error| error.to_string())?;
        blob.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        blob.extend_from_slice(&packed);
    }
    seal_with_checksum(key, &mut blob);
    Ok(Some(blob))
}

/// Cells that hold a value.
pub fn present(values: &Columns) -> usize {
    values.columns.first().map_or(0, |column| {
        column.iter().filter(|cell| **cell != GAP).count()
    })
}

/// The columns from the window's start on; `None` when the blob is not what was written.
pub fn decode(key: i64, blob: &[u8], want: Want) -> Option<Columns> {
    let mut bytes = Bytes(checked(key, blob)?);
    let step_seconds = bytes.u32().filter(|step| *step > 0)?;
    let first = bytes.u32()?;
    let count = bytes.u32()?;
    if first.checked_add(count)? > MAX_STEPS {
        return None;
    }
    let (first, count) = (first as usize, count as usize);
    let bitmap = match bytes.u8()? {
        0 => None,
        _ => Some(bytes.take(count.div_ceil(8))?),
    };
    let is_gap =
        |index: usize| bitmap.is_some_and(|bitmap| bitmap[index / 8] & (1 << (index % 8)) != 0);
    let there = match bitmap {
        None => count,
        Some(_) => (0..count).filter(|index| !is_gap(*index)).count(),
    };
    let mut columns = Vec::new();
    while !bytes.0.is_empty() && (want == Want::All || columns.is_empty()) {
        let length = bytes.u32()? as usize;
        let packed = bytes.take(length)?;
        let mut column = vec![GAP; first + count];
        if bitmap.is_none() {
            unpack(packed, &mut column[first..])?;
        } else {
            let mut present = vec![0; there];
            unpack(packed, &mut present)?;
            let mut present = present.into_iter();
            for (index, cell) in column[first..].iter_mut().enumerate() {
                if !is_gap(index) {
                    *cell = present.next()?;
                }
            }
        }
        columns.push(column);
    }
    (!columns.is_empty()).then_some(Columns {
        step_seconds,
        columns,
    })
}

fn unpack(packed: &[u8], into: &mut [Cell]) -> Option<()> {
    let progress = standalone::simple_decompress_into(packed, into).ok()?;
    (progress.finished && progress.n_processed == into.len()).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cells() -> impl Strategy<Value = Vec<Cell>> {
        proptest::collection::vec(
            prop_oneof![2 => Just(GAP), 5 => 0..10_000_u32, 1 => 0..GAP],
            1..400,
        )
    }

    proptest! {
        #[test]
        fn what_is_sealed_comes_back(first in cells(), wide in any::<bool>(), key in any::<i64>()) {
            let mut columns = vec![first.clone()];
            if wide {
                columns.extend((1..4).map(|add| {
                    first.iter().map(|cell| if *cell == GAP { GAP } else { (cell / 2).wrapping_add(add) }).collect()
                }));
            }
            let values = Columns { step_seconds: 10, columns };
            let Some(blob) = encode(key, &values).unwrap() else {
                prop_assert_eq!(present(&values), 0);
                return Ok(());
            };
            let mut back = decode(key, &blob, Want::All).unwrap();
            // Gaps at the end are not kept.
            for column in &mut back.columns {
                column.resize(first.len(), GAP);
            }
            prop_assert_eq!(&back, &values);
            prop_assert_eq!(decode(key, &blob, Want::First).unwrap().columns.len(), 1);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), key in any::<i64>()) {
            prop_assert!(decode(key, &bytes, Want::All).is_none_or(|found| !found.columns.is_empty()));
            let mut bytes = bytes;
            if bytes.len() >= CHECKSUM {
                // Past the checksum: what is inside may still be nonsense.
                seal_with_checksum(key, &mut bytes);
                let _ = decode(key, &bytes, Want::All);
            }
        }
    }
}
