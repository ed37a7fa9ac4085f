//! The tables of an address space, as columns.

use crate::column::Column;
use crate::image::Image;
use crate::spec::Plan;
use crate::walk::{SpanTuple, Work, folded, spans};
use fastwalk_core::plan::Coalesce;
use fastwalk_core::tables::list;
use pyo3::prelude::*;

/// See `_fastwalk.pyi`.
#[pyclass(frozen, get_all, module = "fastwalk._fastwalk")]
pub struct Tables {
    pub depth: Py<Column>,
    pub pa: Py<Column>,
    pub va: Py<Column>,
    pub references: Py<Column>,
    pub none: Py<Column>,
    pub table: Py<Column>,
    pub leaf: Py<Column>,
    pub other: Py<Column>,
    pub absent: Py<Column>,
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (image, plan, roots, spans, *, threads=None, isa=None, progress=None))]
#[allow(clippy::too_many_arguments)]
pub fn tables(
    py: Python<'_>,
    image: &Image,
    plan: &Plan,
    roots: Vec<u64>,
    spans: Vec<SpanTuple>,
    threads: Option<usize>,
    isa: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Tables> {
    let plan = plan.under(Coalesce::Attributes);
    let spans = self::spans(&spans, plan, roots.len())?;
    let found = folded(
        py,
        image,
        plan,
        &roots,
        Work::new(isa, false, threads, progress.as_ref())?,
        |fold, _| Ok(list(fold, roots.len(), &spans)),
    )?;
    Ok(Tables {
        depth: Column::new(py, found.depth)?,
        pa: Column::new(py, found.pa)?,
        va: Column::new(py, found.va)?,
        references: Column::new(py, found.references)?,
        none: Column::new(py, found.none)?,
        table: Column::new(py, found.table)?,
        leaf: Column::new(py, found.leaf)?,
        other: Column::new(py, found.other)?,
        absent: Column::new(py, found.absent)?,
    })
}
