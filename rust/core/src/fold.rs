//! Count first: what each unique table comes to, before a row of it is written.
//!
//! A [`Summary`] is the first and last atom of a subtree and how many rows end inside
//! it. Two of them side by side make a third, so a table's is put together from its
//! children's, bottom up, once for each different state inherited from above; however
//! often the table hangs somewhere, nothing below it is looked at again.

use crate::entries::Entries;
use crate::error::WalkError;
use crate::plan::{Action, Atom, Edge, Label, Plan, PlanDepth};
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
    pub fn repeat(mut self, plan: &Plan, span: u64, count: u64) -> Self {
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

    /// The contexts that those of a depth lead to, of tables that need one.
    fn below(&self, depth: usize, contexts: &Contexts) -> Vec<(u32, u8)> {
        let of = &self.tree.plan().depths[depth];
        let plain = self.tree.plan().notes.is_none();
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
                    let mut next = run.start;
                    while next <= run.last {
                        let entry = entries.get(next);
                        next += 1;
                        let Some(Child::Table(child)) = children.next(entry).child else {
                            continue;
                        };
                        if !self.is_flat(child) {
                            found.push((child.node, inherited | of.table_state(entry)));
                        }
                        if plain {
                            next += children.pass_same(child, run.last + 1 - next);
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
        if self.is_flat(table) {
            return self.of_flat_table(table, inherited);
        }
        let context = self.depths[table.depth].get(table.node, inherited);
        match context.by_stale.get(usize::from(stale)) {
            Some(folded) => *folded,
            None => context.folded,
        }
    }

    /// True for tables that need no context: what they come to is known from the scan.
    #[inline]
    fn is_flat(&self, table: Table) -> bool {
        self.tree.is_last(table.depth)
            || (self.tree.is_flat(table) && self.tree.plan().notes.is_none())
    }

    #[inline]
    fn of_flat_table(&self, table: Table, inherited: u8) -> Folded {
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
        if self.tree.plan().notes.is_none() {
            return Folded {
                summary: self.fold_plain(table, inherited),
                depends: false,
                stale: None,
            };
        }
        let mut parts = Parts::new(self, table, inherited, stale);
        let mut sum = Folded::default();
        while let Some(part) = parts.next() {
            let folded = parts.folded(&part);
            sum.depends |= folded.depends && sum.stale.is_none();
            sum.stale = folded.stale.or(sum.stale);
            sum.summary.push(parts.plan, part.at, &folded.summary);
        }
        sum
    }

    /// The same, under a key that knows no notes: the way of most tables, so neighbours
    /// that are alike are taken together.
    fn fold_plain(&self, table: Table, inherited: u8) -> Summary {
        if self.is_flat(table) {
            return self.of_flat_table(table, inherited).summary;
        }
        let plan = self.tree.plan();
        let depth = &plan.depths[table.depth];
        let distinct = plan.depths[table.depth + 1].distinct;
        let entries = self.tree.entries(table);
        let mut children = self.tree.children(table);
        let mut sum = Summary::default();
        let mut group = Group::None;
        for run in self.tree.runs(table) {
            let atoms = match depth.action(entries.get(run.start)) {
                Action::Gap => continue,
                Action::Atom(atom) => Some(atom),
                Action::Table(_) => None,
            };
            if let Some(atom) = atoms {
                self.end(&mut group, &mut sum, depth);
                let at = (run.start as u64) << depth.shift;
                let summary = run_summary(plan, depth, atom, &entries, run, inherited);
                sum.push(plan, at, &summary);
                continue;
            }
            let path = inherited | depth.table_state(entries.get(run.start));
            let mut next = run.start;
            while next <= run.last {
                let index = next;
                next += 1;
                let at = (index as u64) << depth.shift;
                children.prefetch_node();
                match children.next_table() {
                    Some(child) if distinct && self.is_flat(child) => {
                        if !group.chain(self.tree, depth, at, child, path) {
                            self.end(&mut group, &mut sum, depth);
                            group.chain(self.tree, depth, at, child, path);
                        }
                        let most = run.last - index;
                        let (mut more, mut step) = (children.pass_followers(child, most), 1);
                        if more == 0 && self.tree.continues(child, child) {
                            (more, step) = (children.pass_same(child, most), 0);
                        }
                        group.extend(self.tree, depth, more, step);
                        next += more;
                    }
                    Some(child) => {
                        if !group.repeat(depth, at, child, path) {
                            self.end(&mut group, &mut sum, depth);
                            group.repeat(depth, at, child, path);
                        }
                        let more = children.pass_same(child, run.last - index);
                        group.extend(self.tree, depth, more, 0);
                        next += more;
                    }
                    None => {
                        self.end(&mut group, &mut sum, depth);
                        let edge = absent_table(plan, table.depth, entries.get(index));
                        sum.push(plan, at, &Summary::of(edge));
                    }
                }
            }
        }
        self.end(&mut group, &mut sum, depth);
        sum
    }

    /// Adds a group to `sum`.
    fn end(&self, group: &mut Group, sum: &mut Summary, depth: &PlanDepth) {
        let plan = self.tree.plan();
        match std::mem::replace(group, Group::None) {
            Group::None => {}
            Group::Same {
                at,
                count,
                table,
                path,
            } => {
                let one = self.get(table, path, 0).summary;
                sum.push(plan, at, &one.repeat(plan, depth.span(), count));
            }
            Group::Chain {
                first,
                last,
                path,
                breaks,
                leaves,
                others,
            } => {
                let start = self.tree.leaf_edges(first.1, path);
                let end = self.tree.leaf_edges(last.1, path);
                if let (Some((_, start, _)), Some((_, _, mut end))) = (start, end) {
                    end.at += last.0 - first.0;
                    let summary = Summary {
                        edges: Some((start, end)),
                        breaks,
                        leaves,
                        others,
                        absent: 0,
                    };
                    sum.push(plan, first.0, &summary);
                }
            }
        }
    }
}

/// Neighbouring tables that are folded together.
enum Group {
    None,
    /// One and the same table, `count` times, without anything between.
    Same {
        at: u64,
        count: u64,
        table: Table,
        path: u8,
    },
    /// Flat tables of a distinct depth below one path state, with nothing but holes
    /// between; the first and the last with where they are.
    Chain {
        first: (u64, Table),
        last: (u64, Table),
        path: u8,
        breaks: u64,
        leaves: u64,
        others: u64,
    },
}

impl Group {
    /// Adds a flat table to a chain; false where this is none that it belongs to.
    #[inline]
    fn chain(
        &mut self,
        tree: &Tree<'_>,
        depth: &PlanDepth,
        at: u64,
        table: Table,
        path: u8,
    ) -> bool {
        let (more_leaves, more_others) = tree.atoms(table);
        if more_leaves + more_others == 0 {
            return true;
        }
        match self {
            Self::None => {
                *self = Self::Chain {
                    first: (at, table),
                    last: (at, table),
                    path,
                    breaks: tree.breaks(table),
                    leaves: more_leaves,
                    others: more_others,
                };
                true
            }
            Self::Chain {
                last,
                path: below,
                breaks,
                leaves,
                others,
                ..
            } if *below == path => {
                let joined = last.0 + depth.span() == at && tree.continues(last.1, table);
                *breaks += tree.breaks(table) + u64::from(!joined);
                *leaves += more_leaves;
                *others += more_others;
                *last = (at, table);
                true
            }
            _ => false,
        }
    }

    /// Adds `more` tables that each [follow](Children::pass_followers) the one before, the
    /// first of them the group's last table; `step` is 0 where all of them are that one.
    #[inline]
    fn extend(&mut self, tree: &Tree<'_>, depth: &PlanDepth, more: usize, step: u32) {
        let tables = more as u64;
        match self {
            Self::None => {}
            Self::Same { count, .. } => *count += tables,
            Self::Chain {
                last,
                breaks,
                leaves,
                others,
                ..
            } => {
                let each = tree.atoms(last.1);
                *breaks += tables * tree.breaks(last.1);
                *leaves += tables * each.0;
                *others += tables * each.1;
                last.0 += tables * depth.span();
                last.1.node += more as u32 * step;
            }
        }
    }

    /// Counts a table once more; false where this is a group of others.
    #[inline]
    fn repeat(&mut self, depth: &PlanDepth, at: u64, table: Table, path: u8) -> bool {
        match self {
            Self::None => {
                *self = Self::Same {
                    at,
                    count: 1,
                    table,
                    path,
                };
                true
            }
            Self::Same {
                at: first,
                count,
                table: same,
                path: below,
            } if (*same, *below) == (table, path) && *first + *count * depth.span() == at => {
                *count += 1;
                true
            }
            _ => false,
        }
    }
}

/// The atom that stands for a table that is not in the image; `entry`, of a table of
/// `depth`, points to it.
fn absent_table(plan: &Plan, depth: usize, entry: u64) -> Edge {
    let of = &plan.depths[depth];
    let pa = match of.action(entry) {
        Action::Table(decode) => decode.address(entry),
        _ => 0,
    };
    let level = plan.depths[depth + 1].absent_level;
    let key = if plan.notes.is_some() {
        0
    } else {
        entry & of.attributes
    };
    Edge {
        key,
        value: entry,
        ..absent_edge(0, of.span(), pa, level)
    }
}

/// What a run of atoms comes to, with offsets from its own start.
fn run_summary(
    plan: &Plan,
    depth: &PlanDepth,
    atom: &Atom,
    entries: &Entries<'_>,
    run: Run,
    inherited: u8,
) -> Summary {
    let edge = |index: usize| {
        let mut edge = plan.edge(depth, atom, inherited, index, entries.get(index));
        edge.at -= (run.start as u64) << depth.shift;
        edge
    };
    let count = run.count() as u64;
    let other = atom.label == Label::Other;
    Summary {
        edges: Some((edge(run.start), edge(run.last))),
        breaks: if plan.is_separate() { count - 1 } else { 0 },
        leaves: if other { 0 } else { count },
        others: if other { count } else { 0 },
        absent: 0,
    }
}

/// One thing after the other that a table consists of.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Offset from the start of the table's span.
    pub at: u64,
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
    /// Table entries that are still to come.
    tables: Option<Run>,
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
            if let Some(run) = self.tables.take() {
                if run.start < run.last {
                    self.tables = Some(Run {
                        start: run.start + 1,
                        ..run
                    });
                }
                if let Some(part) = self.entry(run.start) {
                    return Some(part);
                }
                continue;
            }
            let run = self.runs.next()?;
            match self.depth.action(self.entries.get(run.start)) {
                Action::Gap => {}
                Action::Table(_) => self.tables = Some(run),
                Action::Atom(_) => {
                    let at = (run.start as u64) << self.depth.shift;
                    return Some(Part {
                        at,
                        piece: Piece::Run(run),
                    });
                }
            }
        }
    }

    /// Goes on over parts that are `table`, as the last one was: `most` at most. Gives how
    /// many.
    #[inline]
    pub fn pass_same(&mut self, table: Table, most: u64) -> u64 {
        // Where there are notes, one may come before each.
        if self.plan.notes.is_some() {
            return 0;
        }
        let Some(run) = self.tables else { return 0 };
        let most = usize::try_from(most).map_or(run.count(), |most| most.min(run.count()));
        let count = self.children.pass_same(table, most);
        self.tables = (count < run.count()).then_some(Run {
            start: run.start + count,
            ..run
        });
        count as u64
    }

    /// Asks for what the tables further on will need.
    #[inline]
    pub fn prefetch(&self) {
        self.children.prefetch();
    }

    fn entry(&mut self, index: usize) -> Option<Part> {
        let at = (index as u64) << self.depth.shift;
        let entry = self.entries.get(index);
        let descent = self.children.next(entry);
        let inherited = self.inherited | self.depth.table_state(entry);
        let below = descent.child.map(|child| match child {
            Child::Table(table) => Piece::Table(table, inherited),
            Child::Absent(_) => Piece::Atom(absent_table(self.plan, self.table.depth, entry)),
        });
        let below = below.map(|piece| Part { at, piece });
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
        let summary = run_summary(
            self.plan,
            self.depth,
            atom,
            &self.entries,
            run,
            self.inherited,
        );
        // Of ptes the last one counts for shadow notes, also where they are passed whole.
        let ptes = self.sensitive && self.fold.tree.is_last(self.table.depth);
        Folded {
            summary,
            depends: false,
            stale: ptes.then(|| self.inherited | self.depth.atom_state(self.entries.get(run.last))),
        }
    }
}
