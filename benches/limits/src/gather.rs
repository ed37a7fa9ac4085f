//! Plain gathers: words anywhere in a mapping, each asked for long before it is read.

use crate::map::Map;
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use std::time::Instant;

/// How many words ahead they are asked for.
const AHEAD: usize = 48;

/// Sum of the words at `places`, which the caller checked, and the seconds it took; the
/// places are cut into `threads` contiguous shares.
pub fn gather(map: &Map, places: &[u64], threads: usize) -> (u64, f64) {
    let start = Instant::now();
    let size = places.len().div_ceil(threads.max(1)).max(1);
    let sum = std::thread::scope(|scope| {
        let mut shares = places.chunks(size);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares
            .map(|places| scope.spawn(|| share(map, places)))
            .collect();
        others.into_iter().fold(share(map, own), |sum, other| {
            sum.wrapping_add(other.join().expect("a sum"))
        })
    });
    (sum, start.elapsed().as_secs_f64())
}

fn share(map: &Map, places: &[u64]) -> u64 {
    let mut sum = 0u64;
    for (i, &place) in places.iter().enumerate() {
        let ahead = places.get(i + AHEAD).copied().unwrap_or(place);
        // SAFETY: a prefetch faults nowhere; the caller checked the places.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(map.at(ahead).cast());
            sum = sum.wrapping_add(map.at(place).cast::<u64>().read_unaligned());
        }
    }
    sum
}
