use crate::elf::Writer;
use crate::support::{Folder, open_bytes, open_path, pattern, read, refusal};
use fastwalk_core::image::{self, Decompress, ImageErrorKind, OpenOptions, Progress, Source};
use std::io::Write;
use std::sync::{Arc, Mutex};

type Compress = fn(&[u8]) -> Vec<u8>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    ruzstd::encoding::compress_to_vec(bytes, level)
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const ALL: [(&str, Compress); 4] = [("gzip", gzip), ("zstd", zstd), ("xz", xz), ("lz4", lz4)];

/// An ELF image with a hole of zeros in it.
fn elf() -> (Vec<u8>, Vec<u8>) {
    let mut memory = pattern(1, 0x10_0000);
    memory[0x2_0000..0xe_0000].fill(0);
    (
        Writer::default().segment(0x10_0000, &memory).write(),
        memory,
    )
}

#[test]
fn every_compression_around_an_image() {
    let folder = Folder::new();
    let (file, memory) = elf();
    for (name, compress) in ALL {
        let bytes = compress(&file);
        let path = folder.file(name, &bytes);
        for image in [open_bytes(&bytes).unwrap(), open_path(&path).unwrap()] {
            assert_eq!(image.describe().format, "elf");
            assert_eq!(
                image.describe().details[0],
                ("container".to_owned(), name.to_owned())
            );
            assert_eq!(
                read(image.as_ref(), 0x10_0000, memory.len()).unwrap(),
                memory
            );
        }
        // Several members or frames after each other are one file.
        let (first, second) = file.split_at(file.len() / 3);
        let bytes = [compress(first), compress(second)].concat();
        let image = open_bytes(&bytes).unwrap();
        assert_eq!(
            read(image.as_ref(), 0x10_0000, memory.len()).unwrap(),
            memory
        );
    }
}

#[test]
fn frames_to_be_skipped() {
    let (file, memory) = elf();
    let skip = [&[0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"hello"].concat();
    let bytes = [zstd(&file), skip].concat();
    let image = open_bytes(&bytes).unwrap();
    assert_eq!(read(image.as_ref(), 0x10_0000, 64).unwrap(), memory[..64]);
}

#[test]
fn compressed_inside_compressed_and_flattened() {
    let (file, memory) = elf();
    let bytes = gzip(&crate::kdump::flatten(&xz(&file), 5000));
    let image = open_bytes(&bytes).unwrap();
    let layers: Vec<_> = image.describe().details[..3]
        .iter()
        .map(|(_, layer)| layer.as_str())
        .collect();
    assert_eq!(layers, ["gzip", "flattened", "xz"]);
    assert_eq!(read(image.as_ref(), 0x10_0000, 64).unwrap(), memory[..64]);
}

fn limited(limit: u64) -> OpenOptions {
    OpenOptions {
        decompress: Decompress {
            limit,
            ..Decompress::default()
        },
        ..OpenOptions::default()
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 8 << 20];
    for (_, compress) in ALL {
        let source = Source::from(compress(&zeros));
        let error = refusal(image::open(&source, &limited(1 << 20)));
        assert_eq!(error.kind, ImageErrorKind::Limit);
        assert!(error.to_string().contains("0x100000"), "{error}");
        image::open(&source, &limited(8 << 20)).unwrap();
    }
}

#[test]
fn progress_is_told_and_can_stop_it() {
    let bytes = gzip(&vec![0; 40 << 20]);
    let total = bytes.len() as u64;
    let told = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let options = |stop_at: usize| {
        let told = told.clone();
        OpenOptions {
            decompress: Decompress {
                progress: Some(Arc::new(move |progress| {
                    let mut told = told.lock().unwrap();
                    told.push(progress);
                    told.len() < stop_at
                })),
                ..Decompress::default()
            },
            ..OpenOptions::default()
        }
    };
    image::open(&Source::from(bytes.clone()), &options(1000)).unwrap();
    {
        let mut told = told.lock().unwrap();
        assert!(told.len() >= 4, "{told:?}");
        assert_eq!(told[0].written, 0);
        let last = told.last().unwrap();
        assert_eq!(
            (last.read, last.total, last.written),
            (total, total, 40 << 20)
        );
        told.clear();
    }
    let error = refusal(image::open(&Source::from(bytes), &options(2)));
    assert_eq!(error.kind, ImageErrorKind::Cancelled);
}

#[test]
fn truncated_and_damaged_files_are_errors() {
    let (file, _) = elf();
    for (name, compress) in ALL {
        let bytes = compress(&file);
        for cut in [8, 20, bytes.len() / 2, bytes.len() - 3] {
            let error = refusal(open_bytes(&bytes[..cut]));
            assert!(error.to_string().contains(name), "{error}");
        }
        for at in (8..bytes.len()).step_by(bytes.len() / 40) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = open_bytes(&damaged);
        }
    }
}

#[test]
fn no_file_is_left_behind() {
    let folder = Folder::new();
    let (file, _) = elf();
    let options = OpenOptions {
        decompress: Decompress {
            folder: Some(folder.path().to_owned()),
            ..Decompress::default()
        },
        ..OpenOptions::default()
    };
    let image = image::open(&Source::from(gzip(&file)), &options).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    drop(image);
    let missing = OpenOptions {
        decompress: Decompress {
            folder: Some(folder.path().join("missing")),
            ..Decompress::default()
        },
        ..OpenOptions::default()
    };
    let error = refusal(image::open(&Source::from(gzip(&file)), &missing));
    let message = error.to_string();
    assert!(
        message.contains("missing") && message.contains("--decompress-folder"),
        "{message}"
    );
}
