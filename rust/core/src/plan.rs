//! A spec or a dialect, checked and compiled for the walk.
//!
//! Both come to the same thing: for each depth, ordered rules that say whether an
//! entry is a gap, leads to a table, or is an *atom*: something that ends up in a row.
//! For a paging mode the atoms are leaves (and other entries); for a dialect they are
//! the kernel's notes. What makes two neighbouring atoms one row ([`Plan::joins`]) is
//! the rest of the plan.

use crate::scan::Masks;
use crate::spec::{
    Depth, Dialect, EarlyShadow, EntryFormat, Exclusion, Field, Kind, Length, MarkerPolicy,
    NoteAction, PathBit, Spec,
};

/// More depths than any mode has.
const MAX_DEPTHS: usize = 8;

/// What is wrong with a spec or a dialect, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct SpecError {
    /// Which field, as Python would write it: `depths[2].rules[1].mask`.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

fn wrong<T>(path: impl Into<String>, problem: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError {
        path: path.into(),
        problem: problem.into(),
    })
}

/// What makes neighbouring leaves one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coalesce {
    /// Equal attributes, effective permissions and depth.
    Attributes,
    /// That, and contiguous physical addresses.
    Physical,
    /// Nothing: a row a leaf.
    None,
}

/// What kind of thing an atom, or a row, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Label {
    /// Maps memory.
    Leaf = 0,
    /// Neither empty nor walkable.
    Other = 1,
    /// The table is not in the image: unknown.
    Absent = 2,
    /// A note of a kernel's dumper.
    Note = 3,
}

/// How an address is put together from an entry.
#[derive(Clone, Debug, Default)]
pub struct Decode {
    fields: Vec<Field>,
    offset: u64,
}

impl Decode {
    /// The address in `entry`.
    #[inline]
    pub fn address(&self, entry: u64) -> u64 {
        self.fields
            .iter()
            .fold(self.offset, |sum, field| sum.wrapping_add(field.of(entry)))
    }
}

impl Field {
    /// The bits of `entry`, where they belong.
    #[inline]
    pub fn of(self, entry: u64) -> u64 {
        let bits = entry & self.mask;
        if self.shift >= 0 {
            bits << self.shift
        } else {
            bits >> -self.shift
        }
    }

    /// All the bits that [`of`](Self::of) can set.
    fn image(self) -> u64 {
        self.of(self.mask)
    }
}

/// An atom: what a rule makes of a matching entry.
#[derive(Clone, Debug)]
pub struct Atom {
    /// What it is.
    pub label: Label,
    /// The depth, or the level number of a note: part of the key.
    pub level: u8,
    /// Bits of the entry that make the key.
    pub key_mask: u64,
    /// The key, where it does not come from the entry (holes).
    pub fixed: Option<u64>,
    /// Where a leaf is.
    pub pa: Option<Decode>,
    /// Entries that repeat one descriptor.
    pub replicated: u64,
    /// Its path state counts.
    pub path: bool,
}

impl Atom {
    /// The value that the key is taken from and that rows can show.
    #[inline]
    pub fn value(&self, entry: u64) -> u64 {
        self.fixed.unwrap_or(entry)
    }

    /// What has to be equal for two atoms to be joined.
    #[inline]
    pub fn key(&self, entry: u64) -> u64 {
        self.fixed.unwrap_or(entry & self.key_mask)
    }
}

/// What becomes of an entry.
#[derive(Clone, Debug)]
pub enum Action {
    /// Nothing.
    Gap,
    /// The next table is at the decoded address.
    Table(Decode),
    /// A row, or part of one.
    Atom(Atom),
}

/// A rule, compiled.
#[derive(Clone, Debug)]
pub struct PlanRule {
    mask: u64,
    value: u64,
    /// What it leads to.
    pub action: Action,
    /// What the entry is for the processor; for a dialect, the nearest thing.
    pub kind: Kind,
}

impl PlanRule {
    /// Mask and value.
    pub fn test(&self) -> (u64, u64) {
        (self.mask, self.value)
    }
}

/// A depth, compiled.
#[derive(Clone, Debug)]
pub struct PlanDepth {
    /// log2 of what one entry spans.
    pub shift: u32,
    /// log2 of the number of entries.
    pub index_bits: u32,
    /// Width and byte order.
    pub format: EntryFormat,
    /// Tried in order; the last one matches everything.
    pub rules: Vec<PlanRule>,
    /// For the vectorised scan.
    pub masks: Masks,
    /// Runs whose first entry matches one of these are looked at entry by entry: a
    /// rule reads address bits, which the scan does not compare.
    pub refine: Vec<(u64, u64)>,
    /// The scan's address test holds for entries of this rule; the other leaves of the
    /// depth are looked at one by one.
    pub stepped: Option<usize>,
    /// Limits that a table entry sets.
    pub length: Option<Length>,
    /// See the dialect.
    pub early_shadow: Option<EarlyShadow>,
    /// Path state from table entries.
    pub table_path: Vec<PathBit>,
    /// Path state from atoms.
    pub atom_path: Vec<PathBit>,
    /// Level that an absent table below this depth's parent is reported at.
    pub absent_level: u8,
    /// The attribute bits of this depth.
    pub attributes: u64,
}

