//! What a table's own atoms come to, run by run.

use super::{Node, Run};
use crate::entries::Entries;
use crate::plan::{Action, Edge, Label, Plan, PlanDepth};

/// Counts of a table's own atoms, run by run.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) leaves: u64,
    pub(super) others: u64,
    pub(super) breaks: u64,
    pub(super) irregular: bool,
    pub(super) first: Option<(usize, u64)>,
    pub(super) last: Option<(usize, u64, Edge)>,
}

impl Tally {
    /// Adds a run, if it consists of atoms.
    #[inline]
    pub(super) fn run(
        &mut self,
        plan: &Plan,
        depth: &PlanDepth,
        entries: &Entries<'_>,
        run: Run,
        above: u8,
    ) {
        let entry = entries.get(run.start);
        let Action::Atom(atom) = depth.action(entry) else {
            return;
        };
        let first = plan.edge(depth, atom, above, run.start, entry);
        if let Some((_, last_entry, last)) = &self.last {
            self.breaks += u64::from(!plan.joins(last, &first));
            // Equal but for the path: what lies above decides whether they are joined.
            self.irregular |= last.key == first.key
                && last.level == first.level
                && last.label == first.label
                && plan.own_state(depth, *last_entry) != plan.own_state(depth, entry);
        }
        let count = run.count() as u64;
        if plan.is_separate() {
            self.breaks += count - 1;
        }
        if atom.label == Label::Other {
            self.others += count;
        } else {
            self.leaves += count;
        }
        self.first.get_or_insert((run.start, entry));
        self.last = Some(if run.count() == 1 {
            (run.last, entry, first)
        } else {
            let entry = entries.get(run.last);
            (
                run.last,
                entry,
                plan.edge(depth, atom, above, run.last, entry),
            )
        });
    }

    pub(super) fn store(&self, node: &mut Node<'_>) {
        node.leaves = self.leaves as u32;
        node.others = self.others as u32;
        node.breaks = self.breaks as u32;
        node.irregular = self.irregular;
        if let (Some((first, first_entry)), Some((last, last_entry, _))) = (self.first, self.last) {
            node.first = first as u16;
            node.first_entry = first_entry;
            node.last = last as u16;
            node.last_entry = last_entry;
        }
    }
}
