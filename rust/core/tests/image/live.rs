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

#[cfg(target_os = "linux")]
#[test]
fn devices_that_are_not_memory_are_refused() {
    for path in ["/dev/null", "/dev/zero", "/dev/full"] {
        let error = open_path(Path::new(path)).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, ImageErrorKind::Unsupported);
        let text = error.to_string();
        assert!(text.starts_with(path), "{text}");
        assert!(
            text.contains("not one of memory") && text.contains("/dev/mem"),
            "{text}"
        );
    }
}
