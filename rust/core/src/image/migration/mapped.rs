//! `mapped-ram`: pages at fixed places in the file, and a bitmap of those that are there.

use crate::image::error::{ImageError, ImageErrorKind};
use crate::image::flat::{Piece, Place};
use crate::image::ram_blocks::RamBlock;
use crate::image::source::Store;

const MAX_PIECES: usize = 1 << 22;
/// Bitmaps of mapped-ram are read in pieces of this size.
const CHUNK: u64 = 64 << 10;
/// Pages that are looked at to tell the byte order of those bitmaps.
const MOST_ASKED: u32 = 256;

/// Where mapped-ram keeps a block.
pub(super) struct MappedBlock {
    pub(super) name: String,
    pub(super) page_size: u64,
    pub(super) bitmap_offset: u64,
    pub(super) pages_offset: u64,
}

/// Runs of pages from the bitmaps of mapped-ram: a clear bit is a page of zeros.
pub(super) fn pieces(
    store: &Store,
    blocks: &[RamBlock],
    mapped: &[MappedBlock],
) -> Result<Vec<Piece>, ImageError> {
    let big_endian = bitmaps_are_big_endian(store, blocks, mapped)?;
    let mut pieces: Vec<Piece> = Vec::new();
    for place in mapped {
        let Some(block) = blocks.iter().find(|block| block.name == place.name) else {
            continue;
        };
        for part in &block.parts {
            let page_size = place.page_size;
            let mut page = part.offset / page_size;
            let end = (part.offset + part.len).div_ceil(page_size);
            while page < end {
                let first = page / 64 * 64;
                let words = bitmap(store, place, first, end, big_endian)?;
                while page < end.min(first + words.len() as u64 * 64) {
                    let within = page - first;
                    let set = words[(within / 64) as usize] >> (within % 64) & 1 != 0;
                    let from = (page * page_size).max(part.offset);
                    let to = ((page + 1) * page_size).min(part.offset + part.len);
                    let piece = Piece {
                        pa: part.pa + (from - part.offset),
                        len: to - from,
                        place: if set {
                            Place::File {
                                file: 0,
                                offset: place.pages_offset.saturating_add(from),
                            }
                        } else {
                            Place::Zero
                        },
                    };
                    if !extend(pieces.last_mut(), &piece) {
                        if pieces.len() == MAX_PIECES {
                            let what = format!("more than {MAX_PIECES} runs of pages");
                            return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what));
                        }
                        pieces.push(piece);
                    }
                    page += 1;
                }
            }
        }
    }
    Ok(pieces)
}

/// Words of a block's bitmap from page `first` on, a multiple of 64: as many as one read
/// gives, but none behind page `end`.
fn bitmap(
    store: &Store,
    place: &MappedBlock,
    first: u64,
    end: u64,
    big_endian: bool,
) -> Result<Vec<u64>, ImageError> {
    let len = CHUNK.min((end - first).div_ceil(64) * 8);
    let at = place.bitmap_offset.saturating_add(first / 8);
    let bytes = store.bytes(at, len, "bitmap of mapped-ram")?;
    let (words, _) = bytes.as_chunks::<8>();
    let word = |bytes: &[u8; 8]| match big_endian {
        true => u64::from_be_bytes(*bytes),
        false => u64::from_le_bytes(*bytes),
    };
    Ok(words.iter().map(word).collect())
}

/// Whether the host that wrote the bitmaps was big-endian: they are in its words of 64
/// bits, and nothing says in which order (`migration/ram.c`, ram_save_file_bmap). No bit
/// is set behind a block's last page; else pages that are there in one order only are
/// looked at: QEMU stores no pages of zeros.
fn bitmaps_are_big_endian(
    store: &Store,
    blocks: &[RamBlock],
    mapped: &[MappedBlock],
) -> Result<bool, ImageError> {
    let (mut little, mut big, mut asked) = (0i32, 0i32, 0);
    for place in mapped {
        let len = blocks.iter().find(|block| block.name == place.name);
        let pages = len.map_or(0, |block| block.len.div_ceil(place.page_size));
        let mut first = 0;
        while first < pages && asked < MOST_ASKED {
            let words = bitmap(store, place, first, pages, false)?;
            for word in &words {
                let within = pages - first;
                let behind = if within < 64 { u64::MAX << within } else { 0 };
                let (as_little, as_big) = (*word, word.swap_bytes());
                if (as_little & behind == 0) != (as_big & behind == 0) {
                    return Ok(as_big & behind == 0);
                }
                let mut differing = as_little ^ as_big;
                while differing != 0 && asked < MOST_ASKED {
                    let bit = differing.trailing_zeros();
                    differing &= differing - 1;
                    asked += 1;
                    let at = (first + u64::from(bit)).saturating_mul(place.page_size);
                    let at = place.pages_offset.saturating_add(at);
                    let mut page = vec![0; place.page_size as usize];
                    let stored =
                        store.read_at(at, &mut page).is_ok() && page.iter().any(|b| *b != 0);
                    let vote = if stored { 1 } else { -1 };
                    if as_little >> bit & 1 != 0 {
                        little += vote;
                    } else {
                        big += vote;
                    }
                }
                first += 64;
            }
        }
    }
    Ok(big > little)
}

/// Adds a piece to the one before it, if it continues that.
fn extend(last: Option<&mut Piece>, next: &Piece) -> bool {
    match last {
        Some(last) if last.pa + last.len == next.pa && last.end_place() == next.place => {
            last.len += next.len;
            true
        }
        _ => false,
    }
}
