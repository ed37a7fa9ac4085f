//! Indexes of the bits that are set in a bitmap.

use super::Isa;

/// Words of a bitmap that are listed at a time.
pub const WORDS: usize = 8;

/// Room that has to be behind what is listed: it is overwritten.
pub const ROOM: usize = 64;

/// Indexes that are listed at a time: more than most words have, so that the number of
/// rounds can be guessed. What is too much is overwritten by the next.
const GROUP: usize = 8;

impl Isa {
    /// Writes `first` and the index of each set bit, added up, to `out` from `at` on, in
    /// order; returns where they end. Behind that, up to [`ROOM`] of `out` are overwritten.
    ///
    /// # Panics
    /// Where `out` has no room for that.
    #[inline]
    pub fn list(self, words: &[u64; WORDS], first: u32, out: &mut [u32], at: usize) -> usize {
        let count: u32 = words.iter().map(|word| word.count_ones()).sum();
        let end = at + count as usize;
        let out = &mut out[at..end + ROOM];
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx512 && is_x86_feature_detected!("avx512vbmi2") {
            // SAFETY: the machine has it; there is room for all bits and 64 more.
            unsafe { list_avx512(words, first, out.as_mut_ptr()) };
            return end;
        }
        let mut done = 0;
        for (number, &word) in words.iter().enumerate() {
            list_word(word, first + number as u32 * 64, &mut out[done..done + 64]);
            done += word.count_ones() as usize;
        }
        end
    }
}

fn list_word(mut bits: u64, first: u32, out: &mut [u32]) {
    let (groups, _) = out.as_chunks_mut::<GROUP>();
    for group in groups {
        for slot in group {
            *slot = first.wrapping_add(bits.trailing_zeros());
            bits &= bits.wrapping_sub(1);
        }
        if bits == 0 {
            return;
        }
    }
}

/// # Safety
/// The machine has these instructions; there is room for all bits' indexes and 64 more.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
unsafe fn list_avx512(words: &[u64; WORDS], first: u32, mut out: *mut u32) {
    use std::arch::x86_64::*;
    const BYTES: [u8; 64] = {
        let mut bytes = [0; 64];
        let mut i = 0;
        while i < 64 {
            bytes[i] = i as u8;
            i += 1;
        }
        bytes
    };
    // SAFETY: 64 bytes; of a word, at most 64 indexes are written, where there is room for
    // those of this and all later ones, and 64 more.
    unsafe {
        let bytes = _mm512_loadu_si512(BYTES.as_ptr().cast());
        let mut base = _mm512_set1_epi32(first.cast_signed());
        for &word in words {
            let mut indexes = _mm512_maskz_compress_epi8(word, bytes);
            let count = word.count_ones() as usize;
            let mut done = 0;
            loop {
                let wide = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(indexes));
                let wide = _mm512_add_epi32(wide, base);
                _mm512_storeu_si512(out.add(done).cast(), wide);
                done += 16;
                if done >= count {
                    break;
                }
                // The next 16 bytes.
                indexes = _mm512_alignr_epi32::<4>(indexes, indexes);
            }
            out = out.add(count);
            base = _mm512_add_epi32(base, _mm512_set1_epi32(64));
        }
    }
}
