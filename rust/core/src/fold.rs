//! Count first: what each unique table comes to, before a row of it is written.
//!
//! A [`Summary`] is the first and last atom of a subtree and how many rows end inside
//! it. Two of them side by side make a third, so a table's is put together from its
//! children's, bottom up, once for each different state inherited from above; however
//! often the table hangs somewhere, nothing below it is looked at again.

use crate::error::WalkError;
use crate::plan::{Action, Edge, Label, Plan, PlanDepth};
use crate::tree::{Child, Control, Run, Table, Tree, absent_edge};
use rayon::prelude::*;

/// What a stretch of address space comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// First and last atom; None where there is none. `at` is an offset from the start
    /// of the stretch.
    pub edges: Option<(Edge, Edge)>,
    /// Rows that end inside. There is one row more than that, if there is any atom.
    pub breaks: u64,
    /// Leaf entries (for a dialect: notes).
    pub leaves: u64,
    /// Entries of kind other.
    pub others: u64,
    /// Tables that are not in the image.
    pub absent: u64,
}

impl Summary {
    /// Of one atom that is no leaf entry.
    pub fn of(edge: Edge) -> Self {
        let absent = u64::from(edge.label == Label::Absent);
        Self {
            edges: Some((edge, edge)),
            breaks: 0,
            leaves: 1 - absent,
            others: 0,
            absent,
        }
    }

    /// How many rows it is.
    pub fn rows(&self) -> u64 {
        self.breaks + u64::from(self.edges.is_some())
    }

    /// Puts `next` behind this, `offset` bytes from this one's start.
    #[inline]
    pub fn push(&mut self, plan: &Plan, offset: u64, next: &Self) {
        let Some((mut first, mut last)) = next.edges else {
            return;
        };
        first.at = first.at.wrapping_add(offset);
        last.at = last.at.wrapping_add(offset);
        let (own_first, broken) = match &self.edges {
            None => (first, false),
            Some((own, previous)) => (*own, !plan.joins(previous, &first)),
        };
        self.edges = Some((own_first, last));
        self.breaks += next.breaks + u64::from(broken);
        self.leaves += next.leaves;
        self.others += next.others;
        self.absent += next.absent;
    }

    /// Puts `count` copies of itself one behind the other, `span` bytes each.
    fn repeat(mut self, plan: &Plan, span: u64, count: u64) -> Self {
        let Some((first, last)) = self.edges else {
            return self;
        };
        let mut second = first;
        second.at = second.at.wrapping_add(span);
        let broken = u64::from(!plan.joins(&last, &second));
        self.breaks = self.breaks * count + (count - 1) * broken;
        self.leaves *= count;
        self.others *= count;
        self.absent *= count;
        let mut end = last;
        end.at = end.at.wrapping_add(span.wrapping_mul(count - 1));
        self.edges = Some((first, end));
        self
    }
}

/// A summary, and what an early-shadow note needs to know of the ptes around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Folded {
    /// What the subtree comes to.
    pub summary: Summary,
    /// It would come to something else after another last pte.
    pub depends: bool,
    /// Path state of the last pte in it.
    pub stale: Option<u8>,
}

/// A unique table under one inherited state.
struct Context {
    folded: Folded,
    /// By incoming path state of the last pte, where that matters.
    by_stale: Vec<Folded>,
}

/// The summaries of a tree. Those of the last depth are made when they are asked for.
pub struct Fold<'t, 'a> {
    tree: &'t Tree<'a>,
    depths: Vec<Contexts>,
}

/// The contexts of a depth.
struct Contexts {
    /// (node, inherited), ascending.
    keys: Vec<(u32, u8)>,
    /// By node: its first context.
    first: Vec<u32>,
    values: Vec<Context>,
}

