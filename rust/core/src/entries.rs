//! Bytes of a table, as entries. One of the few files that may use `unsafe`.
#![allow(unsafe_code)]

use crate::image::RawBytes;
use crate::memory::{Buffer, Number};
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
        // 4 or 8 bytes each; a division would take as long as some tables do.
        let len = bytes.len() >> format.bytes.trailing_zeros();
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

    /// Asks for `count` entries from `first` on, as far as there are so many.
    #[inline(always)]
    pub fn ask(&self, first: usize, count: usize) {
        if first < self.len {
            let at = self.bytes.as_ptr().wrapping_add(first * self.format.bytes);
            prefetch(at, count.min(self.len - first) * self.format.bytes);
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

/// Whole tables of one depth that lie here and there, by key; of those whose keys share a
/// slot, the one that came last. As little as there can be is kept of each, so that of many
/// thousands all stays in a near cache.
pub struct Scattered<'a> {
    format: EntryFormat,
    index_bits: u32,
    slots: Buffer<Slot>,
    image: PhantomData<&'a ()>,
}

#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    /// Of the first entry of a table; anything where the key is [`NO_KEY`].
    start: *const u8,
}

impl Number for Slot {
    const ZERO: Self = Self {
        key: 0,
        start: ptr::null(),
    };
}

/// No table has it.
const NO_KEY: u64 = u64::MAX;

impl<'a> Scattered<'a> {
    /// Slots, a power of two, for tables of `1 << index_bits` entries.
    ///
    /// # Panics
    /// Where they are no power of two.
    pub fn new(format: EntryFormat, index_bits: u32, slots: usize) -> Self {
        assert!(slots.is_power_of_two());
        let empty = Slot {
            key: NO_KEY,
            start: ptr::null(),
        };
        let mut all = Buffer::unwritten(slots);
        all.fill(empty);
        Self {
            format,
            index_bits,
            slots: all,
            image: PhantomData,
        }
    }

    /// The slot of a key.
    #[inline(always)]
    pub fn slot(&self, key: u64) -> usize {
        key as usize & (self.slots.len() - 1)
    }

    /// Whether the table of this key is here.
    #[inline(always)]
    pub fn has(&self, key: u64) -> bool {
        self.slots[self.slot(key)].key == key && key != NO_KEY
    }

    /// Puts a table into the slot of its key.
    ///
    /// # Panics
    /// Where the table is not whole or of another format, or the key is the highest number.
    pub fn set(&mut self, key: u64, table: &Entries<'a>) {
        assert!(table.format() == self.format && table.len() == 1 << self.index_bits);
        assert!(key != NO_KEY);
        let slot = self.slot(key);
        self.slots[slot] = Slot {
            key,
            start: table.as_ptr(),
        };
    }

    /// The entry at this index, modulo a table's length, of the table of this key; None where
    /// it is not here.
    #[inline]
    pub fn get(&self, key: u64, index: usize) -> Option<u64> {
        let slot = self.slots[self.slot(key)];
        if slot.key != key || key == NO_KEY {
            return None;
        }
        let index = index & ((1 << self.index_bits) - 1);
        // SAFETY: within a table of index_bits and of this format, for which Entries vouched
        // in `set` for 'a.
        Some(unsafe { read(self.format, slot.start.add(index * self.format.bytes)) })
    }

    /// Finds the entries at these indexes, modulo a table's length, of the tables of these
    /// keys, and asks for them; false where one of the tables is not here.
    #[inline(always)]
    pub fn ask(&self, keys: &[u64], indexes: &[u32], places: &mut Places<'a>) -> bool {
        assert_eq!(keys.len(), indexes.len());
        let last = (1 << self.index_bits) - 1;
        let width = self.format.bytes.trailing_zeros();
        places.format = self.format;
        places.at.resize(keys.len(), ptr::null());
        let mut all = true;
        for ((at, &key), &index) in places.at.iter_mut().zip(keys).zip(indexes) {
            let slot = self.slots[self.slot(key)];
            all &= slot.key == key && key != NO_KEY;
            *at = slot.start.wrapping_add(((index & last) as usize) << width);
            // An entry lies in one line, but in a file whose tables are not aligned.
            prefetch(*at, 1);
        }
        if !all {
            places.at.clear();
        }
        all
    }
}

/// Where some entries of one format lie.
pub struct Places<'a> {
    format: EntryFormat,
    /// Each can be read.
    at: Vec<*const u8>,
    image: PhantomData<&'a ()>,
}

impl Places<'_> {
    /// None, with room for some.
    pub fn with_capacity(count: usize) -> Self {
        Self {
            format: format(8, false),
            at: Vec::with_capacity(count),
            image: PhantomData,
        }
    }

    /// The entries.
    ///
    /// # Panics
    /// Where `out` has another length.
    #[inline(always)]
    pub fn read(&self, out: &mut [u64]) {
        assert_eq!(out.len(), self.at.len());
        match (self.format.bytes, self.format.big_endian) {
            (8, false) => self.read_as(format(8, false), out),
            (8, true) => self.read_as(format(8, true), out),
            (_, false) => self.read_as(format(4, false), out),
            (_, true) => self.read_as(format(4, true), out),
        }
    }

    /// [`read`](Self::read), compiled for the format, which is theirs.
    #[inline(always)]
    fn read_as(&self, format: EntryFormat, out: &mut [u64]) {
        debug_assert_eq!(format, self.format);
        for (out, &at) in out.iter_mut().zip(&self.at) {
            // SAFETY: within a table of this format, for which Entries vouched for 'a: `ask`
            // leaves no other places.
            *out = unsafe { read(format, at) };
        }
    }
}

const fn format(bytes: usize, big_endian: bool) -> EntryFormat {
    EntryFormat { bytes, big_endian }
}
