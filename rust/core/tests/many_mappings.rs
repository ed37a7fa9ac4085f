//! More images at a time than can be mapped. A test binary of its own, because it uses
//! all of the process's slots.

use fastwalk_core::addr::Pa;
use fastwalk_core::image::{self, OpenOptions, Source};

#[test]
fn images_that_find_no_slot_are_read() {
    let name = format!("fastwalk-many-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let bytes = vec![7; 4096];
    std::fs::write(&path, &bytes).unwrap();
    let source = Source::from(path.as_path());
    let open = || image::open(&source, &OpenOptions::default()).unwrap();
    let images: Vec<_> = (0..520).map(|_| open()).collect();
    let mapped = |image: &dyn image::PhysicalMemory| image.in_place(Pa(0), 8).is_some();
    assert!(mapped(images[0].as_ref()));
    assert!(!mapped(images[519].as_ref()));
    for image in &images {
        let mut buf = vec![0; 4096];
        image.read(Pa(0), &mut buf).unwrap();
        assert_eq!(buf, bytes);
    }
    drop(images);
    assert!(mapped(open().as_ref()));
    std::fs::remove_file(&path).unwrap();
}
