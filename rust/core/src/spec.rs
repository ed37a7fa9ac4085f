//! What Python says of a paging mode or of a kernel's dumper, as plain data.
//!
//! The mirror of `fastwalk.arch.spec` and `fastwalk.arch.dialect`; the meaning of
//! each field is written there. [`crate::plan`] checks and compiles it.

/// Bits of an entry, moved to where they stand in an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Which bits.
    pub mask: u64,
    /// How far to the left, or to the right where negative.
    pub shift: i32,
}

/// What an entry is for the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Empty.
    None,
    /// Points to the next table.
    Table,
    /// Maps memory.
    Leaf,
    /// Neither empty nor walkable.
    Other,
}

/// `entry & mask == value` makes an entry of this kind.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Bits that the test reads.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
    /// What the entry is then.
    pub kind: Kind,
    /// Where it points.
    pub pa: Vec<Field>,
    /// Added to a table's address, modulo 2^64.
    pub offset: u64,
    /// So many entries repeat one leaf descriptor.
    pub replicated: u64,
}

/// An entry that matches sets `bits` in the state collected from the root on.
#[derive(Clone, Copy, Debug)]
pub struct PathBit {
    /// Bits of the state.
    pub bits: u8,
    /// Bits of the entry that the test reads.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
}

/// How a table entry limits the entries of the next table.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Index of the first entry that exists.
    pub first: Field,
    /// Index of the last one, before `last_add`.
    pub last: Field,
    /// Added to `last`.
    pub last_add: u64,
}

/// How entries lie in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryFormat {
    /// 4 or 8.
    pub bytes: usize,
    /// Most significant byte first.
    pub big_endian: bool,
}

/// One depth of a paging mode.
#[derive(Clone, Debug)]
pub struct Depth {
    /// log2 of the number of entries.
    pub index_bits: u32,
    /// Tried in order.
    pub rules: Vec<Rule>,
    /// Bits of the `attributes` column.
    pub attributes: u64,
    /// Permissions that a table entry denies to everything below.
    pub table_path: Vec<PathBit>,
    /// Permissions that a leaf entry denies.
    pub leaf_path: Vec<PathBit>,
    /// Width and byte order.
    pub format: EntryFormat,
    /// Limits that a table entry of this depth sets to the next table.
    pub length: Option<Length>,
}

/// Part of a root's span and the virtual addresses it appears at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First byte of the span that it shows.
    pub offset: u64,
    /// How many bytes, less one.
    pub last: u64,
    /// The virtual address of the first.
    pub base: u64,
}

/// Where all of `granted` is allowed, `denied` is not.
#[derive(Clone, Copy, Debug)]
pub struct Exclusion {
    /// Permissions that together exclude others.
    pub granted: u8,
    /// The permissions excluded.
    pub denied: u8,
}

/// One way to show a root's span.
pub type Half = Vec<Window>;

/// A paging mode.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Bits of a virtual address that are translated.
    pub va_bits: u32,
    /// log2 of the smallest page.
    pub page_bits: u32,
    /// From the root on.
    pub depths: Vec<Depth>,
    /// The first one is the default.
    pub halves: Vec<Half>,
    /// Permissions that the mode can tell.
    pub permissions: u8,
    /// Applied after the path.
    pub exclusions: Vec<Exclusion>,
}

/// What a kernel's dumper does with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteAction {
    /// Reports it with its own value.
    Note,
    /// Reports it with the dialect's hole value.
    Hole,
    /// Walks the table it points to.
    Descend,
    /// Reports nothing.
    Silent,
}

/// `entry & mask == value` makes the dumper do this.
#[derive(Clone, Debug)]
pub struct NoteRule {
    /// Bits that the test reads.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
    /// What happens.
    pub action: NoteAction,
    /// The level number reported.
    pub level: u8,
    /// Where the next table is.
    pub pa: Vec<Field>,
    /// Added to that, modulo 2^64.
    pub offset: u64,
}

/// A table whose users are noted once instead of walked.
#[derive(Clone, Copy, Debug)]
pub struct EarlyShadow {
    /// Where it is; compared by page frame.
    pub pa: u64,
    /// It is walked all the same, after the note.
    pub descends: bool,
}

/// Entries that are taken two at a time; the second by itself only where it matches.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    /// Bits that the test reads.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
    /// Added to a first entry that is descended, to have the second.
    pub step: u64,
    /// What the second is where the first is not descended.
    pub nothing: u64,
}

/// One depth of a dialect.
#[derive(Clone, Debug)]
pub struct NoteDepth {
    /// log2 of the number of entries.
    pub index_bits: u32,
    /// Tried in order.
    pub rules: Vec<NoteRule>,
    /// Path state set by entries that are noted or descended.
    pub path: Vec<PathBit>,
    /// The early-shadow table of the next depth.
    pub early_shadow: Option<EarlyShadow>,
    /// How second entries are read, if not by themselves.
    pub pairs: Option<Pairs>,
    /// Width and byte order.
    pub format: EntryFormat,
}

/// How many markers may be passed at each step; None: as many as were reached.
#[derive(Clone, Copy, Debug)]
pub struct MarkerPolicy {
    /// At the first note.
    pub first: Option<u32>,
    /// After each run.
    pub flush: Option<u32>,
    /// At the end of each note.
    pub note: Option<u32>,
}

/// The walk half of a dialect.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// log2 of the smallest page.
    pub page_bits: u32,
    /// From the root on.
    pub depths: Vec<NoteDepth>,
    /// By level number: the bits of a value that are compared.
    pub level_masks: Vec<u64>,
    /// When markers are passed.
    pub markers: MarkerPolicy,
    /// Address of the last flush; None: the end of the last range.
    pub final_address: Option<u64>,
    /// Where the first run is said to start; None: at the first note.
    pub first_start: Option<u64>,
    /// What holes are reported with.
    pub hole_value: u64,
    /// Path state of values of 0.
    pub zero_path: Option<u8>,
    /// What early-shadow tables are reported with.
    pub shadow_value: u64,
    /// The level they are reported at.
    pub shadow_level: u8,
    /// They carry the path state of the last pte that was met.
    pub shadow_path_stale: bool,
}
