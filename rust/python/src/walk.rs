//! Walks and dumps.

use crate::column::Column;
use crate::image::Image;
use crate::run::run;
use crate::spec::{Dumper, Plan};
use fastwalk_core::addr::Pa;
use fastwalk_core::emit;
use fastwalk_core::error::WalkError;
use fastwalk_core::fold::Fold;
use fastwalk_core::image::{PhysicalMemory, ReadError};
use fastwalk_core::notes;
use fastwalk_core::plan::{self, Coalesce};
use fastwalk_core::scan::Isa;
use fastwalk_core::tree::{Control, Options, Tree};
use fastwalk_core::visit::Span;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// (root number, first offset, last offset, what to add for a virtual address)
pub type SpanTuple = (usize, u64, u64, u64);

pub fn spans(given: &[SpanTuple], plan: &plan::Plan, roots: usize) -> PyResult<Vec<Span>> {
    given
        .iter()
        .map(|&(root, first, last, base)| {
            if root >= roots || first > last || last > plan.last_offset() {
                return Err(PyValueError::new_err(format!(
                    "span ({root}, {first:#x}, {last:#x}) is not within the roots' span"
                )));
            }
            Ok(Span {
                root,
                first,
                last,
                base,
            })
        })
        .collect()
}

fn coalesce_by_name(name: &str) -> PyResult<Coalesce> {
    match name {
        "attributes" => Ok(Coalesce::Attributes),
        "physical" => Ok(Coalesce::Physical),
        "none" => Ok(Coalesce::None),
        _ => Err(PyValueError::new_err(format!(
            "coalesce is {name:?}, not \"attributes\", \"physical\" or \"none\""
        ))),
    }
}

/// How to walk.
pub struct Work<'p> {
    options: Options,
    threads: Option<usize>,
    progress: Option<&'p Py<PyAny>>,
}

impl<'p> Work<'p> {
    pub fn new(
        isa: Option<&str>,
        keep_rows: bool,
        threads: Option<usize>,
        progress: Option<&'p Py<PyAny>>,
    ) -> PyResult<Self> {
        let isa = isa_by_name(isa)?;
        Ok(Self {
            options: Options { isa, keep_rows },
            threads,
            progress,
        })
    }
}

/// An instruction set that this machine has; without a name the widest.
pub fn isa_by_name(name: Option<&str>) -> PyResult<Isa> {
    let Some(name) = name else {
        return Ok(Isa::best());
    };
    Isa::by_name(name)
        .filter(|isa| isa.is_available())
        .ok_or_else(|| {
            PyValueError::new_err(format!(
                "isa is {name:?}; this machine has {}",
                isas().join(", ")
            ))
        })
}

/// Names of the instruction sets that this machine can scan with, the widest last.
#[pyfunction]
pub fn isas() -> Vec<&'static str> {
    Isa::ALL
        .into_iter()
        .filter(|isa| isa.is_available())
        .map(Isa::name)
        .collect()
}

/// What a walk came to.
#[pyclass(frozen, get_all, module = "fastwalk._fastwalk")]
#[derive(Clone)]
pub struct Totals {
    pub rows: u64,
    pub leaves: u64,
    pub others: u64,
    pub absent: u64,
    pub tables: Vec<u64>,
    pub damage: Vec<String>,
}

impl Totals {
    fn new(total: emit::Totals, tree: &Tree<'_>) -> Self {
        Self {
            rows: total.rows,
            leaves: total.leaves,
            others: total.others,
            absent: total.absent,
            tables: (0..tree.plan().depths.len())
                .map(|d| tree.tables(d) as u64)
                .collect(),
            damage: damage(tree),
        }
    }
}

/// What could not be read, a line each.
fn damage(tree: &Tree<'_>) -> Vec<String> {
    tree.damage().iter().map(ReadError::to_string).collect()
}

/// The columns of a walk.
#[pyclass(frozen, get_all, module = "fastwalk._fastwalk")]
pub struct Walked {
    pub start: Py<Column>,
    pub size: Py<Column>,
    pub pa: Py<Column>,
    pub attributes: Py<Column>,
    pub effective: Py<Column>,
    pub depth: Py<Column>,
    pub kind: Py<Column>,
    pub span_rows: Vec<u64>,
    pub totals: Totals,
}

