//! The way of one address, a table at a time.

use super::{Status, Translation, Translator};
use crate::addr::Pa;
use crate::entries::Entries;
use crate::image::{PhysicalMemory, RawBytes, ReadError};
use crate::plan::{Action, Label, PlanDepth, leaf_address};
use crate::spec::EntryFormat;

/// One table on the way of an address.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Depth of the table.
    pub depth: usize,
    /// Where it is.
    pub table: u64,
    /// Which entry.
    pub index: u64,
    /// Its value; None where it is not in the image.
    pub entry: Option<u64>,
}

/// A table, as what stands above says: where it is, which of its entries exist, and the
/// path state that is passed on to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) table: u64,
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) path: u8,
}

/// What an entry leads to.
pub(super) enum Next {
    /// Another table.
    Table(Place),
    /// No further.
    End(Translation),
}

impl Place {
    /// True where all of the `entries` that a table can have exist.
    #[inline]
    pub(super) fn is_whole(&self, entries: usize) -> bool {
        self.low == 0 && self.high == entries as u64 - 1
    }

    /// True where none does.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.low > self.high
    }

    /// Whether this entry exists.
    #[inline]
    pub(super) fn has(&self, index: u64) -> bool {
        (self.low..=self.high).contains(&index)
    }

    /// Where the existing entries are, and how many bytes; not for an empty one.
    #[inline]
    pub(super) fn extent(&self, format: EntryFormat) -> (Pa, u64) {
        let width = format.bytes as u64;
        let first = Pa(self.table.wrapping_add(self.low * width));
        (first, (self.high - self.low + 1) * width)
    }
}

impl PlanDepth {
    /// Which entry translates an offset from the start of the root's span.
    #[inline]
    pub(super) fn index_of(&self, offset: u64) -> u64 {
        offset >> self.shift & (self.entries() as u64 - 1)
    }
}

impl<'a> Translator<'a> {
    /// The way of one address, table by table.
    ///
    /// # Errors
    /// [`ReadError`] where the image is damaged.
    pub fn path(&self, va: u64) -> Result<(Vec<Step>, Translation), ReadError> {
        let mut steps = Vec::new();
        let Some(offset) = self.offset(va) else {
            return Ok((steps, ended(Status::NonCanonical, 0)));
        };
        let mut place = self.top();
        for (depth, of) in self.plan.depths.iter().enumerate() {
            let index = of.index_of(offset);
            let mut step = Step {
                depth,
                table: place.table,
                index,
                entry: Some(0),
            };
            let mut end = Some(ended(Status::Hole, depth));
            if !place.is_empty() {
                let asked = if place.has(index) { index } else { place.low };
                let entry = self.entry(&place, depth, asked)?;
                step.entry = entry.map(|entry| if place.has(index) { entry } else { 0 });
                end = match entry {
                    None => Some(ended(Status::Absent, depth)),
                    Some(_) if !place.has(index) => end,
                    Some(entry) => match self.next(&place, depth, offset, entry) {
                        Next::End(translation) => Some(translation),
                        Next::Table(next) => {
                            place = next;
                            None
                        }
                    },
                };
            }
            steps.push(step);
            if let Some(end) = end {
                return Ok((steps, end));
            }
        }
        Ok((steps, ended(Status::Hole, 0)))
    }

    /// What to look up of an address; None where it is none of this address space.
    fn offset(&self, va: u64) -> Option<u64> {
        self.spans.iter().find_map(|span| {
            let offset = va.wrapping_sub(span.base);
            (span.first..=span.last).contains(&offset).then_some(offset)
        })
    }

    /// The root.
    pub(super) fn top(&self) -> Place {
        Place {
            table: self.root,
            low: 0,
            high: self.plan.depths[0].entries() as u64 - 1,
            path: 0,
        }
    }

