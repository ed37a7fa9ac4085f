//! Files of this machine that cannot be mapped. Whether they may be read at all depends
//! on who runs the tests, so an error has to be one of permission.

use crate::support::open_path;
use fastwalk_core::addr::Pa;
use fastwalk_core::image::ImageErrorKind;
use std::path::Path;

#[test]
fn kcore_and_mem_are_read_or_refused() {
    for (path, format) in [("/proc/kcore", "elf"), ("/dev/mem", "device")] {
        match open_path(Path::new(path)) {
            Ok(image) => {
                assert_eq!(image.describe().format, format);
                assert!(image.in_place(Pa(0x1000), 8).is_none());
                let mut buf = [0; 8];
                // Reading may be forbidden, but not fatal.
                let _ = image.read(Pa(0x1000), &mut buf);
                assert!(!image.changed());
            }
            Err(error) => {
                let kinds = [
                    ImageErrorKind::Io,
                    ImageErrorKind::Empty,
                    ImageErrorKind::Unsupported,
                    ImageErrorKind::Truncated,
                ];
                assert!(kinds.contains(&error.kind), "{error}");
                assert!(error.to_string().starts_with(path), "{error}");
            }
        }
    }
}

#[test]
fn a_device_without_memory_is_an_image_without_bytes() {
    let image = open_path(Path::new("/dev/null")).unwrap();
    assert_eq!(image.describe().format, "device");
    let mut buf = [0; 8];
    assert!(image.read(Pa(0), &mut buf).is_err());
}