impl Contexts {
    fn new(mut keys: Vec<(u32, u8)>, nodes: usize) -> Self {
        keys.par_sort_unstable();
        keys.dedup();
        let mut first = vec![0; nodes + 1];
        for &(node, _) in &keys {
            first[node as usize + 1] += 1;
        }
        for node in 0..nodes {
            first[node + 1] += first[node];
        }
        Self {
            keys,
            first,
            values: Vec::new(),
        }
    }

    #[inline]
    fn get(&self, node: u32, inherited: u8) -> &Context {
        let range = self.first[node as usize] as usize..self.first[node as usize + 1] as usize;
        let index = if range.len() == 1 {
            range.start
        } else {
            let keys = &self.keys[range.clone()];
            range.start + keys.partition_point(|key| key.1 < inherited)
        };
        &self.values[index]
    }
}

impl<'t, 'a> Fold<'t, 'a> {
    /// Folds a tree.
    ///
    /// # Errors
    /// [`WalkError::Cancelled`].
    pub fn new(tree: &'t Tree<'a>, roots: usize, control: &Control) -> Result<Self, WalkError> {
        let plan = tree.plan();
        let upper = plan.depths.len() - 1;
        let mut fold = Self {
            tree,
            depths: Vec::new(),
        };
        let mut keys: Vec<(u32, u8)> = (0..roots).map(|root| (tree.root(root).node, 0)).collect();
        for depth in 0..upper {
            let contexts = Contexts::new(keys, tree.tables(depth));
            keys = if depth + 1 < upper {
                fold.below(depth, &contexts)
            } else {
                Vec::new()
            };
            fold.depths.push(contexts);
        }
        for depth in (0..upper).rev() {
            let values = fold.depths[depth]
                .keys
                .par_iter()
                .map(|&(node, inherited)| {
                    control.check()?;
                    Ok(fold.context(Table { depth, node }, inherited))
                })
                .collect::<Result<_, WalkError>>()?;
            fold.depths[depth].values = values;
        }
        Ok(fold)
    }

    /// The tree that was folded.
    pub fn tree(&self) -> &'t Tree<'a> {
        self.tree
    }

    /// The contexts that those of a depth lead to.
    fn below(&self, depth: usize, contexts: &Contexts) -> Vec<(u32, u8)> {
        let of = &self.tree.plan().depths[depth];
        contexts
            .keys
            .par_iter()
            .flat_map_iter(|&(node, inherited)| {
                let table = Table { depth, node };
                let entries = self.tree.entries(table);
                let mut children = self.tree.children(table);
                let mut found = Vec::new();
                for run in self.tree.runs(table) {
                    if !matches!(of.action(entries.get(run.start)), Action::Table(_)) {
                        continue;
                    }
                    for index in run.start..=run.last {
                        let entry = entries.get(index);
                        if let Some(Child::Table(child)) = children.next(entry).child {
                            found.push((child.node, inherited | of.table_state(entry)));
                        }
                    }
                }
                found.sort_unstable();
                found.dedup();
                found
            })
            .collect()
    }

    fn context(&self, table: Table, inherited: u8) -> Context {
        let folded = self.fold(table, inherited, 0);
        let states = match &self.tree.plan().notes {
            Some(notes) if folded.depends => notes.path_states,
            _ => 0,
        };
        let by_stale = (0..states)
            .map(|s| self.fold(table, inherited, s as u8))
            .collect();
        Context { folded, by_stale }
    }

    /// What a table comes to below `inherited`, after a last pte of state `stale`.
    #[inline]
    pub fn get(&self, table: Table, inherited: u8, stale: u8) -> Folded {
        if self.tree.is_last(table.depth) {
            return self.of_leaf_table(table, inherited);
        }
        let context = self.depths[table.depth].get(table.node, inherited);
        match context.by_stale.get(usize::from(stale)) {
            Some(folded) => *folded,
            None => context.folded,
        }
    }

