//! Physical-memory images: what lies at a physical address, and how it is read.
//!
//! [`open`] tells the format from the content and gives a [`PhysicalMemory`]. Each
//! format is a file of this folder and a row of `FORMATS`.

mod avml;
mod beside;
mod blocks;
mod codec;
mod compressed;
mod cursor;
mod describe;
mod device;
mod elf;
mod error;
mod fields;
mod flat;
mod flattened;
mod kdump;
mod libvirt;
mod lime;
mod migration;
mod mmap;
mod notes;
mod ram_blocks;
mod raw;
mod scratch;
mod snapshot;
mod source;
mod vmware;
mod windows;
mod xen;

pub use describe::{Description, Machine, Note, Register};
pub use error::{ImageError, ImageErrorKind};
pub use mmap::{RawBytes, is_resident, map_now, page_faults, will_need};
pub use scratch::{Decompress, Progress, ProgressCallback};
pub use source::{SharedBytes, Source};

use crate::addr::Pa;
use source::Store;
use std::path::{Path, PathBuf};

/// Why bytes of an image could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The image has nothing at this address: unknown, not zero.
    #[error("no data for physical address {pa} in the image")]
    Absent {
        /// The first address that is not there.
        pa: Pa,
    },
    /// The image claims to have it, but the file is damaged there.
    #[error("{what} (physical address {pa}, file offset {offset:#x})")]
    Damaged {
        /// The address that was wanted.
        pa: Pa,
        /// Where in the file.
        offset: u64,
        /// What is wrong, with the name of the file.
        what: String,
    },
    /// A file became shorter while it was mapped.
    #[error("{what}")]
    Changed {
        /// Which file, and how ([`PhysicalMemory::change`]).
        what: String,
    },
}

/// A run of physical addresses that an image says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub pa: Pa,
    /// Length in bytes, at least 1. `pa + len` is at most 2^64.
    pub len: u64,
    /// Where its bytes are.
    pub stored: Stored,
}

/// Where a segment's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In the file, as they were in memory, from this offset on.
    At(u64),
    /// In the file, in another form (compressed, a page here and a page there).
    Encoded,
    /// Nowhere: all of it reads as zeros, of any size that a header claims.
    Nowhere,
}

impl Stored {
    /// The offset of bytes that are in the file as they were in memory.
    pub fn file_offset(self) -> Option<u64> {
        match self {
            Self::At(offset) => Some(offset),
            Self::Encoded | Self::Nowhere => None,
        }
    }
}

/// A physical-memory image of whatever format.
pub trait PhysicalMemory: Send + Sync {
    /// `len` bytes at `pa`, if all of them lie in memory one after the other.
    ///
    /// None says nothing about whether they exist: ask [`read`](Self::read).
    fn in_place(&self, pa: Pa, len: usize) -> Option<RawBytes<'_>>;

    /// Copies the bytes at `pa` into `buf`.
    ///
    /// # Errors
    /// [`ReadError`], naming the first address that could not be read; `buf` is then
    /// filled up to there.
    fn read(&self, pa: Pa, buf: &mut [u8]) -> Result<(), ReadError>;

    /// What the image covers, in order of address, without overlaps.
    fn segments(&self) -> &[Segment];

    /// How many blocks were decompressed (or put together) so far; 0 for images whose bytes
    /// lie in the file as they were in memory.
    fn loaded(&self) -> u64 {
        0
    }

    /// True once a mapped file was found shorter than it was when it was opened:
    /// bytes read since then may be zeros that nobody wrote.
    fn changed(&self) -> bool {
        false
    }

    /// What to say where the image changed under its reader: the file, where, and what to
    /// try.
    fn change(&self) -> String {
        self.describe().changed()
    }

    /// What the image says about itself.
    fn describe(&self) -> &Description {
        static EMPTY: Description = Description::EMPTY;
        &EMPTY
    }

    /// The same memory from another physical address on: for formats that do not say where
    /// it begins. None for all others.
    fn moved(&self, base: Pa) -> Option<Box<dyn PhysicalMemory>> {
        let _ = base;
        None
    }
}

