//! The header and sub-header of a kdump file, in the byte order and word size of the
//! machine that wrote it.

use crate::image::error::ImageError;
use crate::image::fields::Fields;
use crate::image::source::Store;

const MAX_BLOCK_SIZE: u32 = 1 << 20;

/// Word size and byte order of the machine that wrote the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) wide: bool,
    pub(super) big_endian: bool,
}

/// The header's fields (`struct disk_dump_header`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) form: Form,
    pub(super) version: u32,
    pub(super) release: String,
    pub(super) machine: String,
    /// All of utsname and the time: what parts of one dump have in common.
    pub(super) identity: Vec<u8>,
    pub(super) status: u32,
    pub(super) block_size: u32,
    pub(super) sub_header_blocks: u32,
    pub(super) bitmap_blocks: u32,
    pub(super) max_mapnr: u64,
}

/// The sub-header's fields (`struct kdump_sub_header`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SubHeader {
    pub(super) phys_base: u64,
    pub(super) dump_level: u32,
    pub(super) split: bool,
    pub(super) start_pfn: u64,
    pub(super) end_pfn: u64,
    pub(super) offset_vmcoreinfo: u64,
    pub(super) size_vmcoreinfo: u64,
    pub(super) offset_note: u64,
    pub(super) size_note: u64,
    pub(super) max_mapnr_64: u64,
}

impl Header {
    pub(super) fn read(store: &Store) -> Result<Self, ImageError> {
        let bytes = store.bytes(0, 464, "kdump header")?;
        let mut error = None;
        for form in FORMS {
            let fields = Fields {
                file: store.name(),
                start: 0,
                bytes: &bytes,
                big_endian: form.big_endian,
            };
            let header = Self::parse(&fields, form)?;
            match header.check(&fields) {
                Ok(()) => return Ok(header),
                // Of the four refusals, the one that got furthest is the likeliest.
                Err(refusal) => {
                    if error
                        .as_ref()
                        .is_none_or(|old: &ImageError| old.offset < refusal.offset)
                    {
                        error = Some(refusal);
                    }
                }
            }
        }
        Err(error.unwrap_or_else(|| ImageError::malformed(store.name(), 0, "no kdump header")))
    }

    fn parse(fields: &Fields<'_>, form: Form) -> Result<Self, ImageError> {
        // After utsname (6 strings of 65 bytes at 12) comes a struct timeval, aligned to
        // its word.
        let (time, status) = if form.wide { (408, 424) } else { (404, 412) };
        let text = |at: usize, field: &str| -> Result<String, ImageError> {
            let bytes = fields.slice(at, 65, field)?;
            let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            Ok(String::from_utf8_lossy(bytes).into_owned())
        };
        Ok(Self {
            form,
            version: fields.u32(8, "header_version")?,
            release: text(12 + 2 * 65, "utsname.release")?,
            machine: text(12 + 4 * 65, "utsname.machine")?,
            identity: [
                fields.slice(12, 390, "utsname")?,
                fields.slice(time, status - time, "timestamp")?,
            ]
            .concat(),
            status: fields.u32(status, "status")?,
            block_size: fields.u32(status + 4, "block_size")?,
            sub_header_blocks: fields.u32(status + 8, "sub_hdr_size")?,
            bitmap_blocks: fields.u32(status + 12, "bitmap_blocks")?,
            max_mapnr: u64::from(fields.u32(status + 16, "max_mapnr")?),
        })
    }

