//! AVML captures, version 2 (`avml --compress`).
//!
//! LiME's header with the magic `AVML` and version 2 before each block of at most
//! 16 MiB; then the block in Snappy's framing format (`framing_format.txt`), and the
//! size of that in 8 bytes (AVML `src/image.rs`). Blocks that were all zeros are left
//! out, so what they covered is absent.

use super::blocks::{Block, BlockFormat, Blocks};
use super::codec::Codec;
use super::describe::Description;
use super::error::{ImageError, ImageErrorKind};
use super::fields::Fields;
use super::lime;
use super::mmap::RawBytes;
use super::source::{Store, StoreError};
use super::{Input, OpenOptions, Opened, ReadError, Segment, Stored};
use crate::addr::Pa;

const MAGIC: &[u8; 8] = b"AVML\x02\0\0\0";
/// Uncompressed bytes of a chunk (Snappy framing format, section 4.2).
const CHUNK_SIZE: u32 = 1 << 16;
/// Chunks of 1 TiB.
const MAX_CHUNKS: usize = 1 << 24;

/// Chunk types of the framing format.
const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
const FIRST_SKIPPABLE: u8 = 0x80;

/// A chunk's data, without its checksum.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    pa: u64,
    offset: u64,
    len: u32,
    size: u32,
    compressed: bool,
}

struct Avml {
    store: Store,
    /// By address, disjoint.
    chunks: Vec<Chunk>,
    segments: Vec<Segment>,
    description: Description,
}

/// True for AVML's version 2.
pub(super) fn recognize(input: &Input) -> bool {
    input.starts_with(MAGIC)
}

/// Opens a capture. Reads the headers of all chunks.
pub(super) fn open(input: Input, _options: &OpenOptions) -> Opened {
    let mut description = Description::new("avml", &input);
    let store = input.store;
    let (mut chunks, mut blocks, mut at) = (Vec::new(), 0u64, 0);
    while at < store.len() {
        match read_block(&store, at, &mut chunks)? {
            Next::Block(next) => {
                blocks += 1;
                at = next;
            }
            Next::End(warning) => {
                description.warn(warning);
                break;
            }
        }
    }
    if chunks.is_empty() {
        return Err(ImageError::truncated(store.name(), 0, "first block"));
    }
    chunks.sort_by_key(|chunk| chunk.pa);
    let mut end = 0u128;
    chunks.retain(|chunk| {
        let fits = u128::from(chunk.pa) >= end;
        if fits {
            end = u128::from(chunk.pa) + u128::from(chunk.len);
        }
        fits
    });
    description.detail("blocks", blocks);
    description.detail("chunks", chunks.len());
    description.detail("blocks of zeros", "left out, so absent");
    description.detail("access", store.access());
    let segments = segments(&chunks);
    let avml = Avml {
        store,
        chunks,
        segments,
        description,
    };
    Ok(Box::new(Blocks::new(avml, CHUNK_SIZE as usize)))
}

/// What follows a block.
enum Next {
    /// Another one, at this offset.
    Block(u64),
    /// Nothing that can be read, for this reason.
    End(String),
}

/// Collects the chunks of the block at an offset.
fn read_block(store: &Store, at: u64, chunks: &mut Vec<Chunk>) -> Result<Next, ImageError> {
    let cut_short = |at: u64| {
        format!("the file ends inside a block (offset {at:#x}): the rest of it is absent")
    };
    if store.len() - at < lime::HEADER_SIZE {
        return Ok(Next::End(cut_short(at)));
    }
    let bytes = store.bytes(at, lime::HEADER_SIZE, "block header")?;
    let fields = Fields {
        file: store.name(),
        start: at,
        bytes: &bytes,
        big_endian: false,
    };
    if bytes[..8] != *MAGIC {
        return Ok(Next::End(format!(
            "there is no block header at offset {at:#x}: what follows is not read"
        )));
    }
    let (first, len) = lime::range(&fields)?;
    let mut at = at + lime::HEADER_SIZE;
    let mut done = 0;
    while done < len {
        let Some(header) = ChunkHeader::read(store, at)? else {
            return Ok(Next::End(cut_short(at)));
        };
        if let Some(mut chunk) = header.chunk {
            if u64::from(chunk.len) > len - done {
                let what = format!("its chunks hold more than the block's {len:#x} bytes");
                return Err(ImageError::malformed(store.name(), at, what));
            }
            if chunks.len() == MAX_CHUNKS {
                let what = format!("more than {MAX_CHUNKS} chunks");
                return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what)
                    .at(at)
                    .hint("convert it with avml-convert"));
            }
            // first + done is inside the range, whose end is at most 2^64.
            chunk.pa = first + done;
            done += u64::from(chunk.len);
            chunks.push(chunk);
        }
        at = header.next;
    }
    // The size of the block's frames.
    Ok(Next::Block(at.saturating_add(8)))
}

