//! Translation of addresses and classification of entries.

use crate::column::{Column, Words};
use crate::errors::read_error;
use crate::image::Image;
use crate::run::pool;
use crate::spec::Plan;
use crate::walk::{SpanTuple, isa_by_name, spans};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::{PhysicalMemory, ReadError};
use fastwalk_core::plan::{self, Coalesce};
use fastwalk_core::translate::{Translations as Found, Translator, classify as classify_entries};
use fastwalk_core::visit::Span;
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

/// What to translate, and through what.
struct Asked<'p> {
    image: &'p Image,
    plan: &'p plan::Plan,
    root: u64,
    spans: Vec<Span>,
    vas: Words,
}

impl Asked<'_> {
    fn translate(
        &self,
        py: Python<'_>,
        detailed: bool,
        threads: Option<usize>,
        isa: Option<&str>,
    ) -> PyResult<Found> {
        let pool = pool(threads)?;
        let isa = isa_by_name(isa)?;
        let memory = &*self.image.memory;
        py.detach(|| {
            let translator =
                Translator::new(self.plan, memory, Pa(self.root), &self.spans).with_isa(isa);
            let vas = self.vas.entries();
            let found = pool.install(|| translator.translate(&vas, detailed))?;
            unchanged(memory).map(|()| found)
        })
        .map_err(|error| read_error(py, &error))
    }
}

fn asked<'p>(
    image: &'p Image,
    plan: &'p Plan,
    root: u64,
    spans: &[SpanTuple],
    vas: PyBuffer<u64>,
) -> PyResult<Asked<'p>> {
    let plan = plan.under(Coalesce::Attributes);
    Ok(Asked {
        image,
        plan,
        root,
        spans: self::spans(spans, plan, 1)?,
        vas: Words::new(vas)?,
    })
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (image, plan, root, spans, vas, *, threads=None, isa=None))]
#[allow(clippy::too_many_arguments)]
pub fn translate(
    py: Python<'_>,
    image: &Image,
    plan: &Plan,
    root: u64,
    spans: Vec<SpanTuple>,
    vas: PyBuffer<u64>,
    threads: Option<usize>,
    isa: Option<&str>,
) -> PyResult<(Py<Column>, Py<Column>)> {
    let asked = asked(image, plan, root, &spans, vas)?;
    let found = asked.translate(py, false, threads, isa)?;
    Ok((Column::new(py, found.pa)?, Column::new(py, found.status)?))
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (image, plan, root, spans, vas, *, threads=None, isa=None))]
#[allow(clippy::too_many_arguments)]
pub fn lookup(
    py: Python<'_>,
    image: &Image,
    plan: &Plan,
    root: u64,
    spans: Vec<SpanTuple>,
    vas: PyBuffer<u64>,
    threads: Option<usize>,
    isa: Option<&str>,
) -> PyResult<Translations> {
    let asked = asked(image, plan, root, &spans, vas)?;
    let found = asked.translate(py, true, threads, isa)?;
    let details = found.details.unwrap_or_default();
    Ok(Translations {
        pa: Column::new(py, found.pa)?,
        status: Column::new(py, found.status)?,
        depth: Column::new(py, details.depth)?,
        attributes: Column::new(py, details.attributes)?,
        effective: Column::new(py, details.effective)?,
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
