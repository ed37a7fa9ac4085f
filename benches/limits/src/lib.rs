//! What fastwalk's figures are held against, measured in the same process: plain
//! vectorised reads and gathers of the same bytes, plain writes of the same columns, and
//! the kernel's own algorithm.
//!
//! A module of its own, so that the product has no function that only benches call,
//! and a Python module, not a program, so that both sides run in one process, with one
//! page cache, one clock and one set of neighbours.

mod gather;
mod kernel;
mod map;
mod read;
mod write;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

/// A file mapped for reading.
#[pyclass(frozen)]
struct Map(map::Map);

#[pymethods]
impl Map {
    /// Maps the file at `path`; `skip` bytes in front of physical address 0 are left out.
    #[new]
    fn new(path: &str, skip: usize) -> PyResult<Self> {
        Ok(Self(map::Map::new(path, skip).map_err(PyOSError::new_err)?))
    }

    /// Sum of all 64-bit words of the tables at `tables` (bytes of physical addresses,
    /// native order), each `size` bytes, in that order, and the seconds it took.
    ///
    /// `isa`: scalar, avx2, avx512. `ahead`: prefetch the table after the one that is
    /// summed. The tables are cut into `threads` contiguous shares.
    fn read(
        &self,
        py: Python<'_>,
        tables: &[u8],
        size: usize,
        isa: &str,
        threads: usize,
        ahead: bool,
    ) -> PyResult<(u64, f64)> {
        let tables = addresses(tables);
        if tables.iter().any(|&t| !self.0.has(t, size)) || !size.is_multiple_of(512) {
            return Err(PyValueError::new_err("a table lies outside of the file"));
        }
        let sum = read::sum_of(isa, ahead)
            .ok_or_else(|| PyValueError::new_err(format!("no {isa} here")))?;
        Ok(py.detach(|| read::read(&self.0, &tables, size, sum, threads)))
    }

    /// Sum of the 64-bit words at `places` (bytes of physical addresses, native order), in
    /// that order, and the seconds it took.
    fn gather(&self, py: Python<'_>, places: &[u8], threads: usize) -> PyResult<(u64, f64)> {
        let places = addresses(places);
        if places.iter().any(|&place| !self.0.has(place, 8)) {
            return Err(PyValueError::new_err("a word lies outside of the file"));
        }
        Ok(py.detach(|| gather::gather(&self.0, &places, threads)))
    }

    /// Walks x86-64 4-level tables as the kernel does, from `root` over the entries
    /// `first` to `last` of the root, and gives (rows, leaves, checksum of the rows,
    /// seconds). `keep`: write the rows into columns too.
    fn kernel_walk(
        &self,
        py: Python<'_>,
        root: u64,
        first: usize,
        last: usize,
        keep: bool,
    ) -> (u64, u64, u64, f64) {
        py.detach(|| kernel::walk(&self.0, root, first, last, keep))
    }
}

fn addresses(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks_exact(8)
        .map(|b| u64::from_ne_bytes(b.try_into().expect("8 bytes")))
        .collect()
}

/// Seconds to copy columns of `widths` bytes an item and `rows` items, by memcpy, into
/// memory that was never touched; `huge`: with advice to use huge pages.
#[pyfunction]
fn write_columns(
    py: Python<'_>,
    rows: usize,
    widths: Vec<usize>,
    huge: bool,
    threads: usize,
) -> f64 {
    py.detach(|| write::columns(rows, &widths, huge, threads))
}

#[pymodule]
fn limits(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Map>()?;
    module.add_function(wrap_pyfunction!(write_columns, module)?)
}
