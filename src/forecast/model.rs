//! The models by name, and which of them the product goes by.

use super::{Analog, DayNaive, Ets, Forecaster, Mix, Mstl, Select};

/// A model that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    Mix,
    Select,
    Analog,
    DayNaive,
    Ets,
    Mstl,
}

impl Model {
    /// What forecasts the fleet, and what a backtest judges unless told otherwise.
    pub const LIVE: Self = Self::Mix;

    pub const ALL: [Self; 6] = [
        Self::Mix,
        Self::Select,
        Self::Analog,
        Self::DayNaive,
        Self::Ets,
        Self::Mstl,
    ];

    /// The stable name in flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mix => "mix",
            Self::Select => "select",
            Self::Analog => "analog",
            Self::DayNaive => "day-naive",
            Self::Ets => "ets",
            Self::Mstl => "mstl",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    pub fn forecaster(self) -> &'static dyn Forecaster {
        match self {
            Self::Mix => &Mix,
            Self::Select => &Select,
            Self::Analog => &Analog,
            Self::DayNaive => &DayNaive,
            Self::Ets => &Ets,
            Self::Mstl => &Mstl,
        }
    }
}