    #[inline]
    fn of_leaf_table(&self, table: Table, inherited: u8) -> Folded {
        let Some((breaks, first, last)) = self.tree.leaf_edges(table, inherited) else {
            return Folded::default();
        };
        let (leaves, others) = self.tree.atoms(table);
        Folded {
            summary: Summary {
                edges: Some((first, last)),
                breaks,
                leaves,
                others,
                absent: 0,
            },
            depends: false,
            stale: self.tree.stale_after(table, inherited),
        }
    }

    /// Folds a table of an upper depth from those below it.
    fn fold(&self, table: Table, inherited: u8, stale: u8) -> Folded {
        let mut parts = Parts::new(self, table, inherited, stale);
        let mut sum = Folded::default();
        // Neighbouring entries that lead to one and the same table are folded at once.
        let mut same: Option<(u64, u64, Table, u8)> = None;
        while let Some(part) = parts.next() {
            if let Piece::Table(child, path) = part.piece
                && parts.plan.notes.is_none()
            {
                match &mut same {
                    Some((_, count, table, inherited))
                        if (*table, *inherited) == (child, path) && part.follows =>
                    {
                        *count += 1;
                        continue;
                    }
                    _ => {}
                }
                self.flush(&mut same, &mut sum.summary, parts.depth);
                same = Some((part.at, 1, child, path));
                continue;
            }
            self.flush(&mut same, &mut sum.summary, parts.depth);
            let folded = parts.folded(&part);
            sum.depends |= folded.depends && sum.stale.is_none();
            sum.stale = folded.stale.or(sum.stale);
            sum.summary.push(parts.plan, part.at, &folded.summary);
        }
        self.flush(&mut same, &mut sum.summary, parts.depth);
        sum
    }

    fn flush(
        &self,
        same: &mut Option<(u64, u64, Table, u8)>,
        sum: &mut Summary,
        depth: &PlanDepth,
    ) {
        if let Some((at, count, table, inherited)) = same.take() {
            let one = self.get(table, inherited, 0).summary;
            let plan = self.tree.plan();
            sum.push(plan, at, &one.repeat(plan, depth.span(), count));
        }
    }
}

/// One thing after the other that a table consists of.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Offset from the start of the table's span.
    pub at: u64,
    /// The entry right before it was of kind table too.
    pub follows: bool,
    /// What it is.
    pub piece: Piece,
}

/// See [`Part`].
#[derive(Clone, Copy, Debug)]
pub enum Piece {
    /// Atoms of the table itself.
    Run(Run),
    /// A table below, and the state it inherits.
    Table(Table, u8),
    /// One atom that stands for a table: absent, or early shadow.
    Atom(Edge),
}

/// The parts of a table, in order of address.
pub struct Parts<'f, 't, 'a> {
    fold: &'f Fold<'t, 'a>,
    plan: &'a Plan,
    /// The table's depth.
    pub depth: &'a PlanDepth,
    /// Its entries.
    pub entries: crate::entries::Entries<'t>,
    runs: crate::tree::Runs<'t>,
    children: crate::tree::Children<'t, 'a>,
    /// Table entries that are still to come, and whether one has gone before.
    tables: Option<(Run, bool)>,
    waiting: Option<Part>,
    table: Table,
    inherited: u8,
    /// Path state of the last pte that was met before the current part.
    pub stale: u8,
    sensitive: bool,
}

impl<'f, 't, 'a> Parts<'f, 't, 'a> {
    /// Those of `table` below `inherited`, after a last pte of state `stale`.
    pub fn new(fold: &'f Fold<'t, 'a>, table: Table, inherited: u8, stale: u8) -> Self {
        let tree = fold.tree;
        let plan = tree.plan();
        Self {
            fold,
            plan,
            depth: &plan.depths[table.depth],
            entries: tree.entries(table),
            runs: tree.runs(table),
            children: tree.children(table),
            tables: None,
            waiting: None,
            table,
            inherited,
            stale,
            sensitive: plan
                .notes
                .as_ref()
                .is_some_and(|notes| notes.shadow_path_stale),
        }
    }

