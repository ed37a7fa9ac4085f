//! Going over part of an address space in order, whole subtrees at a time.

use crate::entries::Entries;
use crate::fold::{Fold, Part, Parts, Piece, Summary};
use crate::plan::{Action, Atom, Edge, Plan, PlanDepth};
use crate::scan::Isa;
use crate::tree::{Run, Table};

/// Part of a root's span, and where its virtual addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which root, by its place in the list that the tree was built from.
    pub root: usize,
    /// First byte, as an offset from the start of the root's span.
    pub first: u64,
    /// Last byte, inclusive.
    pub last: u64,
    /// What to add to an offset to get a virtual address, modulo 2^64.
    pub base: u64,
}

/// Atoms of one table, next to each other, under one rule and key.
pub struct Atoms<'v> {
    /// The plan.
    pub plan: &'v Plan,
    /// The table's depth.
    pub depth: &'v PlanDepth,
    /// The rule.
    pub atom: &'v Atom,
    /// The table.
    pub entries: &'v Entries<'v>,
    /// Which entries.
    pub run: Run,
    inherited: u8,
    /// Virtual address of the table's first entry.
    table_va: u64,
    /// First and last virtual address that are wanted.
    window: (u64, u64),
}

impl Atoms<'_> {
    /// The atom of one entry of the run, at its virtual address, clipped.
    #[inline]
    pub fn edge(&self, index: usize) -> Edge {
        let entry = self.entries.get(index);
        let edge = self
            .plan
            .edge(self.depth, self.atom, self.inherited, index, entry);
        clip(edge, self.table_va, self.window)
    }

    /// The whole run as one atom; for plans that join it.
    #[inline]
    pub fn joined(&self) -> Edge {
        let mut edge = self.plan.edge(
            self.depth,
            self.atom,
            self.inherited,
            self.run.start,
            self.entries.get(self.run.start),
        );
        edge.len = edge.len.wrapping_mul(self.run.count() as u64);
        clip(edge, self.table_va, self.window)
    }

    /// Index of the first entry of the run that does not start before `va`, if any.
    /// Clipped entries start where they are clipped.
    #[inline]
    pub fn at_or_after(&self, va: u64) -> Option<usize> {
        if va <= self.edge(self.run.start).at {
            return Some(self.run.start);
        }
        let offset = va.checked_sub(self.table_va)?;
        let index = (offset >> self.depth.shift) + u64::from(offset & (self.depth.span() - 1) != 0);
        usize::try_from(index).ok().filter(|&i| i <= self.run.last)
    }
}

/// A flat table of a depth that is [distinct](PlanDepth::distinct), in the span as a
/// whole, which has atoms.
pub struct Flat<'v> {
    /// The plan.
    pub plan: &'v Plan,
    /// The instruction set to use.
    pub isa: Isa,
    /// The table's depth.
    pub depth: usize,
    /// The table.
    pub entries: Entries<'v>,
    /// The first entry of each row, where they were kept.
    pub row_entries: Option<&'v [u64]>,
    /// Bitmap of the ends of runs; None: it is one run.
    pub ends: Option<&'v [u64]>,
    /// Bitmap of the atoms; None: all entries within the limits.
    pub atoms: Option<&'v [u64]>,
    /// Indexes of the first and the last atom.
    pub limits: (usize, usize),
    /// These atoms, as entries.
    pub edges: (u64, u64),
    /// None of them is of kind other.
    pub all_leaves: bool,
    /// How many rows it is.
    pub rows: u64,
    /// State that it inherits.
    pub inherited: u8,
    /// Virtual address of the table's first entry.
    pub va: u64,
}

impl Flat<'_> {
    /// Row number `row`, which is the entries `run`.
    pub fn row(&self, row: usize, run: Run) -> Option<Edge> {
        let entry = match self.row_entries {
            Some(entries) => entries[row],
            None => self.entries.get(run.start),
        };
        let depth = &self.plan.depths[self.depth];
        let Action::Atom(atom) = depth.action(entry) else {
            return None;
        };
        let mut edge = self
            .plan
            .edge(depth, atom, self.inherited, run.start, entry);
        edge.at = edge.at.wrapping_add(self.va);
        edge.len = edge.len.wrapping_mul(run.count() as u64);
        Some(edge)
    }
}

/// Moves an edge to virtual addresses and cuts it to what is wanted.
fn clip(mut edge: Edge, base: u64, (first, last): (u64, u64)) -> Edge {
    edge.at = edge.at.wrapping_add(base);
    if edge.at < first {
        let cut = first - edge.at;
        edge.at = first;
        edge.len = edge.len.wrapping_sub(cut);
        if edge.label == crate::plan::Label::Leaf {
            edge.pa = edge.pa.wrapping_add(cut);
        }
    }
    // In inclusive ends, because the address space may end with the edge.
    let end = edge.at.wrapping_add(edge.len.wrapping_sub(1));
    if end > last {
        edge.len = (last - edge.at).wrapping_add(1);
    }
    edge
}

