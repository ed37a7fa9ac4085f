use crate::support::{Folder, coverage, open_bytes, open_path, pattern, read, refusal};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::{self, ImageErrorKind, OpenOptions, ReadError, Source};
use std::os::fd::AsRawFd;

fn raw_at(base: u64) -> OpenOptions {
    OpenOptions {
        format: Some("raw".to_owned()),
        base: Pa(base),
        ..OpenOptions::default()
    }
}

#[test]
fn unknown_content_is_raw_memory_and_says_so() {
    let bytes = pattern(1, 0x3000);
    let image = open_bytes(&bytes).unwrap();
    assert_eq!(image.describe().format, "raw");
    assert!(image.describe().warnings[0].contains("--base"));
    assert_eq!(read(image.as_ref(), 0, 0x3000).unwrap(), bytes);
}

#[test]
fn path_descriptor_and_bytes_mapped_and_read() {
    let folder = Folder::new();
    let bytes = pattern(2, 0x2000);
    let path = folder.file("memory", &bytes);
    let file = std::fs::File::open(&path).unwrap();
    for source in [
        Source::from(path.as_path()),
        Source::descriptor(file.as_raw_fd()).unwrap(),
        Source::from(bytes.clone()),
    ] {
        for no_map in [false, true] {
            let options = OpenOptions {
                no_map,
                ..raw_at(0x8000_0000)
            };
            let image = image::open(&source, &options).unwrap();
            assert!(image.describe().warnings.is_empty());
            assert_eq!(coverage(image.as_ref()), [(0x8000_0000, 0x2000)]);
            assert_eq!(read(image.as_ref(), 0x8000_0000, 0x2000).unwrap(), bytes);
            assert!(!image.changed());
            let mut buf = [0; 1];
            assert_eq!(
                image.read(Pa(0x8000_2000), &mut buf),
                Err(ReadError::Absent {
                    pa: Pa(0x8000_2000)
                })
            );
        }
    }
    assert!(Source::descriptor(-1).is_err());
}

#[test]
fn base_at_the_top() {
    let bytes = vec![7; 0x1000];
    let source = Source::from(bytes.clone());
    let image = image::open(&source, &raw_at(u64::MAX - 0xfff)).unwrap();
    assert_eq!(
        read(image.as_ref(), u64::MAX - 0xfff, 0x1000).unwrap(),
        bytes
    );
    let error = refusal(image::open(&source, &raw_at(u64::MAX - 0xffe)));
    assert_eq!(error.kind, ImageErrorKind::Option);
}

#[test]
fn what_is_no_image() {
    let folder = Folder::new();
    let error = refusal(open_path(&folder.file("empty", b"")));
    assert_eq!(error.kind, ImageErrorKind::Empty);
    let error = refusal(open_path(folder.path()));
    assert_eq!(error.kind, ImageErrorKind::Io);
    assert!(error.to_string().contains("is a directory"), "{error}");
    let error = refusal(open_path(&folder.path().join("missing")));
    assert_eq!(error.os_error, Some(2));
    let error = refusal(open_bytes(b"QFI\xfb and so on"));
    assert!(error.to_string().contains("QCOW2"), "{error}");
    let error = refusal(image::open(
        &Source::from(vec![1]),
        &OpenOptions {
            format: Some("vhs".to_owned()),
            ..OpenOptions::default()
        },
    ));
    assert!(error.to_string().contains("the formats are"), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn odd_sizes_are_noted() {
    let image = image::open(&Source::from(vec![1; 5000]), &raw_at(0)).unwrap();
    assert!(image.describe().warnings[0].contains("multiple"));
}
