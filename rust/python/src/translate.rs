//! Translation of addresses and classification of entries.

use crate::column::Column;
use crate::errors::read_error;
use crate::image::Image;
use crate::run::pool;
use crate::spec::Plan;
use crate::walk::{SpanTuple, spans};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::{PhysicalMemory, ReadError};
use fastwalk_core::plan::Coalesce;
use fastwalk_core::translate::{Translator, classify as classify_entries};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

/// What addresses came to, as columns.
#[pyclass(frozen, get_all, module = "fastwalk._fastwalk")]
pub struct Translations {
    pub pa: Py<Column>,
    pub status: Py<Column>,
    pub depth: Py<Column>,
    pub attributes: Py<Column>,
    pub effective: Py<Column>,
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (image, plan, root, spans, vas, *, threads=None))]
pub fn translate(
    py: Python<'_>,
    image: &Image,
    plan: &Plan,
    root: u64,
    spans: Vec<SpanTuple>,
    vas: PyBuffer<u64>,
    threads: Option<usize>,
) -> PyResult<Translations> {
    let plan = plan.under(Coalesce::Attributes);
    let spans = self::spans(&spans, plan, 1)?;
    let vas = vas.to_vec(py)?;
    let pool = pool(threads)?;
    let memory = &*image.memory;
    let found = py
        .detach(|| {
            let translator = Translator::new(plan, memory, Pa(root), &spans);
            let found = pool.install(|| translator.translate(&vas))?;
            unchanged(memory).map(|()| found)
        })
        .map_err(|error| read_error(py, &error))?;
    Ok(Translations {
        pa: Column::new(py, found.pa)?,
        status: Column::new(py, found.status)?,
        depth: Column::new(py, found.depth)?,
        attributes: Column::new(py, found.attributes)?,
        effective: Column::new(py, found.effective)?,
    })
}

/// What was read of a file that shrank meanwhile is worth nothing.
fn unchanged(memory: &dyn PhysicalMemory) -> Result<(), ReadError> {
    if memory.changed() {
        Err(ReadError::Changed {
            what: memory.change(),
        })
    } else {
        Ok(())
    }
}

/// (depth, table, index, entry or None) for each table on the way, and (pa, status,
/// depth, attributes, effective).
type Path = (Vec<(usize, u64, u64, Option<u64>)>, (u64, u8, u8, u64, u8));

/// See `_fastwalk.pyi`.
#[pyfunction]
pub fn path(
    py: Python<'_>,
    image: &Image,
    plan: &Plan,
    root: u64,
    spans: Vec<SpanTuple>,
    va: u64,
) -> PyResult<Path> {
    let plan = plan.under(Coalesce::Attributes);
    let spans = self::spans(&spans, plan, 1)?;
    let translator = Translator::new(plan, &*image.memory, Pa(root), &spans);
    let (steps, end) = translator
        .path(va)
        .and_then(|found| unchanged(&*image.memory).map(|()| found))
        .map_err(|error| read_error(py, &error))?;
    Ok((
        steps
            .iter()
            .map(|step| (step.depth, step.table, step.index, step.entry))
            .collect(),
        (
            end.pa,
            end.status as u8,
            end.depth,
            end.attributes,
            end.effective,
        ),
    ))
}

/// See `_fastwalk.pyi`.
#[pyfunction]
pub fn classify(
    py: Python<'_>,
    plan: &Plan,
    entries: PyBuffer<u64>,
    depth: usize,
) -> PyResult<Py<Column>> {
    let plan = plan.under(Coalesce::Attributes);
    if depth >= plan.depths.len() {
        let last = plan.depths.len() - 1;
        return Err(PyIndexError::new_err(format!(
            "depth is {depth}; the mode's tables are at depths 0 to {last}"
        )));
    }
    let entries = entries.to_vec(py)?;
    let kinds = py.detach(|| {
        let mut kinds = vec![0; entries.len()];
        classify_entries(plan, depth, &entries, &mut kinds);
        kinds
    });
    Column::new(py, kinds)
}
