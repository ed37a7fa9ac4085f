//! Emit: rows in order of address, into columns of the counted size, by threads.
//!
//! The address space is cut where the counts say that each part has about the same
//! number of rows. A part knows how many rows come before it and whether its first
//! one is only the end of a row that an earlier part has begun.

use crate::columns::Columns;
use crate::error::WalkError;
use crate::fold::{Fold, Piece, Summary};
use crate::plan::Edge;
use crate::tree::Control;
use crate::visit::{Span, count, parts, visit};
use crate::writer::Writer;
use rayon::prelude::*;
use std::sync::atomic::Ordering::Relaxed;

/// Rows that are worth a part of their own.
const PART_ROWS: u64 = 1 << 14;

/// Rows of some spans, and whether they are all.
#[derive(Debug)]
pub struct Emitted {
    /// The rows, span after span.
    pub columns: Columns,
    /// What they come to; more than `columns` has where the result was cut.
    pub total: Totals,
    /// By span: how many rows it has in `columns`.
    pub rows: Vec<u64>,
}

/// Exact counts of a walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Leaf entries.
    pub leaves: u64,
    /// Entries of kind other.
    pub others: u64,
    /// Tables that are not in the image.
    pub absent: u64,
}

/// A part of the work: a piece of a span.
struct Piecework {
    span: Span,
    group: usize,
    summary: Summary,
    /// Its first row is the end of one that an earlier part has begun, whose last atom
    /// so far is this.
    goes_on: Option<Edge>,
    rows: u64,
}

/// Counts the rows of some spans. Rows are not joined across roots.
pub fn total(fold: &Fold<'_, '_>, spans: &[Span]) -> Totals {
    let work = plan_work(fold, spans, 1);
    totals(&work)
}

fn totals(work: &[Piecework]) -> Totals {
    work.iter().fold(Totals::default(), |sum, part| Totals {
        rows: sum.rows + part.rows,
        leaves: sum.leaves + part.summary.leaves,
        others: sum.others + part.summary.others,
        absent: sum.absent + part.summary.absent,
    })
}

/// Writes the rows of some spans.
///
/// # Errors
/// [`WalkError`]: more rows than `budget` (unless `truncate`), cancelled, or the image
/// changed between counting and writing.
pub fn emit(
    fold: &Fold<'_, '_>,
    spans: &[Span],
    budget: u64,
    truncate: bool,
    control: &Control,
) -> Result<Emitted, WalkError> {
    let threads = rayon::current_num_threads();
    let work = plan_work(fold, spans, threads);
    let total = totals(&work);
    if total.rows > budget && !truncate {
        return Err(WalkError::Budget {
            rows: total.rows,
            budget,
        });
    }
    let kept = total.rows.min(budget);
    let Ok(length) = usize::try_from(kept) else {
        return Err(WalkError::Budget {
            rows: total.rows,
            budget,
        });
    };
    let mut columns = Columns::new(length);
    let mut rest = columns.as_mut();
    let mut tasks = Vec::with_capacity(work.len());
    for part in &work {
        let rows = part.rows.min(rest.len() as u64) as usize;
        let (mine, others) = rest.split_at(rows);
        rest = others;
        tasks.push((part, mine));
    }
    let carried: Vec<u64> = tasks
        .into_par_iter()
        .map(|(part, columns)| {
            control.check()?;
            let room = columns.len() as u64;
            let mut writer = Writer::new(fold.tree(), columns, part.goes_on, room < part.rows);
            visit(fold, &part.span, 0, &mut writer);
            control.rows.fetch_add(room, Relaxed);
            writer.finish().ok_or_else(|| fold.tree().changed())
        })
        .collect::<Result<_, WalkError>>()?;
    let mut rows = vec![0; spans.len()];
    let mut before: u64 = 0;
    for (part, carried) in work.iter().zip(carried) {
        if carried > 0 && (1..=kept).contains(&before) {
            let size = &mut columns.size[before as usize - 1];
            *size = size.wrapping_add(carried);
        }
        rows[part.group] += part.rows.min(kept - before.min(kept));
        before += part.rows;
    }
    Ok(Emitted {
        columns,
        total,
        rows,
    })
}

/// Cuts spans into parts, counts them, and says how they hang together.
fn plan_work(fold: &Fold<'_, '_>, spans: &[Span], threads: usize) -> Vec<Piecework> {
    let plan = fold.tree().plan();
    let pieces: Vec<(usize, Span)> = spans
        .iter()
        .enumerate()
        .flat_map(|(group, span)| {
            cut(fold, span, if threads > 1 { threads as u64 * 8 } else { 1 })
                .into_iter()
                .map(move |piece| (group, piece))
        })
        .collect();
    let summaries: Vec<Summary> = pieces
        .par_iter()
        .map(|(_, span)| count(fold, span))
        .collect();
    let mut work: Vec<Piecework> = Vec::with_capacity(pieces.len());
    let mut last: Option<(usize, Edge)> = None;
    for ((group, span), summary) in pieces.into_iter().zip(summaries) {
        let mut goes_on = None;
        if let Some((first, end)) = summary.edges {
            goes_on = last
                .filter(|(root, edge)| *root == span.root && plan.joins(edge, &first))
                .map(|(_, edge)| edge);
            last = Some((span.root, end));
        }
        let rows = summary.rows() - u64::from(goes_on.is_some());
        work.push(Piecework {
            span,
            group,
            summary,
            goes_on,
            rows,
        });
    }
    work
}

/// Cuts a span into at most about `count` pieces of about equal numbers of rows.
fn cut(fold: &Fold<'_, '_>, span: &Span, count: u64) -> Vec<Span> {
    if count < 2 {
        return vec![*span];
    }
    let rows = crate::visit::count(fold, span).rows();
    let share = (rows / count).max(PART_ROWS);
    if rows <= share {
        return vec![*span];
    }
    let root = fold.tree().root(span.root);
    let mut cuts = Vec::new();
    let mut seen = 0;
    find_cuts(fold, root, 0, 0, span, share, &mut seen, &mut cuts);
    let mut out = Vec::new();
    let mut first = span.first;
    for cut in cuts {
        if cut > first && cut <= span.last {
            out.push(Span {
                first,
                last: cut - 1,
                ..*span
            });
            first = cut;
        }
    }
    out.push(Span { first, ..*span });
    out
}

/// Finds offsets in a table's span before which about another `share` rows end.
#[allow(clippy::too_many_arguments)]
fn find_cuts(
    fold: &Fold<'_, '_>,
    table: crate::tree::Table,
    inherited: u8,
    start: u64,
    span: &Span,
    share: u64,
    seen: &mut u64,
    cuts: &mut Vec<u64>,
) {
    for (part, summary) in parts(fold, table, inherited) {
        let first = start + part.at;
        if first > span.last {
            return;
        }
        match part.piece {
            Piece::Table(child, below) if summary.rows() > share => {
                let last = first + (fold.tree().plan().depths[table.depth].span() - 1);
                if last >= span.first {
                    find_cuts(fold, child, below, first, span, share, seen, cuts);
                }
                continue;
            }
            _ => {}
        }
        if *seen >= share {
            cuts.push(first);
            *seen = 0;
        }
        *seen += summary.rows();
    }
}
