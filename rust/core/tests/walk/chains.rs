//! Rows of many tables, which are gathered and written together, against the same walk an
//! entry at a time, put together by hand.

use crate::toy::{ALL, P, SOFT, W, spec};
use fastwalk_core::addr::Pa;
use fastwalk_core::emit::emit;
use fastwalk_core::fold::Fold;
use fastwalk_core::image::{self, OpenOptions, PhysicalMemory, Source};
use fastwalk_core::plan::{Coalesce, Plan};
use fastwalk_core::scan::Isa;
use fastwalk_core::spec::{Spec, Window};
use fastwalk_core::tree::{Control, Options, Tree};
use fastwalk_core::visit::Span;
use rayon::ThreadPoolBuilder;

/// Entries of a table, and bytes of one.
const ENTRIES: u64 = 256;
const TABLE: u64 = ENTRIES * 8;
const PAGE: u64 = 64;
const LAST: u64 = ENTRIES * ENTRIES * PAGE - 1;

/// The toy with tables of 256 entries; its blocks are gone, so that a root leads to
/// tables only.
fn wide() -> Spec {
    let Spec { mut depths, .. } = spec();
    for depth in &mut depths {
        depth.index_bits = 8;
    }
    depths[0].rules.remove(1);
    let windows = vec![Window {
        offset: 0,
        last: LAST,
        base: 0,
    }];
    Spec {
        va_bits: 22,
        halves: vec![windows],
        depths,
        ..spec()
    }
}

/// xorshift64*: tests need no more.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % limit
    }
}

/// A root and its tables: runs of leaves, of holes, and (if asked for) of other entries,
/// which often go on from table to table.
fn memory(random: &mut Random, mean: u64, others: bool) -> Box<dyn PhysicalMemory> {
    let mut words = Vec::new();
    let mut above = P | W;
    for number in 1..=ENTRIES {
        if random.below(50) == 0 {
            above ^= W;
        }
        let missing = random.below(40) == 0;
        words.push(if missing { 0 } else { (number * TABLE) | above });
    }
    let mut left = 0;
    let mut kind = 0;
    let mut page = 0;
    for _ in 0..ENTRIES * ENTRIES {
        if left == 0 {
            left = 1 + random.below(2 * mean);
            let kinds = [0, P, P | W, P | W, P | W | SOFT, SOFT];
            kind = kinds[random.below(if others { 6 } else { 5 }) as usize];
            page = random.below(1 << 20);
        }
        left -= 1;
        page += 1;
        words.push(if kind & P == 0 {
            kind
        } else {
            (page * PAGE) | kind
        });
    }
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|word: &u64| word.to_le_bytes())
        .collect();
    let options = OpenOptions {
        format: Some("raw".to_owned()),
        ..OpenOptions::default()
    };
    image::open(&Source::from(bytes), &options).unwrap()
}

/// (start, size, pa, attributes, effective, kind)
type Row = (u64, u64, u64, u64, u8, u8);

fn walk(memory: &dyn PhysicalMemory, coalesce: Coalesce, options: Options, span: Span) -> Vec<Row> {
    let plan = Plan::new(&wide(), coalesce).unwrap();
    let control = Control::default();
    let tree = Tree::build(&plan, memory, &[Pa(0)], options, &control).unwrap();
    let fold = Fold::new(&tree, 1, &control).unwrap();
    let columns = emit(&fold, &[span], 1 << 20, false, &control)
        .unwrap()
        .columns;
    let row = |i: usize| {
        (
            columns.start[i],
            columns.size[i],
            columns.pa[i],
            columns.attributes[i],
            columns.effective[i],
            columns.kind[i],
        )
    };
    (0..columns.len()).map(row).collect()
}

/// Joins pages that lie next to each other and are alike.
fn join(pages: Vec<Row>, contiguous: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for page in pages {
        let goes_on = |row: &Row| {
            row.0 + row.1 == page.0
                && (row.3, row.4, row.5) == (page.3, page.4, page.5)
                && (!contiguous || page.5 != 0 || row.2 + row.1 == page.2)
        };
        match rows.last_mut().filter(|row| goes_on(row)) {
            Some(row) => row.1 += page.1,
            None => rows.push(page),
        }
    }
    rows
}

#[test]
fn rows_of_many_tables_are_those_of_their_pages() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let pools = [1, 2].map(|n| ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    let part = Span {
        first: 5 * ENTRIES * PAGE + 3 * PAGE,
        last: LAST - 7 * ENTRIES * PAGE - 9 * PAGE,
        ..ALL
    };
    let spans = [Span { last: LAST, ..ALL }, part];
    for (mean, others) in [(1, false), (1, true), (5, false), (40, false), (40, true)] {
        let memory = memory(&mut random, mean, others);
        for (isa, keep_rows) in Isa::ALL
            .into_iter()
            .flat_map(|isa| [(isa, true), (isa, false)])
        {
            if !isa.is_available() {
                continue;
            }
            let options = Options { isa, keep_rows };
            for (span, pool) in spans
                .iter()
                .flat_map(|span| pools.each_ref().map(|p| (span, p)))
            {
                let walk = |coalesce| pool.install(|| walk(&*memory, coalesce, options, *span));
                let pages = walk(Coalesce::None);
                assert!(pages.iter().all(|page| page.1 == PAGE));
                assert!(pages.is_sorted_by(|a, b| a.0 < b.0));
                assert!(pages.len() as u64 > ENTRIES * ENTRIES / 2);
                let physical = walk(Coalesce::Physical);
                assert!(
                    physical == join(pages.clone(), true),
                    "{isa} {mean} {others}"
                );
                let attributes = walk(Coalesce::Attributes);
                assert!(attributes == join(pages, false), "{isa} {mean} {others}");
            }
        }
    }
}
