//! From a spec or a dialect to a plan: what the scan compares, what rules lead to.

use super::check::{
    SpecError, check_depth, check_fields, check_format, check_halves, check_path, check_rules,
    check_test, shifts, wrong,
};
use super::{
    Action, Atom, Coalesce, Decode, Label, Notes, Plan, PlanDepth, PlanRule, only_table, path_mask,
};
use crate::scan::Masks;
use crate::spec::{Depth, Dialect, Exclusion, Kind, NoteAction, Spec};

impl Plan {
    /// The plan of a paging mode under a coalescing key.
    ///
    /// # Errors
    /// [`SpecError`], with the path of the field that is wrong.
    pub fn new(spec: &Spec, coalesce: Coalesce) -> Result<Self, SpecError> {
        let shifts = shifts(spec.page_bits, spec.depths.iter().map(|d| d.index_bits))?;
        check_halves(spec, shifts[0] + spec.depths[0].index_bits)?;
        let last = spec.depths.len() - 1;
        let mut depths = Vec::new();
        for (depth, (of, shift)) in spec.depths.iter().zip(shifts).enumerate() {
            check_depth(of, depth, depth == last, shift)?;
            depths.push(compile_depth(
                of,
                depth,
                shift,
                coalesce == Coalesce::Physical,
            ));
        }
        if spec.permissions & !0x3f != 0 {
            return wrong("permissions", "only six bits may be used");
        }
        Ok(Self {
            depths,
            page_bits: spec.page_bits,
            adjacent: true,
            contiguous: coalesce == Coalesce::Physical,
            separate: coalesce == Coalesce::None,
            marks: Vec::new(),
            effective: (0..=u8::MAX)
                .map(|denied| effective(spec.permissions, &spec.exclusions, denied))
                .collect(),
            notes: None,
        })
    }

    /// The plan of a paging mode that joins leaves of equal attributes, but tells those
    /// at the addresses `marks` from all others ([`MARK`] in their path).
    ///
    /// # Errors
    /// [`SpecError`], with the path of the field that is wrong.
    pub fn marking(spec: &Spec, marks: &[u64]) -> Result<Self, SpecError> {
        // Compiled as for contiguous rows, so that the scan compares addresses.
        let mut plan = Self::new(spec, Coalesce::Physical)?;
        plan.contiguous = false;
        plan.marks = marks.to_vec();
        plan.marks.sort_unstable();
        for depth in &mut plan.depths {
            // The scan ends runs where addresses jump, which ends no row here.
            depth.distinct = false;
        }
        Ok(plan)
    }

    /// The plan of a kernel's dumper.
    ///
    /// # Errors
    /// [`SpecError`], with the path of the field that is wrong.
    pub fn of_dialect(dialect: &Dialect) -> Result<Self, SpecError> {
        let shifts = shifts(
            dialect.page_bits,
            dialect.depths.iter().map(|d| d.index_bits),
        )?;
        let last = dialect.depths.len() - 1;
        let mut depths = Vec::new();
        for (depth, shift) in shifts.into_iter().enumerate() {
            depths.push(compile_notes(dialect, depth, depth == last, shift)?);
        }
        let level = dialect.shadow_level;
        let Some(mask) = dialect.level_masks.get(usize::from(level)) else {
            return wrong("shadow_level", format!("there is no level {level}"));
        };
        let states = dialect
            .depths
            .iter()
            .flat_map(|d| &d.path)
            .fold(0, |all, bit| all | bit.bits);
        Ok(Self {
            depths,
            page_bits: dialect.page_bits,
            adjacent: false,
            contiguous: false,
            separate: false,
            marks: Vec::new(),
            effective: (0..=u8::MAX).collect(),
            notes: Some(Notes {
                markers: dialect.markers,
                final_address: dialect.final_address,
                first_start: dialect.first_start,
                zero_path: dialect.zero_path,
                shadow: (dialect.shadow_value & mask, dialect.shadow_value, level),
                shadow_path_stale: dialect.shadow_path_stale,
                path_states: usize::from(states | dialect.zero_path.unwrap_or(0)) + 1,
            }),
        })
    }
}

fn effective(permissions: u8, exclusions: &[Exclusion], denied: u8) -> u8 {
    exclusions
        .iter()
        .fold(permissions & !denied, |left, exclusion| {
            if left & exclusion.granted == exclusion.granted {
                left & !exclusion.denied
            } else {
                left
            }
        })
}

/// Splits what rules read into what the scan compares, tests for zero, and leaves to
/// the second look. `addresses`: bits that are an address in one rule or another.
fn scan_masks(
    rules: impl Iterator<Item = (u64, u64)>,
    compared: u64,
    addresses: u64,
) -> (Masks, Vec<(u64, u64)>) {
    let mut masks = Masks {
        key: compared,
        ..Masks::default()
    };
    let mut refine = Vec::new();
    for (mask, value) in rules {
        if mask & addresses == 0 {
            masks.key |= mask;
        } else if value == 0 && (masks.zero == 0 || masks.zero == mask) {
            masks.zero = mask;
        } else {
            masks.key |= mask & !addresses;
            refine.push((mask & !addresses, value & !addresses));
        }
    }
    (masks, refine)
}

