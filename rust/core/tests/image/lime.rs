use crate::elf::Out;
use crate::support::{coverage, open_bytes, pattern, read, refusal, try_damage, try_truncations};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::ReadError;

pub fn write(big: bool, ranges: &[(u64, &[u8])]) -> Vec<u8> {
    let mut out = Out {
        big,
        bytes: Vec::new(),
    };
    for (pa, bytes) in ranges {
        out.put(0x4c69_4d45, 4);
        out.put(1, 4);
        out.put(*pa, 8);
        out.put(pa + bytes.len() as u64 - 1, 8);
        out.put(0, 8);
        out.bytes.extend(*bytes);
    }
    out.bytes
}

#[test]
fn ranges_of_either_byte_order() {
    let (low, high) = (pattern(1, 0x9fc00), pattern(2, 0x3000));
    for big in [false, true] {
        let image = open_bytes(&write(big, &[(0x1000, &low), (0x10_0000, &high)])).unwrap();
        assert_eq!(image.describe().format, "lime");
        assert!(image.describe().warnings.is_empty());
        assert_eq!(
            coverage(image.as_ref()),
            [(0x1000, 0x9fc00), (0x10_0000, 0x3000)]
        );
        assert_eq!(read(image.as_ref(), 0x1000, 0x9fc00).unwrap(), low);
        assert_eq!(read(image.as_ref(), 0x10_0010, 64).unwrap(), high[16..80]);
        let error = read(image.as_ref(), 0xa_0bf8, 16).unwrap_err();
        assert_eq!(error, ReadError::Absent { pa: Pa(0xa_0c00) });
    }
}

#[test]
fn truncated_and_trailing_bytes_are_noted() {
    let bytes = write(false, &[(0, &[1; 0x1000]), (0x2000, &[2; 0x1000])]);
    let image = open_bytes(&bytes[..bytes.len() - 0x400]).unwrap();
    assert_eq!(coverage(image.as_ref()), [(0, 0x1000), (0x2000, 0xc00)]);
    assert!(image.describe().warnings[0].contains("truncated"));
    let image = open_bytes(&[&bytes[..], &[7; 100]].concat()).unwrap();
    assert_eq!(coverage(image.as_ref()), [(0, 0x1000), (0x2000, 0x1000)]);
    assert!(image.describe().warnings[0].contains("no range header"));
}

#[test]
fn hostile_captures() {
    let bytes = write(false, &[(0, &[1; 64]), (0x2000, &[2; 64])]);
    try_truncations(&bytes, &(0..bytes.len()).collect::<Vec<_>>());
    try_damage(&bytes, 0..32);
    try_damage(&bytes, 96..128);
    let mut backwards = bytes.clone();
    backwards[8..16].copy_from_slice(&100u64.to_le_bytes());
    let error = refusal(open_bytes(&backwards));
    assert!(error.to_string().contains("impossible"), "{error}");
    // The whole address space in one range.
    let mut all = bytes;
    all[16..24].fill(0xff);
    refusal(open_bytes(&all));
}
