//! Shadowcast sees load coming and has a synchronised, tested copy of the right VM ready before it is needed.
//!
//! The modules stand in the order in which the data flows; a module imports only modules listed before it.
#![doc = include_str!("ARCHITECTURE.md")]

pub mod units;

pub mod problem;

pub mod inventory;

pub mod metrics;

pub mod forecast;

pub mod calendar;

pub mod health;

pub mod reservation;

pub mod replication;

pub mod validation;

pub mod traffic;

pub mod shadow;

pub mod policy;

pub mod operation;

pub mod hypervisor;

pub mod telemetry;

pub mod store;

pub mod engine;

pub mod lab;

pub mod cli;

pub mod ui;
