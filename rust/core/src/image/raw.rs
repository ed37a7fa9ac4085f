//! Raw memory: the file's bytes, from a base address on.

use super::describe::Description;
use super::error::{ImageError, ImageErrorKind};
use super::flat::{Flat, Piece, Place};
use super::{Input, OpenOptions, Opened};
use crate::addr::Pa;

/// Name of the format.
const NAME: &str = "raw";
/// What the base address is listed as.
const BASE: &str = "base";

/// Opens a file as memory that starts at the base address of the options.
pub(super) fn open(input: Input, options: &OpenOptions) -> Opened {
    let (base, len) = (options.base.0, input.store.len());
    let space = u128::from(u64::MAX) + 1 - u128::from(base);
    if u128::from(len) > space {
        return Err(ImageError::new(
            ImageErrorKind::Option,
            input.store.name(),
            format!(
                "{len:#x} bytes from base {base:#x} on reach past the end of the physical addresses"
            ),
        )
        .hint("give a lower --base"));
    }
    let mut description = Description::new(NAME, &input);
    description.detail(BASE, format!("{base:#x}"));
    description.detail("size", format!("{len:#x}"));
    description.detail("access", input.store.access());
    if options.format.is_none() {
        description.warn(
            "not of a known format: read as raw memory, from the physical address on that \
             a kernel in it tells, else from 0; say --image-format raw --base PA to be sure",
        );
    }
    if len % 4096 != 0 {
        description.warn(format!(
            "its size, {len:#x}, is not a multiple of 4 KiB: it may be truncated, or not raw memory"
        ));
    }
    let piece = Piece {
        pa: base,
        len,
        place: Place::File { file: 0, offset: 0 },
    };
    Ok(Box::new(Flat::new(
        vec![input.store],
        vec![piece],
        description,
    )))
}

/// The description of a raw image that begins at another address; None for other formats.
pub(super) fn moved(description: &Description, base: Pa) -> Option<Description> {
    if description.format != NAME {
        return None;
    }
    let mut description = description.clone();
    for (key, value) in &mut description.details {
        if key == BASE {
            *value = format!("{:#x}", base.0);
        }
    }
    Some(description)
}
