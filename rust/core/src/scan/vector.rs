//! What the generic scan needs of an instruction set.

/// A register full of entries.
///
/// # Safety
/// Implementations may only be used inside functions compiled for their instruction
/// set (`#[target_feature]`), on machines that have it.
pub(super) unsafe trait Vector: Copy {
    /// u32 or u64.
    type Entry: Word;
    /// Entries a register holds; at most 32.
    const LANES: usize;

    /// Every lane is `entry`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn splat(entry: Self::Entry) -> Self;

    /// LANES entries from `at` on, as the bytes lie, of any alignment.
    ///
    /// # Safety
    /// All of them are readable; see the trait.
    unsafe fn load(at: *const u8) -> Self;

    /// Every lane's bytes turned round.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn swap_bytes(self) -> Self;

    /// `self | (a ^ b)`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn or_differences(self, a: Self, b: Self) -> Self;

    /// `self & mask`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn and(self, mask: Self) -> Self;

    /// `self + other`, wrapping.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn add(self, other: Self) -> Self;

    /// Bit per lane: `(self ^ other) & mask != 0`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn differ(self, other: Self, mask: Self) -> u64;

    /// Bit per lane: `self & mask == 0`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn is_zero(self, mask: Self) -> u64;

    /// Bit per lane: `(next & mask) - (self & mask) != step`, wrapping.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn jumps(self, next: Self, mask: Self, step: Self) -> u64;

    /// Asks for the cache line at `at`. Any address will do.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn prefetch(at: *const u8);
}

/// The entry types.
pub(super) trait Word: Copy + Eq {
    /// Bytes of it.
    const BYTES: usize;
    /// The low bits of a mask.
    fn from_mask(mask: u64) -> Self;
    /// The entry whose bytes are at `at`, as they lie.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn read(at: *const u8) -> Self;
    /// Its bytes turned round.
    fn turned(self) -> Self;
    /// `self & mask`.
    fn and(self, mask: Self) -> Self;
    /// `self + other`, wrapping.
    fn add(self, other: Self) -> Self;
}

macro_rules! word {
    ($entry:ty) => {
        impl Word for $entry {
            const BYTES: usize = size_of::<Self>();

            #[inline(always)]
            fn from_mask(mask: u64) -> Self {
                mask as Self
            }

            #[inline(always)]
            unsafe fn read(at: *const u8) -> Self {
                // SAFETY: the caller's promise; unaligned.
                Self::from_le(unsafe { at.cast::<Self>().read_unaligned() })
            }

            #[inline(always)]
            fn turned(self) -> Self {
                self.swap_bytes()
            }

            #[inline(always)]
            fn and(self, mask: Self) -> Self {
                self & mask
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        }
    };
}

word!(u32);
word!(u64);
