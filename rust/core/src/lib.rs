//! Page-table walking over physical-memory images.
//!
//! Data goes one way: [`image`] gives the bytes behind a physical address, a plan
//! says how a paging mode reads them, the walk scans each table once, counts, and
//! emits columns. No architecture is known by name here: they are data, made by the
//! Python side.
#![deny(unsafe_code)]

pub mod addr;
pub mod image;
