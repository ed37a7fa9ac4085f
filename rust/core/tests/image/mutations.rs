//! Random damage to a sample of every format: whatever it does, opening and reading end
//! in bytes or in an error. (The names of the other tests say what exactly is expected
//! of damage that was chosen.)

use crate::support::{open_bytes, pattern, read_all};
use crate::{avml, elf, kdump, lime, migration, vmware, windows, xen};

const PAGE: usize = 4096;

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let memory = pattern(1, 4 * PAGE);
    let elf = elf::Writer::default()
        .note("CORE", 1, &[3; 336])
        .segment(0x1000, &memory)
        .segment(0x10_0000, &memory[..PAGE]);
    let narrow = elf::Writer {
        wide: false,
        big: true,
        xnum: true,
        ..elf.clone()
    };
    let kdump = kdump::Writer {
        status: 8,
        level: 1,
        pages: kdump::mixed().pages[..24].to_vec(),
        vmcoreinfo: b"OSRELEASE=6.12\n".to_vec(),
        ..kdump::Writer::default()
    };
    let narrow_kdump = kdump::Writer {
        wide: false,
        big: true,
        padded: false,
        ..kdump.clone()
    };
    let kdump = kdump.write();
    let regions = vmware::regions(&[(0, 0, 2), (2, 0x100, 2)]);
    let vmware = [regions, vmware::block("Memory", false, &memory)].concat();
    vec![
        ("elf", elf.write()),
        ("elf 32", narrow.write()),
        ("flattened", kdump::flatten(&kdump, 3000)),
        ("kdump", kdump),
        ("kdump 32", narrow_kdump.write()),
        (
            "lime",
            lime::write(false, &[(0, &memory), (0x10_0000, &memory)]),
        ),
        (
            "avml",
            [
                avml::block(0, &avml::mixed(0x1_9000)),
                avml::block(0x10_0000, &memory),
            ]
            .concat(),
        ),
        (
            "windows",
            [windows::header(1, &[(1, 2), (0x100, 2)]), memory.clone()].concat(),
        ),
        (
            "windows bitmap",
            windows::bitmap(5, &[1, 2, 3, 70], &memory),
        ),
        ("migration", migration::sample()),
        ("vmware", vmware::state(&[("memory", vmware)])),
        (
            "xen",
            xen::write(
                (".xen_pfn", xen::words(&[0, 1, 0x100, 0x101])),
                &memory,
                &[0; 5168],
            ),
        ),
    ]
}

/// Bytes that headers are known to be made of: most damage is done there.
fn interesting(len: usize, number: u64) -> usize {
    let spread = [64, 600, 4400, 9000, len as u64][(number % 5) as usize];
    (number / 5 % spread.min(len as u64)) as usize
}

/// A number from the environment, for `make fuzz`.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn random_damage_ends_in_bytes_or_errors() {
    let seed = setting("FASTWALK_FUZZ_SEED", 0x1234_5678_9abc_def0);
    println!("FASTWALK_FUZZ_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (_, sample) in samples() {
        for _ in 0..setting("FASTWALK_FUZZ_ROUNDS", 60) {
            let mut bytes = sample.clone();
            for _ in 0..=random() % 3 {
                let at = interesting(bytes.len(), random());
                let value = [0, 1, 0x7f, 0x80, 0xff, random() as u8][(random() % 6) as usize];
                let width = [1, 1, 2, 4, 8][(random() % 5) as usize];
                let end = (at + width).min(bytes.len());
                bytes[at..end].fill(value);
            }
            if random() % 4 == 0 {
                bytes.truncate(interesting(bytes.len(), random()));
            }
            if let Ok(image) = open_bytes(&bytes) {
                read_all(image.as_ref());
            }
        }
    }
}
