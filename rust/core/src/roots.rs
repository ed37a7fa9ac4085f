//! Tables that can be roots, found by looking at every place in an image where one may
//! begin.
//!
//! Most places are dismissed by their first entries: a root leads to tables that are in
//! the image and holds nothing else that makes no sense. What is left is followed down
//! to the leaves, each table judged once for each depth it is met at. Both need only the
//! plan's rules.

use crate::addr::Pa;
use crate::entries::Entries;
use crate::error::WalkError;
use crate::image::{PhysicalMemory, RawBytes};
use crate::plan::{Action, Label, Plan, PlanDepth, PlanRule};
use crate::runs::{Runs, read};
use crate::scan::{self, Isa, Masks};
use crate::tree::Control;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;

/// Read at a time; stays in the second-level cache.
const BLOCK: u64 = 512 << 10;
/// Pages of zeros are passed over where many roots would fit into one.
const PAGE: u64 = 4096;
/// Entries of a place that are looked at first.
const FIRST: usize = 64;
/// How far before they are looked at they are asked for.
const AHEAD: u64 = 16 << 10;
/// Entries of a place that are looked at at a time, behind the first.
const PIECE: usize = 512;
/// Tables that are followed in all, so that an image made of tables ends too. It is more
/// than the tables of a machine with a terabyte of mapped memory.
const BUDGET: u64 = 1 << 19;
/// Leaves beyond this are no memory and no device either, if the image is not up there.
const FAR: u64 = 1 << 48;
/// One entry in so many of a root may be wrong: absent, or not what it was taken for.
const TOLERANCE: u64 = 8;
/// An entry that makes sense: leads to a table that does, or maps something near.
const SENSE: u64 = 1 << 16;

/// A table that can be a root, and what speaks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it is.
    pub root: Pa,
    /// Tables below it; one that is shared counts each time, as for `leaves`.
    pub tables: u64,
    /// Leaves.
    pub leaves: u64,
    /// Leaves whose memory is in the image.
    pub inside: u64,
    /// It is a lower table of another candidate, so rather no root.
    pub nested: bool,
}

/// What lies below a table, taken as one of some depth.
#[derive(Clone, Copy, Debug, Default)]
struct Verdict {
    tables: u64,
    leaves: u64,
    inside: u64,
    /// How much of it makes sense, of [`SENSE`]: the mean of its used entries, so that
    /// one large subtree does not speak for all others.
    sense: u64,
}

impl Verdict {
    fn good(&self) -> bool {
        self.sense >= SENSE / 4 * 3
    }

    fn add(&mut self, other: &Self) {
        self.tables = self.tables.saturating_add(other.tables);
        self.leaves = self.leaves.saturating_add(other.leaves);
        self.inside = self.inside.saturating_add(other.inside);
        self.sense += other.sense;
    }
}

/// What to look for, beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What a root's address is a multiple of.
    pub align: u64,
    /// `entry & mask == value` in the table entries of the system that is looked for,
    /// which uses less than the processor allows: (mask, value).
    pub table: (u64, u64),
}

impl Wanted {
    fn table(&self, entry: u64) -> bool {
        entry & self.table.0 == self.table.1
    }
}