/// Bits that are the same in all entries of a rule, and their values: those that it tests,
/// and those by whose single test an earlier rule would have matched.
fn known(rules: &[PlanRule], number: usize) -> (u64, u64) {
    let earlier = rules[..number]
        .iter()
        .filter(|rule| rule.mask.is_power_of_two())
        .map(|rule| (rule.mask, rule.mask & !rule.value));
    let own = (rules[number].mask, rules[number].value);
    earlier
        .chain([own])
        .fold((0, 0), |(masks, values), (mask, value)| {
            (masks | mask, values & !mask | value)
        })
}

/// Whether two atoms that differ in what the scan compares differ in what
/// [`Plan::joins`] compares: see [`PlanDepth::distinct`].
fn tells_apart(rules: &[PlanRule], masks: &Masks) -> bool {
    let atoms = || {
        rules
            .iter()
            .enumerate()
            .filter_map(|(number, rule)| match &rule.action {
                Action::Atom(atom) => Some((number, known(rules, number), atom)),
                _ => None,
            })
    };
    // Under the zero test's mask atoms are all alike: none of them is zero.
    let zeros_are_gaps = masks.zero == 0
        || rules
            .iter()
            .take_while(|rule| matches!(rule.action, Action::Gap))
            .any(|rule| (rule.mask, rule.value) == (masks.zero, 0));
    zeros_are_gaps
        && atoms().all(|(number, (mask, value), atom)| {
            let told_by = rules[number].told_by.unwrap_or(masks.key);
            let seen = told_by & !mask & !atom.key_mask == 0;
            let before = atoms().take_while(|&(other, ..)| other < number);
            seen && before
                .into_iter()
                .all(|(_, (other_mask, other_value), other)| {
                    let both = mask & other_mask & atom.key_mask & other.key_mask;
                    atom.label != other.label
                        || atom.level != other.level
                        || (value ^ other_value) & both != 0
                })
        })
}

fn compile_depth(of: &Depth, depth: usize, shift: u32, contiguous: bool) -> PlanDepth {
    // What is an address of a leaf, so that the scan cannot compare it; that of a table it
    // can, since there are few entries that lead to tables.
    let has_leaves = of.rules.iter().any(|rule| rule.kind == Kind::Leaf);
    let addresses = of
        .rules
        .iter()
        .filter(|rule| !has_leaves || rule.kind == Kind::Leaf)
        .flat_map(|rule| &rule.pa)
        .fold(0, |all, f| all | f.mask);
    let path = path_mask(&of.leaf_path) | path_mask(&of.table_path);
    let (mut masks, refine) = scan_masks(
        of.rules.iter().map(|rule| (rule.mask, rule.value)),
        of.attributes | path,
        addresses,
    );
    let leaves: Vec<usize> = (0..of.rules.len())
        .filter(|&i| of.rules[i].kind == Kind::Leaf)
        .collect();
    let mut stepped = None;
    let mut unstepped = 0;
    if contiguous {
        // The field that holds the lowest bit of the leaf's address counts the steps.
        stepped = leaves.iter().copied().find(|&i| {
            of.rules[i].replicated == 1
                && of.rules[i]
                    .pa
                    .iter()
                    .any(|field| field.image() >> shift & 1 != 0)
        });
        if let Some(rule) = stepped {
            let field = of.rules[rule]
                .pa
                .iter()
                .find(|field| field.image() >> shift & 1 != 0)
                .expect("the rule was chosen for having it");
            masks.address = field.mask;
            masks.step = (field.mask >> field.mask.trailing_zeros() & 1)
                << (i64::from(shift) - i64::from(field.shift)) as u32;
            // Where other fields differ a run may end; whether it does, Plan::joins says.
            for other in &of.rules[rule].pa {
                if other != field {
                    unstepped |= other.mask;
                }
            }
            masks.key |= unstepped;
        }
    }
    let mut rules: Vec<PlanRule> = of
        .rules
        .iter()
        .map(|rule| {
            let decode = || Decode {
                fields: rule.pa.clone(),
                offset: rule.offset,
            };
            let action = match rule.kind {
                Kind::None => Action::Gap,
                Kind::Table => Action::Table(decode()),
                Kind::Leaf | Kind::Other => Action::Atom(Atom {
                    label: if rule.kind == Kind::Leaf {
                        Label::Leaf
                    } else {
                        Label::Other
                    },
                    level: depth as u8,
                    key_mask: of.attributes,
                    fixed: None,
                    pa: (rule.kind == Kind::Leaf).then(decode),
                    replicated: rule.replicated,
                    path: rule.kind == Kind::Leaf,
                }),
            };
            PlanRule {
                mask: rule.mask,
                value: rule.value,
                action,
                kind: rule.kind,
                told_by: None,
            }
        })
        .collect();
    for number in 0..rules.len() {
        let told_by = match &rules[number].action {
            Action::Gap => continue,
            Action::Table(_) => path_mask(&of.table_path),
            Action::Atom(atom) => atom.key_mask | path_mask(&of.leaf_path) | unstepped,
        };
        let more = masks.key & !known(&rules, number).0 & !told_by;
        rules[number].told_by = (more != 0).then_some(told_by);
    }
    PlanDepth {
        shift,
        index_bits: of.index_bits,
        format: of.format,
        // Where addresses count, replicated descriptors are cut apart only to be joined.
        distinct: tells_apart(&rules, &masks)
            && (!contiguous || leaves.iter().all(|&leaf| Some(leaf) == stepped)),
        only_table: only_table(&rules),
        rules,
        masks,
        refine,
        stepped,
        length: of.length,
        early_shadow: None,
        pairs: None,
        table_path: of.table_path.clone(),
        atom_path: of.leaf_path.clone(),
        absent_level: depth as u8,
        attributes: of.attributes,
    }
}

