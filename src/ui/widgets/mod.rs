//! The parts that screens are made of. Each paints itself to the pixel and says what it is to assistive technology.

pub mod bars;
pub mod button;
pub mod calibration;
pub mod chart;
pub mod field;
pub mod heatmap;
pub mod peaks;
pub mod plot;
pub mod spark;
pub mod split;
pub mod status;
pub mod steps;
pub mod text;
