//! Byte strings in an image: names, and pointers to them.

use crate::addr::Pa;
use crate::error::WalkError;
use crate::image::PhysicalMemory;
use crate::runs::{Runs, read};
use crate::tree::Control;
use memchr::memmem::Finder;
use rayon::prelude::*;

/// Read at a time.
const BLOCK: u64 = 1 << 20;
/// What is absent is found page by page.
const PAGE: u64 = 4096;
/// Hits that are told: a pattern that is everywhere says nothing.
const MOST: usize = 1 << 20;

/// Where a pattern was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Its first byte.
    pub pa: Pa,
    /// Which one.
    pub pattern: usize,
}

/// Every place of every pattern in `low ..= high`, in order of address; a pattern may lie
/// across segments that adjoin, and reads what is absent as zeros. Of more than a million
/// hits the first are told.
///
/// # Errors
/// [`WalkError::Cancelled`].
pub fn find(
    memory: &dyn PhysicalMemory,
    patterns: &[&[u8]],
    low: u64,
    high: u64,
    control: &Control,
) -> Result<Vec<Hit>, WalkError> {
    let finders: Vec<_> = patterns.iter().map(Finder::new).collect();
    let longest = patterns.iter().map(|p| p.len()).max().unwrap_or(0) as u64;
    let runs = Runs::new(memory);
    let found = runs
        .pieces(low, high, 1, BLOCK)
        .par_iter()
        .map_init(Vec::new, |buffer, &(first, last, run)| {
            control.check()?;
            let end = run.min(last.saturating_add(longest.saturating_sub(1)));
            fill(memory, first, end, buffer);
            let mut hits = Vec::new();
            for (pattern, finder) in finders.iter().enumerate() {
                if finder.needle().is_empty() {
                    continue;
                }
                hits.extend(
                    overlapping(finder, buffer)
                        .map(|at| first + at as u64)
                        .take_while(|pa| *pa <= last)
                        .take(MOST)
                        .map(|pa| Hit {
                            pa: Pa(pa),
                            pattern,
                        }),
                );
            }
            hits.sort_unstable();
            Ok(hits)
        })
        .collect::<Result<Vec<_>, WalkError>>()?;
    Ok(found.into_iter().flatten().take(MOST).collect())
}

/// Places of a pattern, those that overlap too.
fn overlapping<'a>(finder: &'a Finder<'_>, bytes: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + finder.find(bytes.get(from..)?)?;
        from = at + 1;
        Some(at)
    })
}

/// The bytes from `first` to `last`, zeros where they are absent.
fn fill(memory: &dyn PhysicalMemory, first: u64, last: u64, buffer: &mut Vec<u8>) {
    if read(memory, first, last - first + 1, buffer) {
        return;
    }
    buffer.fill(0);
    let mut at = first;
    let mut page = Vec::new();
    while at <= last {
        let end = last.min(at | (PAGE - 1));
        if read(memory, at, end - at + 1, &mut page)
            && let Ok(start) = usize::try_from(at - first)
        {
            buffer[start..start + page.len()].copy_from_slice(&page);
        }
        match end.checked_add(1) {
            Some(next) => at = next,
            None => break,
        }
    }
}
