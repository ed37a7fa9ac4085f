use crate::support::{Folder, coverage, open_path, pattern, read, refusal};
use fastwalk_core::image::{self, OpenOptions, Source};

const PAGE: usize = 4096;
const LOW: u64 = 0xd000_0000;

/// Two regions, as if the low one were a few pages only.
const REGIONS: [(u64, u64); 2] = [(0, 3 * PAGE as u64), (1 << 32, 5 * PAGE as u64)];

fn firecracker(with_offsets: bool) -> Vec<u8> {
    let mut out = 0x0710_1984_8664_0000u64.to_le_bytes().to_vec();
    // A version, and state that looks a little like a list of regions.
    for word in [5u64, 0, 0, 512, 1, 0, LOW] {
        out.extend(word.to_le_bytes());
    }
    out.extend(b"console=ttyS0");
    out.extend((REGIONS.len() as u64).to_le_bytes());
    let mut offset = 0u64;
    for (base, size) in REGIONS {
        out.extend(base.to_le_bytes());
        out.extend(size.to_le_bytes());
        if with_offsets {
            out.extend(offset.to_le_bytes());
        }
        offset += size;
    }
    out.extend([7; 300]);
    out
}

fn check(path: &std::path::Path, memory: &[u8]) {
    let image = open_path(path).unwrap();
    assert_eq!(image.describe().format, "snapshot");
    assert_eq!(coverage(image.as_ref()), REGIONS);
    assert_eq!(
        read(image.as_ref(), 0, 3 * PAGE).unwrap(),
        memory[..3 * PAGE]
    );
    assert_eq!(
        read(image.as_ref(), 1 << 32, 5 * PAGE).unwrap(),
        memory[3 * PAGE..]
    );
}

#[test]
fn firecracker_snapshots_from_either_file() {
    for with_offsets in [false, true] {
        let folder = Folder::new();
        let memory = pattern(1, 8 * PAGE);
        let mem = folder.file("mem_file", &memory);
        let state = folder.file("snapshot_file", &firecracker(with_offsets));
        folder.file("another", &[1; 100]);
        check(&mem, &memory);
        check(&state, &memory);
    }
}

#[test]
fn the_other_file_can_be_named() {
    let options = OpenOptions {
        parts: vec![Source::from(firecracker(false))],
        ..OpenOptions::default()
    };
    let source = Source::from(pattern(1, 8 * PAGE));
    let image = image::open(&source, &options).unwrap();
    assert_eq!(coverage(image.as_ref()), REGIONS);
    // A state of another machine does not fit.
    let source = Source::from(pattern(1, 9 * PAGE));
    let image = image::open(&source, &options).unwrap();
    assert_eq!(image.describe().format, "raw");
}

#[test]
fn cloud_hypervisor_snapshots() {
    let table = format!(
        r#"{{"memory_ranges":{{"data":[{{"gpa":{},"length":{}}},{{"gpa":{},"length":{}}}]}},"x":[1]}}"#,
        REGIONS[0].0, REGIONS[0].1, REGIONS[1].0, REGIONS[1].1
    );
    let nested = format!(
        r#"{{"snapshots":{{"memory-manager":{{"state":"{}"}}}}}}"#,
        table.replace('"', "\\\"")
    );
    for json in [table, nested] {
        let folder = Folder::new();
        let memory = pattern(2, 8 * PAGE);
        let mem = folder.file("memory-ranges", &memory);
        let state = folder.file("state.json", json.as_bytes());
        check(&mem, &memory);
        check(&state, &memory);
    }
}

#[test]
fn a_state_alone_is_not_enough() {
    let folder = Folder::new();
    let state = folder.file("snapshot_file", &firecracker(false));
    let error = refusal(open_path(&state));
    assert!(error.to_string().contains("no memory file"), "{error}");
}

#[test]
fn damaged_states_do_not_fit() {
    let folder = Folder::new();
    let memory = folder.file("mem_file", &pattern(1, 8 * PAGE));
    let bytes = firecracker(true);
    for at in 0..bytes.len() - 300 {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        folder.file("snapshot_file", &damaged[..bytes.len() - at]);
        let image = open_path(&memory).unwrap();
        let _ = read(image.as_ref(), 0, 16);
    }
}
