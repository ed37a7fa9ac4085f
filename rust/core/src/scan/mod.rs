//! Where the runs of a table end: the vectorised comparison of neighbouring entries.
//!
//! One generic algorithm ([`generic`]) over a small [`vector::Vector`] trait; a thin
//! file an instruction set. The choice is made once, by [`Isa`], and can be forced.
//! This folder may use `unsafe`.
#![allow(unsafe_code)]

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod generic;
mod list;
mod scalar;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use list::{ROOM, WORDS};

use crate::entries::Entries;
use crate::spec::EntryFormat;
use std::fmt;
use std::sync::LazyLock;

/// What the scan compares. All masks are those of entries in their own byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// Neighbours that differ in these bits end a run.
    pub key: u64,
    /// So do neighbours of which only one is 0 under this mask. 0: not tested.
    pub zero: u64,
    /// Under this mask the next entry has to be `step` more, or it is reported as not
    /// contiguous. 0: not tested.
    pub address: u64,
    /// See `address`.
    pub step: u64,
}

/// What the scan of a table finds, a bit an entry. Bits past the last entry are clear.
#[derive(Debug)]
pub struct Bitmaps<'b> {
    /// The next entry differs in the key or in being zero, or there is none.
    pub ends: &'b mut [u64],
    /// The next entry's address is not one step on; clear where that is not tested.
    pub jumps: &'b mut [u64],
    /// It is zero under the masks' `zero`; not written where that is not tested.
    pub zeros: &'b mut [u64],
}

impl<'b> Bitmaps<'b> {
    /// Three of the same length, one behind the other.
    pub fn of(words: &'b mut [u64]) -> Self {
        let each = words.len() / 3;
        let (ends, rest) = words.split_at_mut(each);
        let (jumps, zeros) = rest.split_at_mut(each);
        Self { ends, jumps, zeros }
    }
}

/// An instruction set that the scan is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// One entry at a time; everywhere.
    Scalar,
    /// x86-64 with AVX2: 32 bytes at a time.
    Avx2,
    /// x86-64 with AVX-512 F and BW: 64 bytes at a time.
    Avx512,
    /// AArch64 Advanced SIMD: 16 bytes at a time.
    Neon,
}

impl Isa {
    /// Every one there is, the widest last.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Neon, Self::Avx2, Self::Avx512];

    /// Its name, as the `isa` argument takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }

    /// The one of that name, whether or not this machine has it.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Whether this machine can run it.
    #[inline]
    pub fn is_available(self) -> bool {
        // Asked for every table, and the answer is always the same.
        static FOUND: LazyLock<[bool; 4]> = LazyLock::new(|| Isa::ALL.map(Isa::detect));
        let number = Self::ALL.iter().position(|&isa| isa == self);
        number.is_some_and(|number| FOUND[number])
    }

