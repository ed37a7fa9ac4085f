//! Pages that are spread over a stream: where the last word on each is.

use crate::addr::Pa;
use crate::image::blocks::{Block, BlockFormat};
use crate::image::codec::Codec;
use crate::image::describe::Description;
use crate::image::mmap::RawBytes;
use crate::image::source::Store;
use crate::image::{ReadError, Segment, Stored};

/// Where a page's bytes are, in one number: what kind in the upper bits, and an offset
/// in the file or a fill byte below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageWord(u64);

pub(super) enum PagePlace {
    Fill(u8),
    Stored(u64),
    /// A length of 32 bits, then zlib.
    Compressed(u64),
    /// A difference to what the page was before.
    Difference(u64),
}

impl PageWord {
    const SHIFT: u32 = 60;

    pub(super) fn new(place: &PagePlace) -> Self {
        let (kind, value) = match *place {
            PagePlace::Fill(byte) => (0, u64::from(byte)),
            PagePlace::Stored(offset) => (1, offset),
            PagePlace::Compressed(offset) => (2, offset),
            PagePlace::Difference(offset) => (3, offset),
        };
        Self(kind << Self::SHIFT | value)
    }

    fn place(self) -> PagePlace {
        let value = self.0 & ((1 << Self::SHIFT) - 1);
        match self.0 >> Self::SHIFT {
            0 => PagePlace::Fill(value as u8),
            1 => PagePlace::Stored(value),
            2 => PagePlace::Compressed(value),
            _ => PagePlace::Difference(value),
        }
    }
}

/// A page frame and where its bytes are.
pub(super) type PageEntry = (u64, PageWord);

/// Sorts by page and keeps the last entry of each.
fn settle(mut pages: Vec<PageEntry>) -> Vec<PageEntry> {
    // Stable: of equal pages, the one sent last comes last.
    pages.sort_by_key(|&(page, _)| page);
    let mut kept = 0;
    for index in 0..pages.len() {
        let next = pages.get(index + 1).map(|&(page, _)| page);
        if next != Some(pages[index].0) {
            pages[kept] = pages[index];
            kept += 1;
        }
    }
    pages.truncate(kept);
    pages
}

fn segments(pages: &[PageEntry], page_size: u64) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for &(page, _) in pages {
        let pa = page * page_size;
        match segments.last_mut() {
            Some(last) if last.pa.0 + last.len == pa => last.len += page_size,
            _ => segments.push(Segment {
                pa: Pa(pa),
                len: page_size,
                stored: Stored::Encoded,
            }),
        }
    }
    segments
}

/// An image of pages that are spread over a stream.
pub(super) struct Pages {
    store: Store,
    page_size: u64,
    /// By page, each once.
    pages: Vec<PageEntry>,
    segments: Vec<Segment>,
    description: Description,
}

impl Pages {
    /// `pages` in the order of the stream.
    pub(super) fn new(
        store: Store,
        page_size: u64,
        pages: Vec<PageEntry>,
        mut description: Description,
    ) -> Self {
        let pages = settle(pages);
        description.detail("pages", pages.len());
        Self {
            segments: segments(&pages, page_size),
            store,
            page_size,
            pages,
            description,
        }
    }
}

impl BlockFormat for Pages {
    type Place = PageWord;

    fn find(&self, pa: u64) -> Result<Block<PageWord>, ReadError> {
        let page = pa / self.page_size;
        let index = self
            .pages
            .binary_search_by_key(&page, |&(page, _)| page)
            .map_err(|_| ReadError::Absent { pa: Pa(pa) })?;
        Ok(Block {
            pa: page * self.page_size,
            len: self.page_size as usize,
            place: self.pages[index].1,
        })
    }

    fn in_place(&self, block: &Block<PageWord>) -> Option<RawBytes<'_>> {
        match block.place.place() {
            PagePlace::Stored(offset) => self.store.in_place(offset, block.len),
            _ => None,
        }
    }

    fn load(&self, block: &Block<PageWord>, buf: &mut [u8]) -> Result<(), ReadError> {
        let pa = Pa(block.pa);
        let damaged = |offset: u64, what: &str| self.store.damaged(pa, offset, what);
        let read = |offset: u64, buf: &mut [u8]| self.store.read_memory(pa, offset, buf);
        match block.place.place() {
            PagePlace::Fill(byte) => {
                buf.fill(byte);
                Ok(())
            }
            PagePlace::Stored(offset) => read(offset, buf),
            PagePlace::Compressed(offset) => {
                let mut len = [0; 4];
                read(offset, &mut len)?;
                let len = u32::from_be_bytes(len) as usize;
                // zlib adds little to what it cannot compress (compressBound).
                if len > buf.len() + buf.len() / 8 + 64 {
                    return Err(damaged(
                        offset,
                        "a compressed page that is larger than a page",
                    ));
                }
                let mut compressed = vec![0; len];
                read(offset + 4, &mut compressed)?;
                Codec::Zlib
                    .decompress(&compressed, buf)
                    .map_err(|what| damaged(offset, &what))
            }
            PagePlace::Difference(offset) => Err(damaged(
                offset,
                "the page was sent as a difference (XBZRLE), which is not read: save without that capability",
            )),
        }
    }

    fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn changed(&self) -> bool {
        self.store.changed()
    }

    fn change(&self) -> Option<String> {
        self.store.change()
    }

    fn description(&self) -> &Description {
        &self.description
    }
}
