//! The search for byte strings.

use crate::image::Image;
use crate::run::run;
use fastwalk_core::search;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (image, patterns, low=0, high=u64::MAX, *, threads=None))]
pub fn find(
    py: Python<'_>,
    image: &Image,
    patterns: Vec<PyBackedBytes>,
    low: u64,
    high: u64,
    threads: Option<usize>,
) -> PyResult<Vec<(u64, usize)>> {
    let memory = image.memory.as_ref();
    let patterns: Vec<&[u8]> = patterns.iter().map(|p| &**p).collect();
    let found = run(py, threads, None, |control| {
        search::find(memory, &patterns, low, high, control)
    })?;
    Ok(found.iter().map(|hit| (hit.pa.0, hit.pattern)).collect())
}
