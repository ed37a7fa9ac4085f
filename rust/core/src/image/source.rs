//! Where the bytes of an image come from: a mapped file, a file that can only be read
//! piece by piece, or memory.

use super::error::{ImageError, ImageErrorKind};
use super::flattened::Rearranged;
use super::mmap::{self, Mapping, RawBytes};
use super::{CHANGED_HINT, ReadError};
use crate::addr::Pa;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that somebody owns, for as long as an image needs them.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What to open.
#[derive(Clone)]
pub enum Source {
    /// A file by its path.
    Path(PathBuf),
    /// An open file, and what to call it in messages.
    File(Arc<File>, String),
    /// Bytes in memory, and what to call them in messages.
    Bytes(SharedBytes, String),
}

impl Source {
    /// An open file descriptor, which stays the caller's.
    ///
    /// # Errors
    /// What the operating system says about the descriptor.
    pub fn descriptor(descriptor: RawFd) -> io::Result<Self> {
        let file = mmap::duplicate(descriptor)?;
        Ok(Self::File(
            Arc::new(file),
            format!("file descriptor {descriptor}"),
        ))
    }

    /// Name of the source in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::File(_, name) | Self::Bytes(_, name) => name.clone(),
        }
    }

    /// The path, if that is what the source is.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            _ => None,
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.name()).finish()
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Arc::new(bytes), "<bytes>".to_owned())
    }
}

/// Why bytes at an offset of a store could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// They lie beyond the end.
    End,
    /// The operating system said no.
    Io(String),
}

enum Kind {
    Mapped(Mapping),
    Bytes(SharedBytes),
    Read(File),
    Rearranged(Rearranged),
}

/// The bytes of one file, at random access.
pub(crate) struct Store {
    name: String,
    len: u64,
    kind: Kind,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.name)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a source; maps it where that is possible and wanted.
    ///
    /// # Errors
    /// The operating system's refusal, a directory, or a file without bytes.
    pub(crate) fn open(source: &Source, map: bool) -> Result<Self, ImageError> {
        let name = source.name();
        let file = match source {
            Source::Bytes(bytes, _) => return Self::from_bytes(bytes.clone(), name),
            Source::Path(path) => File::open(path),
            Source::File(file, _) => file.try_clone(),
        };
        let file = file.map_err(|error| ImageError::io(&name, &error))?;
        Self::from_file(file, name, map)
    }

    fn from_bytes(bytes: SharedBytes, name: String) -> Result<Self, ImageError> {
        let len = (*bytes).as_ref().len() as u64;
        if len == 0 {
            return Err(empty(&name));
        }
        Ok(Self {
            name,
            len,
            kind: Kind::Bytes(bytes),
        })
    }

    pub(crate) fn from_file(file: File, name: String, map: bool) -> Result<Self, ImageError> {
        let metadata = file
            .metadata()
            .map_err(|error| ImageError::io(&name, &error))?;
        let len = if metadata.is_file() {
            metadata.len()
        } else if metadata.is_dir() {
            return Err(ImageError::new(ImageErrorKind::Io, &name, "is a directory")
                .hint("name the memory image in it"));
        } else {
            device_len(&file, &name)?
        };
        if len == 0 {
            return Err(empty(&name));
        }
        let mapping = match usize::try_from(len) {
            Ok(len) if map && len as u64 != DEVICE_LEN => match file.try_clone() {
                Ok(file) => Mapping::new(file, len).ok(),
                Err(_) => None,
            },
            _ => None,
        };
        // What cannot be mapped (/proc/kcore, /dev/mem, too many maps) is read.
        let kind = mapping.map_or(Kind::Read(file), Kind::Mapped);
        Ok(Self { name, len, kind })
    }

    /// The contents that pieces of another store make up.
    pub(crate) fn from_rearranged(name: String, len: u64, pieces: Rearranged) -> Self {
        Self {
            name,
            len,
            kind: Kind::Rearranged(pieces),
        }
    }

    /// Name in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Length in bytes, at least 1.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// True for a character device, which has no end of its own.
    pub(crate) fn is_device(&self) -> bool {
        self.len == DEVICE_LEN
    }

    /// How the bytes are reached, for `describe`.
    pub(crate) fn access(&self) -> &'static str {
        match &self.kind {
            Kind::Mapped(_) => "mapped",
            Kind::Bytes(_) => "bytes in memory",
            Kind::Read(_) => "read (cannot be mapped)",
            Kind::Rearranged(pieces) => pieces.store().access(),
        }
    }

    /// True if the file became shorter than it was.
    pub(crate) fn changed(&self) -> bool {
        match &self.kind {
            Kind::Mapped(mapping) => mapping.changed(),
            Kind::Bytes(_) => false,
            Kind::Rearranged(pieces) => pieces.store().changed(),
            Kind::Read(file) => match file.metadata() {
                Ok(metadata) => metadata.is_file() && metadata.len() < self.len,
                Err(_) => false,
            },
        }
    }

    /// How the file became shorter than it was, in a line, if it did.
    pub(crate) fn change(&self) -> Option<String> {
        if let Kind::Rearranged(pieces) = &self.kind {
            return pieces.store().change();
        }
        if !self.changed() {
            return None;
        }
        let metadata = match &self.kind {
            Kind::Mapped(mapping) => mapping.metadata().ok(),
            Kind::Read(file) => file.metadata().ok(),
            Kind::Bytes(_) | Kind::Rearranged(_) => None,
        };
        let now = metadata.map_or(0, |metadata| metadata.len());
        let gone = if now < self.len {
            format!(
                "of {:#x} bytes those from offset {now:#x} on are gone",
                self.len
            )
        } else {
            "a part of it was gone for a time".to_owned()
        };
        let name = &self.name;
        Some(format!(
            "{name}: changed while it was read: {gone}; {CHANGED_HINT}"
        ))
    }

    /// `len` bytes at `offset` where they lie, or None if they do not lie in memory or
    /// not all exist.
    #[inline]
    pub(crate) fn in_place(&self, offset: u64, len: usize) -> Option<RawBytes<'_>> {
        let offset = usize::try_from(offset).ok()?;
        match &self.kind {
            Kind::Mapped(mapping) => mapping.bytes().get(offset, len),
            Kind::Rearranged(pieces) => pieces.in_place(offset as u64, len),
            Kind::Bytes(bytes) => RawBytes::from_slice((**bytes).as_ref()).get(offset, len),
            Kind::Read(_) => None,
        }
    }

    /// Copies the bytes at `offset` into all of `buf`.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(StoreError::End);
        }
        if let Kind::Rearranged(pieces) = &self.kind {
            return pieces.read_at(offset, buf);
        }
        if let Kind::Read(file) = &self.kind {
            return file.read_exact_at(buf, offset).map_err(|error| {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    StoreError::End
                } else {
                    StoreError::Io(error.to_string())
                }
            });
        }
        let bytes = self.in_place(offset, buf.len()).ok_or(StoreError::End)?;
        bytes.copy_to(buf);
        Ok(())
    }

    /// Copies the memory of `pa` from `offset` into all of `buf`.
    pub(crate) fn read_memory(&self, pa: Pa, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.read_at(offset, buf)
            .map_err(|error| self.memory_error(pa, offset, error))
    }

    /// What a failed read of the memory of `pa` means.
    pub(crate) fn memory_error(&self, pa: Pa, offset: u64, error: StoreError) -> ReadError {
        match error {
            StoreError::End => match self.change() {
                Some(what) => ReadError::Changed { what },
                None => self.damaged(pa, offset, "the file ends before that"),
            },
            StoreError::Io(error) => self.damaged(pa, offset, &error),
        }
    }

    /// Damage at `offset` that makes the memory of `pa` unreadable.
    pub(crate) fn damaged(&self, pa: Pa, offset: u64, what: &str) -> ReadError {
        ReadError::Damaged {
            pa,
            offset,
            what: format!("{}: {what}", self.name),
        }
    }

    /// The `len` bytes at `offset` that hold the structure `what`.
    ///
    /// The caller bounds `len`; nothing is allocated for bytes that do not exist.
    ///
    /// # Errors
    /// `Truncated` or `Io`, naming the structure.
    pub(crate) fn bytes(&self, offset: u64, len: u64, what: &str) -> Result<Vec<u8>, ImageError> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let size = usize::try_from(len).ok().filter(|_| fits);
        let Some(size) = size else {
            return Err(ImageError::truncated(&self.name, offset, what));
        };
        let mut buf = vec![0; size];
        match self.read_at(offset, &mut buf) {
            Ok(()) => Ok(buf),
            Err(StoreError::End) => Err(ImageError::truncated(&self.name, offset, what)),
            Err(StoreError::Io(error)) => {
                let what = format!("cannot read the {what}: {error}");
                Err(ImageError::new(ImageErrorKind::Io, &self.name, what).at(offset))
            }
        }
    }

    /// As many of the first `len` bytes as there are. Of a device, whose first bytes
    /// may be protected, none.
    pub(crate) fn head(&self, len: u64) -> Result<Vec<u8>, ImageError> {
        if self.is_device() {
            return Ok(Vec::new());
        }
        self.bytes(0, len.min(self.len), "first bytes")
    }
}

