//! Plain reads: the sum of all words, as wide as the instruction set allows.

use crate::map::Map;
use std::arch::x86_64::*;
use std::time::Instant;

/// Sums `size` bytes at `table`, a multiple of 512.
type Sum = unsafe fn(table: *const u8, next: *const u8, size: usize) -> u64;

pub fn sum_of(isa: &str, ahead: bool) -> Option<Sum> {
    match (isa, ahead) {
        ("scalar", _) => Some(scalar),
        ("avx2", false) if is_x86_feature_detected!("avx2") => Some(avx2::<false>),
        ("avx2", true) if is_x86_feature_detected!("avx2") => Some(avx2::<true>),
        ("avx512", false) if is_x86_feature_detected!("avx512f") => Some(avx512::<false>),
        ("avx512", true) if is_x86_feature_detected!("avx512f") => Some(avx512::<true>),
        _ => None,
    }
}

/// As the compiler does it for any x86-64 (SSE2).
unsafe fn scalar(table: *const u8, _: *const u8, size: usize) -> u64 {
    let words = table.cast::<u64>();
    // SAFETY: the caller checked the table against the mapping.
    (0..size / 8).fold(0u64, |sum, i| unsafe {
        sum.wrapping_add(words.add(i).read_unaligned())
    })
}

macro_rules! wide {
    ($name:ident, $feature:literal, $register:ty, $zero:ident, $load:ident, $add:ident) => {
        #[target_feature(enable = $feature)]
        unsafe fn $name<const AHEAD: bool>(table: *const u8, next: *const u8, size: usize) -> u64 {
            const WIDTH: usize = size_of::<$register>();
            let mut sums = [$zero(); 4];
            let mut at = 0;
            // SAFETY: the caller checked the table against the mapping; a prefetch
            // faults nowhere.
            unsafe {
                while at < size {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let offset = at + i * WIDTH;
                        if AHEAD && offset % 64 == 0 {
                            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(offset).cast());
                        }
                        *sum = $add(*sum, $load(table.add(offset).cast()));
                    }
                    at += 4 * WIDTH;
                }
                let mut words = [0u64; 4 * WIDTH / 8];
                std::ptr::copy_nonoverlapping(
                    sums.as_ptr().cast::<u8>(),
                    words.as_mut_ptr().cast(),
                    4 * WIDTH,
                );
                words.iter().fold(0u64, |a, &b| a.wrapping_add(b))
            }
        }
    };
}

wide!(
    avx2,
    "avx2",
    __m256i,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_add_epi64
);
wide!(
    avx512,
    "avx512f",
    __m512i,
    _mm512_setzero_si512,
    _mm512_loadu_si512,
    _mm512_add_epi64
);

fn share(map: &Map, tables: &[u64], size: usize, sum: Sum) -> u64 {
    let mut total = 0u64;
    for (i, &table) in tables.iter().enumerate() {
        let next = tables.get(i + 1).copied().unwrap_or(table);
        // SAFETY: Map::read checked every table.
        total = total.wrapping_add(unsafe { sum(map.at(table), map.at(next), size) });
    }
    total
}

pub fn read(map: &Map, tables: &[u64], size: usize, sum: Sum, threads: usize) -> (u64, f64) {
    let start = Instant::now();
    let total = if threads < 2 {
        share(map, tables, size, sum)
    } else {
        let each = tables.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = tables
                .chunks(each)
                .map(|tables| scope.spawn(move || share(map, tables, size, sum)))
                .collect();
            workers
                .into_iter()
                .fold(0u64, |a, w| a.wrapping_add(w.join().unwrap_or(0)))
        })
    };
    (total, start.elapsed().as_secs_f64())
}
