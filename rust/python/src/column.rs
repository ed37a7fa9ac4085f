//! A column of a result, shown to Python through the buffer protocol, and a column that
//! Python gives, both without a copy.
//!
//! This file may use `unsafe`: a buffer is a raw pointer handed to Python, which keeps
//! the column alive for as long as it holds it, or one that Python hands out.
#![allow(unsafe_code)]

use fastwalk_core::entries::Entries;
use fastwalk_core::image::RawBytes;
use fastwalk_core::memory::Buffer;
use fastwalk_core::spec::EntryFormat;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, c_int, c_void};

/// The numbers of a column.
#[derive(Debug)]
pub enum Numbers {
    /// Unsigned bytes.
    U8(Buffer<u8>),
    /// Unsigned 32-bit numbers.
    U32(Buffer<u32>),
    /// Unsigned 64-bit numbers.
    U64(Buffer<u64>),
}

impl Numbers {
    fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::U64(v) => v.len(),
        }
    }

    fn item(&self) -> (usize, &'static CStr, *const c_void) {
        match self {
            Self::U8(v) => (1, c"B", v.as_ptr().cast()),
            Self::U32(v) => (4, c"I", v.as_ptr().cast()),
            Self::U64(v) => (8, c"Q", v.as_ptr().cast()),
        }
    }
}

impl From<Buffer<u8>> for Numbers {
    fn from(items: Buffer<u8>) -> Self {
        Self::U8(items)
    }
}

impl From<Vec<u8>> for Numbers {
    fn from(items: Vec<u8>) -> Self {
        Self::U8(items.into())
    }
}

impl From<Buffer<u32>> for Numbers {
    fn from(items: Buffer<u32>) -> Self {
        Self::U32(items)
    }
}

impl From<Vec<u32>> for Numbers {
    fn from(items: Vec<u32>) -> Self {
        Self::U32(items.into())
    }
}

impl From<Buffer<u64>> for Numbers {
    fn from(items: Buffer<u64>) -> Self {
        Self::U64(items)
    }
}

impl From<Vec<u64>> for Numbers {
    fn from(items: Vec<u64>) -> Self {
        Self::U64(items.into())
    }
}

/// A read-only column of numbers.
#[pyclass(frozen, module = "fastwalk._fastwalk")]
pub struct Column {
    numbers: Numbers,
    /// Shape and stride, which a buffer points to.
    layout: [ffi::Py_ssize_t; 2],
}

impl Column {
    /// Takes the numbers over.
    pub fn new(py: Python<'_>, numbers: impl Into<Numbers>) -> PyResult<Py<Self>> {
        let numbers = numbers.into();
        let layout = [
            numbers.len() as ffi::Py_ssize_t,
            numbers.item().0 as ffi::Py_ssize_t,
        ];
        Py::new(py, Self { numbers, layout })
    }
}

#[pymethods]
impl Column {
    fn __len__(&self) -> usize {
        self.numbers.len()
    }

    /// # Safety
    /// Called by Python with a view to fill, or a null pointer.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("columns are read-only; copy first"));
        }
        let column = slf.get();
        let (size, format, data) = column.numbers.item();
        let shape = column.layout.as_ptr().cast_mut();
        let asked = |flag: c_int| flags & flag == flag;
        // SAFETY: view is not null and Python's to be filled. The numbers and the
        // layout never move or change while the column lives (it is frozen), and the
        // view owns a reference to it.
        unsafe {
            (*view).buf = data.cast_mut();
            (*view).len = (column.numbers.len() * size) as ffi::Py_ssize_t;
            (*view).readonly = 1;
            (*view).itemsize = size as ffi::Py_ssize_t;
            (*view).format = if asked(ffi::PyBUF_FORMAT) {
                format.as_ptr().cast_mut()
            } else {
                std::ptr::null_mut()
            };
            (*view).ndim = 1;
            (*view).shape = if asked(ffi::PyBUF_ND) {
                shape
            } else {
                std::ptr::null_mut()
            };
            (*view).strides = if asked(ffi::PyBUF_STRIDES) {
                shape.add(1)
            } else {
                std::ptr::null_mut()
            };
            (*view).suboffsets = std::ptr::null_mut();
            (*view).internal = std::ptr::null_mut();
            (*view).obj = slf.into_ptr();
        }
        Ok(())
    }

    /// # Safety
    /// Called by Python with a view that `__getbuffer__` filled.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {}
}

/// Numbers of 8 bytes that Python keeps, and can change at any time.
pub struct Words(PyBuffer<u64>);

impl Words {
    /// BufferError where they do not lie one after the other.
    pub fn new(buffer: PyBuffer<u64>) -> PyResult<Self> {
        if !buffer.is_c_contiguous() {
            return Err(PyBufferError::new_err("the numbers are not contiguous"));
        }
        Ok(Self(buffer))
    }

    /// The numbers, as entries of a table are read.
    pub fn entries(&self) -> Entries<'_> {
        let format = EntryFormat {
            bytes: 8,
            big_endian: cfg!(target_endian = "big"),
        };
        // SAFETY: a contiguous buffer, which is exported, neither freed nor moved, for as
        // long as self has it.
        let bytes = unsafe { RawBytes::new(self.0.buf_ptr().cast(), self.0.len_bytes()) };
        Entries::new(bytes, format)
    }
}
