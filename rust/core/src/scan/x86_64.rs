//! AVX2 and AVX-512 (F and BW).

use super::generic::functions;
use super::vector::Vector;
use std::arch::x86_64::*;

/// 8 entries of 8 bytes.
#[derive(Clone, Copy)]
pub(super) struct Z64(__m512i);
/// 16 entries of 4 bytes.
#[derive(Clone, Copy)]
pub(super) struct Z32(__m512i);
/// 4 entries of 8 bytes.
#[derive(Clone, Copy)]
pub(super) struct Y64(__m256i);
/// 8 entries of 4 bytes.
#[derive(Clone, Copy)]
pub(super) struct Y32(__m256i);

/// For _mm*_shuffle_epi8, a 16-byte pattern: the order that turns words round.
const TURN_64: [i8; 16] = [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8];
const TURN_32: [i8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];

/// The same bits, of which the compiler knows nothing. Otherwise it puts the bits of some
/// registers together in another vector register, which takes several times as long as
/// shifting them.
#[inline(always)]
fn scalar(mut bits: u64) -> u64 {
    // SAFETY: no instruction at all.
    unsafe {
        std::arch::asm!(
            "/* {0} */",
            inout(reg) bits,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    bits
}

macro_rules! avx512 {
    ($name:ident, $entry:ty, $lanes:literal, $splat:ident, $test:ident, $testn:ident,
     $add:ident, $sub:ident, $cmpneq:ident, $turn:ident) => {
        // SAFETY: AVX-512 F and BW, as the functions below are compiled for.
        unsafe impl Vector for $name {
            type Entry = $entry;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(entry: $entry) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $splat(entry.cast_signed()) })
            }

            #[inline(always)]
            unsafe fn load(at: *const u8) -> Self {
                // SAFETY: the caller's promise; unaligned load.
                Self(unsafe { _mm512_loadu_si512(at.cast()) })
            }

            #[inline(always)]
            unsafe fn swap_bytes(self) -> Self {
                // SAFETY: the trait's promise; the pattern is 16 bytes.
                unsafe {
                    let pattern = _mm_loadu_si128($turn.as_ptr().cast());
                    Self(_mm512_shuffle_epi8(self.0, _mm512_broadcast_i32x4(pattern)))
                }
            }

            #[inline(always)]
            unsafe fn or_differences(self, a: Self, b: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { _mm512_or_si512(self.0, _mm512_xor_si512(a.0, b.0)) })
            }

            #[inline(always)]
            unsafe fn and(self, mask: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { _mm512_and_si512(self.0, mask.0) })
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn differ(self, other: Self, mask: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe { scalar($test(_mm512_xor_si512(self.0, other.0), mask.0).into()) }
            }

            #[inline(always)]
            unsafe fn is_zero(self, mask: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe { scalar($testn(self.0, mask.0).into()) }
            }

            #[inline(always)]
            unsafe fn jumps(self, next: Self, mask: Self, step: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe {
                    let here = _mm512_and_si512(self.0, mask.0);
                    let next = _mm512_and_si512(next.0, mask.0);
                    scalar($cmpneq($sub(next, here), step.0).into())
                }
            }

            #[inline(always)]
            unsafe fn prefetch(at: *const u8) {
                // SAFETY: a hint; faults nowhere.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
            }
        }
    };
}

avx512!(
    Z64,
    u64,
    8,
    _mm512_set1_epi64,
    _mm512_test_epi64_mask,
    _mm512_testn_epi64_mask,
    _mm512_add_epi64,
    _mm512_sub_epi64,
    _mm512_cmpneq_epi64_mask,
    TURN_64
);
avx512!(
    Z32,
    u32,
    16,
    _mm512_set1_epi32,
    _mm512_test_epi32_mask,
    _mm512_testn_epi32_mask,
    _mm512_add_epi32,
    _mm512_sub_epi32,
    _mm512_cmpneq_epi32_mask,
    TURN_32
);

