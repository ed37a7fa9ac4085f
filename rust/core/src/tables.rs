//! The tables themselves, as columns: how an address space is built.

use crate::fold::{Fold, Parts, Piece};
use crate::plan::Label;
use crate::spec::Kind;
use crate::tree::{Table, Tree};
use crate::visit::Span;

/// A row a unique table of each depth, in order of depth and physical address.
#[derive(Debug, Default)]
pub struct Tables {
    /// 0 for the root.
    pub depth: Vec<u8>,
    /// Where it is.
    pub pa: Vec<u64>,
    /// The lowest virtual address that it translates.
    pub va: Vec<u64>,
    /// How many entries point to it; 1 for a root.
    pub references: Vec<u64>,
    /// Entries of kind none.
    pub none: Vec<u32>,
    /// Entries of kind table.
    pub table: Vec<u32>,
    /// Entries of kind leaf.
    pub leaf: Vec<u32>,
    /// Entries of kind other.
    pub other: Vec<u32>,
    /// Entries whose table is not in the image.
    pub absent: Vec<u32>,
}

/// Lists the tables that `spans` show something of.
pub fn list(fold: &Fold<'_, '_>, roots: usize, spans: &[Span]) -> Tables {
    let tree = fold.tree();
    let mut places = first_places(fold, roots, spans);
    let mut out = Tables::default();
    for (depth, places) in places.drain(..).enumerate() {
        for (node, place) in places.into_iter().enumerate() {
            let table = table(depth, node);
            let Some(va) = place.va else { continue };
            if tree.is_absent(table) {
                continue;
            }
            out.push(tree, table, va, &place);
        }
    }
    out
}

/// Where a table hangs.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The lowest place that the spans show something of.
    va: Option<u64>,
    /// The lowest place that they show all of.
    whole: Option<u64>,
    references: u64,
    absent: u32,
}

impl Place {
    fn shown(&mut self, va: u64) {
        self.va = Some(self.va.map_or(va, |old| old.min(va)));
    }
}

/// A place of which a span shows a part: there are two a span and depth at most.
#[derive(Clone, Copy)]
struct Cut {
    node: usize,
    /// Virtual address of the table's first entry.
    base: u64,
    /// What is shown, as offsets.
    first: u64,
    last: u64,
}

impl Tables {
    fn push(&mut self, tree: &Tree<'_>, table: Table, va: u64, place: &Place) {
        let depth = &tree.plan().depths[table.depth];
        let entries = tree.entries(table);
        let mut kinds = [0_u32; 4];
        let mut existing = 0;
        for run in tree.runs(table) {
            let rule = depth.rule(entries.get(run.start));
            kinds[depth.rules[rule].kind as usize] += run.count() as u32;
            existing += run.count();
        }
        // What the parent's length leaves out does not exist.
        kinds[Kind::None as usize] += (entries.len() - existing) as u32;
        self.depth.push(table.depth as u8);
        self.pa.push(tree.pa(table));
        self.va.push(va);
        self.references.push(place.references);
        self.none.push(kinds[Kind::None as usize]);
        self.table.push(kinds[Kind::Table as usize]);
        self.leaf.push(kinds[Kind::Leaf as usize]);
        self.other.push(kinds[Kind::Other as usize]);
        self.absent.push(place.absent);
    }
}

/// By depth and node: the first virtual address of each table within the spans.
fn first_places(fold: &Fold<'_, '_>, roots: usize, spans: &[Span]) -> Vec<Vec<Place>> {
    let tree = fold.tree();
    let plan = tree.plan();
    let mut places: Vec<Vec<Place>> = (0..plan.depths.len())
        .map(|d| vec![Place::default(); tree.tables(d)])
        .collect();
    let mut cuts: Vec<Cut> = Vec::new();
    for root in 0..roots {
        let node = tree.root(root).node as usize;
        places[0][node].references += 1;
        for span in spans.iter().filter(|span| span.root == root) {
            places[0][node].shown(span.first.wrapping_add(span.base));
            cuts.push(Cut {
                node,
                base: span.base,
                first: span.first,
                last: span.last,
            });
        }
    }
    for depth in 0..plan.depths.len() - 1 {
        let (above, below) = places.split_at_mut(depth + 1);
        let below = &mut below[0];
        for (node, place) in above[depth].iter_mut().enumerate() {
            if place.va.is_some() {
                place.absent = shown_whole(fold, depth, node, place.whole, below);
            }
        }
        cuts = cuts
            .iter()
            .flat_map(|cut| shown_in_part(fold, depth, cut, below))
            .collect();
    }
    places
}

/// Counts what the table's entries point to, and shows all of it where all of the table is
/// shown. Returns how many entries lead to absent tables.
fn shown_whole(
    fold: &Fold<'_, '_>,
    depth: usize,
    node: usize,
    whole: Option<u64>,
    below: &mut [Place],
) -> u32 {
    let mut absent = 0;
    let mut parts = Parts::new(fold, table(depth, node), 0, 0);
    while let Some(part) = parts.next() {
        match part.piece {
            Piece::Table(child, _) => {
                let place = &mut below[child.node as usize];
                place.references += 1;
                if let Some(va) = whole {
                    let va = va.wrapping_add(part.at);
                    place.whole = Some(place.whole.map_or(va, |old| old.min(va)));
                    place.shown(va);
                }
            }
            Piece::Atom(edge) if edge.label == Label::Absent => absent += 1,
            _ => {}
        }
    }
    absent
}

/// Shows what a part of a table leads to; returns what of that is cut in turn.
fn shown_in_part(fold: &Fold<'_, '_>, depth: usize, cut: &Cut, below: &mut [Place]) -> Vec<Cut> {
    let mut rest = Vec::new();
    let mut parts = Parts::new(fold, table(depth, cut.node), 0, 0);
    let end = parts.depth.span() - 1;
    while let Some(part) = parts.next() {
        let Piece::Table(child, _) = part.piece else {
            continue;
        };
        let last = part.at + end;
        if part.at > cut.last || last < cut.first {
            continue;
        }
        let node = child.node as usize;
        let place = &mut below[node];
        let va = cut.base.wrapping_add(part.at);
        place.shown(va);
        if part.at >= cut.first && last <= cut.last {
            place.whole = Some(place.whole.map_or(va, |old| old.min(va)));
        } else {
            rest.push(Cut {
                node,
                base: va,
                first: cut.first.max(part.at) - part.at,
                last: cut.last.min(last) - part.at,
            });
        }
    }
    rest
}

fn table(depth: usize, node: usize) -> Table {
    Table {
        depth,
        node: node as u32,
    }
}