impl PlanDepth {
    /// Entries of a whole table.
    #[inline]
    pub fn entries(&self) -> usize {
        1 << self.index_bits
    }

    /// Bytes of a whole table.
    #[inline]
    pub fn table_bytes(&self) -> usize {
        self.entries() * self.format.bytes
    }

    /// What one entry spans. An entry never spans 2^64: tables have two at least, or
    /// lie below one that does.
    #[inline]
    pub fn span(&self) -> u64 {
        1 << self.shift
    }

    /// Index of the rule that an entry matches.
    #[inline]
    pub fn rule(&self, entry: u64) -> usize {
        self.rules
            .iter()
            .position(|rule| entry & rule.mask == rule.value)
            .unwrap_or(self.rules.len() - 1)
    }

    /// What becomes of an entry.
    #[inline]
    pub fn action(&self, entry: u64) -> &Action {
        &self.rules[self.rule(entry)].action
    }
}

fn path_state(bits: &[PathBit], entry: u64) -> u8 {
    bits.iter().fold(0, |state, bit| {
        if entry & bit.mask == bit.value {
            state | bit.bits
        } else {
            state
        }
    })
}

impl PlanDepth {
    /// State that a table entry adds to the path.
    #[inline]
    pub fn table_state(&self, entry: u64) -> u8 {
        path_state(&self.table_path, entry)
    }

    /// State that an atom adds to the path.
    #[inline]
    pub fn atom_state(&self, entry: u64) -> u8 {
        path_state(&self.atom_path, entry)
    }
}

/// What a dialect adds to a plan.
#[derive(Clone, Debug)]
pub struct Notes {
    /// When markers are passed.
    pub markers: MarkerPolicy,
    /// See the dialect.
    pub final_address: Option<u64>,
    /// See the dialect.
    pub first_start: Option<u64>,
    /// Path state of values of 0.
    pub zero_path: Option<u8>,
    /// Key, value and level of early-shadow notes.
    pub shadow: (u64, u64, u8),
    /// They carry the path state of the last pte.
    pub shadow_path_stale: bool,
    /// How many path states there are.
    pub path_states: usize,
}

/// How to walk: a spec under a coalescing key, or a dialect.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From the root on.
    pub depths: Vec<PlanDepth>,
    /// log2 of the smallest page.
    pub page_bits: u32,
    /// Atoms are joined only where one ends at the address at which the next starts.
    adjacent: bool,
    /// And only where their physical addresses go on.
    contiguous: bool,
    /// Never.
    separate: bool,
    /// Leaves at these physical addresses are told from all others, ascending.
    marks: Vec<u64>,
    /// By path state: the permissions that are left. Dialects: the state itself.
    effective: Vec<u8>,
    /// What a dialect adds.
    pub notes: Option<Notes>,
}

/// In an edge's path: the leaf is one of the marked ones.
pub const MARK: u8 = 0x80;

/// The first or last atom of something, as far as joining it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where it starts: an offset from the start of what it is the edge of, or a
    /// virtual address, as the context has it.
    pub at: u64,
    /// How long it is.
    pub len: u64,
    /// What was compared.
    pub key: u64,
    /// Physical address of a leaf; of the table for absent ones.
    pub pa: u64,
    /// The entry, for dialects.
    pub value: u64,
    /// Effective permissions, or the dialect's path state.
    pub path: u8,
    /// Depth, or level of a note.
    pub level: u8,
    /// What it is.
    pub label: Label,
}

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

    /// The last byte of the root's span, as an offset.
    pub fn last_offset(&self) -> u64 {
        let root = &self.depths[0];
        u64::MAX >> (64 - (root.shift + root.index_bits).min(64))
    }

    /// Whether atom `next`, which comes right after `this`, belongs to the same row.
    /// Both edges' `at` are relative to the same thing.
    #[inline]
    pub fn joins(&self, this: &Edge, next: &Edge) -> bool {
        if this.key != next.key
            || this.path != next.path
            || this.level != next.level
            || this.label != next.label
            || self.separate
        {
            return false;
        }
        if self.adjacent && this.at.wrapping_add(this.len) != next.at {
            return false;
        }
        match this.label {
            Label::Leaf => !self.contiguous || this.pa.wrapping_add(this.len) == next.pa,
            Label::Absent => !self.contiguous,
            Label::Other | Label::Note => true,
        }
    }

    /// True where each atom is a row of its own.
    #[inline]
    pub fn is_separate(&self) -> bool {
        self.separate
    }

    /// True where it matters for rows which addresses leaves have.
    #[inline]
    pub fn compares_addresses(&self) -> bool {
        self.contiguous || !self.marks.is_empty()
    }

    /// What an entry itself adds to its path: two atoms that are alike in this are alike
    /// in their path below the same tables.
    #[inline]
    pub fn own_state(&self, depth: &PlanDepth, entry: u64) -> (u8, bool) {
        let zero = self
            .notes
            .as_ref()
            .is_some_and(|notes| notes.zero_path.is_some());
        (depth.atom_state(entry), zero && entry == 0)
    }

    /// The path column of an atom below `inherited`.
    #[inline]
    pub fn atom_path(&self, depth: &PlanDepth, atom: &Atom, inherited: u8, entry: u64) -> u8 {
        if !atom.path {
            return 0;
        }
        if let Some(Notes {
            zero_path: Some(state),
            ..
        }) = self.notes
            && atom.value(entry) == 0
        {
            return state;
        }
        self.effective[usize::from(inherited | depth.atom_state(entry))]
    }

    /// The atom that `entry`, at `index` of a table at `depth`, makes.
    #[inline]
    pub fn edge(
        &self,
        depth: &PlanDepth,
        atom: &Atom,
        inherited: u8,
        index: usize,
        entry: u64,
    ) -> Edge {
        let pa = leaf_address(depth, atom, index, entry);
        let mut path = self.atom_path(depth, atom, inherited, entry);
        if !self.marks.is_empty()
            && atom.label == Label::Leaf
            && self.marks.binary_search(&pa).is_ok()
        {
            path |= MARK;
        }
        Edge {
            at: (index as u64) << depth.shift,
            len: depth.span(),
            key: atom.key(entry),
            pa,
            value: atom.value(entry),
            path,
            level: atom.level,
            label: atom.label,
        }
    }
}

