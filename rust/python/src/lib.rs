//! The Python module `fastwalk._fastwalk`: conversions only. What the functions mean is
//! written in `python/fastwalk/_fastwalk.pyi`.
#![deny(unsafe_code)]

mod arrow;
mod column;
mod errors;
mod image;
mod roots;
mod run;
mod search;
mod spec;
mod tables;
mod translate;
mod walk;

use pyo3::prelude::*;

#[pymodule]
mod _fastwalk {
    #[pymodule_export]
    use crate::arrow::{export_array, export_schema, export_stream};
    #[pymodule_export]
    use crate::column::Column;
    #[pymodule_export]
    use crate::image::{Image, formats, open_bytes, open_descriptor, open_path};
    #[pymodule_export]
    use crate::roots::roots;
    #[pymodule_export]
    use crate::search::find;
    #[pymodule_export]
    use crate::spec::{Dumper, Plan};
    #[pymodule_export]
    use crate::tables::{Tables, tables};
    #[pymodule_export]
    use crate::translate::{Translations, classify, lookup, path, translate};
    #[pymodule_export]
    use crate::walk::{Dump, Totals, Walked, count, count_lines, dump, isas, walk};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
