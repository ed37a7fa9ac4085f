//! Memory for big results. One of the few files that may use `unsafe`.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Numbers that any bytes are a value of.
pub trait Number: Copy {
    /// 0.
    const ZERO: Self;
}

impl Number for u8 {
    const ZERO: Self = 0;
}

impl Number for u32 {
    const ZERO: Self = 0;
}

impl Number for u64 {
    const ZERO: Self = 0;
}

/// Items in memory that never moves: as many as there was room made for.
///
/// Much of it is mapped for itself, in huge pages where the system gives them: what big
/// results cost is page faults, and an allocator would hand out used memory in small pages,
/// which has to be zeroed besides.
pub struct Buffer<T>(Memory<T>);

enum Memory<T> {
    Allocated(Vec<T>),
    #[cfg(unix)]
    Mapped(mapped::Mapped<T>),
}

impl<T: Number> Buffer<T> {
    /// `len` numbers, to be written: all of them, before any is shown. Until then they are
    /// whatever the memory held, which may be an earlier result. The memory of many is
    /// only touched when it is written.
    pub fn unwritten(len: usize) -> Self {
        #[cfg(unix)]
        if let Some(mapped) = mapped::Mapped::unwritten(len) {
            return Self(Memory::Mapped(mapped));
        }
        Self(Memory::Allocated(vec![T::ZERO; len]))
    }
}

impl<T: Copy> Buffer<T> {
    /// No items, with room for `capacity`.
    pub fn with_capacity(capacity: usize) -> Self {
        #[cfg(unix)]
        if let Some(mapped) = mapped::Mapped::with_capacity(capacity) {
            return Self(Memory::Mapped(mapped));
        }
        Self(Memory::Allocated(Vec::with_capacity(capacity)))
    }

    /// Adds an item.
    ///
    /// # Panics
    /// Where there is no room for it.
    #[inline]
    pub fn push(&mut self, item: T) {
        match &mut self.0 {
            Memory::Allocated(items) => items.push(item),
            #[cfg(unix)]
            Memory::Mapped(items) => items.push(item),
        }
    }

    /// Adds some items.
    ///
    /// # Panics
    /// Where there is no room for them.
    #[inline]
    pub fn extend_from_slice(&mut self, more: &[T]) {
        match &mut self.0 {
            Memory::Allocated(items) => items.extend_from_slice(more),
            #[cfg(unix)]
            Memory::Mapped(items) => items.extend_from_slice(more),
        }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            Memory::Allocated(items) => items,
            #[cfg(unix)]
            Memory::Mapped(items) => items.get(),
        }
    }
}

impl<T> DerefMut for Buffer<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Memory::Allocated(items) => items,
            #[cfg(unix)]
            Memory::Mapped(items) => items.get_mut(),
        }
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(items: Vec<T>) -> Self {
        Self(Memory::Allocated(items))
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: fmt::Debug> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deref().fmt(f)
    }
}

#[cfg(unix)]
mod mapped {
    use super::Number;
    use std::marker::PhantomData;
    use std::ptr::{self, NonNull};

    /// Bytes from which a mapping, and a huge page to clear, are worth it.
    const BIG: usize = 256 << 10;

    /// What a huge page is on most machines that have them; elsewhere it does no harm.
    const HUGE: usize = 2 << 20;

    /// Items in an anonymous mapping, of which the first `len` are there.
    pub(super) struct Mapped<T> {
        start: NonNull<T>,
        len: usize,
        capacity: usize,
        /// Of the mapping.
        bytes: usize,
        items: PhantomData<T>,
    }

    // SAFETY: the mapping is owned, as a Vec's memory is.
    unsafe impl<T: Send> Send for Mapped<T> {}
    // SAFETY: as for Send; it only changes through `&mut`.
    unsafe impl<T: Sync> Sync for Mapped<T> {}

    impl<T: Number> Mapped<T> {
        /// `len` numbers, whatever they are; None where they are few, or the system gives
        /// no mapping.
        pub(super) fn unwritten(len: usize) -> Option<Self> {
            let mut mapped = Self::with_capacity(len)?;
            // What is in the mapping, T has a value for.
            mapped.len = len;
            Some(mapped)
        }
    }

