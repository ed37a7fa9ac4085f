//! The one algorithm, for every instruction set.

use super::Masks;
use super::vector::{Vector, Word};

/// Which of the tests a scan makes, and on which entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Entries of 4 bytes, not 8.
    pub narrow: bool,
    /// Tests for zero.
    pub zero: bool,
    /// Tests addresses.
    pub step: bool,
    /// Puts bytes in order before it does arithmetic.
    pub swap: bool,
}

/// The body of every [`super::ScanFn`]. Returns 0 where no bit was set.
///
/// # Safety
/// As for [`super::ScanFn`]; only called from functions compiled for V's instruction
/// set.
#[inline(always)]
pub(super) unsafe fn scan<V: Vector, const ZERO: bool, const STEP: bool, const SWAP: bool>(
    table: *const u8,
    len: usize,
    ahead: *const u8,
    masks: &Masks,
    ends: &mut [u64],
    jumps: &mut [u64],
) -> u64 {
    let pairs = len - 1;
    let words = len.div_ceil(64);
    // SAFETY: registers only.
    let (key, zero, address, step) = unsafe {
        (
            V::splat(V::Entry::from_mask(masks.key)),
            V::splat(V::Entry::from_mask(masks.zero)),
            V::splat(V::Entry::from_mask(masks.address)),
            V::splat(V::Entry::from_mask(masks.step)),
        )
    };
    // Bits of the LANES pairs from pair `first` on. Pair i is entries i and i + 1.
    let block = |first: usize| -> (u64, u64) {
        // SAFETY: callers keep first + LANES <= pairs, so that the last entry read is
        // entry first + LANES <= len - 1.
        unsafe {
            let at = table.add(first * V::Entry::BYTES);
            let here = V::load(at);
            let next = V::load(at.add(V::Entry::BYTES));
            let mut end = here.differ(next, key);
            if ZERO {
                end |= here.is_zero(zero) ^ next.is_zero(zero);
            }
            let jump = match (STEP, SWAP) {
                (false, _) => 0,
                (true, false) => here.jumps(next, address, step),
                (true, true) => here.swap_bytes().jumps(next.swap_bytes(), address, step),
            };
            (end, jump)
        }
    };

    let mut any = 0;
    if pairs < V::LANES {
        // SAFETY: the caller's promise, passed on; a scalar "register" is one entry.
        return unsafe {
            if V::Entry::BYTES == 4 {
                scan_short::<super::scalar::Lane<u32>, ZERO, STEP, SWAP>(
                    table, pairs, masks, ends, jumps,
                )
            } else {
                scan_short::<super::scalar::Lane<u64>, ZERO, STEP, SWAP>(
                    table, pairs, masks, ends, jumps,
                )
            }
        };
    }
    for word in 0..words {
        let first = word * 64;
        let (mut end, mut jump) = (0, 0);
        let mut lane = 0;
        while lane < 64 && first + lane + V::LANES <= pairs {
            let offset = (first + lane) * V::Entry::BYTES;
            if offset % 64 == 0 {
                // SAFETY: a hint; wrapping_add makes no claim on the address.
                unsafe { V::prefetch(ahead.wrapping_add(offset)) };
            }
            let (e, j) = block(first + lane);
            end |= e << lane;
            jump |= j << lane;
            lane += V::LANES;
        }
        if lane < 64 && first + lane < pairs {
            // The last block would read past the table: take the one that ends with
            // it and drop the pairs that were done.
            let last = pairs - V::LANES;
            let done = first + lane - last;
            let (e, j) = block(last);
            end |= (e >> done) << lane;
            jump |= (j >> done) << lane;
        }
        ends[word] = end;
        jumps[word] = jump;
        any |= end | jump;
    }
    any
}

