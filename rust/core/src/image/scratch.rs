//! A sparse temporary file that nobody else can find, under a size limit.

use super::error::{ImageError, ImageErrorKind};
use std::cell::Cell;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the decompression of an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the compressed file that were read.
    pub read: u64,
    /// Its length.
    pub total: u64,
    /// Bytes that came out so far.
    pub written: u64,
}

/// Is told the progress now and then; false stops the decompression.
pub type ProgressCallback = Arc<dyn Fn(Progress) -> bool + Send + Sync>;

/// Whether, how far and where to compressed files are decompressed.
#[derive(Clone)]
pub struct Decompress {
    /// Most bytes that may come out.
    pub limit: u64,
    /// Folder of the temporary file; None: the system's.
    pub folder: Option<PathBuf>,
    /// Is told the progress, at the start too, and can stop it.
    pub progress: Option<ProgressCallback>,
}

impl Default for Decompress {
    /// Up to 64 GiB in the system's folder for temporary files.
    fn default() -> Self {
        Self {
            limit: 64 << 30,
            folder: None,
            progress: None,
        }
    }
}

impl fmt::Debug for Decompress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompress")
            .field("limit", &self.limit)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// Blocks of zeros of this size are left out of the file.
const BLOCK: usize = 64 << 10;
/// The callback is called each time this much came out.
const REPORT: u64 = 16 << 20;

/// Why no more is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Limit,
    Cancelled,
}

/// The file while it is being written.
pub(super) struct Scratch<'a> {
    file: File,
    options: &'a Decompress,
    /// Whole blocks that were written or left out.
    written: u64,
    pending: Vec<u8>,
    read: Rc<Cell<u64>>,
    total: u64,
    next_report: u64,
    refusal: Option<Refusal>,
}

impl<'a> Scratch<'a> {
    /// An empty file for what `total` compressed bytes hold.
    pub(super) fn new(options: &'a Decompress, total: u64) -> io::Result<Self> {
        let folder = options.folder.clone().unwrap_or_else(std::env::temp_dir);
        Ok(Self {
            file: nameless(&folder)?,
            options,
            written: 0,
            pending: Vec::with_capacity(BLOCK),
            read: Rc::default(),
            total,
            next_report: 0,
            refusal: None,
        })
    }

    /// Where the reader of the compressed file counts what it read.
    pub(super) fn input_counter(&self) -> Rc<Cell<u64>> {
        self.read.clone()
    }

    /// The error that stopped the writing, if it was one of ours.
    pub(super) fn refusal(&self, file: &str) -> Option<ImageError> {
        let limit = self.options.limit;
        self.refusal.map(|refusal| match refusal {
            Refusal::Limit => ImageError::new(
                ImageErrorKind::Limit,
                file,
                format!("it decompresses to more than {limit:#x} bytes"),
            )
            .hint("raise the limit, or decompress it by hand"),
            Refusal::Cancelled => ImageError::new(
                ImageErrorKind::Cancelled,
                file,
                "the decompression was stopped",
            ),
        })
    }

    /// The finished file, at its full length.
    pub(super) fn finish(mut self) -> io::Result<File> {
        self.flush_block()?;
        self.report()?;
        self.file.set_len(self.written)?;
        Ok(self.file)
    }

    fn flush_block(&mut self) -> io::Result<()> {
        if self.pending.iter().any(|&byte| byte != 0) {
            self.file.seek(SeekFrom::Start(self.written))?;
            self.file.write_all(&self.pending)?;
        }
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> io::Error {
        self.refusal = Some(refusal);
        io::Error::other("stopped")
    }

    fn report(&mut self) -> io::Result<()> {
        let progress = Progress {
            read: self.read.get(),
            total: self.total,
            written: self.written,
        };
        match &self.options.progress {
            Some(callback) if !callback(progress) => Err(self.refuse(Refusal::Cancelled)),
            _ => Ok(()),
        }
    }
}

impl Write for Scratch<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.written >= self.next_report {
            self.next_report = self.written + REPORT;
            self.report()?;
        }
        let len = buf.len().min(BLOCK - self.pending.len());
        let so_far = self.written + self.pending.len() as u64;
        if so_far + len as u64 > self.options.limit {
            return Err(self.refuse(Refusal::Limit));
        }
        self.pending.extend_from_slice(&buf[..len]);
        if self.pending.len() == BLOCK {
            self.flush_block()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A new file that is gone when it is closed: memory of a machine is nobody's business.
fn nameless(folder: &Path) -> io::Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".fastwalk-{}-{count}", std::process::id());
        let path = folder.join(name);
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => {
                fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