    fn detect(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && has_bit_counts(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && has_bit_counts()
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// Does some work, compiled for it.
    #[inline]
    pub fn run(self, work: impl Work) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if self.is_available() => {
                // SAFETY: the machine has it.
                unsafe { x86_64::run_avx2(work) }
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if self.is_available() => {
                // SAFETY: the machine has it.
                unsafe { x86_64::run_avx512(work) }
            }
            _ => work.run(),
        }
    }

    /// The widest one that this machine can run.
    pub fn best() -> Self {
        Self::ALL
            .into_iter()
            .rev()
            .find(|isa| isa.is_available())
            .unwrap_or(Self::Scalar)
    }
}

/// Something that is compiled once for each instruction set. A closure would not do: it is
/// not always inlined, and compiled for any machine then.
pub trait Work {
    /// Does it; to be marked `#[inline(always)]`.
    fn run(self);
}

/// Every processor with AVX2 has these, too; but it is asked.
#[cfg(target_arch = "x86_64")]
fn has_bit_counts() -> bool {
    is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Compares the entries of a table with their neighbours; see [`Scan::run`].
///
/// # Safety
/// `count` tables, one at least, of `len` entries of the width that the function was chosen
/// for are readable from `table` on, all bitmaps have at least `len.div_ceil(64)` words, and the machine has
/// the instruction set. `ahead` is only prefetched and can be anything.
type ScanFn = unsafe fn(
    table: *const u8,
    len: usize,
    count: usize,
    ahead: *const u8,
    masks: &Masks,
    out: &mut Bitmaps<'_>,
) -> usize;

/// Finds the entries that are `value` under `mask`; see [`Scan::sift`].
///
/// # Safety
/// `len` entries of the width that the function was chosen for, a multiple of the
/// lanes of its registers, are readable at `table`, `hits` has at least
/// `len.div_ceil(64)` words, and the machine has the instruction set.
type SiftFn = unsafe fn(table: *const u8, len: usize, mask: u64, value: u64, hits: &mut [u64]);

/// What an instruction set has for one form of entries.
#[derive(Clone, Copy)]
struct Functions {
    scan: ScanFn,
    sift: SiftFn,
    /// Entries a register holds.
    lanes: usize,
}

/// A scan made ready: instruction set, entry format and masks are settled.
#[derive(Clone, Copy)]
pub struct Scan {
    masks: Masks,
    functions: Functions,
    /// For tables that do not fill the registers.
    short: SiftFn,
    format: EntryFormat,
}

/// A mask for entries as they lie, of one for entries in order.
fn turn(format: EntryFormat, mask: u64) -> u64 {
    match (format.big_endian, format.bytes) {
        (false, _) => mask,
        (true, 4) => u64::from((mask as u32).swap_bytes()),
        (true, _) => mask.swap_bytes(),
    }
}

impl Scan {
    /// Chooses the function for a depth.
    ///
    /// # Panics
    /// Where this machine does not have `isa`: callers ask [`Isa::is_available`].
    pub fn new(isa: Isa, format: EntryFormat, masks: Masks) -> Self {
        assert!(isa.is_available(), "this machine has no {isa}");
        // Comparing for equality does not care for byte order as long as the masks
        // are turned round with the entries; only the step is arithmetic, and for it
        // the functions with SWAP put the bytes in order.
        let masks = Masks {
            key: turn(format, masks.key),
            zero: turn(format, masks.zero),
            ..masks
        };
        let form = generic::Form {
            narrow: format.bytes == 4,
            zero: masks.zero != 0,
            step: masks.address != 0,
            swap: format.big_endian,
        };
        let functions = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86_64::avx2(form),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86_64::avx512(form),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => aarch64::neon(form),
            _ => scalar::scalar(form),
        };
        Self {
            masks,
            functions,
            short: scalar::scalar(form).sift,
            format,
        }
    }

    /// Finds the ends of runs in the first of `count` tables that lie one behind the other.
    /// Returns how many of them, from the first one on, are one run together; 0: the first
    /// one is not. Only then the bitmaps hold something. It may be fewer than there are:
    /// only 1 where a table has less than 64 entries, or the key alone does not tell that
    /// its first one is not zero.
    ///
    /// `ahead` is what the caller will scan next; it is prefetched.
    ///
    /// # Panics
    /// Where the bitmaps have fewer words than a table has entries / 64, rounded up, or
    /// `tables` is not `count` of them.
    #[inline]
    pub fn run(
        &self,
        tables: &Entries<'_>,
        count: usize,
        ahead: &Entries<'_>,
        out: &mut Bitmaps<'_>,
    ) -> usize {
        let len = ahead.len();
        assert_eq!(tables.len(), len * count);
        if tables.is_empty() {
            return count;
        }
        let words = len.div_ceil(64);
        assert!(out.ends.len() >= words && out.jumps.len() >= words);
        assert!(out.zeros.len() >= words);
        debug_assert_eq!(tables.format(), self.format);
        // SAFETY: Entries vouches for len * count entries of its format, which is the one
        // the function was chosen for, and there are some; the bitmaps were just checked;
        // Scan::new checked the instruction set.
        let alike = unsafe {
            let (table, ahead) = (tables.as_ptr(), ahead.as_ptr());
            (self.functions.scan)(table, len, count, ahead, &self.masks, out)
        };
        if alike == 0 {
            out.ends[(len - 1) / 64] |= 1 << ((len - 1) % 64);
        }
        alike
    }

    /// Sets bit `i` of `hits` where entry `i` is `value` under `mask`, and clears the
    /// others. Mask and value are those of entries in order.
    ///
    /// # Panics
    /// Where `hits` has fewer than `len.div_ceil(64)` words.
    #[inline]
    pub fn sift(&self, table: &Entries<'_>, mask: u64, value: u64, hits: &mut [u64]) {
        let len = table.len();
        assert!(hits.len() >= len.div_ceil(64));
        debug_assert_eq!(table.format(), self.format);
        let function = if len.is_multiple_of(self.functions.lanes) {
            self.functions.sift
        } else {
            self.short
        };
        let (mask, value) = (turn(self.format, mask), turn(self.format, value));
        // SAFETY: Entries vouches for len entries of its format, which is the one the
        // functions were chosen for, and a scalar register is one entry; hits was just
        // checked; Scan::new checked the instruction set.
        unsafe { function(table.as_ptr(), len, mask, value, hits) };
    }
}

/// Asks for some bytes that will be read soon. Any address will do.
#[inline]
pub fn prefetch(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which faults nowhere; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

#[cfg(test)]
mod tests;
