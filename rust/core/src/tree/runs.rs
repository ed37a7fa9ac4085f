//! Runs of entries, and the bitmaps that say where they end.

/// A maximal stretch of a table's entries that one rule and one key fit.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Index of the first entry.
    pub start: usize,
    /// Index of the last one.
    pub last: usize,
}

impl Run {
    /// How many entries it has.
    #[inline]
    pub fn count(self) -> usize {
        self.last - self.start + 1
    }
}

/// The runs of a table, in order.
pub struct Runs<'t> {
    pub(super) words: Option<&'t [u64]>,
    pub(super) next: usize,
    pub(super) last: usize,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    #[inline]
    fn next(&mut self) -> Option<Run> {
        if self.next > self.last {
            return None;
        }
        let start = self.next;
        let last = self
            .words
            .map_or(self.last, |words| next_end(words, start).min(self.last));
        self.next = last + 1;
        Some(Run { start, last })
    }
}

/// Index of the first set bit from `from` on; past the end where there is none.
#[inline]
pub(super) fn next_end(words: &[u64], from: usize) -> usize {
    let mut word = from / 64;
    let mut bits = words[word] & (!0 << (from % 64));
    while bits == 0 {
        word += 1;
        match words.get(word) {
            Some(&next) => bits = next,
            None => return words.len() * 64,
        }
    }
    word * 64 + bits.trailing_zeros() as usize
}

/// Indexes of the set bits, ascending.
#[inline(always)]
pub(crate) fn bits(words: &[u64]) -> impl Iterator<Item = usize> {
    words.iter().enumerate().flat_map(|(word, &bits)| {
        let mut rest = bits;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest.checked_sub(1)?;
            Some(word * 64 + bit)
        })
    })
}

/// Index of the last set bit; 0 where there is none.
pub(super) fn last_bit(words: &[u64]) -> usize {
    words.iter().rposition(|&word| word != 0).map_or(0, |word| {
        word * 64 + 63 - words[word].leading_zeros() as usize
    })
}

/// A word of the bitmap whose bits from `low` to `high` are set.
#[inline(always)]
pub(crate) fn stretch(word: usize, low: usize, high: usize) -> u64 {
    let (first, last) = (word * 64, word * 64 + 63);
    if low > last || high < first {
        return 0;
    }
    !0 << low.saturating_sub(first) & !0 >> last.saturating_sub(high)
}

#[inline(always)]
pub(super) fn join(to: &mut [u64], from: &[u64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to |= from;
    }
}

/// Between neighbours that are both in `map`, lets runs end where `ends_there` says, and
/// nowhere else.
#[inline(always)]
pub(super) fn settle_ends(map: &[u64], ends_there: &[u64], ends: &mut [u64]) {
    for word in 0..map.len() {
        let above = map.get(word + 1).map_or(0, |next| next & 1);
        let both = map[word] & (map[word] >> 1 | above << 63);
        ends[word] = ends[word] & !both | ends_there[word] & both;
    }
}

/// Sets the bit of each entry whose next one is not alike in being in `map`.
#[inline(always)]
pub(super) fn end_changes(map: &[u64], ends: &mut [u64]) {
    for word in 0..map.len() {
        let above = map.get(word + 1).map_or(map[word] >> 63, |next| next & 1);
        ends[word] |= map[word] ^ (map[word] >> 1 | above << 63);
    }
}
