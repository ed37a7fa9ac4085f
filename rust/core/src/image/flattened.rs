//! makedumpfile's flattened form (`-F`, and QEMU's kdump output to a pipe): a file cut
//! into pieces that each say where they belong.
//!
//! 4096 bytes of header (signature, type, version), then pieces: offset and size, both
//! 64 bits and big-endian, then the bytes; an offset of -1 ends them. A piece may
//! overwrite an earlier one (`makedumpfile.h`, `struct makedumpfile_header` and
//! `makedumpfile_data_header`; QEMU `include/sysemu/dump.h`).

use super::error::{ImageError, ImageErrorKind};
use super::fields::Fields;
use super::flat::{self, Piece, Place};
use super::mmap::RawBytes;
use super::source::{Store, StoreError};
use super::{Input, Layer, OpenOptions, Opened};

const SIGNATURE: &[u8] = b"makedumpfile\0\0\0\0";
const HEADER_SIZE: u64 = 4096;
/// More pieces than a dump of 64 GiB has in QEMU's pieces of 16 KiB.
const MAX_PIECES: usize = 1 << 22;

/// A file's contents, put together from pieces of a store.
pub(crate) struct Rearranged {
    store: Box<Store>,
    /// By offset in the contents, disjoint; gaps are zeros as in a sparse file.
    pieces: Vec<Piece>,
}

/// True for the flattened form of whatever.
pub(super) fn recognize(input: &Input) -> bool {
    input.starts_with(SIGNATURE)
}

/// Puts the pieces together and opens what they make up.
pub(super) fn open(input: Input, options: &OpenOptions) -> Opened {
    // An option that named this form says nothing about what is in it.
    let options = OpenOptions {
        format: options.format.clone().filter(|name| name != "flattened"),
        ..options.clone()
    };
    super::open_inner(rearrange(input)?, &options)
}

/// Puts the pieces together.
pub(super) fn rearrange(input: Input) -> Result<Input, ImageError> {
    let (mut layers, path, store) = (input.layers, input.path, input.store);
    let header = store.bytes(0, 32, "header of the flattened form")?;
    let fields = Fields {
        file: store.name(),
        start: 0,
        bytes: &header,
        big_endian: true,
    };
    let (kind, version) = (fields.u64(16, "type")?, fields.u64(24, "version")?);
    if (kind, version) != (1, 1) {
        let what = format!("flattened form of type {kind}, version {version}; only 1, 1 is known");
        return Err(fields.malformed(16, what));
    }
    let mut warnings = Vec::new();
    let mut pieces = read_pieces(&store, &mut warnings)?;
    // Of overlapping pieces the last one counts, as if they were written in turn.
    pieces.reverse();
    let (pieces, _) = flat::lay_out(pieces);
    let Some(last) = pieces.last() else {
        return Err(ImageError::truncated(
            store.name(),
            HEADER_SIZE,
            "first piece of the flattened form",
        ));
    };
    let (name, len) = (store.name().to_owned(), last.pa + last.len);
    layers.push(Layer {
        what: "flattened",
        warnings,
    });
    let store = Box::new(store);
    let contents = Store::from_rearranged(name, len, Rearranged { store, pieces });
    Input::new(contents, layers, path)
}

fn read_pieces(store: &Store, warnings: &mut Vec<String>) -> Result<Vec<Piece>, ImageError> {
    let mut pieces = Vec::new();
    let mut at = HEADER_SIZE;
    let cut_short = |at: u64| {
        format!("the flattened form has no end mark (the file ends at {at:#x}): it is incomplete")
    };
    loop {
        if store.len().saturating_sub(at) < 16 {
            warnings.push(cut_short(store.len()));
            return Ok(pieces);
        }
        let header = store.bytes(at, 16, "header of a piece")?;
        let fields = Fields {
            file: store.name(),
            start: at,
            bytes: &header,
            big_endian: true,
        };
        let (offset, size) = (fields.u64(0, "offset")?, fields.u64(8, "size")?);
        if offset == u64::MAX {
            return Ok(pieces);
        }
        if i64::try_from(offset.saturating_add(size)).is_err() {
            let what = format!("a piece of {size:#x} bytes for offset {offset:#x} is impossible");
            return Err(fields.malformed(0, what));
        }
        if pieces.len() == MAX_PIECES {
            let what = format!("more than {MAX_PIECES} pieces");
            return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what).at(at));
        }
        at += 16;
        let there = size.min(store.len() - at);
        if there > 0 {
            pieces.push(Piece {
                pa: offset,
                len: there,
                place: Place::File {
                    file: 0,
                    offset: at,
                },
            });
        }
        if there < size {
            warnings.push(cut_short(store.len()));
            return Ok(pieces);
        }
        at += size;
    }
}

impl Rearranged {
    /// A part of a store; `offset + len` must not exceed its length.
    pub(crate) fn slice(store: Store, offset: u64, len: u64) -> Self {
        let place = Place::File { file: 0, offset };
        let piece = Piece { pa: 0, len, place };
        Self {
            store: Box::new(store),
            pieces: vec![piece],
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Index of the piece that holds `offset`, or of the first after it.
    fn find(&self, offset: u64) -> usize {
        self.pieces
            .partition_point(|piece| piece.pa + (piece.len - 1) < offset)
    }

    pub(crate) fn in_place(&self, offset: u64, len: usize) -> Option<RawBytes<'_>> {
        let piece = self.pieces.get(self.find(offset))?;
        let within = offset.checked_sub(piece.pa)?;
        let Place::File { offset, .. } = piece.place else {
            return None;
        };
        if len as u64 > piece.len - within {
            return None;
        }
        self.store.in_place(offset + within, len)
    }

    /// `buf` ends inside the contents; the caller saw to it.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let mut done = 0;
        for piece in &self.pieces[self.find(offset)..] {
            let here = offset + done as u64;
            let left = buf.len() - done;
            // Up to the piece there is a gap, of zeros.
            let gap = usize::try_from(piece.pa.saturating_sub(here)).unwrap_or(usize::MAX);
            let gap = gap.min(left);
            buf[done..done + gap].fill(0);
            done += gap;
            if done == buf.len() {
                return Ok(());
            }
            let within = here + gap as u64 - piece.pa;
            let part = usize::try_from(piece.len - within).unwrap_or(usize::MAX);
            let part = part.min(left - gap);
            if let Place::File { offset, .. } = piece.place {
                self.store
                    .read_at(offset + within, &mut buf[done..done + part])?;
            }
            done += part;
            if done == buf.len() {
                return Ok(());
            }
        }
        buf[done..].fill(0);
        Ok(())
    }
}