    /// The next part. Afterwards tell [`passed`](Self::passed) what was below it.
    #[inline]
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Part> {
        loop {
            if let Some(part) = self.waiting.take() {
                return Some(part);
            }
            if let Some((run, follows)) = self.tables.take() {
                if run.start < run.last {
                    self.tables = Some((
                        Run {
                            start: run.start + 1,
                            ..run
                        },
                        true,
                    ));
                }
                if let Some(part) = self.entry(run.start, follows) {
                    return Some(part);
                }
                continue;
            }
            let run = self.runs.next()?;
            match self.depth.action(self.entries.get(run.start)) {
                Action::Gap => {}
                Action::Table(_) => self.tables = Some((run, false)),
                Action::Atom(_) => {
                    let at = (run.start as u64) << self.depth.shift;
                    return Some(Part {
                        at,
                        follows: false,
                        piece: Piece::Run(run),
                    });
                }
            }
        }
    }

    fn entry(&mut self, index: usize, follows: bool) -> Option<Part> {
        let at = (index as u64) << self.depth.shift;
        let entry = self.entries.get(index);
        let descent = self.children.next(entry);
        let inherited = self.inherited | self.depth.table_state(entry);
        let below = descent.child.map(|child| match child {
            Child::Table(table) => Piece::Table(table, inherited),
            Child::Absent(pa) => {
                let level = self.plan.depths[self.table.depth + 1].absent_level;
                let key = if self.plan.notes.is_some() {
                    0
                } else {
                    entry & self.depth.attributes
                };
                let edge = absent_edge(0, self.depth.span(), pa, level);
                Piece::Atom(Edge {
                    key,
                    value: entry,
                    ..edge
                })
            }
        });
        let below = below.map(|piece| Part { at, follows, piece });
        if !descent.shadow {
            return below;
        }
        self.waiting = below;
        let notes = self.plan.notes.as_ref()?;
        let (key, value, level) = notes.shadow;
        let path = match notes.zero_path {
            Some(path) if value == 0 => path,
            _ if self.sensitive => self.stale,
            _ => 0,
        };
        let edge = Edge {
            at: 0,
            len: self.depth.span(),
            key,
            pa: 0,
            value,
            path,
            level,
            label: Label::Note,
        };
        Some(Part {
            at,
            follows: false,
            piece: Piece::Atom(edge),
        })
    }

    /// What a part comes to, with offsets from its own start; the walk goes on as if
    /// it had been passed.
    #[inline]
    pub fn folded(&mut self, part: &Part) -> Folded {
        match part.piece {
            Piece::Run(run) => {
                let folded = self.run(run);
                self.stale = folded.stale.unwrap_or(self.stale);
                folded
            }
            Piece::Table(table, inherited) => {
                let folded = self.fold.get(table, inherited, self.stale);
                self.stale = folded.stale.unwrap_or(self.stale);
                folded
            }
            Piece::Atom(edge) => Folded {
                summary: Summary::of(edge),
                depends: self.sensitive && edge.label == Label::Note,
                stale: None,
            },
        }
    }

    fn run(&self, run: Run) -> Folded {
        let Action::Atom(atom) = self.depth.action(self.entries.get(run.start)) else {
            return Folded::default();
        };
        let edge = |index: usize| {
            let entry = self.entries.get(index);
            let mut edge = self
                .plan
                .edge(self.depth, atom, self.inherited, index, entry);
            edge.at -= (run.start as u64) << self.depth.shift;
            edge
        };
        let count = run.count() as u64;
        let other = atom.label == Label::Other;
        Folded {
            summary: Summary {
                edges: Some((edge(run.start), edge(run.last))),
                breaks: if self.plan.is_separate() {
                    count - 1
                } else {
                    0
                },
                leaves: if other { 0 } else { count },
                others: if other { count } else { 0 },
                absent: 0,
            },
            depends: false,
            stale: None,
        }
    }
}
