//! Reading a stream of numbers and strings out of a file.

use super::error::ImageError;
use super::source::Store;

/// A place in a file that moves on with every read.
pub(crate) struct Cursor<'a> {
    pub(crate) store: &'a Store,
    pub(crate) at: u64,
}

impl Cursor<'_> {
    pub(crate) fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], ImageError> {
        let mut bytes = [0; N];
        if self.store.read_at(self.at, &mut bytes).is_err() {
            // Again, for the reason.
            self.store.bytes(self.at, N as u64, field)?;
        }
        self.at += N as u64;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self, field: &str) -> Result<u8, ImageError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(crate) fn be16(&mut self, field: &str) -> Result<u16, ImageError> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn be32(&mut self, field: &str) -> Result<u32, ImageError> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn be64(&mut self, field: &str) -> Result<u64, ImageError> {
        self.array(field).map(u64::from_be_bytes)
    }

    pub(crate) fn le16(&mut self, field: &str) -> Result<u16, ImageError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn le32(&mut self, field: &str) -> Result<u32, ImageError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn le64(&mut self, field: &str) -> Result<u64, ImageError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A string of `len` bytes.
    pub(crate) fn text(&mut self, len: u64, field: &str) -> Result<String, ImageError> {
        let bytes = self.store.bytes(self.at, len, field)?;
        self.at += len;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A string with its length before it in a byte.
    pub(crate) fn short_text(&mut self, field: &str) -> Result<String, ImageError> {
        let len = self.u8(field)?;
        self.text(len.into(), field)
    }

    /// Passes over bytes that have to be there.
    pub(crate) fn skip(&mut self, len: u64, what: &str) -> Result<(), ImageError> {
        match self.at.checked_add(len) {
            Some(end) if end <= self.store.len() => {
                self.at = end;
                Ok(())
            }
            _ => Err(ImageError::truncated(self.store.name(), self.at, what)),
        }
    }
}
