use crate::support::{
    Folder, coverage, open_bytes, open_path, pattern, read, refusal, try_damage, try_truncations,
};

const PAGE: u64 = 4096;

fn tag(name: &str, indices: &[u32], value: &[u8]) -> Vec<u8> {
    let tag = (name.len() << 8 | indices.len() << 6 | value.len()) as u16;
    let mut out = tag.to_le_bytes().to_vec();
    out.extend(name.as_bytes());
    for index in indices {
        out.extend(index.to_le_bytes());
    }
    out.extend(value);
    out
}

pub fn block(name: &str, compressed: bool, bytes: &[u8]) -> Vec<u8> {
    let size = if compressed { 0x3e } else { 0x3f };
    let mut out = ((name.len() << 8 | size) as u16).to_le_bytes().to_vec();
    out.extend(name.as_bytes());
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(3u16.to_le_bytes());
    out.extend([0xee; 3]);
    out.extend(bytes);
    out
}

pub fn state(groups: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = 0xbed2_bed2u32.to_le_bytes().to_vec();
    out.extend(8u32.to_le_bytes());
    out.extend((groups.len() as u32).to_le_bytes());
    let mut at = 12 + 80 * groups.len() as u64;
    for (name, tags) in groups {
        let mut name = name.as_bytes().to_vec();
        name.resize(64, 0);
        out.extend(name);
        out.extend(at.to_le_bytes());
        out.extend((tags.len() as u64).to_le_bytes());
        at += tags.len() as u64;
    }
    for (_, tags) in groups {
        out.extend(tags);
    }
    out
}

/// Regions as (page in the file, page of memory, pages).
pub fn regions(list: &[(u32, u32, u32)]) -> Vec<u8> {
    let mut out = tag("regionsCount", &[], &(list.len() as u32).to_le_bytes());
    for (number, (page, ppn, pages)) in (0u32..).zip(list) {
        out.extend(tag("regionPageNum", &[number], &page.to_le_bytes()));
        out.extend(tag("regionPPN", &[number], &ppn.to_le_bytes()));
        out.extend(tag("regionSize", &[number], &pages.to_le_bytes()));
    }
    out
}

fn cpu() -> Vec<u8> {
    let mut out = block("IDTR", false, &[1; 10]);
    out.extend(tag("CR64", &[0, 3], &0x1a_a000u64.to_le_bytes()));
    out.extend(tag("CR64", &[1, 4], &0x6f0u64.to_le_bytes()));
    out.extend([0; 2]);
    out
}

#[test]
fn memory_and_state_in_two_files() {
    let folder = Folder::new();
    let memory = pattern(1, 12 * PAGE as usize);
    let vmem = folder.file("vm-Snapshot1.vmem", &memory);
    let tags = [regions(&[(0, 0, 8), (8, 0x10_0000, 4)]), vec![0; 2]].concat();
    let state = state(&[("Checkpoint", vec![9; 5]), ("memory", tags), ("cpu", cpu())]);
    let vmsn = folder.file("vm-Snapshot1.vmsn", &state);
    folder.file("vm-Snapshot2.vmem", &[1; 100]);
    for path in [vmem, vmsn] {
        let image = open_path(&path).unwrap();
        assert_eq!(image.describe().format, "vmware");
        assert_eq!(
            coverage(image.as_ref()),
            [(0, 8 * PAGE), (0x1_0000_0000, 4 * PAGE)]
        );
        assert_eq!(
            read(image.as_ref(), 0x1_0000_0000, 4 * PAGE as usize).unwrap(),
            memory[8 * PAGE as usize..]
        );
        let registers = &image.describe().registers;
        assert_eq!(registers[0].name, "cr3");
        assert_eq!((registers[1].cpu, registers[1].value), (1, 0x6f0));
    }
}

#[test]
fn a_state_without_regions_is_one_run() {
    let folder = Folder::new();
    let memory = pattern(2, 3 * PAGE as usize);
    let vmem = folder.file("vm.vmem", &memory);
    folder.file(
        "vm.vmss",
        &state(&[("memory", regions(&[])), ("cpu", cpu())]),
    );
    let image = open_path(&vmem).unwrap();
    assert_eq!(coverage(image.as_ref()), [(0, 3 * PAGE)]);
}

#[test]
fn memory_inside_the_state_file() {
    let memory = pattern(3, 5 * PAGE as usize);
    let tags = |compressed| {
        let regions = regions(&[(0, 0, 2), (2, 0x100, 3)]);
        [regions, block("Memory", compressed, &memory)].concat()
    };
    let bytes = state(&[("memory", tags(false))]);
    let image = open_bytes(&bytes).unwrap();
    assert_eq!(
        read(image.as_ref(), 0x10_0000, 3 * PAGE as usize).unwrap(),
        memory[2 * PAGE as usize..]
    );
    let error = refusal(open_bytes(&state(&[("memory", tags(true))])));
    assert!(
        error.to_string().contains("compressed by VMware"),
        "{error}"
    );
    try_truncations(&bytes, &(0..400).step_by(3).collect::<Vec<_>>());
    try_damage(&bytes, 4..12);
    try_damage(&bytes, 70..340);
}

#[test]
fn a_state_alone_is_not_enough() {
    let folder = Folder::new();
    let vmss = folder.file("vm.vmss", &state(&[("cpu", cpu())]));
    let error = refusal(open_path(&vmss));
    assert!(error.to_string().contains(".vmem"), "{error}");
}
