//! Decompression of single blocks whose length is known: never more output than that.

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::cell::RefCell;
use std::io::Read;

/// How a block is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// RFC 1950.
    Zlib,
    /// LZO1X.
    Lzo,
    /// Snappy without framing.
    Snappy,
    /// One Zstandard frame (RFC 8878).
    Zstd,
}

impl Codec {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Lzo => "lzo",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }

    /// Decompresses `input` into all of `output`.
    ///
    /// # Errors
    /// What is wrong, in words: damage, or another length than `output` has.
    pub(crate) fn decompress(self, input: &[u8], output: &mut [u8]) -> Result<(), String> {
        let wanted = output.len();
        let written = match self {
            Self::Zlib => zlib(input, output),
            Self::Lzo => lzo::decompress_into(input, output).map_err(|error| error.to_string()),
            Self::Snappy => snappy(input, output),
            Self::Zstd => zstd(input, output),
        }
        .map_err(|error| format!("damaged {} data: {error}", self.name()))?;
        if written == wanted {
            Ok(())
        } else {
            Err(format!(
                "damaged {} data: it decompresses to {written} bytes, not {wanted}",
                self.name()
            ))
        }
    }
}

fn zlib(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    thread_local! {
        // Kept from block to block: making one costs more than a small block.
        static STREAM: RefCell<flate2::Decompress> = RefCell::new(flate2::Decompress::new(true));
    }
    STREAM.with_borrow_mut(|stream| {
        stream.reset(true);
        let status = stream
            .decompress(input, output, flate2::FlushDecompress::Finish)
            .map_err(|error| error.to_string())?;
        if status != flate2::Status::StreamEnd {
            let len = output.len();
            return Err(format!("it ends early, or holds more than {len} bytes"));
        }
        usize::try_from(stream.total_out()).map_err(|error| error.to_string())
    })
}

fn snappy(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    // The decoder refuses an output that is too small before it writes.
    snap::raw::Decoder::new()
        .decompress(input, output)
        .map_err(|error| error.to_string())
}

/// The decoder makes room for a frame's window before it decodes anything; no writer
/// needs one of more than 8 MiB (RFC 8878, section 3.1.1.1.2) for a block.
const ZSTD_MAX_WINDOW: u64 = 8 << 20;

fn zstd(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    thread_local! {
        // Its tables are large: they are kept from block to block.
        static DECODER: RefCell<FrameDecoder> = RefCell::new(FrameDecoder::new());
    }
    let window = zstd_window(input).ok_or("its header is cut short")?;
    if window > ZSTD_MAX_WINDOW {
        return Err(format!("it claims a window of {window:#x} bytes"));
    }
    DECODER.with_borrow_mut(|decoder| {
        let mut source = input;
        let text = |error: &dyn std::fmt::Display| error.to_string();
        decoder.reset(&mut source).map_err(|error| text(&error))?;
        // A zstd block is at most 128 KiB: no more than that is decoded in excess.
        let limit = BlockDecodingStrategy::UptoBytes(output.len() + 1);
        let finished = decoder
            .decode_blocks(&mut source, limit)
            .map_err(|error| text(&error))?;
        if !finished {
            return Err(format!("it holds more than {} bytes", output.len()));
        }
        if decoder.can_collect() != output.len() {
            return Ok(decoder.can_collect());
        }
        decoder.read_exact(output).map_err(|error| text(&error))?;
        match decoder.get_checksum_from_data() {
            Some(sum) if Some(sum) != decoder.get_calculated_checksum() => {
                Err("its checksum is wrong".to_owned())
            }
            _ => Ok(output.len()),
        }
    })
}

/// The window that a frame's header claims (RFC 8878, section 3.1.1.1).
fn zstd_window(input: &[u8]) -> Option<u64> {
    let descriptor = *input.get(4)?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let window = *input.get(5)?;
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let mut bytes = [0; 8];
    bytes[..size].copy_from_slice(input.get(5 + dictionary_id..)?.get(..size)?);
    let content = u64::from_le_bytes(bytes);
    Some(if size == 2 { content + 256 } else { content })
}
