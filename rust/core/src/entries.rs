//! Bytes of a table, as entries. One of the few files that may use `unsafe`.
#![allow(unsafe_code)]

use crate::image::RawBytes;
use crate::scan::prefetch;
use crate::spec::EntryFormat;
use std::marker::PhantomData;
use std::ptr;

/// Entries that are selected at a time: more than most words of a bitmap have bits, so that
/// the number of rounds can be guessed. What is too much is overwritten by the next.
const GROUP: usize = 8;

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
        // stays inside bytes that RawBytes vouches for.
        unsafe {
            let at = self.bytes.as_ptr().add(index * self.format.bytes);
            read(self.format, at)
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
            let count = bits.count_ones() as usize;
            out.reserve(64);
            let (groups, _) = out.spare_capacity_mut().as_chunks_mut::<GROUP>();
            for group in groups.iter_mut().take(64 / GROUP) {
                for slot in group {
                    // SAFETY: 64 entries of 8 bytes from first on were checked for, and the
                    // index is below 64, also where no bit is left; unaligned.
                    let entry = unsafe {
                        let index = bits.trailing_zeros() as usize % 64;
                        let at = self.bytes.as_ptr().cast::<u64>();
                        at.add(first + index).read_unaligned()
                    };
                    slot.write(u64::from_le(entry));
                    bits &= bits.wrapping_sub(1);
                }
                if bits == 0 {
                    break;
                }
            }
            // SAFETY: as many as there were bits were just written.
            unsafe { out.set_len(out.len() + count) };
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

/// The entry at `at`, its bytes put in order.
///
/// # Safety
/// As many bytes as the format says can be read there; they need not be aligned.
#[inline(always)]
unsafe fn read(format: EntryFormat, at: *const u8) -> u64 {
    // SAFETY: the caller's promise; the reads are unaligned.
    unsafe {
        match (format.bytes, format.big_endian) {
            (8, false) => u64::from_le(at.cast::<u64>().read_unaligned()),
            (8, true) => u64::from_be(at.cast::<u64>().read_unaligned()),
            (_, false) => u64::from(u32::from_le(at.cast::<u32>().read_unaligned())),
            (_, true) => u64::from(u32::from_be(at.cast::<u32>().read_unaligned())),
        }
    }
}

/// Whole tables of one depth that lie here and there, by number: as little as there can be
/// kept of each, so that of many thousands all stays in a near cache.
pub struct Scattered<'a> {
    format: EntryFormat,
    index_bits: u32,
    /// Of the first entry; null where there is no table.
    starts: Vec<*const u8>,
    image: PhantomData<&'a ()>,
}

impl<'a> Scattered<'a> {
    /// Room for `count` tables of `1 << index_bits` entries.
    pub fn new(format: EntryFormat, index_bits: u32, count: usize) -> Self {
        Self {
            format,
            index_bits,
            starts: vec![ptr::null(); count],
            image: PhantomData,
        }
    }

    /// Puts a table in place of what has this number.
    ///
    /// # Panics
    /// Where the table is not whole or of another format, or there is no such number.
    pub fn set(&mut self, number: usize, table: &Entries<'a>) {
        assert!(table.format() == self.format && table.len() == 1 << self.index_bits);
        self.starts[number] = table.as_ptr();
    }

    /// Asks for the entries at these indexes, modulo a table's length, of these tables.
    #[inline(always)]
    pub fn prefetch(&self, numbers: &[u32], indexes: &[u32]) {
        let last = (1 << self.index_bits) - 1;
        for (&number, &index) in numbers.iter().zip(indexes) {
            let at = (index & last) as usize * self.format.bytes;
            // Entries lie in one line, but for those of files that are not aligned.
            prefetch(self.starts[number as usize].wrapping_add(at), 1);
        }
    }

    /// The entries at these indexes, modulo a table's length, of these tables.
    ///
    /// # Panics
    /// Where one of the tables was not put there.
    #[inline(always)]
    pub fn gather(&self, numbers: &[u32], indexes: &[u32], out: &mut [u64]) {
        match (self.format.bytes, self.format.big_endian) {
            (8, false) => self.gather_as(format(8, false), numbers, indexes, out),
            (8, true) => self.gather_as(format(8, true), numbers, indexes, out),
            (_, false) => self.gather_as(format(4, false), numbers, indexes, out),
            (_, true) => self.gather_as(format(4, true), numbers, indexes, out),
        }
    }

    /// [`gather`](Self::gather), compiled for the format, which is that of the tables.
    #[inline(always)]
    fn gather_as(&self, format: EntryFormat, numbers: &[u32], indexes: &[u32], out: &mut [u64]) {
        debug_assert_eq!(format, self.format);
        let last = (1 << self.index_bits) - 1;
        for ((out, &number), &index) in out.iter_mut().zip(numbers).zip(indexes) {
            let start = self.starts[number as usize];
            assert!(!start.is_null(), "no table has the number {number}");
            let at = (index & last) as usize * format.bytes;
            // SAFETY: the start of a table of index_bits and of this format, for which
            // Entries vouched in `set` for 'a.
            *out = unsafe { read(format, start.add(at)) };
        }
    }
}

const fn format(bytes: usize, big_endian: bool) -> EntryFormat {
    EntryFormat { bytes, big_endian }
}