    /// An existing entry of a table; None where the table is not in the image. One that is
    /// not wholly in the image is absent, as it is to a walk.
    pub(super) fn entry(
        &self,
        place: &Place,
        depth: usize,
        index: u64,
    ) -> Result<Option<u64>, ReadError> {
        let format = self.plan.depths[depth].format;
        if let Some(bytes) = self.in_place(place, format) {
            let entries = Entries::new(bytes, format);
            return Ok(Some(entries.get((index - place.low) as usize)));
        }
        if !self.covers(place, format) {
            return Ok(None);
        }
        let at = Pa(place.table.wrapping_add(index * format.bytes as u64));
        let mut copy = [0; 8];
        match self.image.read(at, &mut copy[..format.bytes]) {
            Ok(()) => {
                let bytes = RawBytes::from_slice(&copy[..format.bytes]);
                Ok(Some(Entries::new(bytes, format).get(0)))
            }
            Err(ReadError::Absent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The existing entries of a table, if they can be read in place.
    #[inline]
    pub(super) fn in_place(&self, place: &Place, format: EntryFormat) -> Option<RawBytes<'a>> {
        let (first, size) = place.extent(format);
        self.image.in_place(first, usize::try_from(size).ok()?)
    }

    /// True where the image says something of all existing entries of a table.
    pub(super) fn covers(&self, place: &Place, format: EntryFormat) -> bool {
        let (first, size) = place.extent(format);
        covers(self.image, first, size)
    }

    /// What an entry of a table leads to, for the address at `offset`.
    #[inline]
    pub(super) fn next(&self, place: &Place, depth: usize, offset: u64, entry: u64) -> Next {
        let of = &self.plan.depths[depth];
        Next::End(match of.action(entry) {
            Action::Gap => ended(Status::Hole, depth),
            Action::Atom(atom) if atom.label != Label::Leaf => Translation {
                attributes: atom.key(entry),
                ..ended(Status::Other, depth)
            },
            Action::Atom(atom) => {
                let base = leaf_address(of, atom, of.index_of(offset) as usize, entry);
                let within = offset & (of.span() - 1);
                Translation {
                    pa: base.wrapping_add(within),
                    status: Status::Mapped,
                    depth: depth as u8,
                    attributes: atom.key(entry),
                    effective: self.plan.atom_path(of, atom, place.path, entry),
                }
            }
            Action::Table(decode) => {
                let last = self.plan.depths[depth + 1].entries() as u64 - 1;
                let (low, high) = match of.length {
                    None => (0, last),
                    Some(length) => (
                        length.first.of(entry),
                        length
                            .last
                            .of(entry)
                            .wrapping_add(length.last_add)
                            .min(last),
                    ),
                };
                return Next::Table(Place {
                    table: decode.address(entry),
                    low,
                    high,
                    path: place.path | of.table_state(entry),
                });
            }
        })
    }
}

/// True where the image says something of each of `size` bytes.
fn covers(image: &dyn PhysicalMemory, pa: Pa, size: u64) -> bool {
    let segments = image.segments();
    let mut at = pa.0;
    let mut left = size;
    let mut next = segments.partition_point(|segment| segment.pa.0 <= at);
    while let Some(segment) = next.checked_sub(1).map(|i| segments[i]) {
        let Some(rest) = segment
            .len
            .checked_sub(at - segment.pa.0)
            .filter(|&rest| rest > 0)
        else {
            return false;
        };
        if rest >= left {
            return true;
        }
        left -= rest;
        let Some(after) = at.checked_add(rest) else {
            return false;
        };
        at = after;
        next += 1;
        if segments
            .get(next - 1)
            .is_none_or(|segment| segment.pa.0 != at)
        {
            return false;
        }
    }
    false
}

/// The end of a way that leads nowhere.
pub(super) fn ended(status: Status, depth: usize) -> Translation {
    Translation {
        pa: 0,
        status,
        depth: depth as u8,
        attributes: 0,
        effective: 0,
    }
}
