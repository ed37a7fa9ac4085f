//! What is one row.

use crate::toy::{ALL, BLOCK, P, PAGE, SOFT, W, folded, spec};
use fastwalk_core::emit::{Totals, emit, total};
use fastwalk_core::error::WalkError;
use fastwalk_core::plan::{Coalesce, Label, MARK, Plan};
use fastwalk_core::visit::Span;

/// (start, size, pa, effective, kind)
type Row = (u64, u64, u64, u8, u8);

const LEAF: u8 = Label::Leaf as u8;

fn rows(plan: &Plan, tables: &[[u64; 4]], span: Span) -> Vec<Row> {
    folded(plan, tables, |fold, control| {
        let counted = total(fold, &[span]);
        let emitted = emit(fold, &[span], 1 << 20, false, control)?;
        let columns = &emitted.columns;
        assert_eq!(columns.len() as u64, counted.rows);
        assert_eq!(emitted.total, counted);
        Ok((0..columns.len())
            .map(|i| {
                (
                    columns.start[i],
                    columns.size[i],
                    columns.pa[i],
                    columns.effective[i],
                    columns.kind[i],
                )
            })
            .collect())
    })
    .unwrap()
}

fn plan(coalesce: Coalesce) -> Plan {
    Plan::new(&spec(), coalesce).unwrap()
}

#[test]
fn rows_go_on_over_the_ends_of_tables() {
    let page = |number: u64| (number * PAGE) | P | W;
    let tables = [
        [PAGE | P | W, (2 * PAGE) | P | W, 0, 0x400 | P | BLOCK | W],
        [page(8), page(9), page(10), page(11)],
        [page(12), page(20), 0, (page(21) & !W)],
    ];
    let every = [
        (0, 0x100 + PAGE, 0x200, 3, LEAF),
        (0x140, PAGE, 0x500, 3, LEAF),
    ];
    let rest = [
        (0x1c0, PAGE, 0x540, 1, LEAF),
        (0x300, 0x100, 0x400, 3, LEAF),
    ];
    let physical = rows(&plan(Coalesce::Physical), &tables, ALL);
    assert_eq!(physical, [every, rest].concat());
    let attributes = rows(&plan(Coalesce::Attributes), &tables, ALL);
    assert_eq!(attributes[0], (0, 0x180, 0x200, 3, LEAF));
    assert_eq!(attributes[1..], rest);
    assert_eq!(rows(&plan(Coalesce::None), &tables, ALL).len(), 8);
}

#[test]
fn what_stands_above_denies_and_divides() {
    // One table under two entries, the second of which may not be written.
    let tables = [[PAGE | P | W, PAGE | P, 0, 0], [0x200 | P | W; 4]];
    assert_eq!(
        rows(&plan(Coalesce::Attributes), &tables, ALL),
        [(0, 0x100, 0x200, 3, LEAF), (0x100, 0x100, 0x200, 1, LEAF)]
    );
}

#[test]
fn rows_are_clipped() {
    let tables = [
        [PAGE | P | W, 0x400 | P | BLOCK | W, 0, 0],
        [0x200 | P | W; 4],
    ];
    let span = Span {
        first: 0xe0,
        last: 0x10f,
        ..ALL
    };
    assert_eq!(
        rows(&plan(Coalesce::Physical), &tables, span),
        [(0xe0, 0x20, 0x220, 3, LEAF), (0x100, 0x10, 0x400, 3, LEAF)]
    );
}

#[test]
fn other_entries_and_absent_tables_are_rows() {
    let tables = [[PAGE | P, 0x10_0000 | P, 0, 0], [SOFT, SOFT, 0, 0]];
    assert_eq!(
        rows(&plan(Coalesce::Attributes), &tables, ALL),
        [
            (0, 2 * PAGE, 0, 0, Label::Other as u8),
            (0x100, 0x100, 0x10_0000, 0, Label::Absent as u8)
        ]
    );
}

#[test]
fn too_many_rows_are_counted_and_not_written() {
    let tables = [[P | W; 4]];
    let plan = plan(Coalesce::None);
    let error = folded(&plan, &tables, |fold, control| {
        emit(fold, &[ALL], 15, false, control).map(|_| ())
    });
    assert_eq!(
        error,
        Err(WalkError::Budget {
            rows: 16,
            budget: 15
        })
    );
    let cut = folded(&plan, &tables, |fold, control| {
        emit(fold, &[ALL], 5, true, control)
    })
    .unwrap();
    assert_eq!(
        cut.columns.start[..],
        [0, PAGE, 2 * PAGE, 3 * PAGE, 4 * PAGE]
    );
    let whole = Totals {
        rows: 16,
        leaves: 16,
        ..Totals::default()
    };
    assert_eq!(cut.total, whole);
}

#[test]
fn a_marked_page_is_told_from_contiguous_ones() {
    let page = |number: u64| (number * PAGE) | P | W;
    let tables = [
        [PAGE | P | W, 0, 0, 0],
        [page(8), page(9), page(10), page(11)],
    ];
    let plan = Plan::marking(&spec(), &[10 * PAGE]).unwrap();
    assert_eq!(
        rows(&plan, &tables, ALL),
        [
            (0, 2 * PAGE, 8 * PAGE, 3, LEAF),
            (2 * PAGE, PAGE, 10 * PAGE, 3 | MARK, LEAF),
            (3 * PAGE, PAGE, 11 * PAGE, 3, LEAF)
        ]
    );
}
