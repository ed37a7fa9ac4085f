//! Page-table walking over physical-memory images.
//!
//! Data goes one way: [`image`] gives the bytes behind a physical address, a [`plan`]
//! says how a paging mode reads them, [`tree`] reads each table once, [`fold`] counts,
//! and [`emit`] (rows) or [`notes`] (a kernel's lines) writes. No architecture is known
//! by name here: they are data, made by the Python side.
#![deny(unsafe_code)]

pub mod addr;
mod chain;
pub mod columns;
pub mod emit;
pub mod entries;
pub mod error;
mod fill;
pub mod fold;
pub mod image;
pub mod memory;
pub mod notes;
pub mod plan;
pub mod roots;
mod rows;
mod runs;
pub mod scan;
pub mod search;
pub mod spec;
pub mod tables;
pub mod translate;
pub mod tree;
pub mod visit;
mod writer;
