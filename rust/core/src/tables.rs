//! The tables themselves, as columns: how an address space is built.

use crate::fold::{Fold, Parts, Piece};
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
            let table = Table {
                depth,
                node: node as u32,
            };
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
    va: Option<u64>,
    references: u64,
    absent: u32,
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
    for root in 0..roots {
        let place = &mut places[0][tree.root(root).node as usize];
        place.references += 1;
        for span in spans.iter().filter(|span| span.root == root) {
            let va = span.first.wrapping_add(span.base);
            place.va = Some(place.va.map_or(va, |old| old.min(va)));
        }
    }
    for depth in 0..plan.depths.len() - 1 {
        for node in 0..places[depth].len() {
            let Some(va) = places[depth][node].va else {
                continue;
            };
            let table = Table {
                depth,
                node: node as u32,
            };
            let mut parts = Parts::new(fold, table, 0, 0);
            while let Some(part) = parts.next() {
                let Piece::Table(child, _) = part.piece else {
                    if let Piece::Atom(edge) = part.piece
                        && edge.label == crate::plan::Label::Absent
                    {
                        places[depth][node].absent += 1;
                    }
                    continue;
                };
                let first = if depth == 0 {
                    root_child_va(tree, node as u32, roots, spans, part.at, parts.depth.span())
                } else {
                    Some(va.wrapping_add(part.at))
                };
                let place = &mut places[depth + 1][child.node as usize];
                place.references += 1;
                if let Some(first) = first {
                    place.va = Some(place.va.map_or(first, |old| old.min(first)));
                }
            }
        }
    }
    places
}

/// Virtual address of a root's entry, if any span shows part of it.
fn root_child_va(
    tree: &Tree<'_>,
    node: u32,
    roots: usize,
    spans: &[Span],
    at: u64,
    size: u64,
) -> Option<u64> {
    let last = at + (size - 1);
    (0..roots)
        .filter(|&root| tree.root(root).node == node)
        .flat_map(|root| spans.iter().filter(move |span| span.root == root))
        .filter(|span| at <= span.last && last >= span.first)
        .map(|span| at.wrapping_add(span.base))
        .min()
}