/// Builds a tree and folds it, then does `work`.
pub fn folded<T: Send>(
    py: Python<'_>,
    image: &Image,
    plan: &plan::Plan,
    roots: &[u64],
    how: Work<'_>,
    work: impl FnOnce(&Fold<'_, '_>, &Control) -> Result<T, WalkError> + Send,
) -> PyResult<T> {
    let memory: &dyn PhysicalMemory = &*image.memory;
    let roots: Vec<Pa> = roots.iter().copied().map(Pa).collect();
    run(py, how.threads, how.progress, |control| {
        let tree = Tree::build(plan, memory, &roots, how.options, control)?;
        let fold = Fold::new(&tree, roots.len(), control)?;
        let result = work(&fold, control)?;
        if memory.changed() {
            Err(WalkError::Changed {
                what: memory.change(),
            })
        } else {
            Ok(result)
        }
    })
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (
    image, plan, roots, spans, *, coalesce, budget, truncate=false, marks=None, threads=None,
    isa=None, progress=None
))]
#[allow(clippy::too_many_arguments)]
pub fn walk(
    py: Python<'_>,
    image: &Image,
    plan: &Plan,
    roots: Vec<u64>,
    spans: Vec<SpanTuple>,
    coalesce: &str,
    budget: u64,
    truncate: bool,
    marks: Option<Vec<u64>>,
    threads: Option<usize>,
    isa: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Walked> {
    let coalesce = coalesce_by_name(coalesce)?;
    let marking = match marks {
        Some(marks) if coalesce == Coalesce::Attributes => Some(plan.marking(py, &marks)?),
        Some(_) => {
            return Err(PyValueError::new_err(
                "marks go with coalesce=\"attributes\"",
            ));
        }
        None => None,
    };
    let plan = marking.as_ref().unwrap_or_else(|| plan.under(coalesce));
    let spans = self::spans(&spans, plan, roots.len())?;
    let (emitted, totals) = folded(
        py,
        image,
        plan,
        &roots,
        Work::new(isa, true, threads, progress.as_ref())?,
        |fold, control| {
            let emitted = emit::emit(fold, &spans, budget, truncate, control)?;
            let totals = Totals::new(emitted.total, fold.tree());
            Ok((emitted, totals))
        },
    )?;
    let columns = emitted.columns;
    Ok(Walked {
        start: Column::new(py, columns.start)?,
        size: Column::new(py, columns.size)?,
        pa: Column::new(py, columns.pa)?,
        attributes: Column::new(py, columns.attributes)?,
        effective: Column::new(py, columns.effective)?,
        depth: Column::new(py, columns.depth)?,
        kind: Column::new(py, columns.kind)?,
        span_rows: emitted.rows,
        totals,
    })
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (
    image, plan, roots, spans, *, coalesce, threads=None, isa=None, progress=None
))]
#[allow(clippy::too_many_arguments)]
pub fn count(
    py: Python<'_>,
    image: &Image,
    plan: &Plan,
    roots: Vec<u64>,
    spans: Vec<SpanTuple>,
    coalesce: &str,
    threads: Option<usize>,
    isa: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Totals> {
    let plan = plan.under(coalesce_by_name(coalesce)?);
    let spans = self::spans(&spans, plan, roots.len())?;
    folded(
        py,
        image,
        plan,
        &roots,
        Work::new(isa, false, threads, progress.as_ref())?,
        |fold, _| Ok(Totals::new(emit::total(fold, &spans), fold.tree())),
    )
}

/// The lines of a dump.
#[pyclass(frozen, get_all, module = "fastwalk._fastwalk")]
pub struct Dump {
    pub start: Py<Column>,
    pub end: Py<Column>,
    pub level: Py<Column>,
    pub key: Py<Column>,
    pub path: Py<Column>,
    pub value: Py<Column>,
    pub absent: Py<Column>,
    pub headings: Vec<(u64, u32)>,
    pub absent_tables: u64,
    pub damage: Vec<String>,
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (
    image, dumper, root, spans, markers, *, budget, threads=None, isa=None, progress=None
))]
#[allow(clippy::too_many_arguments)]
pub fn dump(
    py: Python<'_>,
    image: &Image,
    dumper: &Dumper,
    root: u64,
    spans: Vec<SpanTuple>,
    markers: Vec<u64>,
    budget: u64,
    threads: Option<usize>,
    isa: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Dump> {
    let plan = &dumper.plan;
    let spans = self::spans(&spans, plan, 1)?;
    let (dump, damage) = folded(
        py,
        image,
        plan,
        &[root],
        Work::new(isa, false, threads, progress.as_ref())?,
        |fold, control| {
            let dump = notes::dump(fold, &spans, &markers, budget, control)?;
            Ok((dump, damage(fold.tree())))
        },
    )?;
    Ok(Dump {
        start: Column::new(py, dump.start)?,
        end: Column::new(py, dump.end)?,
        level: Column::new(py, dump.level)?,
        key: Column::new(py, dump.key)?,
        path: Column::new(py, dump.path)?,
        value: Column::new(py, dump.value)?,
        absent: Column::new(py, dump.absent)?,
        headings: dump.headings,
        absent_tables: dump.absent_tables,
        damage,
    })
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (
    image, dumper, root, spans, markers, *, threads=None, isa=None, progress=None
))]
#[allow(clippy::too_many_arguments)]
pub fn count_lines(
    py: Python<'_>,
    image: &Image,
    dumper: &Dumper,
    root: u64,
    spans: Vec<SpanTuple>,
    markers: Vec<u64>,
    threads: Option<usize>,
    isa: Option<&str>,
    progress: Option<Py<PyAny>>,
) -> PyResult<u64> {
    let plan = &dumper.plan;
    let spans = self::spans(&spans, plan, 1)?;
    folded(
        py,
        image,
        plan,
        &[root],
        Work::new(isa, false, threads, progress.as_ref())?,
        |fold, control| notes::count(fold, &spans, &markers, control),
    )
}
