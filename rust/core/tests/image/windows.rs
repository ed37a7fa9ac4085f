use crate::support::{coverage, open_bytes, pattern, read, refusal, try_damage, try_truncations};
use fastwalk_core::image::ImageErrorKind;

pub fn header(kind: u32, runs: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = b"PAGE".repeat(0x2000 / 4);
    bytes[4..8].copy_from_slice(b"DU64");
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0xc, &19041u32.to_le_bytes());
    put(0x10, &0x1a_a000u64.to_le_bytes());
    put(0x30, &0x8664u32.to_le_bytes());
    put(0x34, &4u32.to_le_bytes());
    put(0x88, &(runs.len() as u32).to_le_bytes());
    for (number, (first, count)) in runs.iter().enumerate() {
        put(0x98 + number * 16, &first.to_le_bytes());
        put(0x98 + number * 16 + 8, &count.to_le_bytes());
    }
    put(0xf98, &kind.to_le_bytes());
    bytes
}

pub fn bitmap(kind: u32, pages: &[u64], data: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, &[]);
    let bits = pages.iter().max().unwrap() + 3;
    let mut map = vec![0u8; bits.div_ceil(8) as usize];
    for page in pages {
        map[*page as usize / 8] |= 1 << (page % 8);
    }
    bytes.extend(if kind == 5 { b"FDMPDUMP" } else { b"SDMPDUMP" });
    bytes.extend([0; 0x18]);
    let first = (0x2000 + 0x38 + map.len()).next_multiple_of(0x1000);
    bytes.extend((first as u64).to_le_bytes());
    bytes.extend((pages.len() as u64).to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend(map);
    bytes.resize(first, 0);
    bytes.extend(data);
    bytes
}

#[test]
fn complete_dumps() {
    let data = pattern(1, 0x6000);
    let bytes = [header(1, &[(1, 2), (0x100, 4)]), data.clone()].concat();
    let image = open_bytes(&bytes).unwrap();
    assert_eq!(image.describe().format, "windows");
    assert_eq!(
        coverage(image.as_ref()),
        [(0x1000, 0x2000), (0x10_0000, 0x4000)]
    );
    assert_eq!(
        read(image.as_ref(), 0x1000, 0x2000).unwrap(),
        data[..0x2000]
    );
    assert_eq!(
        read(image.as_ref(), 0x10_0000, 0x4000).unwrap(),
        data[0x2000..]
    );
    let register = &image.describe().registers[0];
    assert_eq!((register.name.as_str(), register.value), ("cr3", 0x1a_a000));
    assert_eq!(image.describe().machine.unwrap().e_machine, 62);
}

#[test]
fn bitmap_dumps() {
    let pages = [1, 2, 3, 7, 8, 64, 1000, 1001, 40_000];
    let data = pattern(2, pages.len() * 0x1000);
    for kind in [5, 6, 7] {
        let image = open_bytes(&bitmap(kind, &pages, &data)).unwrap();
        for (page, expected) in pages.iter().zip(data.chunks(0x1000)) {
            assert_eq!(
                read(image.as_ref(), page * 0x1000, 0x1000).unwrap(),
                expected
            );
        }
        assert!(read(image.as_ref(), 0, 8).is_err());
        assert!(read(image.as_ref(), 0x4000, 8).is_err());
    }
}

#[test]
fn other_types_are_refused() {
    let error = refusal(open_bytes(&header(4, &[(0, 1)])));
    assert_eq!(error.kind, ImageErrorKind::Unsupported);
    assert!(error.to_string().contains("type 4"), "{error}");
    let mut bytes = header(1, &[(0, 1)]);
    bytes[4..8].copy_from_slice(b"DUMP");
    let error = refusal(open_bytes(&bytes));
    assert!(error.to_string().contains("32-bit"), "{error}");
}

#[test]
fn hostile_dumps() {
    let bytes = [header(1, &[(1, 2), (0x100, 4)]), vec![1; 0x6000]].concat();
    try_truncations(&bytes, &[0, 8, 0x88, 0x98, 0xf98, 0x2000, 0x3000]);
    try_damage(&bytes, 0x88..0xb8);
    try_damage(&bytes, 0xf98..0xf9c);
    let bytes = bitmap(5, &[1, 2, 90], &[1; 0x3000]);
    try_truncations(&bytes, &[0x2000, 0x2008, 0x2020, 0x2038, 0x2040, 0x3000]);
    try_damage(&bytes, 0x2000..0x2048);
}
