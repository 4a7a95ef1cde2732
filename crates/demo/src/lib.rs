//! Under construction.

pub mod sample;
