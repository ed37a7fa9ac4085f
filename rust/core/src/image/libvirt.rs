//! libvirt's save images (`virsh save`, `virsh managedsave`) of QEMU machines: a
//! header, the machine's XML, then QEMU's stream, which may be compressed.
//!
//! `struct _virQEMUSaveHeader` of libvirt `src/qemu/qemu_saveimage.h`: 92 bytes in the
//! host's byte order.

use super::error::{ImageError, ImageErrorKind};
use super::fields::Fields;
use super::flattened::Rearranged;
use super::source::Store;
use super::{Input, Layer, OpenOptions, Opened, compressed, migration};

const MAGIC: &[u8; 16] = b"LibvirtQemudSave";
/// The same while the file is being written.
const PARTIAL: &[u8; 16] = b"LibvirtQemudPart";
const HEADER_SIZE: u64 = 92;

/// True for a save image, complete or not.
pub(super) fn recognize(input: &Input) -> bool {
    input.starts_with(MAGIC) || input.starts_with(PARTIAL)
}

/// Opens the stream in a save image.
pub(super) fn open(input: Input, options: &OpenOptions) -> Opened {
    let mut warnings = Vec::new();
    if input.starts_with(PARTIAL) {
        warnings.push("libvirt did not finish writing this image: it is incomplete".to_owned());
    }
    let store = &input.store;
    let bytes = store.bytes(0, HEADER_SIZE, "libvirt header")?;
    let little = Fields {
        file: store.name(),
        start: 0,
        bytes: &bytes,
        big_endian: false,
    };
    // Versions are small numbers: in the wrong byte order they are not.
    let fields = Fields {
        big_endian: little.u32(16, "version")? > 0xffff,
        ..little
    };
    let version = fields.u32(16, "version")?;
    if version > 0xff {
        return Err(fields.malformed(16, format!("version {version:#x} is unknown")));
    }
    let start = HEADER_SIZE + u64::from(fields.u32(20, "data_len")?);
    let magic = store.bytes(start, 4, "QEMU stream")?;
    let Input {
        store,
        mut layers,
        path,
        ..
    } = input;
    layers.push(Layer {
        what: "libvirt save image",
        warnings,
    });
    if magic == migration::MAGIC {
        let input = Input::new(store, layers, path)?;
        return migration::open_at(input, start);
    }
    // Whatever compressed it says so itself.
    let (name, len) = (store.name().to_owned(), store.len() - start);
    let stream = Store::from_rearranged(name, len, Rearranged::slice(store, start, len));
    let input = Input::new(stream, layers, path)?;
    if !compressed::recognize(&input) {
        return Err(ImageError::new(
            ImageErrorKind::Unsupported,
            input.store.name(),
            "the memory in the libvirt image is neither plain nor compressed in a known way",
        )
        .at(start)
        .hint("use save_image_format = \"raw\" in qemu.conf"));
    }
    let options = OpenOptions {
        format: None,
        ..options.clone()
    };
    super::open_inner(input, &options)
}
