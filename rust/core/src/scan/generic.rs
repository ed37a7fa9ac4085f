//! The one algorithm, for every instruction set.

use super::vector::{Vector, Word};
use super::{Bitmaps, Masks};

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

/// Entries that are looked at together: one word of a bitmap.
const BLOCK: usize = 64;

/// The body of every [`super::ScanFn`]: blocks that are like the first entry in one pass
/// that has little to do, the rest pair by pair.
///
/// # Safety
/// As for [`super::ScanFn`]; only called from functions compiled for V's instruction
/// set.
#[inline(always)]
pub(super) unsafe fn scan<V: Vector, const ZERO: bool, const STEP: bool, const SWAP: bool>(
    table: *const u8,
    len: usize,
    count: usize,
    ahead: *const u8,
    masks: &Masks,
    out: &mut Bitmaps<'_>,
) -> usize {
    let pairs = len - 1;
    if pairs < V::LANES {
        // SAFETY: the caller's promise, passed on; a scalar "register" is one entry.
        let uniform = unsafe {
            if V::Entry::BYTES == 4 {
                scan_short::<super::scalar::Lane<u32>, ZERO, STEP, SWAP>(table, pairs, masks, out)
            } else {
                scan_short::<super::scalar::Lane<u64>, ZERO, STEP, SWAP>(table, pairs, masks, out)
            }
        };
        return usize::from(uniform);
    }
    // SAFETY: the caller's promise, passed on.
    let (tables, alike) = unsafe { alike::<V, STEP, SWAP>(table, len, count, ahead, masks) };
    if tables > 0 {
        return tables;
    }
    let words = len.div_ceil(BLOCK);
    // The last pair of a block is one with the next block's first entry.
    let from = alike.saturating_sub(1);
    out.ends[..from].fill(0);
    out.jumps[..from].fill(0);
    // SAFETY: registers only.
    let (key, zero, address, step) = unsafe {
        (
            V::splat(V::Entry::from_mask(masks.key)),
            V::splat(V::Entry::from_mask(masks.zero)),
            V::splat(V::Entry::from_mask(masks.address)),
            V::splat(V::Entry::from_mask(masks.step)),
        )
    };
    let is_zero = |index: usize| {
        // SAFETY: callers keep index < len.
        let entry = unsafe { V::Entry::read(table.add(index * V::Entry::BYTES)) };
        u64::from(entry.and(V::Entry::from_mask(masks.zero)) == V::Entry::from_mask(0))
    };
    if ZERO {
        out.zeros[..from].fill(is_zero(0).wrapping_neg());
    }
    // Bits of the LANES pairs from pair `first` on, and which of their first entries are
    // zero. Pair i is entries i and i + 1.
    let compare = |first: usize| -> (u64, u64, u64) {
        // SAFETY: callers keep first + LANES <= pairs, so that the last entry read is
        // entry first + LANES <= len - 1.
        unsafe {
            let at = table.add(first * V::Entry::BYTES);
            let here = V::load(at);
            let next = V::load(at.add(V::Entry::BYTES));
            let end = here.differ(next, key);
            let nil = if ZERO { here.is_zero(zero) } else { 0 };
            let jump = match (STEP, SWAP) {
                (false, _) => 0,
                (true, false) => here.jumps(next, address, step),
                (true, true) => here.swap_bytes().jumps(next.swap_bytes(), address, step),
            };
            (end, nil, jump)
        }
    };
    let mut any = 0;
    for word in from..words {
        let first = word * BLOCK;
        if word > alike {
            // SAFETY: a hint.
            unsafe { prefetch::<V>(ahead, word) };
        }
        let (mut end, mut nil, mut jump) = (0, 0, 0);
        let mut put = |first: usize, lane: usize, done: usize| {
            let (e, n, j) = compare(first);
            end |= (e >> done) << lane;
            nil |= (n >> done) << lane;
            jump |= (j >> done) << lane;
        };
        let left = pairs - first;
        if left >= BLOCK {
            for lane in (0..BLOCK).step_by(V::LANES) {
                put(first + lane, lane, 0);
            }
        } else {
            let whole = left - left % V::LANES;
            for lane in (0..whole).step_by(V::LANES) {
                put(first + lane, lane, 0);
            }
            if whole < left {
                // The last register would read past the table: take the one that ends
                // with it and drop the pairs that were done.
                let last = pairs - V::LANES;
                put(last, whole, first + whole - last);
            }
        }
        if ZERO && left >= BLOCK {
            end |= nil ^ (nil >> 1 | is_zero(first + BLOCK) << (BLOCK - 1));
        } else if ZERO {
            nil |= is_zero(pairs) << left;
            end |= (nil ^ nil >> 1) & !(!0 << left);
        }
        out.ends[word] = end;
        out.jumps[word] = jump;
        if ZERO {
            out.zeros[word] = nil;
        }
        any |= end | jump;
    }
    usize::from(any == 0)
}

