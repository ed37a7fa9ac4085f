//! Bytes of a table, as entries. One of the few files that may use `unsafe`.
#![allow(unsafe_code)]

use crate::image::RawBytes;
use crate::spec::EntryFormat;

/// The entries of one table, read where they are, whatever their alignment.
#[derive(Clone, Copy)]
pub struct Entries<'a> {
    bytes: RawBytes<'a>,
    format: EntryFormat,
    len: usize,
}

impl<'a> Entries<'a> {
    /// As many whole entries as `bytes` hold.
    pub fn new(bytes: RawBytes<'a>, format: EntryFormat) -> Self {
        let len = bytes.len() / format.bytes;
        Self { bytes, format, len }
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry at `index`, its bytes put in order.
    ///
    /// # Panics
    /// Where there is no such entry.
    #[inline]
    pub fn get(&self, index: usize) -> u64 {
        assert!(index < self.len, "entry {index} of a table of {}", self.len);
        // SAFETY: index < len and len * format.bytes <= bytes.len(), so the read
        // stays inside bytes that RawBytes vouches for; it is unaligned.
        unsafe {
            let at = self.bytes.as_ptr().add(index * self.format.bytes);
            match (self.format.bytes, self.format.big_endian) {
                (8, false) => u64::from_le(at.cast::<u64>().read_unaligned()),
                (8, true) => u64::from_be(at.cast::<u64>().read_unaligned()),
                (_, false) => u64::from(u32::from_le(at.cast::<u32>().read_unaligned())),
                (_, true) => u64::from(u32::from_be(at.cast::<u32>().read_unaligned())),
            }
        }
    }

    /// The entries at some indexes.
    ///
    /// # Panics
    /// Where there is no such entry.
    #[inline]
    pub fn gather(&self, indexes: &[u32], out: &mut [u64]) {
        for (out, &index) in out.iter_mut().zip(indexes) {
            *out = self.get(index as usize);
        }
    }

    /// The entries from `first` on.
    ///
    /// # Panics
    /// Where there are not so many.
    #[inline(always)]
    pub fn copy(&self, first: usize, out: &mut [u64]) {
        assert!(first <= self.len && out.len() <= self.len - first);
        if (self.format.bytes, self.format.big_endian) == (8, false) {
            for (index, out) in out.iter_mut().enumerate() {
                // SAFETY: first + index < len by the assertion, so the read stays inside
                // bytes that RawBytes vouches for; it is unaligned.
                *out = u64::from_le(unsafe {
                    let at = self.bytes.as_ptr().cast::<u64>().add(first + index);
                    at.read_unaligned()
                });
            }
            return;
        }
        for (index, out) in out.iter_mut().enumerate() {
            *out = self.get(first + index);
        }
    }

    /// Adds the entries `first + i` to `out` whose bit `i` is set.
    ///
    /// # Panics
    /// Where there is no such entry.
    #[inline(always)]
    pub fn select(&self, first: usize, mut bits: u64, out: &mut Vec<u64>) {
        if self.format.bytes == 8 && !self.format.big_endian && first + 64 <= self.len {
            // SAFETY: 64 entries of 8 bytes from first on, as was just checked.
            let at = unsafe { self.bytes.as_ptr().add(first * 8).cast::<u64>() };
            out.reserve(64);
            while bits != 0 {
                // SAFETY: a bit's index is below 64; unaligned.
                let entry = unsafe { at.add(bits.trailing_zeros() as usize).read_unaligned() };
                out.push(u64::from_le(entry));
                bits &= bits - 1;
            }
            return;
        }
        while bits != 0 {
            out.push(self.get(first + bits.trailing_zeros() as usize));
            bits &= bits - 1;
        }
    }

    /// Their width and byte order.
    #[inline]
    pub fn format(&self) -> EntryFormat {
        self.format
    }

    /// Where the first entry is.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }
}
