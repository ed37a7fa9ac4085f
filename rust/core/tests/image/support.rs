//! What the tests of all formats share.

use fastwalk_core::addr::Pa;
use fastwalk_core::image::{self, ImageError, OpenOptions, PhysicalMemory, ReadError, Source};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that goes away with the value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fastwalk-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

pub fn open_bytes(bytes: &[u8]) -> Result<Box<dyn PhysicalMemory>, ImageError> {
    image::open(&Source::from(bytes.to_vec()), &OpenOptions::default())
}

pub fn open_path(path: &Path) -> Result<Box<dyn PhysicalMemory>, ImageError> {
    image::open(&Source::from(path), &OpenOptions::default())
}

/// The error of an image that must not open.
pub fn refusal(opened: Result<Box<dyn PhysicalMemory>, ImageError>) -> ImageError {
    opened.err().expect("the image should have been refused")
}

pub fn read(image: &dyn PhysicalMemory, pa: u64, len: usize) -> Result<Vec<u8>, ReadError> {
    let mut buf = vec![0xa5; len];
    image.read(Pa(pa), &mut buf)?;
    if let Some(raw) = image.in_place(Pa(pa), len) {
        let mut copy = vec![0x5a; len];
        raw.copy_to(&mut copy);
        assert_eq!(copy, buf, "in_place and read differ at {pa:#x}");
    }
    Ok(buf)
}

/// Coverage as (address, length), neighbours joined.
pub fn coverage(image: &dyn PhysicalMemory) -> Vec<(u64, u64)> {
    let mut result: Vec<(u64, u64)> = Vec::new();
    for segment in image.segments() {
        match result.last_mut() {
            Some((pa, len)) if *pa + *len == segment.pa.0 => *len += segment.len,
            _ => result.push((segment.pa.0, segment.len)),
        }
    }
    result
}

/// `len` bytes that differ from place to place and from `seed` to `seed`.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Opens every prefix of a file near the given boundaries, and reads what opens.
/// Nothing may panic, and errors must be about the file.
pub fn try_truncations(bytes: &[u8], boundaries: &[usize]) {
    for &boundary in boundaries {
        for cut in boundary.saturating_sub(1)..=boundary + 1 {
            let cut = &bytes[..cut.min(bytes.len())];
            match open_bytes(cut) {
                Ok(image) => read_all(image.as_ref()),
                Err(error) => assert!(error.to_string().starts_with("<bytes>: "), "{error}"),
            }
        }
    }
}

/// Reads the first bytes and the last of each segment; errors are fine, panics are not.
pub fn read_all(image: &dyn PhysicalMemory) {
    for segment in image.segments() {
        let len = segment.len.min(0x3000) as usize;
        let _ = read(image, segment.pa.0, len);
        let _ = read(image, segment.pa.0 + (segment.len - len as u64), len);
    }
}

/// Sets each byte of the given range to hostile values, and opens and reads each.
pub fn try_damage(bytes: &[u8], range: std::ops::Range<usize>) {
    for at in range {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut damaged = bytes.to_vec();
            damaged[at] = value;
            if let Ok(image) = open_bytes(&damaged) {
                read_all(image.as_ref());
            }
        }
    }
}