/// Asks for a block of the table that comes next.
///
/// # Safety
/// As for V.
#[inline(always)]
unsafe fn prefetch<V: Vector>(ahead: *const u8, block: usize) {
    let size = BLOCK * V::Entry::BYTES;
    for line in (0..size).step_by(64) {
        // SAFETY: a hint; wrapping_add makes no claim on the address.
        unsafe { V::prefetch(ahead.wrapping_add(block * size + line)) };
    }
}

/// How many tables from the first one on are one run, and blocks of the one behind them.
///
/// # Safety
/// As for [`super::ScanFn`]; only called from functions compiled for V's instruction
/// set.
#[inline(always)]
unsafe fn alike<V: Vector, const STEP: bool, const SWAP: bool>(
    table: *const u8,
    len: usize,
    count: usize,
    ahead: *const u8,
    masks: &Masks,
) -> (usize, usize) {
    let bytes = len * V::Entry::BYTES;
    // SAFETY: the tables have entries; a ramp has LANES of them; the rest is registers.
    unsafe {
        let entry = V::Entry::read(table);
        let nothing = V::splat(V::Entry::from_mask(0));
        let first = V::splat(entry);
        // Alike in the key, all entries are non-zero where its bits say so; otherwise
        // they have to be alike in all that can be non-zero.
        let set = entry.and(V::Entry::from_mask(masks.key & masks.zero));
        let zero = if set == V::Entry::from_mask(0) {
            masks.zero
        } else {
            0
        };
        let compared = V::splat(V::Entry::from_mask(masks.key | zero));
        let everything = V::splat(V::Entry::from_mask(!0));
        let address = V::splat(V::Entry::from_mask(masks.address));
        let stride = V::splat(V::Entry::from_mask(
            masks.step.wrapping_mul(V::LANES as u64),
        ));
        let mut expected = if STEP {
            let start = if SWAP { entry.turned() } else { entry };
            ramp::<V>(start.and(V::Entry::from_mask(masks.address)), masks.step)
        } else {
            nothing
        };
        for number in 0..count {
            let table = table.add(number * bytes);
            let ahead = if number + 1 < count {
                table.add(bytes)
            } else {
                ahead
            };
            for alike in 0..len / BLOCK {
                prefetch::<V>(ahead, alike);
                let (mut differences, mut jumps) = (nothing, nothing);
                let block = table.add(alike * BLOCK * V::Entry::BYTES);
                for lane in (0..BLOCK).step_by(V::LANES) {
                    let here = V::load(block.add(lane * V::Entry::BYTES));
                    differences = differences.or_differences(here, first);
                    if STEP {
                        let here = if SWAP { here.swap_bytes() } else { here };
                        // Past the mask's top the sum is not masked: the scan has a look.
                        jumps = jumps.or_differences(here.and(address), expected);
                        expected = expected.add(stride);
                    }
                }
                let jumped = STEP && jumps.differ(nothing, everything) != 0;
                if jumped || differences.differ(nothing, compared) != 0 {
                    return (number, alike);
                }
            }
            if !len.is_multiple_of(BLOCK) {
                return (number, len / BLOCK);
            }
        }
    }
    (count, 0)
}

/// `start`, `start + step` and so on, a lane each.
///
/// # Safety
/// As for V.
#[inline(always)]
unsafe fn ramp<V: Vector>(start: V::Entry, step: u64) -> V {
    let mut entries = [start; 32];
    for lane in 1..V::LANES {
        entries[lane] = entries[lane - 1].add(V::Entry::from_mask(step));
    }
    // SAFETY: LANES entries at most.
    unsafe { V::load(entries.as_ptr().cast()) }
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
    for (word, hits) in hits[..len.div_ceil(BLOCK)].iter_mut().enumerate() {
        let first = word * BLOCK;
        let mut others = 0;
        let mut test = |lane: usize| {
            // SAFETY: len is a multiple of LANES, so the register ends with the table
            // or before.
            unsafe {
                let here = V::load(table.add((first + lane) * V::Entry::BYTES));
                others |= here.differ(value, mask) << lane;
            }
        };
        if len - first >= BLOCK {
            for lane in (0..BLOCK).step_by(V::LANES) {
                test(lane);
            }
        } else {
            for lane in (0..len - first).step_by(V::LANES) {
                test(lane);
            }
        }
        *hits = !others & !0 >> (BLOCK - BLOCK.min(len - first));
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
    out: &mut Bitmaps<'_>,
) -> bool {
    let (mut end, mut jump, mut nil) = (0, 0, 0);
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
                nil |= here.is_zero(zero) << pair | next.is_zero(zero) << (pair + 1);
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
    out.ends[0] = end;
    out.jumps[0] = jump;
    if ZERO {
        out.zeros[0] = nil;
    }
    end | jump == 0
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
                count: usize,
                ahead: *const u8,
                masks: &super::Masks,
                out: &mut super::Bitmaps<'_>,
            ) -> usize {
                // SAFETY: the promise of ScanFn, passed on; this function is compiled
                // for V's instruction set.
                unsafe {
                    super::generic::scan::<V, ZERO, STEP, SWAP>(
                        table, len, count, ahead, masks, out,
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
