//! Images.

use crate::errors::{image_error, read_error};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::{
    self, Decompress, OpenOptions, PhysicalMemory, Progress, ReadError, SharedBytes, Source,
};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// An open image.
#[pyclass(frozen, module = "fastwalk._fastwalk")]
pub struct Image {
    pub memory: Box<dyn PhysicalMemory>,
}

/// How to open an image: what the three functions below have in common.
struct Opening {
    options: OpenOptions,
    /// What a progress callback raised, or a signal.
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Opening {
    fn new(format: Option<String>, base: u64, no_map: bool) -> Self {
        let options = OpenOptions {
            format,
            base: Pa(base),
            no_map,
            ..OpenOptions::default()
        };
        Self {
            options,
            raised: Arc::default(),
        }
    }

    fn parts(&mut self, parts: Vec<PathBuf>) {
        self.options.parts = parts.into_iter().map(Source::Path).collect();
    }

    /// Where to and how far compressed files are decompressed. `progress(read, total,
    /// written)` stops it by returning True or by raising.
    fn decompress(
        &mut self,
        limit: Option<u64>,
        folder: Option<PathBuf>,
        progress: Option<Py<PyAny>>,
    ) {
        let raised = self.raised.clone();
        let listen = move |at: Progress| {
            let answer = Python::attach(|py| {
                py.check_signals()?;
                match &progress {
                    None => Ok(false),
                    Some(call) => call
                        .call1(py, (at.read, at.total, at.written))?
                        .is_truthy(py),
                }
            });
            match answer {
                Ok(stop) => !stop,
                Err(error) => {
                    *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    false
                }
            }
        };
        let defaults = &self.options.decompress;
        self.options.decompress = Decompress {
            limit: limit.unwrap_or(defaults.limit),
            folder,
            progress: Some(Arc::new(listen)),
        };
    }

    fn open(&self, py: Python<'_>, source: &Source) -> PyResult<Image> {
        let opened = py.detach(|| image::open(source, &self.options));
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        match (opened, raised.take()) {
            (_, Some(error)) => Err(error),
            (Ok(memory), None) => Ok(Image { memory }),
            (Err(error), None) => Err(image_error(py, &error)),
        }
    }
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (
    path, format=None, base=0, no_map=false, *, parts=vec![], limit=None, folder=None,
    progress=None
))]
#[allow(clippy::too_many_arguments)]
pub fn open_path(
    py: Python<'_>,
    path: PathBuf,
    format: Option<String>,
    base: u64,
    no_map: bool,
    parts: Vec<PathBuf>,
    limit: Option<u64>,
    folder: Option<PathBuf>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Image> {
    let mut opening = Opening::new(format, base, no_map);
    opening.parts(parts);
    opening.decompress(limit, folder, progress);
    opening.open(py, &Source::Path(path))
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (
    descriptor, format=None, base=0, no_map=false, *, limit=None, folder=None, progress=None
))]
#[allow(clippy::too_many_arguments)]
pub fn open_descriptor(
    py: Python<'_>,
    descriptor: i32,
    format: Option<String>,
    base: u64,
    no_map: bool,
    limit: Option<u64>,
    folder: Option<PathBuf>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Image> {
    let source = Source::descriptor(descriptor).map_err(|error| {
        PyOSError::new_err(format!(
            "file descriptor {descriptor}: {error}; give an open file"
        ))
    })?;
    let mut opening = Opening::new(format, base, no_map);
    opening.decompress(limit, folder, progress);
    opening.open(py, &source)
}

/// See `_fastwalk.pyi`.
#[pyfunction]
#[pyo3(signature = (
    data, name="<bytes>", format=None, base=0, *, limit=None, folder=None, progress=None
))]
#[allow(clippy::too_many_arguments)]
pub fn open_bytes(
    py: Python<'_>,
    data: PyBackedBytes,
    name: &str,
    format: Option<String>,
    base: u64,
    limit: Option<u64>,
    folder: Option<PathBuf>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Image> {
    let bytes: SharedBytes = Arc::new(data);
    let mut opening = Opening::new(format, base, false);
    opening.decompress(limit, folder, progress);
    opening.open(py, &Source::Bytes(bytes, name.to_owned()))
}

/// Names of the image formats, and what each is.
#[pyfunction]
pub fn formats() -> Vec<(&'static str, &'static str)> {
    image::formats()
        .iter()
        .map(|format| (format.name, format.what))
        .collect()
}

#[pymethods]
impl Image {
    #[getter]
    fn format(&self) -> &'static str {
        self.memory.describe().format
    }

    #[getter]
    fn details(&self) -> Vec<(String, String)> {
        self.memory.describe().details.clone()
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.memory.describe().warnings.clone()
    }

    #[getter]
    fn notes<'py>(&self, py: Python<'py>) -> Vec<(String, u32, Bound<'py, PyBytes>)> {
        let notes = &self.memory.describe().notes;
        notes
            .iter()
            .map(|n| (n.name.clone(), n.kind, PyBytes::new(py, &n.desc)))
            .collect()
    }

    #[getter]
    fn machine(&self) -> Option<(u16, u8, bool)> {
        let machine = self.memory.describe().machine?;
        Some((machine.e_machine, machine.class_bits, machine.big_endian))
    }

    #[getter]
    fn vmcoreinfo(&self) -> Option<String> {
        self.memory.describe().vmcoreinfo.clone()
    }

    #[getter]
    fn registers(&self) -> Vec<(u32, String, u64)> {
        let registers = &self.memory.describe().registers;
        registers
            .iter()
            .map(|r| (r.cpu, r.name.clone(), r.value))
            .collect()
    }

    #[getter]
    fn loaded(&self) -> u64 {
        self.memory.loaded()
    }

    #[getter]
    fn changed(&self) -> bool {
        self.memory.changed()
    }

    fn moved(&self, base: u64) -> Option<Self> {
        let memory = self.memory.moved(Pa(base))?;
        Some(Self { memory })
    }

    fn segments(&self) -> Vec<(u64, u64, Option<u64>)> {
        let segments = self.memory.segments();
        segments
            .iter()
            .map(|s| (s.pa.0, s.len, s.stored.file_offset()))
            .collect()
    }

    fn read<'py>(&self, py: Python<'py>, pa: u64, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        match self.copy(py, pa, size) {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(read_error(py, &error)),
        }
    }

    fn try_read<'py>(
        &self,
        py: Python<'py>,
        pa: u64,
        size: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.copy(py, pa, size) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ReadError::Absent { .. }) => Ok(None),
            Err(error) => Err(read_error(py, &error)),
        }
    }
}

impl Image {
    fn copy<'py>(
        &self,
        py: Python<'py>,
        pa: u64,
        size: usize,
    ) -> Result<Bound<'py, PyBytes>, ReadError> {
        // Asked first, so that a size which nobody has is not allocated.
        let bytes = py.detach(|| {
            if let Some(last) = size.checked_sub(1) {
                self.memory
                    .read(Pa(pa.wrapping_add(last as u64)), &mut [0])?;
            }
            let mut bytes = vec![0; size];
            self.memory.read(Pa(pa), &mut bytes)?;
            if self.memory.changed() {
                Err(ReadError::Changed {
                    what: self.memory.change(),
                })
            } else {
                Ok(bytes)
            }
        })?;
        Ok(PyBytes::new(py, &bytes))
    }
}
