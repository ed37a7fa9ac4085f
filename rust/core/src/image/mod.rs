//! Physical-memory images: what lies at a physical address, and how it is read.

use crate::addr::Pa;
use std::marker::PhantomData;

/// Bytes of an image that can be read where they are.
///
/// Never a `&[u8]`: the file behind a mapping can change, or end, while it is read.
/// They are not aligned either (QEMU puts segments at odd file offsets).
#[derive(Clone, Copy, Debug)]
pub struct RawBytes<'a> {
    ptr: *const u8,
    len: usize,
    image: PhantomData<&'a ()>,
}

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
        /// What is wrong.
        what: String,
    },
    /// The file became shorter while it was mapped.
    #[error("the image file changed while it was read")]
    Changed,
}

/// A run of physical addresses that an image says something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub pa: Pa,
    /// Length in bytes, at least 1. `pa + len` is at most 2^64.
    pub len: u64,
    /// Where its bytes are in the file; None where it reads as zeros or is stored
    /// in another form (compressed).
    pub file_offset: Option<u64>,
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

    /// True once a mapped file was found shorter than it was when it was opened:
    /// bytes read since then may be zeros that nobody wrote.
    fn changed(&self) -> bool {
        false
    }
}
