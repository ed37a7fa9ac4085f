//! Whole files compressed with zstd, gzip, xz or lz4: decompressed once, into a sparse
//! temporary file without a name, and opened as what they hold.

use super::error::{ImageError, ImageErrorKind};
use super::scratch::{Decompress, Scratch};
use super::source::{Store, StoreError};
use super::{Input, Layer, OpenOptions, Opened};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// Memory for a decompressor's window: what `zstd --ultra -22` and `xz -9` need, twice.
const MAX_WINDOW: u32 = 256 << 20;

/// A format of compressed files.
struct Compression {
    name: &'static str,
    magic: &'static [u8],
    decompress: fn(Box<dyn BufRead + '_>, &mut Scratch<'_>) -> io::Result<()>,
}

static COMPRESSIONS: &[Compression] = &[
    Compression {
        name: "zstd",
        magic: &[0x28, 0xb5, 0x2f, 0xfd],
        decompress: zstd,
    },
    Compression {
        name: "gzip",
        magic: &[0x1f, 0x8b, 0x08],
        decompress: gzip,
    },
    Compression {
        name: "xz",
        magic: b"\xfd7zXZ\0",
        decompress: xz,
    },
    Compression {
        name: "lz4",
        magic: &[0x04, 0x22, 0x4d, 0x18],
        decompress: lz4,
    },
];

fn find(input: &Input) -> Option<&'static Compression> {
    COMPRESSIONS
        .iter()
        .find(|compression| input.starts_with(compression.magic))
}

/// True for a compressed file.
pub(super) fn recognize(input: &Input) -> bool {
    find(input).is_some()
}

/// Decompresses the file and opens what it holds.
pub(super) fn open(input: Input, options: &OpenOptions) -> Opened {
    let Some(compression) = find(&input) else {
        return Err(ImageError::new(
            ImageErrorKind::Option,
            input.store.name(),
            "is not compressed with zstd, gzip, xz or lz4",
        )
        .hint("leave out the format"));
    };
    let Input {
        store,
        mut layers,
        path,
        ..
    } = input;
    let warnings = Vec::new();
    layers.push(Layer {
        what: compression.name,
        warnings,
    });
    let contents = decompress(&store, compression, options)?;
    let options = OpenOptions {
        format: options.format.clone().filter(|name| name != "compressed"),
        ..options.clone()
    };
    super::open_inner(Input::new(contents, layers, path)?, &options)
}

fn no_room(name: &str, options: &Decompress, error: &io::Error) -> ImageError {
    let folder = options.folder.clone().unwrap_or_else(std::env::temp_dir);
    ImageError::io(name, error).hint(format!(
        "it is decompressed into {}; name a folder with room (--decompress-folder)",
        folder.display()
    ))
}

fn decompress(
    store: &Store,
    compression: &Compression,
    options: &OpenOptions,
) -> Result<Store, ImageError> {
    let name = store.name();
    let mut scratch = Scratch::new(&options.decompress, store.len())
        .map_err(|error| no_room(name, &options.decompress, &error))?;
    let reader = StoreReader {
        store,
        at: 0,
        progress: scratch.input_counter(),
    };
    let reader = BufReader::with_capacity(1 << 16, reader);
    let decompressed = (compression.decompress)(Box::new(reader), &mut scratch);
    if let Some(refusal) = scratch.refusal(name) {
        return Err(refusal);
    }
    decompressed.map_err(|error| {
        if error.raw_os_error().is_some() {
            return no_room(name, &options.decompress, &error);
        }
        let kind = match error.kind() {
            ErrorKind::UnexpectedEof => ImageErrorKind::Truncated,
            _ => ImageErrorKind::Malformed,
        };
        ImageError::new(
            kind,
            name,
            format!("damaged {} data: {error}", compression.name),
        )
        .hint("copy the file again, or decompress what can be decompressed by hand")
    })?;
    let file = scratch
        .finish()
        .map_err(|error| ImageError::io(name, &error))?;
    Store::from_file(file, name.to_owned(), !options.no_map)
}

/// Reads a store from its beginning to its end.
struct StoreReader<'a> {
    store: &'a Store,
    at: u64,
    progress: std::rc::Rc<std::cell::Cell<u64>>,
}

impl Read for StoreReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.store.len() - self.at;
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match self.store.read_at(self.at, &mut buf[..len]) {
            Ok(()) => {
                self.at += len as u64;
                self.progress.set(self.at);
                Ok(len)
            }
            Err(StoreError::End) => Err(ErrorKind::UnexpectedEof.into()),
            Err(StoreError::Io(error)) => Err(io::Error::other(error)),
        }
    }
}

fn at_end(reader: &mut dyn BufRead) -> io::Result<bool> {
    Ok(reader.fill_buf()?.is_empty())
}

fn gzip(reader: Box<dyn BufRead + '_>, out: &mut Scratch<'_>) -> io::Result<()> {
    io::copy(&mut flate2::bufread::MultiGzDecoder::new(reader), out)?;
    Ok(())
}

fn xz(reader: Box<dyn BufRead + '_>, out: &mut Scratch<'_>) -> io::Result<()> {
    let limit = MAX_WINDOW / 1024;
    io::copy(
        &mut lzma_rust2::XzReader::new_mem_limit(reader, true, limit),
        out,
    )?;
    Ok(())
}

fn lz4(reader: Box<dyn BufRead + '_>, out: &mut Scratch<'_>) -> io::Result<()> {
    let mut reader = Words {
        reader,
        last: [None; 2],
    };
    // One frame after the other.
    while !at_end(reader.reader.as_mut())? {
        io::copy(&mut lz4_flex::frame::FrameDecoder::new(&mut reader), out)?;
        // A frame ends with a block size of 0, and perhaps a checksum. The decoder
        // takes a file that ends before that for complete.
        if !reader.last.contains(&Some(0)) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// A reader that remembers the last two things read, if they were words of 32 bits.
struct Words<R> {
    reader: R,
    last: [Option<u32>; 2],
}

impl<R: Read> Read for Words<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.last = [self.last[1], None];
        self.reader.read(buf)
    }

    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buf)?;
        let word = buf.first_chunk().filter(|_| buf.len() == 4);
        self.last = [self.last[1], word.map(|word| u32::from_le_bytes(*word))];
        Ok(())
    }
}

fn zstd(mut reader: Box<dyn BufRead + '_>, out: &mut Scratch<'_>) -> io::Result<()> {
    use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
    let mut decoder = ruzstd::decoding::FrameDecoder::new();
    // One frame after the other; some are to be skipped (RFC 8878, section 3.1.2).
    while !at_end(reader.as_mut())? {
        match decoder.reset(&mut reader) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                io::copy(&mut reader.by_ref().take(length.into()), &mut io::sink())?;
                continue;
            }
            Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error.to_string())),
        }
        while !decoder.is_finished() {
            let limit = ruzstd::decoding::BlockDecodingStrategy::UptoBytes(1 << 20);
            decoder
                .decode_blocks(&mut reader, limit)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
            decoder.collect_to_writer(&mut *out)?;
        }
        decoder.collect_to_writer(&mut *out)?;
    }
    Ok(())
}