/// Where a leaf is; 0 for atoms that are nowhere.
#[inline]
pub fn leaf_address(depth: &PlanDepth, atom: &Atom, index: usize, entry: u64) -> u64 {
    let Some(pa) = &atom.pa else { return 0 };
    let base = pa.address(entry);
    if atom.replicated == 1 {
        return base;
    }
    base.wrapping_add((index as u64 & (atom.replicated - 1)) << depth.shift)
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

/// log2 of what an entry of each depth spans, from the root on.
fn shifts(page_bits: u32, index_bits: impl Iterator<Item = u32>) -> Result<Vec<u32>, SpecError> {
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
fn check_halves(spec: &Spec, span_bits: u32) -> Result<(), SpecError> {
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

fn check_format(format: EntryFormat, path: &str) -> Result<u64, SpecError> {
    match format.bytes {
        4 => Ok(u64::from(u32::MAX)),
        8 => Ok(u64::MAX),
        other => wrong(
            format!("{path}.entry_bytes"),
            format!("{other} is neither 4 nor 8"),
        ),
    }
}

fn check_test(mask: u64, value: u64, width: u64, path: &str) -> Result<(), SpecError> {
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

fn check_fields(fields: &[Field], width: u64, path: &str) -> Result<u64, SpecError> {
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

fn check_path(bits: &[PathBit], width: u64, path: &str) -> Result<(), SpecError> {
    for (i, bit) in bits.iter().enumerate() {
        let path = format!("{path}[{i}]");
        check_test(bit.mask, bit.value, width, &path)?;
        if bit.bits == 0 {
            return wrong(format!("{path}.bits"), "sets nothing");
        }
    }
    Ok(())
}

fn check_depth(of: &Depth, depth: usize, last: bool, shift: u32) -> Result<(), SpecError> {
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

fn check_rules(
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
    Ok(())
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

fn compile_depth(of: &Depth, depth: usize, shift: u32, contiguous: bool) -> PlanDepth {
    let addresses = of
        .rules
        .iter()
        .flat_map(|rule| &rule.pa)
        .fold(0, |all, f| all | f.mask);
    let path = of.leaf_path.iter().fold(0, |all, bit| all | bit.mask);
    let (mut masks, refine) = scan_masks(
        of.rules.iter().map(|rule| (rule.mask, rule.value)),
        of.attributes | path,
        addresses,
    );
    let leaves: Vec<usize> = (0..of.rules.len())
        .filter(|&i| of.rules[i].kind == Kind::Leaf)
        .collect();
    let mut stepped = None;
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
                    masks.key |= other.mask;
                }
            }
        }
    }
    let rules = of
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
            }
        })
        .collect();
    PlanDepth {
        shift,
        index_bits: of.index_bits,
        format: of.format,
        rules,
        masks,
        refine,
        stepped,
        length: of.length,
        early_shadow: None,
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
    let mut rules = Vec::new();
    let mut compared = of.path.iter().fold(0, |all, bit| all | bit.mask);
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
        rules,
        masks,
        refine,
        stepped: None,
        length: None,
        early_shadow: of.early_shadow,
        table_path: of.path.clone(),
        atom_path: of.path.clone(),
        absent_level: hole_level.or(note_level).unwrap_or(0),
        attributes: width,
    })
}