/// Who takes what is visited.
pub trait Visitor {
    /// A subtree, or a run, at virtual address `va`, that comes to `summary`. False:
    /// it has to be shown in parts.
    fn whole(&mut self, va: u64, summary: &Summary) -> bool;
    /// Atoms of one table.
    fn atoms(&mut self, atoms: &Atoms<'_>);
    /// One atom that stands for a table.
    fn atom(&mut self, edge: Edge);
    /// A table that can be taken row by row. False: it has to be shown in parts.
    fn flat(&mut self, _table: &Flat<'_>) -> bool {
        false
    }
    /// True once nothing more is wanted.
    fn is_done(&self) -> bool {
        false
    }
}

/// Visits `span`. `stale` is the path state of the last pte before it (dialects only);
/// returned is that after it.
pub fn visit(fold: &Fold<'_, '_>, span: &Span, stale: u8, visitor: &mut impl Visitor) -> u8 {
    let visit = Visit { fold, span };
    visit.table(fold.tree().root(span.root), 0, stale, 0, visitor)
}

struct Visit<'v, 't, 'a> {
    fold: &'v Fold<'t, 'a>,
    span: &'v Span,
}

impl Visit<'_, '_, '_> {
    fn window(&self) -> (u64, u64) {
        (
            self.span.first.wrapping_add(self.span.base),
            self.span.last.wrapping_add(self.span.base),
        )
    }

    /// Visits a table that starts `start` bytes into the root's span.
    fn table(
        &self,
        table: Table,
        inherited: u8,
        stale: u8,
        start: u64,
        visitor: &mut impl Visitor,
    ) -> u8 {
        let plan = self.fold.tree().plan();
        if self.fold.tree().is_absent(table) {
            self.absent_root(table, visitor);
            return stale;
        }
        let mut parts = Parts::new(self.fold, table, inherited, stale);
        while let Some(part) = parts.next() {
            if visitor.is_done() {
                break;
            }
            let span = parts.depth.span();
            let count = match part.piece {
                Piece::Run(run) => run.count() as u64,
                _ => 1,
            };
            let first = start + part.at;
            let last = first + (span.wrapping_mul(count) - 1);
            if last < self.span.first {
                continue;
            }
            if first > self.span.last {
                break;
            }
            let inside = first >= self.span.first && last <= self.span.last;
            let before = parts.stale;
            if let Piece::Table(child, below) = part.piece
                && inside
                && self.flat(&parts, child, below, first, visitor)
            {
                continue;
            }
            let mut copies = 0;
            if inside {
                let mut summary = parts.folded(&part).summary;
                if let Piece::Table(child, _) = part.piece {
                    copies = parts.pass_same(child, (self.span.last - last) >> parts.depth.shift);
                }
                if copies > 0 {
                    summary = summary.repeat(plan, span, copies + 1);
                }
                if visitor.whole(first.wrapping_add(self.span.base), &summary) {
                    continue;
                }
            }
            match part.piece {
                Piece::Table(child, below) => {
                    parts.stale = self.table(child, below, before, first, visitor);
                    for copy in 1..=copies {
                        self.table(child, below, 0, first + copy * span, visitor);
                    }
                }
                Piece::Atom(edge) => {
                    visitor.atom(clip(
                        edge,
                        first.wrapping_add(self.span.base),
                        self.window(),
                    ));
                }
                Piece::Run(run) => {
                    if let Some(stale) = self.run(plan, &parts, inherited, run, start, visitor) {
                        parts.stale = stale;
                    }
                }
            }
        }
        parts.stale
    }

    /// Shows a table row by row, if it can be; true where that was all.
    fn flat(
        &self,
        parts: &Parts<'_, '_, '_>,
        table: Table,
        inherited: u8,
        start: u64,
        visitor: &mut impl Visitor,
    ) -> bool {
        let tree = self.fold.tree();
        let plan = tree.plan();
        if !plan.depths[table.depth].distinct || plan.notes.is_some() || !tree.is_flat(table) {
            return false;
        }
        let (leaves, others) = tree.atoms(table);
        if leaves + others == 0 {
            return false;
        }
        parts.prefetch();
        let (ends, atoms) = tree.rows(table);
        visitor.flat(&Flat {
            plan,
            isa: tree.isa(),
            depth: table.depth,
            entries: tree.entries(table),
            row_entries: tree.row_entries(table),
            ends,
            atoms,
            limits: tree.atom_limits(table),
            edges: tree.atom_edges(table),
            all_leaves: others == 0,
            rows: tree.breaks(table) + 1,
            inherited,
            va: start.wrapping_add(self.span.base),
        })
    }

    /// Visits a run, as far as it lies in the span. Returns the path state of its last
    /// entry, where that is a pte.
    fn run(
        &self,
        plan: &Plan,
        parts: &Parts<'_, '_, '_>,
        inherited: u8,
        run: Run,
        start: u64,
        visitor: &mut impl Visitor,
    ) -> Option<u8> {
        let depth = parts.depth;
        let skip = self.span.first.saturating_sub(start) >> depth.shift;
        let keep = (self.span.last - start) >> depth.shift;
        let run = Run {
            start: run.start.max(usize::try_from(skip).unwrap_or(usize::MAX)),
            last: run.last.min(usize::try_from(keep).unwrap_or(usize::MAX)),
        };
        let Action::Atom(atom) = depth.action(parts.entries.get(run.start)) else {
            return None;
        };
        visitor.atoms(&Atoms {
            plan,
            depth,
            atom,
            entries: &parts.entries,
            run,
            inherited,
            table_va: start.wrapping_add(self.span.base),
            window: self.window(),
        });
        let last_depth = std::ptr::eq(depth, plan.depths.last()?);
        last_depth.then(|| inherited | depth.atom_state(parts.entries.get(run.last)))
    }

    /// Nothing at all is known below a root that is not there.
    fn absent_root(&self, table: Table, visitor: &mut impl Visitor) {
        let tree = self.fold.tree();
        let level = tree.plan().depths[0].absent_level;
        let edge = crate::tree::absent_edge(0, 0, tree.pa(table), level);
        let (first, last) = self.window();
        visitor.atom(Edge {
            at: first,
            len: (last - first).wrapping_add(1),
            ..edge
        });
    }
}

