//! History from elsewhere: files that other tools wrote, made into series.
//!
//! Everything here is outside input: bounded in size, refused as a whole at the first thing that is wrong, and named
//! by line and column.

use serde::{Deserialize, Serialize};

use crate::metrics::{Metric, Series};

pub mod csv;
pub mod prometheus;
mod resample;
pub mod traces;

/// One VM's values of one metric, as `history import` brings them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedSeries {
    /// Name or id of the VM as the file has it.
    pub vm: String,
    pub metric: Metric,
    pub series: Series,
}
