//! What a spec or a dialect has to fulfil before it is compiled, and what is said where
//! it does not.

use crate::spec::{Depth, EntryFormat, Field, Kind, PathBit, Spec};

/// More depths than any mode has.
const MAX_DEPTHS: usize = 8;

/// Rules that a depth can have: their number fits a byte.
const MAX_RULES: usize = 256;

/// What is wrong with a spec or a dialect, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct SpecError {
    /// Which field, as Python would write it: `depths[2].rules[1].mask`.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

pub(super) fn wrong<T>(
    path: impl Into<String>,
    problem: impl Into<String>,
) -> Result<T, SpecError> {
    Err(SpecError {
        path: path.into(),
        problem: problem.into(),
    })
}

/// log2 of what an entry of each depth spans, from the root on.
pub(super) fn shifts(
    page_bits: u32,
    index_bits: impl Iterator<Item = u32>,
) -> Result<Vec<u32>, SpecError> {
    if !(6..=30).contains(&page_bits) {
        return wrong("page_bits", format!("{page_bits} is no size of a page"));
    }
    let index_bits: Vec<u32> = index_bits.collect();
    if !(1..=MAX_DEPTHS).contains(&index_bits.len()) {
        return wrong("depths", format!("has to be 1 to {MAX_DEPTHS} of them"));
    }
    let mut shift = page_bits;
    let mut out = Vec::new();
    for (depth, &bits) in index_bits.iter().enumerate().rev() {
        if !(1..=16).contains(&bits) {
            return wrong(
                format!("depths[{depth}].index_bits"),
                format!("{bits} is not in 1 to 16"),
            );
        }
        out.push(shift);
        shift += bits;
        if shift > 64 {
            return wrong(
                format!("depths[{depth}].index_bits"),
                format!("page_bits and index bits add up to {shift}, more than an address has"),
            );
        }
    }
    out.reverse();
    Ok(out)
}

/// `span_bits`: log2 of what a root spans.
pub(super) fn check_halves(spec: &Spec, span_bits: u32) -> Result<(), SpecError> {
    if spec.va_bits > span_bits {
        return wrong(
            "va_bits",
            format!(
                "is {}, but page_bits and index bits add up to {span_bits}",
                spec.va_bits
            ),
        );
    }
    if spec.halves.is_empty() {
        return wrong("halves", "there is none");
    }
    let last_offset = u64::MAX >> (64 - span_bits);
    for (i, half) in spec.halves.iter().enumerate() {
        for (j, window) in half.iter().enumerate() {
            let path = format!("halves[{i}].windows[{j}]");
            if window
                .offset
                .checked_add(window.last)
                .is_none_or(|last| last > last_offset)
            {
                return wrong(
                    path,
                    format!("reaches past the root's span of 2^{span_bits}"),
                );
            }
            if window.base.checked_add(window.last).is_none() {
                return wrong(format!("{path}.base"), "the window would go past 2^64");
            }
        }
    }
    Ok(())
}

pub(super) fn check_format(format: EntryFormat, path: &str) -> Result<u64, SpecError> {
    match format.bytes {
        4 => Ok(u64::from(u32::MAX)),
        8 => Ok(u64::MAX),
        other => wrong(
            format!("{path}.entry_bytes"),
            format!("{other} is neither 4 nor 8"),
        ),
    }
}

pub(super) fn check_test(mask: u64, value: u64, width: u64, path: &str) -> Result<(), SpecError> {
    if mask & !width != 0 {
        return wrong(
            format!("{path}.mask"),
            format!("{mask:#x} does not fit the entry"),
        );
    }
    if value & !mask != 0 {
        return wrong(
            format!("{path}.value"),
            format!("{value:#x} has bits outside of the mask {mask:#x}: it never matches"),
        );
    }
    Ok(())
}

pub(super) fn check_fields(fields: &[Field], width: u64, path: &str) -> Result<u64, SpecError> {
    if fields.is_empty() {
        return wrong(path, "says nowhere where the entry points");
    }
    let mut image = 0;
    for (i, field) in fields.iter().enumerate() {
        let path = format!("{path}[{i}]");
        if field.mask == 0 || field.mask & !width != 0 {
            return wrong(
                format!("{path}.mask"),
                format!("{:#x} does not fit the entry", field.mask),
            );
        }
        let lost = match field.shift {
            0..=63 => field.mask << field.shift >> field.shift != field.mask,
            -63..0 => field.mask >> -field.shift << -field.shift != field.mask,
            _ => true,
        };
        if lost {
            return wrong(
                format!("{path}.shift"),
                format!(
                    "{} moves bits of {:#x} out of the address",
                    field.shift, field.mask
                ),
            );
        }
        if image & field.image() != 0 {
            return wrong(
                path,
                format!("overlaps another field in {:#x}", image & field.image()),
            );
        }
        image |= field.image();
    }
    Ok(image)
}