/// Length that stands for a device without an end: the largest file offset.
const DEVICE_LEN: u64 = i64::MAX as u64;

/// True for /dev/null, /dev/zero and their like, which give the same at every offset: all
/// devices of major number 1 but /dev/mem (`Documentation/admin-guide/devices.txt`).
#[cfg(target_os = "linux")]
fn is_endless(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = metadata.rdev();
    libc::major(device) == 1 && libc::minor(device) != 1
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_endless(_: &std::fs::Metadata) -> bool {
    false
}

fn empty(name: &str) -> ImageError {
    ImageError::new(ImageErrorKind::Empty, name, "the file is empty")
        .hint("check how it was made or copied")
}

/// Length of a block device; of a character device (such as /dev/mem) all of the
/// offsets, because it cannot say where it ends.
fn device_len(file: &File, name: &str) -> Result<u64, ImageError> {
    use std::io::{Seek, SeekFrom};
    use std::os::unix::fs::FileTypeExt;
    let io_error = |error: io::Error| ImageError::io(name, &error);
    let metadata = file.metadata().map_err(io_error)?;
    let kind = metadata.file_type();
    if kind.is_char_device() {
        let mut file = file;
        if file.rewind().is_err() || is_endless(&metadata) {
            return Err(ImageError::new(
                ImageErrorKind::Unsupported,
                name,
                "is a character device, but not one of memory",
            )
            .hint("give /dev/mem, /proc/kcore or a file"));
        }
        return Ok(DEVICE_LEN);
    }
    if kind.is_block_device() {
        let mut file = file;
        return file.seek(SeekFrom::End(0)).map_err(io_error);
    }
    Err(ImageError::new(
        ImageErrorKind::Unsupported,
        name,
        "is a pipe or a socket, which cannot be read at random",
    )
    .hint("save it into a file first"))
}