/// What to try with an image that changes while it is read.
const CHANGED_HINT: &str = "copy it first, or stop what writes it, and open it again";

/// An image, or why there is none.
pub type Opened = Result<Box<dyn PhysicalMemory>, ImageError>;

/// How to open an image.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Name of the format, from [`formats`]; None: tell it from the content.
    pub format: Option<String>,
    /// Physical address of a raw file's first byte.
    pub base: Pa,
    /// Read the file piece by piece, do not map it.
    pub no_map: bool,
    /// The other files of an image in several parts (kdump `--split`, VMware,
    /// Firecracker). Without this, files that fit are looked for in its folder.
    pub parts: Vec<Source>,
    /// What to do with compressed files.
    pub decompress: Decompress,
}

/// A file that is being opened.
pub(crate) struct Input {
    /// Its bytes.
    pub(crate) store: Store,
    /// The first of them, for recognition.
    pub(crate) head: Vec<u8>,
    /// The containers around it, outermost first.
    pub(crate) layers: Vec<Layer>,
    /// The path that the user gave, for files that come in several parts.
    pub(crate) path: Option<PathBuf>,
}

/// A container around an image that is not an image itself.
pub(crate) struct Layer {
    /// What it is, for `describe`.
    pub(crate) what: &'static str,
    /// What was found wrong with it.
    pub(crate) warnings: Vec<String>,
}

impl Input {
    fn new(store: Store, layers: Vec<Layer>, path: Option<PathBuf>) -> Result<Self, ImageError> {
        let head = store.head(HEAD)?;
        Ok(Self {
            store,
            head,
            layers,
            path,
        })
    }

    fn starts_with(&self, magic: &[u8]) -> bool {
        self.head.starts_with(magic)
    }
}

/// A format that [`open`] knows.
pub struct Format {
    /// Name, for the format option and for messages.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    recognize: fn(&Input, &OpenOptions) -> bool,
    open: fn(Input, &OpenOptions) -> Opened,
}

/// The sniffer's table: the first row that recognises a file opens it.
static FORMATS: &[Format] = &[
    Format {
        name: "xen",
        what: "Xen domain core (xl dump-core)",
        recognize: |input, _| xen::recognize(input),
        open: xen::open,
    },
    Format {
        name: "elf",
        what: "ELF core file (vmcore, QEMU, VirtualBox)",
        recognize: |input, _| elf::recognize(input),
        open: elf::open,
    },
    Format {
        name: "kdump",
        what: "kdump-compressed dump (makedumpfile, QEMU)",
        recognize: |input, _| kdump::recognize(input),
        open: kdump::open,
    },
    Format {
        name: "flattened",
        what: "makedumpfile's flattened form (-F) of a dump",
        recognize: |input, _| flattened::recognize(input),
        open: flattened::open,
    },
    Format {
        name: "lime",
        what: "LiME capture (AVML version 1 too)",
        recognize: |input, _| lime::recognize(input),
        open: lime::open,
    },
    Format {
        name: "avml",
        what: "AVML capture, version 2",
        recognize: |input, _| avml::recognize(input),
        open: avml::open,
    },
    Format {
        name: "windows",
        what: "Windows crash dump, complete or bitmap, 64-bit",
        recognize: |input, _| windows::recognize(input),
        open: windows::open,
    },
    Format {
        name: "migration",
        what: "QEMU migration stream or savevm file",
        recognize: |input, _| migration::recognize(input),
        open: migration::open,
    },
    Format {
        name: "libvirt",
        what: "libvirt save image (virsh save)",
        recognize: |input, _| libvirt::recognize(input),
        open: libvirt::open,
    },
    Format {
        name: "compressed",
        what: "any of these compressed with zstd, gzip, xz or lz4",
        recognize: |input, _| compressed::recognize(input),
        open: compressed::open,
    },
    Format {
        name: "device",
        what: "live memory through a device such as /dev/mem",
        recognize: |input, _| device::recognize(input),
        open: device::open,
    },
    // What follows looks at the files beside the image.
    Format {
        name: "vmware",
        what: "VMware snapshot or suspended machine (.vmem with .vmss or .vmsn)",
        recognize: vmware::recognize,
        open: vmware::open,
    },
    Format {
        name: "snapshot",
        what: "Firecracker or Cloud Hypervisor snapshot (memory and state file)",
        recognize: snapshot::recognize,
        open: snapshot::open,
    },
    Format {
        name: "raw",
        what: "memory as it was, from --base on",
        recognize: |_, _| true,
        open: raw::open,
    },
];

