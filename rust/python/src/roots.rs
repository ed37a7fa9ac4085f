//! The scan for roots.

use crate::image::Image;
use crate::run::run;
use crate::spec::Plan;
use fastwalk_core::plan::Coalesce;
use fastwalk_core::roots::{Wanted, candidates};
use pyo3::prelude::*;

/// (PA, tables, leaves, leaves in the image, nested)
type Row = (u64, u64, u64, u64, bool);

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (image, plan, align, table=(0, 0), *, threads=None, progress=None))]
pub fn roots(
    py: Python<'_>,
    image: &Image,
    plan: &Plan,
    align: u64,
    table: (u64, u64),
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<Row>> {
    let plan = plan.under(Coalesce::None);
    let memory = image.memory.as_ref();
    let found = run(py, threads, progress.as_ref(), |control| {
        candidates(memory, plan, Wanted { align, table }, control)
    })?;
    Ok(found
        .iter()
        .map(|c| (c.root.0, c.tables, c.leaves, c.inside, c.nested))
        .collect())
}
