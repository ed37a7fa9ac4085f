//! LiME captures (format `lime`, version 1; AVML version 1 writes the same).
//!
//! A header before each range: magic `EMiL`, version, first and last address
//! (inclusive), 8 reserved bytes; then its bytes (LiME `lime.h`, README "LiME Memory
//! Range Header"). LiME's format `padded` has no headers: it is raw memory from 0 on.

use super::describe::Description;
use super::error::{ImageError, ImageErrorKind};
use super::fields::Fields;
use super::flat::{Flat, Piece, Place};
use super::source::Store;
use super::{Input, OpenOptions, Opened};

const MAGIC: &[u8; 4] = b"EMiL";
/// The same number written by a big-endian machine.
const MAGIC_SWAPPED: &[u8; 4] = b"LiME";
pub(super) const HEADER_SIZE: u64 = 32;
/// More ranges than any machine has.
const MAX_RANGES: usize = 1 << 20;

/// True for a file that begins with a range's header.
pub(super) fn recognize(input: &Input) -> bool {
    let version_1 = |magic: &[u8], version: [u8; 4]| {
        input.starts_with(magic) && input.head.get(4..8) == Some(&version)
    };
    version_1(MAGIC, [1, 0, 0, 0]) || version_1(MAGIC_SWAPPED, [0, 0, 0, 1])
}

/// Opens a capture.
pub(super) fn open(input: Input, _options: &OpenOptions) -> Opened {
    let mut description = Description::new("lime", &input);
    let big_endian = input.starts_with(MAGIC_SWAPPED);
    let store = input.store;
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < store.len() {
        let range = match Range::read(&store, at, big_endian)? {
            Some(range) if pieces.len() < MAX_RANGES => range,
            Some(_) => {
                let what = format!("more than {MAX_RANGES} ranges");
                return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what).at(at));
            }
            None => {
                description.warn(format!(
                    "there is no range header at offset {at:#x}: what follows is not read"
                ));
                break;
            }
        };
        pieces.push(Piece {
            pa: range.first,
            len: range.len,
            place: Place::File {
                file: 0,
                offset: at + HEADER_SIZE,
            },
        });
        at = (at + HEADER_SIZE).saturating_add(range.len);
    }
    if pieces.is_empty() {
        return Err(ImageError::malformed(
            store.name(),
            0,
            "no LiME range header",
        ));
    }
    description.detail("ranges", pieces.len());
    description.detail("access", store.access());
    Ok(Box::new(Flat::new(vec![store], pieces, description)))
}

struct Range {
    first: u64,
    len: u64,
}

impl Range {
    /// The header at an offset; None if there is none, or only a part of one.
    fn read(store: &Store, at: u64, big_endian: bool) -> Result<Option<Self>, ImageError> {
        if store.len() - at < HEADER_SIZE {
            return Ok(None);
        }
        let bytes = store.bytes(at, HEADER_SIZE, "range header")?;
        let fields = Fields {
            file: store.name(),
            start: at,
            bytes: &bytes,
            big_endian,
        };
        let magic = if big_endian { MAGIC_SWAPPED } else { MAGIC };
        if bytes[..4] != *magic {
            return Ok(None);
        }
        let version = fields.u32(4, "version")?;
        if version != 1 {
            return Err(fields.malformed(4, format!("LiME version {version}; only 1 is known")));
        }
        range(&fields).map(|(first, len)| Some(Self { first, len }))
    }
}

/// First address and length of the range of a header, of LiME or AVML.
pub(super) fn range(fields: &Fields<'_>) -> Result<(u64, u64), ImageError> {
    let (first, last) = (fields.u64(8, "s_addr")?, fields.u64(16, "e_addr")?);
    let len = last
        .checked_sub(first)
        .and_then(|len| len.checked_add(1))
        .ok_or_else(|| {
            fields.malformed(
                8,
                format!("a range from {first:#x} to {last:#x} is impossible"),
            )
        })?;
    Ok((first, len))
}
