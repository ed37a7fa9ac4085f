//! Paging modes and dialects: Python's records, taken over field by field, so that
//! what is wrong can be named by its path.

use crate::errors::spec_error;
use fastwalk_core::plan::{self, Coalesce, SpecError};
use fastwalk_core::spec::{
    Depth, Dialect, EarlyShadow, EntryFormat, Exclusion, Field, Half, Kind, Length, MarkerPolicy,
    NoteAction, NoteDepth, NoteRule, Pairs, PathBit, Rule, Spec, Window,
};
use pyo3::prelude::*;

/// An object, and how to get to it.
struct At<'py> {
    object: Bound<'py, PyAny>,
    path: String,
}

type Found<T> = Result<T, SpecError>;

impl<'py> At<'py> {
    fn root(object: &Bound<'py, PyAny>) -> Self {
        Self {
            object: object.clone(),
            path: String::new(),
        }
    }

    fn wrong<T>(&self, problem: impl Into<String>) -> Found<T> {
        Err(SpecError {
            path: self.path.clone(),
            problem: problem.into(),
        })
    }

    fn field(&self, name: &str) -> Found<Self> {
        let path = match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        match self.object.getattr(name) {
            Ok(object) => Ok(Self { object, path }),
            Err(_) => Err(SpecError {
                path,
                problem: "is missing".to_owned(),
            }),
        }
    }

    fn items<T>(&self, mut each: impl FnMut(&Self) -> Found<T>) -> Found<Vec<T>> {
        let Ok(iterator) = self.object.try_iter() else {
            return self.wrong("has to be a tuple");
        };
        let mut out = Vec::new();
        for (i, object) in iterator.enumerate() {
            let path = format!("{}[{i}]", self.path);
            match object {
                Ok(object) => out.push(each(&Self { object, path })?),
                Err(error) => {
                    return Err(SpecError {
                        path,
                        problem: error.to_string(),
                    });
                }
            }
        }
        Ok(out)
    }

    fn list<T>(&self, name: &str, each: impl FnMut(&Self) -> Found<T>) -> Found<Vec<T>> {
        self.field(name)?.items(each)
    }

    fn is_none(&self) -> bool {
        self.object.is_none()
    }

    fn optional<T>(&self, name: &str, each: impl FnOnce(&Self) -> Found<T>) -> Found<Option<T>> {
        let field = self.field(name)?;
        if field.is_none() {
            Ok(None)
        } else {
            each(&field).map(Some)
        }
    }

    fn u64(&self) -> Found<u64> {
        self.object.extract().or_else(|_| {
            let shown = self
                .object
                .repr()
                .map(|r| r.to_string())
                .unwrap_or_default();
            self.wrong(format!("{shown} is no whole number from 0 to 2^64 - 1"))
        })
    }

    fn number(&self, name: &str) -> Found<u64> {
        self.field(name)?.u64()
    }

    /// A number that wraps: -0x800 is 2^64 - 0x800.
    fn wrapping(&self, name: &str) -> Found<u64> {
        let field = self.field(name)?;
        match field.object.extract::<i64>() {
            Ok(number) => Ok(number.cast_unsigned()),
            Err(_) => field.u64(),
        }
    }

    fn small<T: TryFrom<u64>>(&self, name: &str) -> Found<T> {
        let field = self.field(name)?;
        let number = field.u64()?;
        T::try_from(number).or_else(|_| field.wrong(format!("{number} is too large")))
    }

    fn signed(&self, name: &str) -> Found<i32> {
        let field = self.field(name)?;
        field
            .object
            .extract()
            .or_else(|_| field.wrong("is no small whole number"))
    }

    fn truth(&self, name: &str) -> Found<bool> {
        let field = self.field(name)?;
        field
            .object
            .extract()
            .or_else(|_| field.wrong("is neither True nor False"))
    }

    fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Found<T> {
        let field = self.field(name)?;
        let text: String = field.object.extract().unwrap_or_default();
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                field.wrong(format!("{text:?} is none of {}", names.join(", ")))
            }
        }
    }
}

fn pa_field(at: &At<'_>) -> Found<Field> {
    Ok(Field {
        mask: at.number("mask")?,
        shift: at.signed("shift")?,
    })
}

fn path_bit(at: &At<'_>) -> Found<PathBit> {
    Ok(PathBit {
        bits: at.small("bits")?,
        mask: at.number("mask")?,
        value: at.number("value")?,
    })
}

fn format(at: &At<'_>) -> Found<EntryFormat> {
    Ok(EntryFormat {
        bytes: at.small("entry_bytes")?,
        big_endian: at.choice("byte_order", &[("little", false), ("big", true)])?,
    })
}

fn rule(at: &At<'_>) -> Found<Rule> {
    let kinds = [
        ("none", Kind::None),
        ("table", Kind::Table),
        ("leaf", Kind::Leaf),
        ("other", Kind::Other),
    ];
    Ok(Rule {
        mask: at.number("mask")?,
        value: at.number("value")?,
        kind: at.choice("kind", &kinds)?,
        pa: at.list("pa", pa_field)?,
        offset: at.wrapping("offset")?,
        replicated: at.number("replicated")?,
    })
}

fn depth(at: &At<'_>) -> Found<Depth> {
    Ok(Depth {
        index_bits: at.small("index_bits")?,
        rules: at.list("rules", rule)?,
        attributes: at.number("attributes")?,
        table_path: at.list("table_path", path_bit)?,
        leaf_path: at.list("leaf_path", path_bit)?,
        format: format(at)?,
        length: at.optional("length", |at| {
            Ok(Length {
                first: pa_field(&at.field("first")?)?,
                last: pa_field(&at.field("last")?)?,
                last_add: at.number("last_add")?,
            })
        })?,
    })
}

fn half(at: &At<'_>) -> Found<Half> {
    at.list("windows", |at| {
        let size = at.field("size")?;
        // 2^64 is one more than a u64 holds: the last byte is what counts.
        let size: u128 = size
            .object
            .extract()
            .or_else(|_| size.wrong("is no whole number"))?;
        let last = size.wrapping_sub(1);
        Ok(Window {
            offset: at.number("offset")?,
            last: u64::try_from(last)
                .or_else(|_| at.field("size")?.wrong("is not in 1 to 2^64"))?,
            base: at.number("base")?,
        })
    })
}

fn spec(object: &Bound<'_, PyAny>) -> Found<Spec> {
    let at = At::root(object);
    Ok(Spec {
        va_bits: at.small("va_bits")?,
        page_bits: at.small("page_bits")?,
        depths: at.list("depths", depth)?,
        halves: at.list("halves", half)?,
        permissions: at.small("permissions")?,
        exclusions: at.list("exclusions", |at| {
            Ok(Exclusion {
                granted: at.small("granted")?,
                denied: at.small("denied")?,
            })
        })?,
    })
}

fn note_rule(at: &At<'_>) -> Found<NoteRule> {
    let actions = [
        ("note", NoteAction::Note),
        ("hole", NoteAction::Hole),
        ("descend", NoteAction::Descend),
        ("silent", NoteAction::Silent),
    ];
    Ok(NoteRule {
        mask: at.number("mask")?,
        value: at.number("value")?,
        action: at.choice("action", &actions)?,
        level: at.small("level")?,
        pa: at.list("pa", pa_field)?,
        offset: at.wrapping("offset")?,
    })
}