    /// Whether the fields make sense together; in the wrong form they do not.
    fn check(&self, fields: &Fields<'_>) -> Result<(), ImageError> {
        let status = if self.form.wide { 424 } else { 412 };
        if self.version == 0 || self.version > 0xff {
            let what = format!("kdump header version {:#x} is unknown", self.version);
            return Err(fields.malformed(8, what));
        }
        if !self.block_size.is_power_of_two() || !(512..=MAX_BLOCK_SIZE).contains(&self.block_size)
        {
            let what = format!("block size {:#x} is impossible", self.block_size);
            return Err(fields.malformed(status + 4, what));
        }
        if self.sub_header_blocks == 0 || self.sub_header_blocks > 1 << 16 {
            let what = format!(
                "a sub-header of {} blocks is impossible",
                self.sub_header_blocks
            );
            return Err(fields.malformed(status + 8, what));
        }
        // Two bitmaps of equal length, a bit a page. (max_mapnr may be cut to 32 bits.)
        let bits = u64::from(self.bitmap_blocks / 2) * u64::from(self.block_size) * 8;
        if self.bitmap_blocks < 2 || bits < self.max_mapnr {
            let what = format!(
                "{} blocks of bitmaps are too few for {} pages",
                self.bitmap_blocks, self.max_mapnr
            );
            return Err(fields.malformed(status + 12, what));
        }
        Ok(())
    }
}

const FORMS: [Form; 4] = [
    Form {
        wide: true,
        big_endian: false,
    },
    Form {
        wide: true,
        big_endian: true,
    },
    Form {
        wide: false,
        big_endian: false,
    },
    Form {
        wide: false,
        big_endian: true,
    },
];

impl SubHeader {
    pub(super) fn read(store: &Store, header: &Header) -> Result<Self, ImageError> {
        let start = u64::from(header.block_size);
        let size = u64::from(header.sub_header_blocks) * start;
        let bytes = store.bytes(start, size.min(4096), "kdump sub-header")?;
        let fields = Fields {
            file: store.name(),
            start,
            bytes: &bytes,
            big_endian: header.form.big_endian,
        };
        let wide = header.form.wide;
        // 32-bit machines either align off_t to 8 bytes (arm) or not (i386, and QEMU).
        let padded = Self::parse(&fields, wide, header.version, true)?;
        if wide || padded.fits(store, header) {
            return Ok(padded);
        }
        let packed = Self::parse(&fields, wide, header.version, false)?;
        Ok(if packed.fits(store, header) {
            packed
        } else {
            padded
        })
    }

    fn parse(
        fields: &Fields<'_>,
        wide: bool,
        version: u32,
        padded: bool,
    ) -> Result<Self, ImageError> {
        let word = if wide { 8 } else { 4 };
        let mut at = 0usize;
        let mut next = |size: usize, since: u32, field: &str| -> Result<u64, ImageError> {
            if size == 8 && padded {
                at = at.next_multiple_of(8);
            }
            let here = at;
            at += size;
            if version < since {
                return Ok(0);
            }
            fields.word(here, size == 8, field)
        };
        let mut sub = Self {
            phys_base: next(word, 0, "phys_base")?,
            dump_level: next(4, 1, "dump_level")? as u32,
            split: next(4, 2, "split")? != 0,
            start_pfn: next(word, 2, "start_pfn")?,
            end_pfn: next(word, 2, "end_pfn")?,
            offset_vmcoreinfo: next(8, 3, "offset_vmcoreinfo")?,
            size_vmcoreinfo: next(word, 3, "size_vmcoreinfo")?,
            offset_note: next(8, 4, "offset_note")?,
            size_note: next(word, 4, "size_note")?,
            max_mapnr_64: 0,
        };
        next(8, 5, "offset_eraseinfo")?;
        next(word, 5, "size_eraseinfo")?;
        if version >= 6 {
            sub.start_pfn = next(8, 6, "start_pfn_64")?;
            sub.end_pfn = next(8, 6, "end_pfn_64")?;
            sub.max_mapnr_64 = next(8, 6, "max_mapnr_64")?;
        }
        Ok(sub)
    }

    /// Whether the fields agree with the header and the file.
    fn fits(&self, store: &Store, header: &Header) -> bool {
        let inside = |offset: u64, size: u64| {
            (offset == 0 && size == 0)
                || (offset >= u64::from(header.block_size)
                    && offset
                        .checked_add(size)
                        .is_some_and(|end| end <= store.len()))
        };
        let pages = self.max_mapnr_64;
        inside(self.offset_vmcoreinfo, self.size_vmcoreinfo)
            && inside(self.offset_note, self.size_note)
            && (header.version < 6 || pages.min(u64::from(u32::MAX)) == header.max_mapnr)
    }
}