struct ChunkHeader {
    /// None for chunks without data: the stream identifier, padding.
    chunk: Option<Chunk>,
    next: u64,
}

impl ChunkHeader {
    /// The chunk at an offset; None if the file ends in it.
    fn read(store: &Store, at: u64) -> Result<Option<Self>, ImageError> {
        let mut header = [0; 4];
        if !read_if_there(store, at, &mut header)? {
            return Ok(None);
        }
        let [kind, sizes @ ..] = header;
        let [a, b, c] = sizes;
        let size = u32::from_le_bytes([a, b, c, 0]);
        let next = at + 4 + u64::from(size);
        if next > store.len() {
            return Ok(None);
        }
        if kind >= FIRST_SKIPPABLE {
            return Ok(Some(Self { chunk: None, next }));
        }
        // Data follows a checksum of 4 bytes.
        let (offset, data) = (at + 8, size.saturating_sub(4));
        let malformed = |what: String| ImageError::malformed(store.name(), at, what);
        let len = match kind {
            UNCOMPRESSED => data,
            COMPRESSED => {
                let mut prefix = [0; 5];
                let there = prefix.len().min(data as usize);
                read_if_there(store, offset, &mut prefix[..there])?;
                let len = snap::raw::decompress_len(&prefix[..there])
                    .map_err(|error| malformed(format!("damaged Snappy chunk: {error}")))?;
                u32::try_from(len).unwrap_or(u32::MAX)
            }
            _ => return Err(malformed(format!("Snappy chunk of unknown type {kind:#x}"))),
        };
        if len == 0 || len > CHUNK_SIZE {
            let what = format!("a Snappy chunk of {len:#x} bytes is impossible");
            return Err(malformed(what));
        }
        Ok(Some(Self {
            chunk: Some(Chunk {
                pa: 0,
                offset,
                len,
                size: data,
                compressed: kind == COMPRESSED,
            }),
            next,
        }))
    }
}

fn read_if_there(store: &Store, at: u64, buf: &mut [u8]) -> Result<bool, ImageError> {
    match store.read_at(at, buf) {
        Ok(()) => Ok(true),
        Err(StoreError::End) => Ok(false),
        Err(StoreError::Io(error)) => {
            Err(ImageError::new(ImageErrorKind::Io, store.name(), error).at(at))
        }
    }
}

fn segments(chunks: &[Chunk]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for chunk in chunks {
        let len = u64::from(chunk.len);
        match segments.last_mut() {
            // A sum of 2^64 cannot be equal to an address.
            Some(last) if last.pa.checked_add(last.len) == Some(Pa(chunk.pa)) => last.len += len,
            _ => segments.push(Segment {
                pa: Pa(chunk.pa),
                len,
                stored: Stored::Encoded,
            }),
        }
    }
    segments
}

impl BlockFormat for Avml {
    type Place = usize;

    fn find(&self, pa: u64) -> Result<Block<usize>, ReadError> {
        let absent = ReadError::Absent { pa: Pa(pa) };
        let index = self.chunks.partition_point(|chunk| chunk.pa <= pa);
        let place = index.checked_sub(1).ok_or(absent.clone())?;
        let chunk = self.chunks[place];
        if pa - chunk.pa >= u64::from(chunk.len) {
            return Err(absent);
        }
        Ok(Block {
            pa: chunk.pa,
            len: chunk.len as usize,
            place,
        })
    }

    fn in_place(&self, block: &Block<usize>) -> Option<RawBytes<'_>> {
        let chunk = self.chunks.get(block.place)?;
        if chunk.compressed {
            return None;
        }
        self.store.in_place(chunk.offset, block.len)
    }

    fn load(&self, block: &Block<usize>, buf: &mut [u8]) -> Result<(), ReadError> {
        let chunk = self.chunks[block.place];
        let pa = Pa(block.pa);
        if !chunk.compressed {
            return self.store.read_memory(pa, chunk.offset, buf);
        }
        // At most 2^24 bytes: a chunk's size has 24 bits.
        let mut compressed = vec![0; chunk.size as usize];
        self.store.read_memory(pa, chunk.offset, &mut compressed)?;
        Codec::Snappy
            .decompress(&compressed, buf)
            .map_err(|what| self.store.damaged(pa, chunk.offset, &what))
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
