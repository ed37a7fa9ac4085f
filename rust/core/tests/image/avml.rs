use crate::support::{coverage, open_bytes, pattern, read, refusal, try_damage, try_truncations};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::ReadError;
use std::io::Write;

pub fn block(pa: u64, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    let frames = encoder.into_inner().unwrap();
    let mut out = b"AVML".to_vec();
    out.extend(2u32.to_le_bytes());
    out.extend(pa.to_le_bytes());
    out.extend((pa + bytes.len() as u64 - 1).to_le_bytes());
    out.extend([0; 8]);
    out.extend(&frames);
    out.extend((frames.len() as u64).to_le_bytes());
    out
}

/// Bytes of which Snappy compresses some chunks and leaves others.
pub fn mixed(len: usize) -> Vec<u8> {
    let mut bytes = pattern(5, len);
    for (number, chunk) in bytes.chunks_mut(0x8000).enumerate() {
        if number % 3 == 0 {
            chunk.fill(number as u8);
        }
    }
    bytes
}

#[test]
fn blocks_of_compressed_and_plain_chunks() {
    let (low, high) = (mixed(0x9f000), mixed(0x12_3000));
    // The second range is cut into two blocks, as AVML cuts at 16 MiB.
    let bytes = [
        block(0x1000, &low),
        block(0x10_0000, &high[..0x10_0000]),
        block(0x20_0000, &high[0x10_0000..]),
    ]
    .concat();
    let image = open_bytes(&bytes).unwrap();
    assert_eq!(image.describe().format, "avml");
    assert!(image.describe().warnings.is_empty());
    assert_eq!(
        coverage(image.as_ref()),
        [(0x1000, 0x9f000), (0x10_0000, 0x12_3000)]
    );
    assert_eq!(read(image.as_ref(), 0x1000, 0x9f000).unwrap(), low);
    assert_eq!(read(image.as_ref(), 0x10_0000, 0x12_3000).unwrap(), high);
    for at in (0..0x12_2000).step_by(0xfff) {
        let found = read(image.as_ref(), 0x10_0000 + at as u64, 0x1000).unwrap();
        assert_eq!(found, high[at..at + 0x1000]);
    }
    let error = read(image.as_ref(), 0x9_fffc, 8).unwrap_err();
    assert_eq!(error, ReadError::Absent { pa: Pa(0xa_0000) });
}

#[test]
fn truncated_captures_keep_what_is_there() {
    let data = mixed(0x4_0000);
    let bytes = [block(0, &data), block(0x10_0000, &data)].concat();
    let image = open_bytes(&bytes[..bytes.len() - 0x9000]).unwrap();
    assert!(image.describe().warnings[0].contains("ends inside a block"));
    assert_eq!(read(image.as_ref(), 0, 0x4_0000).unwrap(), data);
    assert_eq!(
        read(image.as_ref(), 0x10_0000, 0x1_0000).unwrap(),
        data[..0x1_0000]
    );
    assert!(read(image.as_ref(), 0x13_fff0, 16).is_err());
}

#[test]
fn a_damaged_chunk_is_an_error_about_itself() {
    let data = mixed(0x4_0000);
    let mut bytes = block(0, &data);
    // Inside the first chunk's compressed data, after header, stream identifier, chunk
    // header, checksum and length.
    bytes[32 + 10 + 4 + 4 + 3..][..8].fill(0xff);
    let image = open_bytes(&bytes).unwrap();
    let error = read(image.as_ref(), 0, 64).unwrap_err();
    assert!(
        matches!(error, ReadError::Damaged { offset: 50, .. }),
        "{error:?}"
    );
    assert_eq!(
        read(image.as_ref(), 0x1_0000, 0x1_0000).unwrap(),
        data[0x1_0000..0x2_0000]
    );
}

#[test]
fn hostile_captures() {
    let bytes = [block(0, &mixed(0x1_1000)), block(0x10_0000, &[1; 0x1000])].concat();
    let boundaries = [0, 8, 32, 36, 42, 46, 50, bytes.len() - 8, bytes.len() - 60];
    try_truncations(&bytes, &boundaries);
    try_damage(&bytes, 0..60);
    // A chunk that claims 4 GiB.
    let mut bomb = block(0, &[1; 0x1000]);
    bomb[50..55].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    let error = refusal(open_bytes(&bomb));
    assert!(error.to_string().contains("impossible"), "{error}");
}
