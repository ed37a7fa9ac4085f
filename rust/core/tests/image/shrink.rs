//! Files that become shorter while they are open.

use crate::support::{Folder, open_path, pattern, read};
use fastwalk_core::image::{self, OpenOptions, ReadError, Source};
use std::fs::File;

fn truncate(path: &std::path::Path, len: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

#[test]
fn a_mapped_file_that_shrinks_reads_as_zeros_and_is_marked() {
    let folder = Folder::new();
    let bytes = pattern(1, 64 << 12);
    let path = folder.file("memory", &bytes);
    let image = open_path(&path).unwrap();
    let other = folder.file("other", &bytes);
    let other = open_path(&other).unwrap();
    truncate(&path, 8 << 12);
    assert_eq!(read(image.as_ref(), 0, 8 << 12).unwrap(), bytes[..8 << 12]);
    // From every page, in any order, and from several threads at once.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let image = image.as_ref();
            scope.spawn(move || {
                for page in (8..64u64).filter(|page| page % 4 == thread).rev() {
                    assert_eq!(read(image, page << 12, 4096).unwrap(), vec![0; 4096]);
                }
            });
        }
    });
    assert!(image.changed());
    assert!(!other.changed());
    assert_eq!(read(other.as_ref(), 0, 64 << 12).unwrap(), bytes);
}

#[test]
fn the_loss_of_a_part_of_a_page_is_seen_too() {
    let folder = Folder::new();
    let path = folder.file("memory", &pattern(2, 4096));
    let image = open_path(&path).unwrap();
    assert!(!image.changed());
    truncate(&path, 100);
    assert!(image.changed());
    // And it stays so, whatever the file does next.
    truncate(&path, 4096);
    assert!(image.changed());
    assert!(image.change().contains("a part of it was gone for a time"));
}

#[test]
fn a_read_file_that_shrinks_is_an_error() {
    let folder = Folder::new();
    let path = folder.file("memory", &pattern(4, 0x4000));
    let options = OpenOptions {
        no_map: true,
        ..OpenOptions::default()
    };
    let image = image::open(&Source::from(path.as_path()), &options).unwrap();
    truncate(&path, 0x1000);
    let Err(ReadError::Changed { what }) = read(image.as_ref(), 0x2000, 8) else {
        panic!("read what is not there");
    };
    assert_eq!(what, image.change());
    let expected = format!(
        "{}: changed while it was read: of 0x4000 bytes those from offset 0x1000 on are gone; \
         copy it first, or stop what writes it, and open it again",
        path.display()
    );
    assert_eq!(what, expected);
    assert!(image.changed());
}