pub(super) fn check_path(bits: &[PathBit], width: u64, path: &str) -> Result<(), SpecError> {
    for (i, bit) in bits.iter().enumerate() {
        let path = format!("{path}[{i}]");
        check_test(bit.mask, bit.value, width, &path)?;
        if bit.bits == 0 {
            return wrong(format!("{path}.bits"), "sets nothing");
        }
    }
    Ok(())
}

pub(super) fn check_depth(
    of: &Depth,
    depth: usize,
    last: bool,
    shift: u32,
) -> Result<(), SpecError> {
    let path = format!("depths[{depth}]");
    let width = check_format(of.format, &path)?;
    if of.attributes & !width != 0 {
        return wrong(
            format!("{path}.attributes"),
            format!("{:#x} does not fit the entry", of.attributes),
        );
    }
    check_path(&of.table_path, width, &format!("{path}.table_path"))?;
    check_path(&of.leaf_path, width, &format!("{path}.leaf_path"))?;
    check_rules(
        of.rules.iter().map(|rule| (rule.mask, rule.value)),
        width,
        &format!("{path}.rules"),
    )?;
    for (i, rule) in of.rules.iter().enumerate() {
        let path = format!("{path}.rules[{i}]");
        match rule.kind {
            Kind::None | Kind::Other => continue,
            Kind::Table if last => {
                return wrong(
                    format!("{path}.kind"),
                    "there is no table below the last depth",
                );
            }
            Kind::Table => {
                check_fields(&rule.pa, width, &format!("{path}.pa"))?;
            }
            Kind::Leaf => {
                let image = check_fields(&rule.pa, width, &format!("{path}.pa"))?;
                check_replicated(rule.replicated, of.index_bits, &path)?;
                let span = shift + rule.replicated.trailing_zeros();
                if span < 64 && image & ((1 << span) - 1) != 0 {
                    return wrong(
                        format!("{path}.pa"),
                        format!(
                            "a leaf of 2^{span} bytes cannot have address bits {:#x}",
                            image & ((1 << span) - 1)
                        ),
                    );
                }
            }
        }
        if rule.kind == Kind::Table && rule.replicated != 1 {
            return wrong(format!("{path}.replicated"), "only leaves can be");
        }
    }
    let has = |kind| of.rules.iter().any(|rule| rule.kind == kind);
    if last && !has(Kind::Leaf) {
        return wrong(
            format!("{path}.rules"),
            "no rule of the last depth makes a leaf",
        );
    }
    if !last && !has(Kind::Table) {
        return wrong(
            format!("{path}.rules"),
            format!(
                "no rule makes a table: depths[{}] is never reached",
                depth + 1
            ),
        );
    }
    if let Some(length) = &of.length {
        for (name, field) in [("first", length.first), ("last", length.last)] {
            check_fields(&[field], width, &format!("{path}.length.{name}"))?;
        }
        if last {
            return wrong(
                format!("{path}.length"),
                "there is no table below the last depth",
            );
        }
    }
    Ok(())
}

fn check_replicated(replicated: u64, index_bits: u32, path: &str) -> Result<(), SpecError> {
    if !replicated.is_power_of_two() || replicated > 1 << index_bits {
        return wrong(
            format!("{path}.replicated"),
            format!("{replicated} is no power of two that fits the table"),
        );
    }
    Ok(())
}

pub(super) fn check_rules(
    rules: impl ExactSizeIterator<Item = (u64, u64)>,
    width: u64,
    path: &str,
) -> Result<(), SpecError> {
    let count = rules.len();
    for (i, (mask, value)) in rules.enumerate() {
        let path = format!("{path}[{i}]");
        check_test(mask, value, width, &path)?;
        if mask == 0 && i + 1 != count {
            return wrong(
                path,
                "matches everything: the rules after it are never reached",
            );
        }
        if mask != 0 && i + 1 == count {
            return wrong(
                format!("{path}.mask"),
                "the last rule has to match everything (mask 0)",
            );
        }
    }
    if count == 0 {
        return wrong(path, "there is none");
    }
    if count > MAX_RULES {
        return wrong(path, format!("are {count}, more than {MAX_RULES}"));
    }
    Ok(())
}
