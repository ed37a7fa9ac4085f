//! Columns as Arrow data, handed over through the Arrow PyCapsule interface
//! (<https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>) without a
//! copy: the Arrow arrays point into the Python buffers that they are made of, and own them.
//!
//! This file may use `unsafe`: it tells Arrow of memory that Python owns.
#![allow(unsafe_code)]

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{ArrowDictionaryKeyType, UInt8Type, UInt16Type, UInt32Type};
use arrow_array::{
    Array as _, ArrayRef, BooleanArray, DictionaryArray, Float64Array, PrimitiveArray, RecordBatch,
    RecordBatchIterator, RecordBatchOptions, StringArray, StructArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, ScalarBuffer};
use arrow_schema::{ArrowError, Field, Schema};
use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::collections::HashMap;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

/// (name, buffer, type, texts that the numbers of a dictionary's keys stand for)
type FieldTuple<'py> = (String, Bound<'py, PyAny>, String, Option<Vec<String>>);

/// A Python buffer that an Arrow array keeps.
struct Owner<T: Element>(#[allow(dead_code)] PyBuffer<T>);

// Nothing in it is ever looked at, so no panic can leave it half-changed.
impl<T: Element> UnwindSafe for Owner<T> {}
impl<T: Element> RefUnwindSafe for Owner<T> {}

fn wrong(error: &ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The numbers of a buffer, where they are.
fn numbers<T: Element + ArrowNativeType>(
    name: &str,
    object: &Bound<'_, PyAny>,
) -> PyResult<ScalarBuffer<T>> {
    let buffer = PyBuffer::<T>::get(object)?;
    let (count, bytes) = (buffer.item_count(), buffer.len_bytes());
    let start = match buffer.as_slice_ptr() {
        Some(items) if buffer.dimensions() == 1 => items.cast::<u8>(),
        _ => {
            return Err(PyValueError::new_err(format!(
                "column {name:?} is not one contiguous array"
            )));
        }
    };
    if count == 0 {
        return Ok(ScalarBuffer::from(Vec::<T>::new()));
    }
    // SAFETY: `start` and `bytes` are those of a contiguous buffer which the owner holds
    // exported: its memory is neither freed nor moved before the owner is dropped.
    // PyBuffer::get has checked that the items are aligned.
    let shown = unsafe {
        Buffer::from_custom_allocation(start as NonNull<u8>, bytes, Arc::new(Owner(buffer)))
    };
    Ok(ScalarBuffer::new(shown, 0, count))
}

fn dictionary<K>(name: &str, object: &Bound<'_, PyAny>, texts: Vec<String>) -> PyResult<ArrayRef>
where
    K: ArrowDictionaryKeyType,
    K::Native: Element,
{
    let keys = PrimitiveArray::<K>::new(numbers(name, object)?, None);
    let texts = Arc::new(StringArray::from(texts));
    // Checks that every key has a text.
    DictionaryArray::<K>::try_new(keys, texts)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| PyValueError::new_err(format!("column {name:?}: {error}")))
}

fn column(
    name: &str,
    object: &Bound<'_, PyAny>,
    kind: &str,
    texts: Option<Vec<String>>,
) -> PyResult<ArrayRef> {
    if let Some(texts) = texts {
        return match kind {
            "u1" => dictionary::<UInt8Type>(name, object, texts),
            "u2" => dictionary::<UInt16Type>(name, object, texts),
            "u4" => dictionary::<UInt32Type>(name, object, texts),
            _ => Err(PyValueError::new_err(format!(
                "column {name:?}: keys of type {kind:?}"
            ))),
        };
    }
    Ok(match kind {
        "u1" => Arc::new(UInt8Array::new(numbers(name, object)?, None)),
        "u2" => Arc::new(UInt16Array::new(numbers(name, object)?, None)),
        "u4" => Arc::new(UInt32Array::new(numbers(name, object)?, None)),
        "u8" => Arc::new(UInt64Array::new(numbers(name, object)?, None)),
        "f8" => Arc::new(Float64Array::new(numbers(name, object)?, None)),
        // NumPy's booleans are bytes, Arrow's are bits: the one type that is copied.
        "b1" => {
            let bytes: ScalarBuffer<u8> = numbers(name, object)?;
            let bits = BooleanBuffer::collect_bool(bytes.len(), |i| bytes[i] != 0);
            Arc::new(BooleanArray::new(bits, None))
        }
        _ => {
            return Err(PyValueError::new_err(format!(
                "column {name:?}: type {kind:?}"
            )));
        }
    })
}

fn batch(fields: Vec<FieldTuple<'_>>, metadata: HashMap<String, String>) -> PyResult<RecordBatch> {
    let mut arrays = Vec::with_capacity(fields.len());
    let mut schema = Vec::with_capacity(fields.len());
    for (name, object, kind, texts) in fields {
        let array = column(&name, &object, &kind, texts)?;
        schema.push(Field::new(name, array.data_type().clone(), false));
        arrays.push(array);
    }
    let rows = arrays.first().map_or(0, |array| array.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::new(Schema::new_with_metadata(schema, metadata));
    RecordBatch::try_new_with_options(schema, arrays, &options).map_err(|error| wrong(&error))
}

fn schema_of(batch: &RecordBatch) -> PyResult<FFI_ArrowSchema> {
    FFI_ArrowSchema::try_from(batch.schema().as_ref()).map_err(|error| wrong(&error))
}

/// See `_fastwalk.pyi`.
#[pyfunction]
pub fn export_schema<'py>(
    py: Python<'py>,
    fields: Vec<FieldTuple<'py>>,
    metadata: HashMap<String, String>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let schema = schema_of(&batch(fields, metadata)?)?;
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}

/// See `_fastwalk.pyi`.
#[pyfunction]
pub fn export_array<'py>(
    py: Python<'py>,
    fields: Vec<FieldTuple<'py>>,
    metadata: HashMap<String, String>,
) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
    let batch = batch(fields, metadata)?;
    let schema = schema_of(&batch)?;
    let array = FFI_ArrowArray::new(&StructArray::from(batch).to_data());
    Ok((
        PyCapsule::new_with_value(py, schema, c"arrow_schema")?,
        PyCapsule::new_with_value(py, array, c"arrow_array")?,
    ))
}

/// See `_fastwalk.pyi`.
#[pyfunction]
pub fn export_stream<'py>(
    py: Python<'py>,
    fields: Vec<FieldTuple<'py>>,
    metadata: HashMap<String, String>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let batch = batch(fields, metadata)?;
    let schema = batch.schema();
    let reader = RecordBatchIterator::new([Ok::<_, ArrowError>(batch)], schema);
    let stream = FFI_ArrowArrayStream::new(Box::new(reader));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}
