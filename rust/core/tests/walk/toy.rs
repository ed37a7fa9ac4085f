//! The mode, its tables and its dumper.

use fastwalk_core::addr::Pa;
use fastwalk_core::error::WalkError;
use fastwalk_core::fold::Fold;
use fastwalk_core::image::{self, OpenOptions, PhysicalMemory, Source};
use fastwalk_core::plan::Plan;
use fastwalk_core::scan::Isa;
use fastwalk_core::spec::{
    Depth, Dialect, EntryFormat, Field, Kind, MarkerPolicy, NoteAction, NoteDepth, NoteRule,
    PathBit, Rule, Spec, Window,
};
use fastwalk_core::tree::{Control, Options, Tree};
use fastwalk_core::visit::Span;

/// The entry is there.
pub const P: u64 = 1;
/// At the root: a block of 256 bytes.
pub const BLOCK: u64 = 2;
/// May be written.
pub const W: u64 = 4;
/// Nothing but a bit of software's.
pub const SOFT: u64 = 8;
/// Bytes of a page.
pub const PAGE: u64 = 64;

pub const FORMAT: EntryFormat = EntryFormat {
    bytes: 8,
    big_endian: false,
};

pub fn field(mask: u64) -> Vec<Field> {
    vec![Field { mask, shift: 0 }]
}

fn rule(mask: u64, value: u64, kind: Kind, pa: Vec<Field>) -> Rule {
    Rule {
        mask,
        value,
        kind,
        pa,
        offset: 0,
        replicated: 1,
    }
}

fn depth(rules: Vec<Rule>) -> Depth {
    let denied = PathBit {
        bits: 2,
        mask: W,
        value: 0,
    };
    Depth {
        index_bits: 2,
        rules,
        attributes: W | SOFT,
        table_path: vec![denied],
        leaf_path: vec![denied],
        format: FORMAT,
        length: None,
    }
}

/// Permissions: 1 read, 2 write.
pub fn spec() -> Spec {
    Spec {
        va_bits: 10,
        page_bits: 6,
        depths: vec![
            depth(vec![
                rule(P, 0, Kind::None, vec![]),
                rule(BLOCK, BLOCK, Kind::Leaf, field(0xffff_ff00)),
                rule(0, 0, Kind::Table, field(0xffff_ffc0)),
            ]),
            depth(vec![
                rule(P | SOFT, 0, Kind::None, vec![]),
                rule(P, 0, Kind::Other, vec![]),
                rule(0, 0, Kind::Leaf, field(0xffff_ffc0)),
            ]),
        ],
        halves: vec![vec![Window {
            offset: 0,
            last: 0x3ff,
            base: 0,
        }]],
        permissions: 3,
        exclusions: vec![],
    }
}

/// A dumper that notes holes at levels 0 and 1, leaves at 1.
pub fn dialect(markers: MarkerPolicy) -> Dialect {
    let note = |mask, value, action, pa| NoteRule {
        mask,
        value,
        action,
        level: 1,
        pa,
        offset: 0,
    };
    let depth = |rules| NoteDepth {
        index_bits: 2,
        rules,
        path: vec![],
        early_shadow: None,
        pairs: None,
        format: FORMAT,
    };
    Dialect {
        page_bits: 6,
        depths: vec![
            depth(vec![
                NoteRule {
                    level: 0,
                    ..note(P, 0, NoteAction::Hole, vec![])
                },
                note(0, 0, NoteAction::Descend, field(0xffff_ffc0)),
            ]),
            depth(vec![note(0, 0, NoteAction::Note, vec![])]),
        ],
        level_masks: vec![P | W, P | W],
        markers,
        final_address: Some(0),
        first_start: None,
        hole_value: 0,
        zero_path: None,
        shadow_value: 0,
        shadow_level: 1,
        shadow_path_stale: false,
    }
}

/// Tables of four entries each, at 0, 64, 128 ...
pub fn memory(tables: &[[u64; 4]]) -> Box<dyn PhysicalMemory> {
    let mut bytes = Vec::new();
    for table in tables {
        for entry in table {
            bytes.extend(entry.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
    }
    let options = OpenOptions {
        format: Some("raw".to_owned()),
        ..OpenOptions::default()
    };
    image::open(&Source::from(bytes), &options).unwrap()
}

/// All of the root's span.
pub const ALL: Span = Span {
    root: 0,
    first: 0,
    last: 0x3ff,
    base: 0,
};

/// Folds the tables below the root at 0.
pub fn folded<T>(
    plan: &Plan,
    tables: &[[u64; 4]],
    work: impl FnOnce(&Fold<'_, '_>, &Control) -> Result<T, WalkError>,
) -> Result<T, WalkError> {
    let memory = memory(tables);
    let control = Control::default();
    let options = Options {
        isa: Isa::Scalar,
        keep_rows: true,
    };
    let tree = Tree::build(plan, &*memory, &[Pa(0)], options, &control)?;
    let fold = Fold::new(&tree, 1, &control)?;
    work(&fold, &control)
}
