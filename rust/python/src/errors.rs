//! Errors of the core, as the classes of `fastwalk.errors`.

use fastwalk_core::error::WalkError;
use fastwalk_core::image::{ImageError, ReadError};
use fastwalk_core::plan::SpecError;
use pyo3::call::PyCallArgs;
use pyo3::prelude::*;

/// An exception of `fastwalk.errors`.
fn raise<'py>(py: Python<'py>, class: &str, arguments: impl PyCallArgs<'py>) -> PyErr {
    let made = py
        .import("fastwalk.errors")
        .and_then(|module| module.getattr(class))
        .and_then(|class| class.call1(arguments));
    match made {
        Ok(instance) => PyErr::from_value(instance),
        Err(error) => error,
    }
}

pub fn walk_error(py: Python<'_>, error: &WalkError) -> PyErr {
    match error {
        WalkError::Cancelled => raise(py, "WalkCancelledError", (error.to_string(),)),
        WalkError::Changed { .. } => raise(py, "ImageChangedError", (error.to_string(),)),
        WalkError::Budget { rows, budget } => raise(py, "RowBudgetError", (*rows, *budget)),
    }
}

pub fn image_error(py: Python<'_>, error: &ImageError) -> PyErr {
    raise(py, "ImageError", (error.to_string(),))
}

pub fn read_error(py: Python<'_>, error: &ReadError) -> PyErr {
    let class = match error {
        ReadError::Changed { .. } => "ImageChangedError",
        _ => "ImageError",
    };
    raise(py, class, (error.to_string(),))
}

pub fn spec_error(py: Python<'_>, error: &SpecError) -> PyErr {
    raise(py, "SpecError", (error.to_string(),))
}
