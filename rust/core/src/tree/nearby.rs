//! Where tables are, remembering the segment of the last one: most lie near each other.

use crate::addr::Pa;
use crate::image::{PhysicalMemory, RawBytes, Stored};

/// An image, and the segment of it that was looked at last.
pub(super) struct Nearby<'a> {
    image: &'a dyn PhysicalMemory,
    /// Its first and last address; first > last: there was none.
    known: (u64, u64),
    /// Its bytes, if they can be read in place.
    bytes: Option<RawBytes<'a>>,
}

impl<'a> Nearby<'a> {
    pub(super) fn new(image: &'a dyn PhysicalMemory) -> Self {
        Self {
            image,
            known: (1, 0),
            bytes: None,
        }
    }

    /// Whether the image says anything of an address.
    #[inline]
    pub(super) fn has(&mut self, pa: u64) -> bool {
        (self.known.0..=self.known.1).contains(&pa) || self.look(pa)
    }

    /// The table of `len` bytes at `pa`, if it can be read in place.
    #[inline]
    pub(super) fn table(&mut self, pa: u64, len: usize) -> Option<RawBytes<'a>> {
        if !self.has(pa) {
            return None;
        }
        self.bytes
            .and_then(|bytes| bytes.get(usize::try_from(pa - self.known.0).ok()?, len))
            .or_else(|| self.image.in_place(Pa(pa), len))
    }

    fn look(&mut self, pa: u64) -> bool {
        let segments = self.image.segments();
        let after = segments.partition_point(|segment| segment.pa.0 <= pa);
        let Some(segment) = after.checked_sub(1).map(|i| segments[i]) else {
            return false;
        };
        if pa - segment.pa.0 >= segment.len {
            return false;
        }
        self.known = (segment.pa.0, segment.pa.0 + (segment.len - 1));
        self.bytes = match segment.stored {
            Stored::At(_) => usize::try_from(segment.len)
                .ok()
                .and_then(|len| self.image.in_place(segment.pa, len)),
            Stored::Encoded | Stored::Nowhere => None,
        };
        true
    }
}