    impl<T: Copy> Mapped<T> {
        /// Room for `capacity` items; None where that is little, or the system gives no
        /// mapping.
        pub(super) fn with_capacity(capacity: usize) -> Option<Self> {
            let bytes = capacity.checked_mul(size_of::<T>())?;
            if bytes < BIG {
                return None;
            }
            let bytes = bytes.checked_next_multiple_of(HUGE)?;
            let (start, bytes) = match pool::take(bytes) {
                Some(piece) => piece,
                None => (map(bytes)?, bytes),
            };
            Some(Self {
                start: start.cast(),
                len: 0,
                capacity,
                bytes,
                items: PhantomData,
            })
        }

        #[inline]
        pub(super) fn push(&mut self, item: T) {
            assert!(self.len < self.capacity, "room for {}", self.capacity);
            // SAFETY: within the mapping, which is aligned to a page.
            unsafe { self.start.as_ptr().add(self.len).write(item) };
            self.len += 1;
        }

        #[inline]
        pub(super) fn extend_from_slice(&mut self, more: &[T]) {
            let room = self.capacity - self.len;
            assert!(more.len() <= room, "room for {}", self.capacity);
            // SAFETY: within the mapping, and not shared with anything.
            unsafe {
                let end = self.start.as_ptr().add(self.len);
                ptr::copy_nonoverlapping(more.as_ptr(), end, more.len());
            }
            self.len += more.len();
        }
    }

    impl<T> Mapped<T> {
        #[inline]
        pub(super) fn get(&self) -> &[T] {
            // SAFETY: `len` items were written, or any bytes are a value of T; the mapping
            // is aligned to a page and lives as long as self.
            unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
        }

        #[inline]
        pub(super) fn get_mut(&mut self) -> &mut [T] {
            // SAFETY: as for get; self is borrowed for writing.
            unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
        }
    }

    impl<T> Drop for Mapped<T> {
        fn drop(&mut self) {
            // Items are Copy: nothing of theirs has to be dropped.
            pool::give(self.start.cast(), self.bytes);
        }
    }

    /// A mapping of `bytes`, a multiple of [`HUGE`], aligned to it: zeros.
    fn map(bytes: usize) -> Option<NonNull<u8>> {
        let more = bytes.checked_add(HUGE)?;
        // SAFETY: a private anonymous mapping at a place of the system's choice, of which
        // only the aligned part is kept; the advice changes neither its contents nor who
        // may use it, and may be refused.
        unsafe {
            let start = libc::mmap(
                ptr::null_mut(),
                more,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANON,
                -1,
                0,
            );
            if start == libc::MAP_FAILED {
                return None;
            }
            let head = start.addr().next_multiple_of(HUGE) - start.addr();
            let kept = start.byte_add(head);
            if head > 0 {
                libc::munmap(start, head);
            }
            if head < HUGE {
                libc::munmap(kept.byte_add(bytes), HUGE - head);
            }
            #[cfg(target_os = "linux")]
            libc::madvise(kept, bytes, libc::MADV_HUGEPAGE);
            NonNull::new(kept.cast())
        }
    }

    /// Mappings that were given back, of working memory and of results. To fault in and
    /// to clear the memory of a walk anew can take as long as the walk. What is kept here
    /// is the system's to take, as soon as it needs memory.
    mod pool {
        use std::ptr::NonNull;
        use std::sync::{Mutex, PoisonError};

        /// Bytes that are kept at most, in all and of one mapping: what a walk of some
        /// hundred MiB of tables needs. To bigger ones the faults matter less.
        const KEPT: usize = 128 << 20;
        const PIECE: usize = 32 << 20;

        /// Of these, bytes that are not offered to the system: to do so takes a message to
        /// every processor that has seen them.
        const HELD: usize = 16 << 20;

        struct Piece {
            start: NonNull<u8>,
            bytes: usize,
            /// The system may take what is in it.
            offered: bool,
        }

