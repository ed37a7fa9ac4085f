//! One entry at a time: for machines without vectors, and to check the others by.

use super::generic::functions;
use super::vector::{Vector, Word};

/// A "register" of one entry.
#[derive(Clone, Copy)]
pub(super) struct Lane<T>(T);

macro_rules! lane {
    ($entry:ty) => {
        // SAFETY: needs no instruction set.
        unsafe impl Vector for Lane<$entry> {
            type Entry = $entry;
            const LANES: usize = 1;

            #[inline(always)]
            unsafe fn splat(entry: $entry) -> Self {
                Self(entry)
            }

            #[inline(always)]
            unsafe fn load(at: *const u8) -> Self {
                // SAFETY: the caller's promise.
                Self(unsafe { <$entry>::read(at) })
            }

            #[inline(always)]
            unsafe fn swap_bytes(self) -> Self {
                Self(self.0.swap_bytes())
            }

            #[inline(always)]
            unsafe fn or_differences(self, a: Self, b: Self) -> Self {
                Self(self.0 | (a.0 ^ b.0))
            }

            #[inline(always)]
            unsafe fn and(self, mask: Self) -> Self {
                Self(self.0 & mask.0)
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                Self(self.0.wrapping_add(other.0))
            }

            #[inline(always)]
            unsafe fn differ(self, other: Self, mask: Self) -> u64 {
                u64::from((self.0 ^ other.0) & mask.0 != 0)
            }

            #[inline(always)]
            unsafe fn is_zero(self, mask: Self) -> u64 {
                u64::from(self.0 & mask.0 == 0)
            }

            #[inline(always)]
            unsafe fn jumps(self, next: Self, mask: Self, step: Self) -> u64 {
                u64::from((next.0 & mask.0).wrapping_sub(self.0 & mask.0) != step.0)
            }

            #[inline(always)]
            unsafe fn prefetch(_: *const u8) {}
        }
    };
}

lane!(u32);
lane!(u64);

functions!(scalar, Lane<u64>, Lane<u32>);
