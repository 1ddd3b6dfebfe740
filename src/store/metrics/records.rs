//! What the forecasts of each series were worth, kept beside it. It can be lost: whoever keeps it works it out anew.

use rusqlite::params;
use serde::{Serialize, de::DeserializeOwned};

use super::{FILE, Metrics, StoreError, sqlite};
use crate::{metrics::Metric, units::VmId};

impl Metrics {
    /// Keeps the record of a series in place of what was kept before.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put_record(
        &mut self,
        vm: &VmId,
        metric: Metric,
        record: &impl Serialize,
    ) -> Result<(), StoreError> {
        let data = rmp_serde::to_vec(record).map_err(|error| StoreError::Damaged {
            file: FILE.to_owned(),
            row: format!("record of {vm}"),
            why: error.to_string(),
        })?;
        self.own_writes += 1;
        self.db
            .prepare_cached("INSERT OR REPLACE INTO record (vm, metric, data) VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute(params![vm.as_str(), metric.name(), data]))
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    /// Every record that can be read. One that cannot is left out: its series is judged anew.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn records<T: DeserializeOwned>(&self) -> Result<Vec<(VmId, Metric, T)>, StoreError> {
        let mut select = self
            .db
            .prepare_cached("SELECT vm, metric, data FROM record")
            .map_err(sqlite(FILE))?;
        let rows = select
            .query_map([], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, Vec<u8>>(2)?,
                ))
            })
            .map_err(sqlite(FILE))?;
        let mut found = Vec::new();
        for row in rows {
            let (vm, metric, data) = row.map_err(sqlite(FILE))?;
            let Some(metric) = Metric::from_name(&metric) else {
                tracing::warn!(vm, metric, "a record of an unknown metric is left out");
                continue;
            };
            match rmp_serde::from_slice(&data) {
                Ok(record) => found.push((VmId(vm), metric, record)),
                Err(error) => tracing::warn!(vm, %error, "a record is worked out anew"),
            }
        }
        Ok(found)
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn forget_record(&mut self, vm: &VmId, metric: Metric) -> Result<(), StoreError> {
        self.own_writes += 1;
        self.db
            .execute(
                "DELETE FROM record WHERE vm = ?1 AND metric = ?2",
                params![vm.as_str(), metric.name()],
            )
            .map_err(sqlite(FILE))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::metrics::Keeping;

    #[test]
    fn a_record_outlives_its_connection_and_a_damaged_one_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Metrics::open(folder.path(), Keeping::default()).unwrap();
        let vm = VmId::from("a/1");
        {
            let mut metrics = open();
            metrics.put_record(&vm, Metric::Cpu, &1_u32).unwrap();
            metrics.put_record(&vm, Metric::Cpu, &2_u32).unwrap();
            metrics.put_record(&vm, Metric::Memory, &3_u32).unwrap();
            metrics
                .put_record(&"a/2".into(), Metric::Cpu, &"no number")
                .unwrap();
        }
        let mut metrics = open();
        let kept = [
            (vm.clone(), Metric::Cpu, 2),
            (vm.clone(), Metric::Memory, 3),
        ];
        assert_eq!(metrics.records::<u32>().unwrap(), kept);
        metrics.forget_record(&vm, Metric::Cpu).unwrap();
        assert_eq!(metrics.records::<u32>().unwrap(), kept[1..]);
    }
}
