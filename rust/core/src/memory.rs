//! Memory for big results. One of the few files that may use `unsafe`.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Numbers that are all zero bytes when they are 0, and that any bytes are a value of.
pub trait Zero: Copy {
    /// 0.
    const ZERO: Self;
}

impl Zero for u8 {
    const ZERO: Self = 0;
}

impl Zero for u32 {
    const ZERO: Self = 0;
}

impl Zero for u64 {
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

impl<T: Zero> Buffer<T> {
    /// `len` zeros. The memory of many is only touched when it is written.
    pub fn zeros(len: usize) -> Self {
        #[cfg(unix)]
        if let Some(mapped) = mapped::Mapped::zeros(len) {
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
    use super::Zero;
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
        /// Working memory, not a result: the next walk can have it.
        again: bool,
        items: PhantomData<T>,
    }

    // SAFETY: the mapping is owned, as a Vec's memory is.
    unsafe impl<T: Send> Send for Mapped<T> {}
    // SAFETY: as for Send; it only changes through `&mut`.
    unsafe impl<T: Sync> Sync for Mapped<T> {}

    impl<T: Zero> Mapped<T> {
        /// `len` zeros; None where they are few, or the system gives no mapping.
        pub(super) fn zeros(len: usize) -> Option<Self> {
            let bytes = len.checked_mul(size_of::<T>())?;
            if bytes < BIG {
                return None;
            }
            let bytes = bytes.checked_next_multiple_of(HUGE)?;
            // Fresh memory is zeros, which T has a value for.
            Some(Self {
                start: map(bytes)?.cast(),
                len,
                capacity: len,
                bytes,
                again: false,
                items: PhantomData,
            })
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
            Some(Self {
                start: pool::take(bytes).or_else(|| map(bytes))?.cast(),
                len: 0,
                capacity,
                bytes,
                again: true,
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
            // SAFETY: `len` items were written, or are zeros that T has a value for; the
            // mapping is aligned to a page and lives as long as self.
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
            pool::give(self.start.cast(), self.bytes, self.again);
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

    /// Mappings that were given back. To fault in and to clear the memory of a walk anew
    /// can take as long as the walk.
    mod pool {
        use std::ptr::NonNull;
        use std::sync::{Mutex, PoisonError};

        /// Bytes that are kept at most, in all and of one mapping: what a walk of some
        /// hundred MiB of tables needs. To bigger ones the faults matter less.
        const KEPT: usize = 32 << 20;
        const PIECE: usize = 8 << 20;

        struct Piece(NonNull<u8>, usize);

        // SAFETY: memory that nobody else has.
        unsafe impl Send for Piece {}

        static PIECES: Mutex<Vec<Piece>> = Mutex::new(Vec::new());

        /// A mapping of `bytes`, whatever is in it.
        pub(super) fn take(bytes: usize) -> Option<NonNull<u8>> {
            let mut pieces = PIECES.lock().unwrap_or_else(PoisonError::into_inner);
            let found = pieces.iter().position(|piece| piece.1 == bytes)?;
            Some(pieces.swap_remove(found).0)
        }

        /// Takes a mapping over, to be handed out `again` if there is room.
        pub(super) fn give(start: NonNull<u8>, bytes: usize, again: bool) {
            let mut pieces = PIECES.lock().unwrap_or_else(PoisonError::into_inner);
            let kept: usize = pieces.iter().map(|piece| piece.1).sum();
            if again && bytes <= PIECE && kept + bytes <= KEPT {
                pieces.push(Piece(start, bytes));
            } else {
                // SAFETY: mapped with this length, and nobody has a reference any more.
                unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn small_and_big_ones_are_zero_and_can_be_written() {
        for len in [0, 1, 1000, 1 << 18, (3 << 20) + 5] {
            let mut buffer = Buffer::<u64>::zeros(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&item| item == 0));
            if let Some(last) = buffer.last_mut() {
                *last = 7;
                assert_eq!(buffer[len - 1], 7);
            }
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