/// Every table that reads as a root of `plan`, in order of address. Bytes of segments
/// that are stored nowhere (zeros) are not looked at.
///
/// # Errors
/// [`WalkError::Cancelled`].
pub fn candidates(
    memory: &dyn PhysicalMemory,
    plan: &Plan,
    wanted: Wanted,
    control: &Control,
) -> Result<Vec<Candidate>, WalkError> {
    let runs = Runs::new(memory);
    let align = wanted.align.max(plan.depths[0].format.bytes as u64);
    let root = &plan.depths[0];
    let scan = Scan {
        memory,
        root,
        runs: &runs,
        wanted: Wanted { align, ..wanted },
        scan: scan::Scan::new(Isa::best(), root.format, Masks::default()),
        all_bits: u64::MAX >> (64 - 8 * root.format.bytes),
    };
    let step = BLOCK.max(align).next_multiple_of(align);
    let blocks = runs.pieces(0, u64::MAX, align, step);
    let places = blocks
        .par_iter()
        .map_init(Vec::new, |buffer, &(start, end, _)| {
            control.check()?;
            Ok(scan.look(start, end, buffer))
        })
        .collect::<Result<Vec<_>, WalkError>>()?;
    let mut judge = Judge {
        memory,
        plan,
        runs: &runs,
        wanted,
        control,
        known: HashMap::new(),
        left: BUDGET,
    };
    let mut found = Vec::new();
    for root in places.into_iter().flatten() {
        let verdict = judge.table(root, 0)?;
        if verdict.good() && verdict.tables > 0 && verdict.leaves > 0 {
            found.push(Candidate {
                root: Pa(root),
                tables: verdict.tables,
                leaves: verdict.leaves,
                inside: verdict.inside,
                nested: false,
            });
        }
    }
    let below = judge.below(&found)?;
    for candidate in &mut found {
        candidate.nested = below.contains(&candidate.root.0);
    }
    Ok(found)
}

/// The first look, at every place.
struct Scan<'a> {
    memory: &'a dyn PhysicalMemory,
    root: &'a PlanDepth,
    runs: &'a Runs,
    wanted: Wanted,
    /// Tells entries of 0.
    scan: scan::Scan,
    all_bits: u64,
}

impl Scan<'_> {
    /// The places in `start ..= end` at which a root may begin.
    fn look(&self, start: u64, end: u64, buffer: &mut Vec<u8>) -> Vec<u64> {
        let size = self.root.table_bytes();
        let len = end - start + 1;
        // The last table of the block may go on behind it.
        let behind = (size as u64).saturating_sub(self.wanted.align);
        let places = (0..len).step_by(usize::try_from(self.wanted.align).unwrap_or(usize::MAX));
        for len in [len.saturating_add(behind), len] {
            let whole = usize::try_from(len).ok();
            let raw = match whole.and_then(|len| self.memory.in_place(Pa(start), len)) {
                Some(raw) => raw,
                None if read(self.memory, start, len, buffer) => RawBytes::from_slice(buffer),
                None => continue,
            };
            let part = |at: u64, len| usize::try_from(at).ok().and_then(|at| raw.get(at, len));
            // Small roots: hundreds would fit into a page, and many pages are zeros.
            let small = self.wanted.align < PAGE && size as u64 <= self.wanted.align;
            let mut zeros_until = 0;
            let reads_as_root = |at: &u64| {
                if small
                    && at.is_multiple_of(PAGE)
                    && part(*at, PAGE as usize).is_some_and(|page| self.is_zero(page))
                {
                    zeros_until = at + PAGE;
                }
                if *at < zeros_until {
                    return false;
                }
                // Little is read of each place, so none is near enough to the one before.
                if let Some(soon) = part(at + AHEAD, size.min(FIRST * self.root.format.bytes)) {
                    scan::prefetch(soon.as_ptr(), soon.len());
                }
                part(*at, size).is_some_and(|table| self.plausible(table))
            };
            return places.filter(reads_as_root).map(|at| start + at).collect();
        }
        // Something is absent.
        places
            .map(|at| start + at)
            .filter(|at| {
                read(self.memory, *at, size as u64, buffer)
                    && self.plausible(RawBytes::from_slice(buffer))
            })
            .collect()
    }

    /// Whether a page is all zeros.
    fn is_zero(&self, page: RawBytes<'_>) -> bool {
        let entries = Entries::new(page, self.root.format);
        let mut zeros = [0; PAGE as usize / 4 / 64];
        self.scan.sift(&entries, self.all_bits, 0, &mut zeros);
        zeros[..entries.len() / 64]
            .iter()
            .all(|word| *word == u64::MAX)
    }

    /// Whether a table reads as a root: it leads somewhere, and no entry makes no sense.
    fn plausible(&self, table: RawBytes<'_>) -> bool {
        let (mut leads, mut wrong) = (0_u64, 0_u64);
        let mut zeros = [0_u64; PIECE / 64];
        let format = self.root.format;
        let mut first = 0;
        // Most pages are dismissed by their first entries, or are all zeros.
        let mut piece = FIRST;
        while let len @ 1.. = piece.min(table.len() / format.bytes - first) {
            let Some(part) = table.get(first * format.bytes, len * format.bytes) else {
                return false;
            };
            let part = Entries::new(part, format);
            self.scan.sift(&part, self.all_bits, 0, &mut zeros);
            for (number, zeros) in zeros[..len.div_ceil(64)].iter().enumerate() {
                let valid = u64::MAX >> (64 - (len - 64 * number).min(64));
                let mut used = !zeros & valid;
                while used != 0 {
                    let index = 64 * number + used.trailing_zeros() as usize;
                    used &= used - 1;
                    let entry = part.get(index);
                    match self.root.action(entry) {
                        Action::Gap => {}
                        Action::Table(decode)
                            if self.wanted.table(entry) && self.runs.has(decode.address(entry)) =>
                        {
                            leads += 1;
                        }
                        Action::Atom(atom) if matches!(atom.label, Label::Leaf) => {}
                        _ => wrong += 1,
                    }
                    if wrong > 4 && wrong * TOLERANCE > leads {
                        return false;
                    }
                }
            }
            first += len;
            piece = PIECE;
        }
        leads > 0 && wrong * TOLERANCE <= leads
    }
}

