//! Numbers in a structure of a file: every read is checked, and an error names the
//! field and its place.

use super::error::ImageError;

/// The bytes of one structure, where it lies, and how to read it.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    /// File, for messages.
    pub(crate) file: &'a str,
    /// Offset of the first byte in the file.
    pub(crate) start: u64,
    /// The structure.
    pub(crate) bytes: &'a [u8],
    /// Its byte order.
    pub(crate) big_endian: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn array<const N: usize>(
        &self,
        at: usize,
        field: &str,
    ) -> Result<[u8; N], ImageError> {
        self.slice(at, N, field)?
            .try_into()
            .map_err(|_| ImageError::truncated(self.file, self.start, field))
    }

    pub(crate) fn slice(&self, at: usize, len: usize, field: &str) -> Result<&'a [u8], ImageError> {
        at.checked_add(len)
            .and_then(|end| self.bytes.get(at..end))
            .ok_or_else(|| {
                let offset = self.start.saturating_add(at as u64);
                ImageError::truncated(self.file, offset, field)
            })
    }

    pub(crate) fn u8(&self, at: usize, field: &str) -> Result<u8, ImageError> {
        Ok(self.array::<1>(at, field)?[0])
    }

    pub(crate) fn u16(&self, at: usize, field: &str) -> Result<u16, ImageError> {
        let bytes = self.array(at, field)?;
        Ok(if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    pub(crate) fn u32(&self, at: usize, field: &str) -> Result<u32, ImageError> {
        let bytes = self.array(at, field)?;
        Ok(if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }

    pub(crate) fn u64(&self, at: usize, field: &str) -> Result<u64, ImageError> {
        let bytes = self.array(at, field)?;
        Ok(if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// A number of 4 or 8 bytes, as the structure's class says.
    pub(crate) fn word(&self, at: usize, wide: bool, field: &str) -> Result<u64, ImageError> {
        if wide {
            self.u64(at, field)
        } else {
            self.u32(at, field).map(u64::from)
        }
    }

    /// An error about the field at `at`.
    pub(crate) fn malformed(&self, at: usize, what: impl Into<String>) -> ImageError {
        ImageError::malformed(self.file, self.start.saturating_add(at as u64), what)
    }
}