macro_rules! avx2 {
    ($name:ident, $entry:ty, $lanes:literal, $all:literal, $splat:ident, $cmpeq:ident,
     $add:ident, $sub:ident, $movemask:ident, $cast:ident, $turn:ident) => {
        impl $name {
            /// Bit per lane: equal.
            ///
            /// # Safety
            /// AVX2.
            #[inline(always)]
            unsafe fn equal(a: __m256i, b: __m256i) -> u64 {
                // SAFETY: the caller's promise.
                unsafe { u64::from($movemask($cast($cmpeq(a, b))).cast_unsigned()) }
            }
        }

        // SAFETY: AVX2, as the functions below are compiled for.
        unsafe impl Vector for $name {
            type Entry = $entry;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(entry: $entry) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $splat(entry.cast_signed()) })
            }

            #[inline(always)]
            unsafe fn load(at: *const u8) -> Self {
                // SAFETY: the caller's promise; unaligned load.
                Self(unsafe { _mm256_loadu_si256(at.cast()) })
            }

            #[inline(always)]
            unsafe fn swap_bytes(self) -> Self {
                // SAFETY: the trait's promise; the pattern is 16 bytes.
                unsafe {
                    let pattern = _mm_loadu_si128($turn.as_ptr().cast());
                    Self(_mm256_shuffle_epi8(
                        self.0,
                        _mm256_broadcastsi128_si256(pattern),
                    ))
                }
            }

            #[inline(always)]
            unsafe fn or_differences(self, a: Self, b: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { _mm256_or_si256(self.0, _mm256_xor_si256(a.0, b.0)) })
            }

            #[inline(always)]
            unsafe fn and(self, mask: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { _mm256_and_si256(self.0, mask.0) })
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the trait's promise.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            unsafe fn differ(self, other: Self, mask: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe {
                    let different = _mm256_and_si256(_mm256_xor_si256(self.0, other.0), mask.0);
                    Self::equal(different, _mm256_setzero_si256()) ^ $all
                }
            }

            #[inline(always)]
            unsafe fn is_zero(self, mask: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe { Self::equal(_mm256_and_si256(self.0, mask.0), _mm256_setzero_si256()) }
            }

            #[inline(always)]
            unsafe fn jumps(self, next: Self, mask: Self, step: Self) -> u64 {
                // SAFETY: the trait's promise.
                unsafe {
                    let here = _mm256_and_si256(self.0, mask.0);
                    let next = _mm256_and_si256(next.0, mask.0);
                    Self::equal($sub(next, here), step.0) ^ $all
                }
            }

            #[inline(always)]
            unsafe fn prefetch(at: *const u8) {
                // SAFETY: a hint; faults nowhere.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
            }
        }
    };
}

avx2!(
    Y64,
    u64,
    4,
    0xf,
    _mm256_set1_epi64x,
    _mm256_cmpeq_epi64,
    _mm256_add_epi64,
    _mm256_sub_epi64,
    _mm256_movemask_pd,
    _mm256_castsi256_pd,
    TURN_64
);
avx2!(
    Y32,
    u32,
    8,
    0xff,
    _mm256_set1_epi32,
    _mm256_cmpeq_epi32,
    _mm256_add_epi32,
    _mm256_sub_epi32,
    _mm256_movemask_ps,
    _mm256_castsi256_ps,
    TURN_32
);

functions!(avx512, Z64, Z32, "avx512f,avx512bw");
functions!(avx2, Y64, Y32, "avx2");

/// Does some work, compiled for AVX-512.
///
/// # Safety
/// The machine has it.
#[target_feature(enable = "avx512f,avx512bw,popcnt,bmi1,bmi2,lzcnt")]
pub(super) unsafe fn run_avx512(work: impl super::Work) {
    work.run();
}

/// Does some work, compiled for AVX2.
///
/// # Safety
/// The machine has it.
#[target_feature(enable = "avx2,popcnt,bmi1,bmi2,lzcnt")]
pub(super) unsafe fn run_avx2(work: impl super::Work) {
    work.run();
}