/// The entries of a table; None where not all of it is there.
fn entries<'a>(
    memory: &'a dyn PhysicalMemory,
    pa: u64,
    level: &PlanDepth,
    buffer: &'a mut Vec<u8>,
) -> Option<Entries<'a>> {
    let size = level.table_bytes();
    let bytes = match memory.in_place(Pa(pa), size) {
        Some(bytes) => bytes,
        None if read(memory, pa, size as u64, buffer) => RawBytes::from_slice(buffer),
        None => return None,
    };
    Some(Entries::new(bytes, level.format))
}

/// Entries of a table without any sense, after which the others are not looked at.
const HOPELESS: u64 = 16;

/// Entries that are judged together where they are alike.
const GROUP: usize = 64;

struct Judge<'a> {
    memory: &'a dyn PhysicalMemory,
    plan: &'a Plan,
    runs: &'a Runs,
    wanted: Wanted,
    control: &'a Control,
    known: HashMap<(u64, usize), Verdict>,
    left: u64,
}

impl Judge<'_> {
    /// What the table at `pa` looks like at `depth`, with all that is below it.
    fn table(&mut self, pa: u64, depth: usize) -> Result<Verdict, WalkError> {
        if let Some(verdict) = self.known.get(&(pa, depth)) {
            return Ok(*verdict);
        }
        self.control.check()?;
        let plan = self.plan;
        let level = &plan.depths[depth];
        if self.left == 0 {
            // Not looked at: that speaks neither for it nor against it.
            return Ok(Verdict {
                sense: SENSE,
                ..Verdict::default()
            });
        }
        let mut buffer = Vec::new();
        let Some(entries) = entries(self.memory, pa, level, &mut buffer) else {
            return Ok(Verdict::default());
        };
        self.left -= 1;
        self.control.tables.fetch_add(1, Relaxed);
        let mut sum = Verdict::default();
        let mut used = 0;
        let mut before: Option<(u64, Verdict)> = None;
        let mut group = [0; GROUP];
        'table: for first in (0..entries.len()).step_by(GROUP) {
            let group = &mut group[..GROUP.min(entries.len() - first)];
            entries.copy(first, group);
            if let Some(verdict) = self.alike(level, group) {
                sum.add(&verdict);
                used += verdict.leaves;
                continue;
            }
            for &entry in &*group {
                let verdict = match (before, level.action(entry)) {
                    (_, Action::Gap) => continue,
                    (Some((same, verdict)), _) if same == entry => verdict,
                    (_, Action::Table(_)) if !self.wanted.table(entry) => Verdict::default(),
                    (_, Action::Table(decode)) => {
                        let mut below = match decode.address(entry) {
                            pa if self.runs.has(pa) => self.table(pa, depth + 1)?,
                            _ => Verdict::default(),
                        };
                        below.tables = below.tables.saturating_add(1);
                        below
                    }
                    (_, Action::Atom(atom)) => {
                        let pa = atom.pa.as_ref().map(|decode| decode.address(entry));
                        let inside = pa.is_some_and(|pa| self.runs.has(pa));
                        // Swapped-out pages are no leaves, and no wonder at the last depth.
                        let leaf = matches!(atom.label, Label::Leaf);
                        let sense = if leaf {
                            inside || pa.is_some_and(|pa| pa < FAR)
                        } else {
                            depth + 1 == plan.depths.len()
                        };
                        Verdict {
                            tables: 0,
                            leaves: u64::from(leaf),
                            inside: u64::from(inside),
                            sense: if sense { SENSE } else { 0 },
                        }
                    }
                };
                before = Some((entry, verdict));
                sum.add(&verdict);
                used += 1;
                // Pages of data that were taken for tables.
                if used >= HOPELESS && sum.sense == 0 {
                    break 'table;
                }
            }
        }
        // An empty table is as good as any.
        sum.sense = sum.sense.checked_div(used).unwrap_or(SENSE);
        self.known.insert((pa, depth), sum);
        Ok(sum)
    }

    /// Entries that are all gaps, or all leaves of one kind, at once: most tables hold
    /// little else. None where they are not.
    fn alike(&self, level: &PlanDepth, group: &[u64]) -> Option<Verdict> {
        let first = *group.first()?;
        let rule = level.rule(first);
        let (before, mine) = (&level.rules[..rule], &level.rules[rule]);
        let (mask, value) = mine.test();
        let unlike = group
            .iter()
            .fold(0, |bits, entry| bits | ((entry ^ value) & mask));
        // No entry can match both, or none does.
        let never = |other: &PlanRule| {
            let (other_mask, other_value) = other.test();
            mask & other_mask & (value ^ other_value) != 0
                || group.iter().all(|entry| entry & other_mask != other_value)
        };
        if unlike != 0 || !before.iter().all(never) {
            return None;
        }
        let atom = match &mine.action {
            Action::Gap => return Some(Verdict::default()),
            Action::Atom(atom) if matches!(atom.label, Label::Leaf) => atom,
            Action::Table(_) | Action::Atom(_) => return None,
        };
        let mut places = [0; GROUP];
        let places = &mut places[..group.len()];
        atom.pa.as_ref()?.addresses(group, places);
        // Bounds that need no comparing.
        let (low, high) = (
            places.iter().fold(u64::MAX, |bits, pa| bits & pa),
            places.iter().fold(0, |bits, pa| bits | pa),
        );
        if high >= FAR {
            return None;
        }
        let all = group.len() as u64;
        let inside = match self.runs.have(low, high) {
            Some(true) => places.len(),
            Some(false) => 0,
            None => places.iter().filter(|pa| self.runs.has(**pa)).count(),
        };
        Some(Verdict {
            tables: 0,
            leaves: all,
            inside: inside as u64,
            sense: all * SENSE,
        })
    }

    /// The tables below some roots.
    fn below(&mut self, roots: &[Candidate]) -> Result<HashSet<u64>, WalkError> {
        let mut seen: HashSet<(u64, usize)> = HashSet::new();
        let mut pending: Vec<(u64, usize)> = roots.iter().map(|c| (c.root.0, 0)).collect();
        let mut buffer = Vec::new();
        while let Some((pa, depth)) = pending.pop() {
            self.control.check()?;
            let level = &self.plan.depths[depth];
            let Some(entries) = entries(self.memory, pa, level, &mut buffer) else {
                continue;
            };
            for entry in (0..entries.len()).map(|index| entries.get(index)) {
                if let Action::Table(decode) = level.action(entry) {
                    let below = (decode.address(entry), depth + 1);
                    // A table that contains itself is none below itself.
                    let good = below.0 != pa && self.known.get(&below).is_some_and(Verdict::good);
                    if good && seen.insert(below) && depth + 2 < self.plan.depths.len() {
                        pending.push(below);
                    }
                }
            }
        }
        Ok(seen.into_iter().map(|(pa, _)| pa).collect())
    }
}