/// Counting: everything is taken as a whole.
pub struct Counter<'p> {
    plan: &'p Plan,
    /// What has been seen. Edges are at virtual addresses.
    pub sum: Summary,
}

impl<'p> Counter<'p> {
    /// Nothing yet.
    pub fn new(plan: &'p Plan) -> Self {
        Self {
            plan,
            sum: Summary::default(),
        }
    }
}

impl Visitor for Counter<'_> {
    fn whole(&mut self, va: u64, summary: &Summary) -> bool {
        self.sum.push(self.plan, va, summary);
        true
    }

    fn atoms(&mut self, atoms: &Atoms<'_>) {
        for index in [atoms.run.start, atoms.run.last] {
            // First, last, and what lies between is whole entries that join like the
            // ones around them: count them, and move on.
            let mut one = Summary::of(atoms.edge(index));
            if atoms.atom.label == crate::plan::Label::Other {
                (one.leaves, one.others) = (0, 1);
            }
            self.sum.push(self.plan, 0, &one);
            if atoms.run.count() == 1 {
                return;
            }
            if index == atoms.run.start && atoms.run.count() > 2 {
                self.between(atoms);
            }
        }
    }

    fn atom(&mut self, edge: Edge) {
        self.sum.push(self.plan, 0, &Summary::of(edge));
    }
}

impl Counter<'_> {
    /// The entries of a run but for its first and last one.
    fn between(&mut self, atoms: &Atoms<'_>) {
        let count = atoms.run.count() as u64 - 2;
        let other = atoms.atom.label == crate::plan::Label::Other;
        let middle = Summary {
            edges: Some((
                atoms.edge(atoms.run.start + 1),
                atoms.edge(atoms.run.last - 1),
            )),
            breaks: if self.plan.is_separate() {
                count - 1
            } else {
                0
            },
            leaves: if other { 0 } else { count },
            others: if other { count } else { 0 },
            absent: 0,
        };
        self.sum.push(self.plan, 0, &middle);
    }
}

/// What a span comes to, its edges at virtual addresses.
pub fn count(fold: &Fold<'_, '_>, span: &Span) -> Summary {
    let mut counter = Counter::new(fold.tree().plan());
    visit(fold, span, 0, &mut counter);
    counter.sum
}

/// The parts of a table, for callers that want to look at a subtree without its
/// addresses.
pub fn parts<'f, 't, 'a>(
    fold: &'f Fold<'t, 'a>,
    table: Table,
    inherited: u8,
) -> impl Iterator<Item = (Part, Summary)> {
    let mut parts = Parts::new(fold, table, inherited, 0);
    std::iter::from_fn(move || {
        let part = parts.next()?;
        let summary = parts.folded(&part).summary;
        Some((part, summary))
    })
}