        // SAFETY: memory that nobody else has.
        unsafe impl Send for Piece {}

        /// The one that was given back last is at the end.
        static PIECES: Mutex<Vec<Piece>> = Mutex::new(Vec::new());

        /// A mapping of `bytes` or a little more, and how many it has, whatever is in it.
        pub(super) fn take(bytes: usize) -> Option<(NonNull<u8>, usize)> {
            let mut pieces = PIECES.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = |piece: &Piece| (bytes..=bytes + bytes / 4).contains(&piece.bytes);
            let all = pieces.iter().enumerate().rev();
            let (found, _) = all
                .filter(|(_, piece)| fits(piece))
                .min_by_key(|(_, piece)| piece.bytes)?;
            let piece = pieces.remove(found);
            Some((piece.start, piece.bytes))
        }

        /// Takes a mapping over, to be handed out again. Those that were kept for longest
        /// make room for it.
        pub(super) fn give(start: NonNull<u8>, bytes: usize) {
            let given = Piece {
                start,
                bytes,
                offered: false,
            };
            if bytes > PIECE {
                return unmap(given);
            }
            let mut pieces = PIECES.lock().unwrap_or_else(PoisonError::into_inner);
            pieces.push(given);
            let mut newer = 0;
            for piece in pieces.iter_mut().rev() {
                newer += piece.bytes;
                if newer > HELD && !piece.offered {
                    offer(piece);
                }
            }
            let mut kept = newer;
            let mut old = 0;
            while kept > KEPT {
                kept -= pieces[old].bytes;
                old += 1;
            }
            pieces.drain(..old).for_each(unmap);
        }

        /// Until it is written again, the system may put zeros in its place.
        fn offer(piece: &mut Piece) {
            // SAFETY: nobody has a reference to it any more.
            #[cfg(target_os = "linux")]
            unsafe {
                libc::madvise(piece.start.as_ptr().cast(), piece.bytes, libc::MADV_FREE)
            };
            piece.offered = true;
        }

        fn unmap(piece: Piece) {
            // SAFETY: mapped with this length, and nobody has a reference any more.
            unsafe { libc::munmap(piece.start.as_ptr().cast(), piece.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn small_and_big_ones_can_be_written_again_and_again() {
        for round in 0..3 {
            for len in [0, 1, 1000, 1 << 18, (3 << 20) + 5] {
                let mut buffer = Buffer::<u64>::unwritten(len);
                assert_eq!(buffer.len(), len);
                for (index, item) in buffer.iter_mut().enumerate() {
                    *item = (index + round) as u64;
                }
                assert!(
                    buffer
                        .iter()
                        .copied()
                        .eq((round..round + len).map(|n| n as u64))
                );
            }
        }
    }

    #[test]
    fn memory_that_is_in_use_is_not_handed_out() {
        let mut all: Vec<Buffer<u64>> = (0..6).map(|_| Buffer::unwritten(1 << 18)).collect();
        for (value, buffer) in all.iter_mut().enumerate() {
            buffer.fill(value as u64);
        }
        all.swap_remove(2);
        all.push(Buffer::unwritten(1 << 18));
        all[5].fill(7);
        for (buffer, value) in all.iter().zip([0, 1, 5, 3, 4, 7]) {
            assert!(buffer.iter().all(|&item| item == value));
        }
    }

    #[test]
    fn items_are_added_where_there_is_room() {
        for len in [0, 3, 1 << 16] {
            let mut buffer = Buffer::with_capacity(len);
            for item in 0..len {
                buffer.push(item);
            }
            buffer.extend_from_slice(&[]);
            assert!(buffer.iter().copied().eq(0..len));
        }
    }

    #[test]
    #[should_panic(expected = "room for 65536")]
    fn more_than_there_is_room_for_is_refused() {
        let mut buffer = Buffer::<u64>::with_capacity(1 << 16);
        buffer.extend_from_slice(&vec![0; 1 << 16]);
        buffer.push(0);
    }
}