/// Files that are often given by mistake: magic, its offset, what it is, what to try.
static NOT_IMAGES: &[(usize, &[u8], &str, &str)] = &[
    (
        0,
        b"QFI\xfb",
        "a QCOW2 disk image",
        "dump the memory of the machine (virsh dump --memory-only, QEMU's dump-guest-memory; \
         what savevm put into it after loadvm)",
    ),
    (
        0,
        b"KDMV",
        "a VMware disk image",
        "give the .vmem file of the snapshot",
    ),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (0, b"BZh", "a bzip2 file", "unpack it first"),
    (257, b"ustar", "a tar archive", "unpack it first"),
    (
        0,
        b"MDMP",
        "a Windows minidump of a process",
        "take a complete memory dump",
    ),
    (
        0,
        b"PAGEDUMP",
        "a crash dump of 32-bit Windows",
        "only those of 64-bit Windows are read: write it out as raw memory (volatility3's layerwriter)",
    ),
    (
        0,
        b"\x7fVirtualBox SavedState",
        "a VirtualBox saved state",
        "resume the machine and use VBoxManage debugvm dumpvmcore",
    ),
];

/// As much of a file as recognition looks at.
const HEAD: u64 = 4096;

/// Containers (flattened, compressed) that may lie around an image.
const MAX_LAYERS: usize = 4;

/// The formats that [`open`] knows, in the order they are tried.
pub fn formats() -> &'static [Format] {
    FORMATS
}

/// Opens an image, of the format of the options or of its content.
///
/// Content of no known format is opened as raw memory, and the image's description
/// warns of it. No data is read, only headers.
///
/// # Errors
/// [`ImageError`]: what is wrong with the file, and where.
pub fn open(source: &Source, options: &OpenOptions) -> Opened {
    let store = Store::open(source, !options.no_map)?;
    let path = source.path().map(Path::to_owned);
    open_input(Input::new(store, Vec::new(), path)?, options)
}

/// Opens what was found inside a container.
fn open_inner(input: Input, options: &OpenOptions) -> Opened {
    if input.layers.len() > MAX_LAYERS {
        return Err(ImageError::new(
            ImageErrorKind::Limit,
            input.store.name(),
            format!("more than {MAX_LAYERS} containers around each other"),
        ));
    }
    open_input(input, options)
}

fn open_input(input: Input, options: &OpenOptions) -> Opened {
    let format = match &options.format {
        Some(name) => by_name(name, input.store.name())?,
        None => sniff(&input, options)?,
    };
    (format.open)(input, options)
}

fn by_name(name: &str, file: &str) -> Result<&'static Format, ImageError> {
    FORMATS
        .iter()
        .find(|format| format.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
            ImageError::new(
                ImageErrorKind::Option,
                file,
                format!("there is no image format {name:?}"),
            )
            .hint(format!("the formats are {}", names.join(", ")))
        })
}

fn sniff(input: &Input, options: &OpenOptions) -> Result<&'static Format, ImageError> {
    for &(offset, magic, what, hint) in NOT_IMAGES {
        if input
            .head
            .get(offset..)
            .is_some_and(|head| head.starts_with(magic))
        {
            return Err(ImageError::new(
                ImageErrorKind::Unsupported,
                input.store.name(),
                format!("is {what}, not a memory image"),
            )
            .hint(format!(
                "{hint}; if it is memory after all, --image-format raw --base PA"
            )));
        }
    }
    FORMATS
        .iter()
        .find(|format| (format.recognize)(input, options))
        .ok_or_else(|| {
            ImageError::new(
                ImageErrorKind::Unsupported,
                input.store.name(),
                "the format is not known",
            )
            .hint("try --image-format raw --base PA")
        })
}