fn note_depth(at: &At<'_>) -> Found<NoteDepth> {
    Ok(NoteDepth {
        index_bits: at.small("index_bits")?,
        rules: at.list("rules", note_rule)?,
        path: at.list("path", path_bit)?,
        early_shadow: at.optional("early_shadow", |at| {
            Ok(EarlyShadow {
                pa: at.number("pa")?,
                descends: at.truth("descends")?,
            })
        })?,
        pairs: at.optional("pairs", |at| {
            Ok(Pairs {
                mask: at.number("mask")?,
                value: at.number("value")?,
                step: at.number("step")?,
                nothing: at.number("nothing")?,
            })
        })?,
        format: format(at)?,
    })
}

/// -1 means as many as were reached.
fn limit(at: &At<'_>, name: &str) -> Found<Option<u32>> {
    if at.signed(name)? == -1 {
        Ok(None)
    } else {
        at.small(name).map(Some)
    }
}

fn dialect(object: &Bound<'_, PyAny>) -> Found<Dialect> {
    let at = At::root(object);
    let markers = at.field("markers")?;
    Ok(Dialect {
        page_bits: at.small("page_bits")?,
        depths: at.list("depths", note_depth)?,
        level_masks: at.list("levels", |at| at.number("mask"))?,
        markers: MarkerPolicy {
            first: limit(&markers, "first")?,
            flush: limit(&markers, "flush")?,
            note: limit(&markers, "note")?,
        },
        final_address: at.optional("final", At::u64)?,
        first_start: at.optional("first_start", At::u64)?,
        hole_value: at.number("hole_value")?,
        zero_path: at
            .optional("zero_path", At::u64)?
            .map(|state| {
                u8::try_from(state).or_else(|_| at.field("zero_path")?.wrong("is too large"))
            })
            .transpose()?,
        shadow_value: at.number("shadow_value")?,
        shadow_level: at.small("shadow_level")?,
        shadow_path_stale: at.truth("shadow_path_stale")?,
    })
}

/// A paging mode, checked and compiled.
#[pyclass(frozen, module = "fastwalk._fastwalk")]
pub struct Plan {
    spec: Spec,
    attributes: plan::Plan,
    physical: plan::Plan,
    none: plan::Plan,
}

impl Plan {
    /// The plan that tells leaves at `marks` from others.
    pub fn marking(&self, py: Python<'_>, marks: &[u64]) -> PyResult<plan::Plan> {
        plan::Plan::marking(&self.spec, marks).map_err(|error| spec_error(py, &error))
    }

    pub fn under(&self, coalesce: Coalesce) -> &plan::Plan {
        match coalesce {
            Coalesce::Attributes => &self.attributes,
            Coalesce::Physical => &self.physical,
            Coalesce::None => &self.none,
        }
    }
}

#[pymethods]
impl Plan {
    #[new]
    fn new(py: Python<'_>, spec: &Bound<'_, PyAny>) -> PyResult<Self> {
        let make = || {
            let spec = self::spec(spec)?;
            Ok(Self {
                attributes: plan::Plan::new(&spec, Coalesce::Attributes)?,
                physical: plan::Plan::new(&spec, Coalesce::Physical)?,
                none: plan::Plan::new(&spec, Coalesce::None)?,
                spec,
            })
        };
        make().map_err(|error| spec_error(py, &error))
    }

    /// Bytes of the root table.
    #[getter]
    fn root_bytes(&self) -> usize {
        self.attributes.depths[0].table_bytes()
    }
}

/// A kernel's dialect, checked and compiled.
#[pyclass(frozen, module = "fastwalk._fastwalk")]
pub struct Dumper {
    pub plan: plan::Plan,
}

#[pymethods]
impl Dumper {
    #[new]
    fn new(py: Python<'_>, dialect: &Bound<'_, PyAny>) -> PyResult<Self> {
        let make = || {
            Ok(Self {
                plan: plan::Plan::of_dialect(&self::dialect(dialect)?)?,
            })
        };
        make().map_err(|error| spec_error(py, &error))
    }

    /// Bytes of the root table.
    #[getter]
    fn root_bytes(&self) -> usize {
        self.plan.depths[0].table_bytes()
    }
}