/// The body of every [`super::SiftFn`].
///
/// # Safety
/// As for [`super::SiftFn`]; only called from functions compiled for V's instruction
/// set.
#[inline(always)]
pub(super) unsafe fn sift<V: Vector>(
    table: *const u8,
    len: usize,
    mask: u64,
    value: u64,
    hits: &mut [u64],
) {
    // SAFETY: registers only.
    let (mask, value) = unsafe {
        (
            V::splat(V::Entry::from_mask(mask)),
            V::splat(V::Entry::from_mask(value)),
        )
    };
    let all = !0 >> (64 - V::LANES);
    for (word, hits) in hits[..len.div_ceil(64)].iter_mut().enumerate() {
        let first = word * 64;
        let mut found = 0;
        for lane in (0..64.min(len - first)).step_by(V::LANES) {
            // SAFETY: len is a multiple of LANES, so the register ends with the table
            // or before.
            unsafe {
                let here = V::load(table.add((first + lane) * V::Entry::BYTES));
                found |= (here.differ(value, mask) ^ all) << lane;
            }
        }
        *hits = found;
    }
}

/// Tables shorter than a register, a pair at a time.
///
/// # Safety
/// As for [`scan`], with `pairs` = entries - 1.
#[inline(always)]
unsafe fn scan_short<V: Vector, const ZERO: bool, const STEP: bool, const SWAP: bool>(
    table: *const u8,
    pairs: usize,
    masks: &Masks,
    ends: &mut [u64],
    jumps: &mut [u64],
) -> u64 {
    let (mut end, mut jump) = (0, 0);
    for pair in 0..pairs {
        // SAFETY: entries pair and pair + 1 are in the table.
        unsafe {
            let at = table.add(pair * V::Entry::BYTES);
            let mut here = V::load(at);
            let mut next = V::load(at.add(V::Entry::BYTES));
            let mut e = here.differ(next, V::splat(V::Entry::from_mask(masks.key)));
            if ZERO {
                let zero = V::splat(V::Entry::from_mask(masks.zero));
                e |= here.is_zero(zero) ^ next.is_zero(zero);
            }
            if STEP {
                if SWAP {
                    here = here.swap_bytes();
                    next = next.swap_bytes();
                }
                let address = V::splat(V::Entry::from_mask(masks.address));
                let step = V::splat(V::Entry::from_mask(masks.step));
                jump |= here.jumps(next, address, step) << pair;
            }
            end |= e << pair;
        }
    }
    ends[0] = end;
    jumps[0] = jump;
    end | jump
}

/// The functions of one instruction set, one a [`Form`]: `$wide` and `$narrow` are its
/// vectors of u64 and u32, `$features` what they are compiled for.
macro_rules! functions {
    ($name:ident, $wide:ty, $narrow:ty $(, $features:literal)?) => {
        pub(super) fn $name(form: super::generic::Form) -> super::Functions {
            $(#[target_feature(enable = $features)])?
            unsafe fn sift<V: super::vector::Vector>(
                table: *const u8,
                len: usize,
                mask: u64,
                value: u64,
                hits: &mut [u64],
            ) {
                // SAFETY: the promise of SiftFn, passed on; this function is compiled
                // for V's instruction set.
                unsafe { super::generic::sift::<V>(table, len, mask, value, hits) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn run<
                V: super::vector::Vector,
                const ZERO: bool,
                const STEP: bool,
                const SWAP: bool,
            >(
                table: *const u8,
                len: usize,
                ahead: *const u8,
                masks: &super::Masks,
                ends: &mut [u64],
                jumps: &mut [u64],
            ) -> u64 {
                // SAFETY: the promise of ScanFn, passed on; this function is compiled
                // for V's instruction set.
                unsafe {
                    super::generic::scan::<V, ZERO, STEP, SWAP>(
                        table, len, ahead, masks, ends, jumps,
                    )
                }
            }
            fn choose<V: super::vector::Vector>(
                form: super::generic::Form,
            ) -> super::ScanFn {
                match (form.zero, form.step, form.swap) {
                    (false, false, _) => run::<V, false, false, false>,
                    (true, false, _) => run::<V, true, false, false>,
                    (false, true, false) => run::<V, false, true, false>,
                    (false, true, true) => run::<V, false, true, true>,
                    (true, true, false) => run::<V, true, true, false>,
                    (true, true, true) => run::<V, true, true, true>,
                }
            }
            use super::vector::Vector;
            if form.narrow {
                super::Functions {
                    scan: choose::<$narrow>(form),
                    sift: sift::<$narrow>,
                    lanes: <$narrow>::LANES,
                }
            } else {
                super::Functions {
                    scan: choose::<$wide>(form),
                    sift: sift::<$wide>,
                    lanes: <$wide>::LANES,
                }
            }
        }
    };
}
pub(super) use functions;
