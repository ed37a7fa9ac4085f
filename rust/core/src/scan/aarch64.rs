//! Advanced SIMD (NEON).

use super::generic::functions;
use super::vector::Vector;
use std::arch::aarch64::*;

/// 2 entries of 8 bytes.
#[derive(Clone, Copy)]
pub(super) struct Q64(uint64x2_t);
/// 4 entries of 4 bytes.
#[derive(Clone, Copy)]
pub(super) struct Q32(uint32x4_t);

impl Q64 {
    /// One bit a lane of a comparison's result.
    ///
    /// # Safety
    /// NEON.
    #[inline(always)]
    unsafe fn bits(lanes: uint64x2_t) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { (vgetq_lane_u64::<0>(lanes) & 1) | (vgetq_lane_u64::<1>(lanes) & 2) }
    }
}

impl Q32 {
    /// One bit a lane of a comparison's result.
    ///
    /// # Safety
    /// NEON.
    #[inline(always)]
    unsafe fn bits(lanes: uint32x4_t) -> u64 {
        const BIT: [u32; 4] = [1, 2, 4, 8];
        // SAFETY: the caller's promise; BIT is 16 bytes.
        unsafe { u64::from(vaddvq_u32(vandq_u32(lanes, vld1q_u32(BIT.as_ptr())))) }
    }
}

macro_rules! neon {
    ($name:ident, $entry:ty, $lanes:literal, $all:literal, $splat:ident, $from:ident,
     $xor:ident, $or:ident, $and:ident, $add:ident, $sub:ident, $test:ident, $cmpeq:ident, $rev:ident, $to:ident) => {
        // SAFETY: NEON, as the functions below are compiled for.
        unsafe impl Vector for $name {
            type Entry = $entry;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(entry: $entry) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $splat(entry) })
            }

            #[inline(always)]
            unsafe fn load(at: *const u8) -> Self {
                // SAFETY: the caller's promise; a load of bytes has no alignment.
                Self(unsafe { $from(vld1q_u8(at)) })
            }

            #[inline(always)]
            unsafe fn swap_bytes(self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $from($rev($to(self.0))) })
            }

            #[inline(always)]
            unsafe fn or_differences(self, a: Self, b: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $or(self.0, $xor(a.0, b.0)) })
            }

            #[inline(always)]
            unsafe fn and(self, mask: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $and(self.0, mask.0) })
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn differ(self, other: Self, mask: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe { Self::bits($test($xor(self.0, other.0), mask.0)) }
            }

            #[inline(always)]
            unsafe fn is_zero(self, mask: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe { Self::bits($test(self.0, mask.0)) ^ $all }
            }

            #[inline(always)]
            unsafe fn jumps(self, next: Self, mask: Self, step: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe {
                    let delta = $sub($and(next.0, mask.0), $and(self.0, mask.0));
                    Self::bits($cmpeq(delta, step.0)) ^ $all
                }
            }

            #[inline(always)]
            unsafe fn prefetch(at: *const u8) {
                // SAFETY: PRFM is a hint and faults nowhere.
                unsafe {
                    std::arch::asm!(
                        "prfm pldl1keep, [{at}]",
                        at = in(reg) at,
                        options(nostack, preserves_flags, readonly)
                    );
                }
            }
        }
    };
}

neon!(
    Q64,
    u64,
    2,
    0x3,
    vdupq_n_u64,
    vreinterpretq_u64_u8,
    veorq_u64,
    vorrq_u64,
    vandq_u64,
    vaddq_u64,
    vsubq_u64,
    vtstq_u64,
    vceqq_u64,
    vrev64q_u8,
    vreinterpretq_u8_u64
);
neon!(
    Q32,
    u32,
    4,
    0xf,
    vdupq_n_u32,
    vreinterpretq_u32_u8,
    veorq_u32,
    vorrq_u32,
    vandq_u32,
    vaddq_u32,
    vsubq_u32,
    vtstq_u32,
    vceqq_u32,
    vrev32q_u8,
    vreinterpretq_u8_u32
);

functions!(neon, Q64, Q32, "neon");
