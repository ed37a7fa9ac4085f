//! Where the lines of a dumper end, and where headings go.

use crate::toy::{ALL, P, PAGE, W, dialect, folded};
use fastwalk_core::error::WalkError;
use fastwalk_core::notes::{self, Dump};
use fastwalk_core::plan::Plan;
use fastwalk_core::spec::{Dialect, MarkerPolicy};

const ONE: Option<u32> = Some(1);
const NONE: Option<u32> = Some(0);
/// As many as have been reached.
const ALL_REACHED: Option<u32> = None;

fn policy(first: Option<u32>, flush: Option<u32>, note: Option<u32>) -> MarkerPolicy {
    MarkerPolicy { first, flush, note }
}

fn dump(dialect: &Dialect, tables: &[[u64; 4]], markers: &[u64]) -> Dump {
    let plan = Plan::of_dialect(dialect).unwrap();
    folded(&plan, tables, |fold, control| {
        let dump = notes::dump(fold, &[ALL], markers, 1 << 20, control)?;
        let counted = notes::count(fold, &[ALL], markers, control)?;
        assert_eq!(dump.start.len() as u64, counted);
        Ok(dump)
    })
    .unwrap()
}

/// 16 pages alike.
const UNIFORM: [[u64; 4]; 1] = [[P | W; 4]];

#[test]
fn one_line_where_all_is_alike() {
    let dump = dump(&dialect(policy(NONE, ONE, NONE)), &UNIFORM, &[0]);
    assert_eq!((dump.start, dump.end), (vec![0], vec![0]));
    assert_eq!(dump.headings, [(0, 0)]);
}

#[test]
fn a_line_ends_at_the_first_note_behind_a_marker() {
    let markers = [0, 2 * PAGE + 1, 0x200];
    let dump = dump(&dialect(policy(NONE, ONE, NONE)), &UNIFORM, &markers);
    assert_eq!(dump.start, [0, 3 * PAGE, 0x200]);
    assert_eq!(dump.end, [3 * PAGE, 0x200, 0]);
    assert_eq!(dump.headings, [(0, 0), (1, 1), (2, 2)]);
}

#[test]
fn markers_that_lag_cut_at_each_note() {
    let markers = [0, PAGE, PAGE, PAGE];
    let lag = dump(&dialect(policy(NONE, ONE, NONE)), &UNIFORM, &markers);
    assert_eq!(lag.start, [0, PAGE, 2 * PAGE, 3 * PAGE]);
    assert_eq!(lag.headings, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    let at_once = dump(
        &dialect(policy(NONE, ALL_REACHED, NONE)),
        &UNIFORM,
        &markers,
    );
    assert_eq!(at_once.start, [0, PAGE]);
    assert_eq!(at_once.headings, [(0, 0), (1, 1), (1, 2), (1, 3)]);
    // arm64: one after the line, one more at the end of the note.
    let two = dump(&dialect(policy(NONE, ONE, ONE)), &UNIFORM, &markers);
    assert_eq!(two.start, [0, PAGE, 2 * PAGE]);
    assert_eq!(two.headings, [(0, 0), (1, 1), (1, 2), (2, 3)]);
}

#[test]
fn markers_before_the_first_note() {
    let markers = [0, 0, 0];
    let later = dump(&dialect(policy(NONE, ONE, NONE)), &UNIFORM, &markers);
    assert_eq!(later.start, [0, PAGE, 2 * PAGE]);
    let first = dump(&dialect(policy(ALL_REACHED, ONE, NONE)), &UNIFORM, &markers);
    assert_eq!(first.start, [0]);
    assert_eq!(first.headings, [(0, 0), (0, 1), (0, 2)]);
}

#[test]
fn holes_have_the_level_of_their_table() {
    let tables = [[0, PAGE | P, 0, 0], [0, P, P, 0]];
    let dump = dump(&dialect(policy(NONE, ONE, NONE)), &tables, &[]);
    assert_eq!(dump.start, [0, 0x100, 0x140, 0x1c0, 0x200]);
    assert_eq!(dump.level, [0, 1, 1, 1, 0]);
    assert_eq!(dump.key, [0, 0, P, 0, 0]);
    assert!(dump.headings.is_empty());
}

#[test]
fn the_first_line_and_the_last_address_are_the_dialects() {
    let mut fixed = dialect(policy(NONE, ONE, NONE));
    fixed.final_address = None;
    fixed.first_start = Some(7);
    let dump = dump(&fixed, &UNIFORM, &[0]);
    assert_eq!((dump.start, dump.end), (vec![7], vec![0x400]));
}

#[test]
fn too_many_lines_are_counted() {
    let tables = [[P, P | W, P, P | W]];
    let plan = Plan::of_dialect(&dialect(policy(NONE, ONE, NONE))).unwrap();
    let error = folded(&plan, &tables, |fold, control| {
        notes::dump(fold, &[ALL], &[0], 3, control).map(|_| ())
    });
    assert_eq!(
        error,
        Err(WalkError::Budget {
            rows: 16,
            budget: 3
        })
    );
}