fn compile_notes(
    dialect: &Dialect,
    depth: usize,
    last: bool,
    shift: u32,
) -> Result<PlanDepth, SpecError> {
    let of = &dialect.depths[depth];
    let path = format!("depths[{depth}]");
    let width = check_format(of.format, &path)?;
    check_path(&of.path, width, &format!("{path}.path"))?;
    check_rules(
        of.rules.iter().map(|rule| (rule.mask, rule.value)),
        width,
        &format!("{path}.rules"),
    )?;
    if let Some(pairs) = of.pairs {
        let path = format!("{path}.pairs");
        check_test(pairs.mask, pairs.value, width, &path)?;
        let silent = of
            .rules
            .iter()
            .find(|rule| pairs.nothing & rule.mask == rule.value)
            .is_some_and(|rule| rule.action == NoteAction::Silent);
        if !silent {
            return wrong(
                format!("{path}.nothing"),
                format!("no rule makes {:#x} silent", pairs.nothing),
            );
        }
    }
    let mut rules = Vec::new();
    let mut compared = path_mask(&of.path);
    // Of an absent table's note: that of its holes, or of its notes where it has none.
    let mut hole_level = None;
    let mut note_level = None;
    for (i, rule) in of.rules.iter().enumerate() {
        let path = format!("{path}.rules[{i}]");
        let level_mask = || match dialect.level_masks.get(usize::from(rule.level)) {
            Some(&mask) => Ok(mask),
            None => wrong(
                format!("{path}.level"),
                format!("there is no level {}", rule.level),
            ),
        };
        let note = |key_mask, fixed| {
            Action::Atom(Atom {
                label: Label::Note,
                level: rule.level,
                key_mask,
                fixed,
                pa: None,
                replicated: 1,
                path: true,
            })
        };
        let (action, kind) = match rule.action {
            NoteAction::Silent => (Action::Gap, Kind::Other),
            NoteAction::Hole => {
                hole_level.get_or_insert(rule.level);
                level_mask()?;
                (note(0, Some(dialect.hole_value)), Kind::None)
            }
            NoteAction::Note => {
                note_level.get_or_insert(rule.level);
                let mask = level_mask()?;
                compared |= mask & width;
                (note(mask, None), Kind::Leaf)
            }
            NoteAction::Descend if last => {
                return wrong(
                    format!("{path}.action"),
                    "there is no table below the last depth",
                );
            }
            NoteAction::Descend => {
                check_fields(&rule.pa, width, &format!("{path}.pa"))?;
                let decode = Decode {
                    fields: rule.pa.clone(),
                    offset: rule.offset,
                };
                (Action::Table(decode), Kind::Table)
            }
        };
        rules.push(PlanRule {
            mask: rule.mask,
            value: rule.value,
            told_by: (kind == Kind::Table).then(|| path_mask(&of.path)),
            action,
            kind,
        });
    }
    let addresses = of
        .rules
        .iter()
        .flat_map(|rule| &rule.pa)
        .fold(0, |all, f| all | f.mask)
        & !compared;
    // The last depth's rules name no address, but what they do not compare is one.
    let addresses = if last { !compared } else { addresses };
    let (mut masks, refine) = scan_masks(
        of.rules.iter().map(|rule| (rule.mask, rule.value)),
        compared,
        addresses,
    );
    if masks.zero == 0 && dialect.zero_path.is_some() {
        masks.zero = width;
    }
    Ok(PlanDepth {
        shift,
        index_bits: of.index_bits,
        format: of.format,
        only_table: only_table(&rules),
        rules,
        masks,
        refine,
        stepped: None,
        // Holes can have the key of the entries beside them.
        distinct: false,
        length: None,
        early_shadow: of.early_shadow,
        pairs: of.pairs,
        table_path: of.path.clone(),
        atom_path: of.path.clone(),
        absent_level: hole_level.or(note_level).unwrap_or(0),
        attributes: width,
    })
}
