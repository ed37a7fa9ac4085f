//! A spec or a dialect, checked and compiled for the walk.
//!
//! Both come to the same thing: for each depth, ordered rules that say whether an
//! entry is a gap, leads to a table, or is an *atom*: something that ends up in a row.
//! For a paging mode the atoms are leaves (and other entries); for a dialect they are
//! the kernel's notes. What makes two neighbouring atoms one row ([`Plan::joins`]) is
//! the rest of the plan.

mod check;
mod compile;

pub use check::SpecError;

use crate::scan::Masks;
use crate::spec::{EarlyShadow, EntryFormat, Field, Kind, Length, MarkerPolicy, Pairs, PathBit};

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

    /// The addresses in some entries.
    #[inline(always)]
    pub fn addresses(&self, entries: &[u64], out: &mut [u64]) {
        let [first, others @ ..] = &self.fields[..] else {
            return out.fill(self.offset);
        };
        let (left, right) = first.shifts();
        for (out, entry) in out.iter_mut().zip(entries) {
            *out = self
                .offset
                .wrapping_add((entry & first.mask) << left >> right);
        }
        for field in others {
            let (left, right) = field.shifts();
            for (out, entry) in out.iter_mut().zip(entries) {
                *out = out.wrapping_add((entry & field.mask) << left >> right);
            }
        }
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

    /// How far to shift to the left, and then to the right.
    #[inline(always)]
    fn shifts(self) -> (i32, i32) {
        (self.shift.max(0), (-self.shift).max(0))
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
    /// The bits by which neighbours of this rule are told apart, where the scan compares
    /// others too, which another rule reads.
    pub told_by: Option<u64>,
}

/// See [`PlanDepth::only_table`].
fn only_table(rules: &[PlanRule]) -> Option<usize> {
    let is_table = |rule: &PlanRule| matches!(rule.action, Action::Table(_));
    let first = rules.iter().position(is_table)?;
    (rules.iter().rposition(is_table) == Some(first)).then_some(first)
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
    /// Neighbouring atoms of one table that the scan tells apart are never joined,
    /// whatever lies above; so rows can be counted by counting its bits.
    pub distinct: bool,
    /// The rule of entries that lead to tables, if there is one such rule only.
    pub only_table: Option<usize>,
    /// Limits that a table entry sets.
    pub length: Option<Length>,
    /// See the dialect.
    pub early_shadow: Option<EarlyShadow>,
    /// See the dialect.
    pub pairs: Option<Pairs>,
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

    /// The bits by which entries are like `entry` to all rules: those that the scan
    /// compares, and where these do not tell that it is not zero, those too that may.
    pub fn alike_by(&self, entry: u64) -> u64 {
        let Masks { key, zero, .. } = self.masks;
        if entry & key & zero == 0 {
            key | zero
        } else {
            key
        }
    }

    /// How the entries that lead to tables say where, if all of them say it alike.
    #[inline]
    pub fn only_table(&self) -> Option<&Decode> {
        match &self.rules[self.only_table?].action {
            Action::Table(decode) => Some(decode),
            _ => None,
        }
    }

    /// Index of the rule that an entry matches.
    #[inline]
    pub fn rule(&self, entry: u64) -> usize {
        self.rules
            .iter()
            .position(|rule| entry & rule.mask == rule.value)
            .unwrap_or(self.rules.len() - 1)
    }

    /// Whether an entry is a leaf.
    #[inline]
    pub fn is_leaf(&self, entry: u64) -> bool {
        matches!(self.action(entry), Action::Atom(atom) if atom.label == Label::Leaf)
    }

    /// What becomes of an entry.
    #[inline]
    pub fn action(&self, entry: u64) -> &Action {
        &self.rules[self.rule(entry)].action
    }
}

fn path_mask(bits: &[PathBit]) -> u64 {
    bits.iter().fold(0, |mask, bit| mask | bit.mask)
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
    /// The bits of table entries that state comes from.
    pub fn table_path_mask(&self) -> u64 {
        path_mask(&self.table_path)
    }

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

    /// Whether two atoms of a [distinct](PlanDepth::distinct) depth are one row, the second
    /// of which comes right after the first and inherits the same.
    #[inline]
    pub fn goes_on(&self, depth: &PlanDepth, this: u64, next: u64) -> bool {
        let masks = &depth.masks;
        !self.separate
            && (this ^ next) & masks.key == 0
            && (!self.compares_addresses()
                || (next & masks.address).wrapping_sub(this & masks.address) == masks.step
                || !depth.is_leaf(this))
    }

    /// True where each atom is a row of its own.
    #[inline]
    pub fn is_separate(&self) -> bool {
        self.separate
    }

    /// Leaves at these addresses are told from all others, ascending.
    #[inline]
    pub fn marks(&self) -> &[u64] {
        &self.marks
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

    /// The path column of some leaves below `inherited`; for plans without notes.
    #[inline(always)]
    pub fn paths(&self, depth: &PlanDepth, inherited: u8, entries: &[u64], out: &mut [u8]) {
        out.fill(inherited);
        self.add_paths(depth, entries, out);
    }

    /// The path column of some leaves, each below what `out` says; for plans without notes.
    #[inline(always)]
    pub fn add_paths(&self, depth: &PlanDepth, entries: &[u64], out: &mut [u8]) {
        for bit in &depth.atom_path {
            for (out, entry) in out.iter_mut().zip(entries) {
                // Without a branch: attributes come in no order that could be guessed.
                *out |= u8::from(entry & bit.mask == bit.value).wrapping_neg() & bit.bits;
            }
        }
        if let Ok(effective) = <&[u8; 256]>::try_from(&self.effective[..]) {
            for out in out {
                *out = effective[usize::from(*out)];
            }
        }
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
