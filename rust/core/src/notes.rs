//! A kernel's dumper: notes, runs of them, and the markers that cut runs.
//!
//! Between markers a dumper joins notes pairwise, like any other coalescing key, so
//! whole subtrees go by at a time. Where a marker lies inside a subtree, or lags
//! behind (a run is cut at *each* note then), it is gone down to the single note.

use crate::error::WalkError;
use crate::fold::{Fold, Summary};
use crate::plan::{Edge, Label, Notes, Plan};
use crate::tree::Control;
use crate::visit::{Atoms, Span, Visitor, visit};

/// The lines of a dump, as columns, and where the headings go.
#[derive(Debug, Default)]
pub struct Dump {
    /// First address of each line.
    pub start: Vec<u64>,
    /// The address of the note that ended it.
    pub end: Vec<u64>,
    /// Level number.
    pub level: Vec<u8>,
    /// The masked value.
    pub key: Vec<u64>,
    /// Path state.
    pub path: Vec<u8>,
    /// Value of the first note.
    pub value: Vec<u64>,
    /// 1 where a table that is not in the image was noted; `value` is its entry then.
    pub absent: Vec<u8>,
    /// (lines before it, marker number) for each heading.
    pub headings: Vec<(u64, u32)>,
    /// How many lines there are, also where they were only counted.
    pub lines: u64,
    /// Tables that are not in the image.
    pub absent_tables: u64,
}

impl Dump {
    fn reserve(&mut self, lines: usize) {
        self.start.reserve_exact(lines);
        self.end.reserve_exact(lines);
        self.level.reserve_exact(lines);
        self.key.reserve_exact(lines);
        self.path.reserve_exact(lines);
        self.value.reserve_exact(lines);
        self.absent.reserve_exact(lines);
    }
}

/// Runs a dialect over `spans`, in their order.
///
/// # Errors
/// [`WalkError`]: more lines than `budget`, or cancelled.
pub fn dump(
    fold: &Fold<'_, '_>,
    spans: &[Span],
    markers: &[u64],
    budget: u64,
    control: &Control,
) -> Result<Dump, WalkError> {
    let counted = count(fold, spans, markers, control)?;
    if counted > budget {
        return Err(WalkError::Budget {
            rows: counted,
            budget,
        });
    }
    let mut dump = Dump::default();
    // What does not fit a usize was over the budget.
    dump.reserve(usize::try_from(counted).unwrap_or(0));
    run(fold, spans, markers, Some(dump), control)
}

/// How many lines [`dump`] would give.
///
/// # Errors
/// [`WalkError::Cancelled`].
pub fn count(
    fold: &Fold<'_, '_>,
    spans: &[Span],
    markers: &[u64],
    control: &Control,
) -> Result<u64, WalkError> {
    Ok(run(fold, spans, markers, None, control)?.lines)
}

fn run(
    fold: &Fold<'_, '_>,
    spans: &[Span],
    markers: &[u64],
    out: Option<Dump>,
    control: &Control,
) -> Result<Dump, WalkError> {
    let plan = fold.tree().plan();
    let Some(notes) = &plan.notes else {
        return Ok(Dump::default());
    };
    let mut dumper = Dumper {
        plan,
        notes,
        markers,
        marker: 0,
        open: None,
        keep: out.is_some(),
        out: out.unwrap_or_default(),
        control,
    };
    let mut stale = notes.zero_path.unwrap_or(0);
    for span in spans {
        stale = visit(fold, span, stale, &mut dumper);
        control.check()?;
    }
    if let Some(last) = spans.last() {
        let end = last.last.wrapping_add(last.base).wrapping_add(1);
        dumper.flush_end(notes.final_address.unwrap_or(end));
    }
    Ok(dumper.out)
}

struct Dumper<'d> {
    plan: &'d Plan,
    notes: &'d Notes,
    markers: &'d [u64],
    /// The marker that the current address is behind.
    marker: usize,
    /// The run so far: its first note, at the address it is said to start at.
    open: Option<Edge>,
    /// Lines are wanted, not only their number.
    keep: bool,
    out: Dump,
    control: &'d Control,
}

impl Dumper<'_> {
    /// True where the next marker has been reached at `va`.
    #[inline]
    fn reached(&self, va: u64) -> bool {
        self.markers
            .get(self.marker + 1)
            .is_some_and(|&next| va >= next)
    }

    fn pass(&mut self, va: u64, most: Option<u32>) {
        let mut left = most;
        while left != Some(0) && self.reached(va) {
            self.marker += 1;
            self.heading();
            left = left.map(|n| n - 1);
        }
    }

    fn heading(&mut self) {
        if self.keep {
            self.out.headings.push((self.out.lines, self.marker as u32));
        }
    }

    fn line(&mut self, open: &Edge, end: u64) {
        if self.keep {
            self.out.start.push(open.at);
            self.out.end.push(end);
            self.out.level.push(open.level);
            self.out.key.push(open.key);
            self.out.path.push(open.path);
            self.out.value.push(open.value);
            self.out.absent.push(u8::from(open.label == Label::Absent));
        }
        self.out.lines += 1;
    }

    fn note(&mut self, edge: Edge) {
        let va = edge.at;
        match self.open {
            None => {
                let at = self.notes.first_start.unwrap_or(va);
                self.open = Some(Edge { at, ..edge });
                if !self.markers.is_empty() {
                    self.heading();
                }
                self.pass(va, self.notes.markers.first);
            }
            Some(open) if !self.plan.joins(&open, &edge) || self.reached(va) => {
                self.line(&open, va);
                self.pass(va, self.notes.markers.flush);
                self.open = Some(edge);
            }
            Some(_) => {}
        }
        self.pass(va, self.notes.markers.note);
    }

    /// The note with no level that the kernel ends with; the first one of all where the
    /// walk has met nothing.
    fn flush_end(&mut self, va: u64) {
        if let Some(open) = self.open.take() {
            self.line(&open, va);
            self.pass(va, self.notes.markers.flush);
        } else {
            // All entries were passed over silently: this is the first note.
            if !self.markers.is_empty() {
                self.heading();
            }
            self.pass(va, self.notes.markers.first);
        }
        self.pass(va, self.notes.markers.note);
    }
}

impl Visitor for Dumper<'_> {
    fn whole(&mut self, va: u64, summary: &Summary) -> bool {
        let Some((mut first, mut last)) = summary.edges else {
            return true;
        };
        first.at = first.at.wrapping_add(va);
        last.at = last.at.wrapping_add(va);
        let Some(open) = self.open else { return false };
        if self.reached(last.at) {
            return false;
        }
        if summary.breaks == 0 {
            self.note(first);
            self.out.absent_tables += summary.absent;
            return true;
        }
        if self.keep {
            return false;
        }
        self.out.lines += summary.breaks + u64::from(!self.plan.joins(&open, &first));
        self.out.absent_tables += summary.absent;
        self.open = Some(last);
        true
    }

    fn atoms(&mut self, atoms: &Atoms<'_>) {
        let mut index = atoms.run.start;
        loop {
            self.note(atoms.edge(index));
            // Of the notes that follow, alike as they are, only those count at which a
            // marker has been reached.
            let Some(&next) = self.markers.get(self.marker + 1) else {
                return;
            };
            match atoms.at_or_after(next) {
                Some(at) => index = at.max(index + 1),
                None => return,
            }
            if index > atoms.run.last {
                return;
            }
        }
    }

    fn atom(&mut self, edge: Edge) {
        self.out.absent_tables += u64::from(edge.label == Label::Absent);
        self.note(edge);
    }

    fn is_done(&self) -> bool {
        self.control.check().is_err()
    }
}
