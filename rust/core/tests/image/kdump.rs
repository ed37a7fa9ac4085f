use crate::elf::Out;
use crate::support::{
    Folder, coverage, open_bytes, open_path, pattern, read, read_all, refusal, try_damage,
    try_truncations,
};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::{self, ImageErrorKind, OpenOptions, ReadError, Source};
use std::io::Write;

const PAGE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pack {
    None,
    Zlib,
    Lzo,
    Snappy,
    Zstd,
}

fn pack(pack: Pack, page: &[u8]) -> (u32, Vec<u8>) {
    match pack {
        Pack::None => (0, page.to_vec()),
        Pack::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
            encoder.write_all(page).unwrap();
            (1, encoder.finish().unwrap())
        }
        Pack::Lzo => (2, lzokay::compress::compress(page).unwrap()),
        Pack::Snappy => (4, snap::raw::Encoder::new().compress_vec(page).unwrap()),
        Pack::Zstd => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            (32, ruzstd::encoding::compress_to_vec(page, level))
        }
    }
}

/// What is written for a page frame.
#[derive(Clone, Debug)]
pub enum Page {
    /// No memory there.
    Hole,
    /// Memory that was left out.
    Excluded,
    /// Memory that was to be written, but was not.
    Lost,
    Stored(Pack, Vec<u8>),
    /// Descriptor and bytes as given: flags, size, bytes.
    Odd(u32, u32, Vec<u8>),
}

#[derive(Clone)]
pub struct Writer {
    pub wide: bool,
    pub big: bool,
    /// 32-bit off_t alignment: 8 bytes (arm) or 4.
    pub padded: bool,
    pub version: u32,
    pub level: u32,
    pub status: u32,
    pub split: Option<(u64, u64)>,
    pub release: &'static str,
    pub machine: &'static str,
    pub vmcoreinfo: Vec<u8>,
    pub notes: Vec<u8>,
    pub pages: Vec<Page>,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            wide: true,
            big: false,
            padded: true,
            version: 6,
            level: 0,
            status: 0,
            split: None,
            release: "6.12.0",
            machine: "x86_64",
            vmcoreinfo: Vec::new(),
            notes: Vec::new(),
            pages: Vec::new(),
        }
    }
}

impl Writer {
    pub fn write(&self) -> Vec<u8> {
        let bitmap_blocks = self.pages.len().div_ceil(8).div_ceil(PAGE).max(1);
        let mut out = Out {
            big: self.big,
            bytes: b"KDUMP   ".to_vec(),
        };
        out.put(self.version.into(), 4);
        for text in ["Linux", "host", self.release, "#1", self.machine, ""] {
            let end = out.bytes.len() + 65;
            out.bytes.extend(text.as_bytes());
            out.bytes.resize(end, 0);
        }
        out.bytes.resize(if self.wide { 424 } else { 412 }, 0);
        out.put(self.status.into(), 4);
        out.put(PAGE as u64, 4);
        out.put(1, 4);
        out.put(2 * bitmap_blocks as u64, 4);
        out.put(self.pages.len() as u64, 4);
        out.bytes.resize(PAGE, 0);

        let (start, end) = self.split.unwrap_or((0, self.pages.len() as u64));
        let in_part = |pfn: &usize| (start..end).contains(&(*pfn as u64));
        let descriptors = PAGE * (2 + 2 * bitmap_blocks);
        let dumped = |page: &Page| !matches!(page, Page::Hole | Page::Excluded);
        let numbers: Vec<usize> = (0..self.pages.len())
            .filter(|pfn| in_part(pfn) && dumped(&self.pages[*pfn]))
            .collect();
        let vmcoreinfo = descriptors + 24 * numbers.len();
        let notes = vmcoreinfo + self.vmcoreinfo.len();
        let mut data = notes + self.notes.len();

        let word = if self.wide { 8 } else { 4 };
        let mut sub = Out {
            big: self.big,
            bytes: Vec::new(),
        };
        sub.put(0x1000, word);
        sub.put(self.level.into(), 4);
        sub.put(self.split.is_some().into(), 4);
        sub.put(start, word);
        sub.put(end, word);
        let align = |sub: &mut Out| {
            if self.wide || self.padded {
                sub.bytes.resize(sub.bytes.len().next_multiple_of(8), 0);
            }
        };
        let place = |at: usize, len: usize| if len == 0 { 0 } else { at as u64 };
        for (at, len) in [
            (vmcoreinfo, self.vmcoreinfo.len()),
            (notes, self.notes.len()),
            (0, 0),
        ] {
            align(&mut sub);
            sub.put(place(at, len), 8);
            sub.put(len as u64, word);
        }
        align(&mut sub);
        sub.put(start, 8);
        sub.put(end, 8);
        sub.put(self.pages.len() as u64, 8);
        out.bytes.extend(&sub.bytes);
        out.bytes.resize(2 * PAGE, 0);

        let is_memory = |page: &Page| !matches!(page, Page::Hole);
        for set in [&is_memory as &dyn Fn(&Page) -> bool, &dumped] {
            let mut bitmap = vec![0; bitmap_blocks * PAGE];
            for (pfn, page) in self.pages.iter().enumerate() {
                bitmap[pfn / 8] |= u8::from(set(page)) << (pfn % 8);
            }
            out.bytes.extend(bitmap);
        }

        let mut bodies = Vec::new();
        for pfn in numbers {
            let (flags, size, bytes) = match &self.pages[pfn] {
                Page::Stored(kind, page) => {
                    let (flags, bytes) = pack(*kind, page);
                    // A page that does not get smaller is stored as it is.
                    if bytes.len() >= PAGE {
                        (0, PAGE as u32, page.clone())
                    } else {
                        (flags, bytes.len() as u32, bytes)
                    }
                }
                Page::Odd(flags, size, bytes) => (*flags, *size, bytes.clone()),
                _ => {
                    out.bytes.extend([0; 24]);
                    continue;
                }
            };
            out.put(data as u64, 8);
            out.put(size.into(), 4);
            out.put(flags.into(), 4);
            out.put(0, 8);
            data += bytes.len();
            bodies.extend(bytes);
        }
        out.bytes.extend(&self.vmcoreinfo);
        out.bytes.extend(&self.notes);
        out.bytes.extend(bodies);
        out.bytes
    }
}

/// A page that every codec makes smaller.
pub fn soft_page(seed: u64) -> Vec<u8> {
    let mut page = pattern(seed, 512);
    page.resize(PAGE, 0);
    page[3000..3200].fill(seed as u8);
    page
}

/// Flattens a file into pieces of the given size, out of order, one overwritten later.
pub fn flatten(bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Out {
        big: true,
        bytes: b"makedumpfile\0\0\0\0".to_vec(),
    };
    out.put(1, 8);
    out.put(1, 8);
    out.bytes.resize(4096, 0);
    out.put(0, 8);
    out.put(16, 8);
    out.bytes.extend([0xee; 16]);
    let mut pieces: Vec<_> = bytes.chunks(piece).enumerate().collect();
    if pieces.len() > 2 {
        pieces[1..].reverse();
    }
    for (number, bytes) in pieces {
        out.put((number * piece) as u64, 8);
        out.put(bytes.len() as u64, 8);
        out.bytes.extend(bytes);
    }
    out.put(u64::MAX, 8);
    out.put(u64::MAX, 8);
    out.bytes
}

pub fn mixed() -> Writer {
    let mut pages = vec![Page::Hole; 3];
    for seed in 0..20 {
        for kind in [Pack::Zlib, Pack::Lzo, Pack::Snappy, Pack::Zstd, Pack::None] {
            pages.push(Page::Stored(kind, soft_page(seed + 1)));
        }
        pages.push(Page::Excluded);
        pages.push(Page::Hole);
    }
    Writer {
        pages,
        ..Writer::default()
    }
}

fn check(image: &dyn image::PhysicalMemory, writer: &Writer) {
    for (pfn, page) in writer.pages.iter().enumerate() {
        let pa = (pfn * PAGE) as u64;
        let covered = coverage(image)
            .iter()
            .any(|&(start, len)| start <= pa && pa < start + len);
        let zeros = writer.level & 1 != 0;
        match page {
            Page::Stored(_, bytes) => {
                assert_eq!(&read(image, pa, PAGE).unwrap(), bytes, "page {pfn:#x}");
                // In parts, from the cache.
                assert_eq!(read(image, pa + 5, 8).unwrap(), bytes[5..13]);
                assert!(covered);
            }
            Page::Excluded if zeros => {
                assert_eq!(read(image, pa, PAGE).unwrap(), vec![0; PAGE]);
                assert!(covered);
            }
            _ => {
                let error = read(image, pa + 8, 8).unwrap_err();
                assert_eq!(error, ReadError::Absent { pa: Pa(pa + 8) });
                assert!(!covered);
            }
        }
    }
    let end = (writer.pages.len() * PAGE) as u64;
    assert!(read(image, end, 1).is_err());
}

#[test]
fn every_codec_word_size_and_byte_order() {
    for (wide, padded) in [(true, true), (false, true), (false, false)] {
        for big in [false, true] {
            for version in [3, 6] {
                let writer = Writer {
                    wide,
                    padded,
                    big,
                    version,
                    vmcoreinfo: b"OSRELEASE=6.12\n".to_vec(),
                    ..mixed()
                };
                let image = open_bytes(&writer.write()).unwrap();
                let description = image.describe();
                assert_eq!(description.format, "kdump");
                let machine = description.machine.unwrap();
                assert_eq!(machine.class_bits, if wide { 64 } else { 32 });
                assert_eq!(machine.big_endian, big);
                assert_eq!(
                    description.vmcoreinfo.as_deref(),
                    Some("OSRELEASE=6.12\n"),
                    "{wide} {padded} {big} {version}"
                );
                check(image.as_ref(), &writer);
            }
        }
    }
}

#[test]
fn reads_across_pages_up_to_what_is_not_there() {
    let writer = mixed();
    let image = open_bytes(&writer.write()).unwrap();
    let mut buf = vec![0; 6 * PAGE];
    let error = image.read(Pa(0x3000), &mut buf).unwrap_err();
    assert_eq!(error, ReadError::Absent { pa: Pa(0x8000) });
    for page in buf[..5 * PAGE].chunks(PAGE) {
        assert_eq!(page, soft_page(1));
    }
}

#[test]
fn uncompressed_pages_are_read_where_they_are() {
    let image = open_bytes(&mixed().write()).unwrap();
    assert!(image.in_place(Pa(0x7008), 64).is_some());
    assert!(image.in_place(Pa(0x7008), PAGE).is_none());
    assert!(image.in_place(Pa(0x3000), 64).is_none());
}

#[test]
fn excluded_pages_are_zeros_only_if_the_dump_level_says_so() {
    for level in [0, 1, 30, 31] {
        let writer = Writer { level, ..mixed() };
        let image = open_bytes(&writer.write()).unwrap();
        check(image.as_ref(), &writer);
        let details = &image.describe().details;
        let (_, excluded) = details
            .iter()
            .find(|(key, _)| key == "excluded pages")
            .unwrap();
        assert_eq!(excluded.contains("zeros"), level & 1 != 0);
    }
}

#[test]
fn many_pages_are_counted_right() {
    // More than a group of the bitmap, with a pattern that no group starts alike.
    let pages = (0..20_000u64).map(|pfn| match (pfn * pfn + pfn / 7) % 5 {
        0 => Page::Hole,
        1 => Page::Excluded,
        _ => {
            let mut bytes = pfn.to_le_bytes().to_vec();
            bytes.resize(PAGE, 0);
            Page::Stored(Pack::Snappy, bytes)
        }
    });
    let writer = Writer {
        pages: pages.collect(),
        ..Writer::default()
    };
    let image = open_bytes(&writer.write()).unwrap();
    for (pfn, page) in writer.pages.iter().enumerate() {
        let found = read(image.as_ref(), (pfn * PAGE) as u64, 8);
        match page {
            Page::Stored(..) => assert_eq!(found.unwrap(), (pfn as u64).to_le_bytes()),
            _ => assert!(matches!(found, Err(ReadError::Absent { .. }))),
        }
    }
}

#[test]
fn flattened() {
    let writer = Writer {
        level: 1,
        ..mixed()
    };
    let bytes = writer.write();
    for piece in [16, 1000, 4096, 1 << 20] {
        let flat = flatten(&bytes, piece);
        let image = open_bytes(&flat).unwrap();
        check(image.as_ref(), &writer);
        let details = &image.describe().details;
        assert!(details.contains(&("container".to_owned(), "flattened".to_owned())));
        assert!(image.describe().warnings.is_empty());
        // Without its end mark.
        let image = open_bytes(&flat[..flat.len() - 16]).unwrap();
        assert!(image.describe().warnings[0].contains("no end mark"));
    }
}

#[test]
fn a_flattened_elf_file_is_one_too() {
    let bytes = pattern(1, 0x3000);
    let elf = crate::elf::Writer::default().segment(0x1000, &bytes);
    let image = open_bytes(&flatten(&elf.write(), 500)).unwrap();
    assert_eq!(image.describe().format, "elf");
    assert_eq!(read(image.as_ref(), 0x1000, 0x3000).unwrap(), bytes);
}

#[test]
fn flattened_files_in_each_other_end() {
    let mut bytes = mixed().write();
    for _ in 0..6 {
        bytes = flatten(&bytes, 1 << 20);
    }
    let error = refusal(open_bytes(&bytes));
    assert_eq!(error.kind, ImageErrorKind::Limit);
}

#[test]
fn split_into_parts() {
    let whole = mixed();
    let folder = Folder::new();
    let end = whole.pages.len() as u64;
    // Cuts that are not on bytes of the bitmap.
    let cuts = [(0, 77), (77, 130), (130, end)];
    let mut paths = Vec::new();
    for (number, cut) in cuts.into_iter().enumerate() {
        let part = Writer {
            split: Some(cut),
            ..whole.clone()
        };
        let mut bytes = part.write();
        if number == 1 {
            bytes = flatten(&bytes, 5000);
        }
        paths.push(folder.file(&format!("dump.{number}"), &bytes));
    }
    // The flattened part is not found by its header, so it is named.
    let image = open_path(&paths[0]).unwrap();
    assert_eq!(image.describe().warnings.len(), 1);
    let options = OpenOptions {
        parts: vec![
            Source::from(paths[2].as_path()),
            Source::from(paths[1].as_path()),
        ],
        ..OpenOptions::default()
    };
    let image = image::open(&Source::from(paths[0].as_path()), &options).unwrap();
    assert!(image.describe().warnings.is_empty());
    check(image.as_ref(), &whole);
    // Files beside it are found by name and header.
    let plain = Writer {
        split: Some(cuts[1]),
        ..whole.clone()
    };
    folder.file("dump.1", &plain.write());
    folder.file("dump.9", b"something else");
    let image = open_path(&paths[2]).unwrap();
    assert!(image.describe().warnings.is_empty());
    check(image.as_ref(), &whole);
    // One of another dump, or one twice, is refused.
    let other = Writer {
        release: "5.0",
        split: Some(cuts[1]),
        ..whole.clone()
    };
    for part in [
        other.write(),
        Writer {
            split: Some((0, 5)),
            ..whole
        }
        .write(),
    ] {
        let options = OpenOptions {
            parts: vec![Source::from(part)],
            ..OpenOptions::default()
        };
        refusal(image::open(&Source::from(paths[0].as_path()), &options));
    }
}

#[test]
fn incomplete_dumps_have_lost_pages() {
    let mut writer = Writer {
        status: 8,
        ..mixed()
    };
    let from = writer.pages.len() / 2;
    for page in &mut writer.pages[from..] {
        if matches!(page, Page::Stored(..)) {
            *page = Page::Lost;
        }
    }
    for level in [0, 1] {
        writer.level = level;
        let image = open_bytes(&writer.write()).unwrap();
        check(image.as_ref(), &writer);
        assert!(image.describe().warnings[0].contains("incomplete"));
    }
}

#[test]
fn lying_pages_are_damaged_and_the_others_are_not() {
    let bomb = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
        encoder.write_all(&vec![0; 3 << 20]).unwrap();
        encoder.finish().unwrap()
    };
    let zstd_bomb = {
        // A frame with a small window whose blocks repeat one byte 128 Ki times each.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
        for number in 0..900u32 {
            let header = (0x2_0000 << 3) | (1 << 1) | u32::from(number == 899);
            frame.extend(&header.to_le_bytes()[..3]);
            frame.push(0);
        }
        frame
    };
    let wide_window = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 1, 0, 0];
    let snappy_bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let (_, short) = pack(Pack::Snappy, &[1; 100]);
    let (_, good) = pack(Pack::Zlib, &soft_page(1));
    let mut odd = vec![
        Page::Odd(1, bomb.len() as u32, bomb),
        Page::Odd(32, zstd_bomb.len() as u32, zstd_bomb),
        Page::Odd(32, 9, wide_window),
        Page::Odd(4, snappy_bomb.len() as u32, snappy_bomb),
        Page::Odd(4, short.len() as u32, short),
        Page::Odd(1, good.len() as u32 - 9, good.clone()),
        Page::Odd(1, 0xffff_ffff, good.clone()),
        Page::Odd(0, 100, good),
        Page::Odd(2, 3, vec![0x11, 0, 0]),
        Page::Odd(2, 0, vec![]),
    ];
    for flags in [1, 2, 4, 32] {
        odd.push(Page::Odd(flags, 700, pattern(u64::from(flags), 700)));
    }
    let last = odd.len();
    odd.push(Page::Stored(Pack::Zstd, soft_page(7)));
    let writer = Writer {
        pages: odd,
        ..Writer::default()
    };
    let image = open_bytes(&writer.write()).unwrap();
    for pfn in 0..last {
        let error = read(image.as_ref(), (pfn * PAGE) as u64, PAGE).unwrap_err();
        let ReadError::Damaged { pa, offset, what } = error else {
            panic!("page {pfn}: {error}");
        };
        assert_eq!(pa, Pa((pfn * PAGE) as u64));
        assert!(offset >= 4 * PAGE as u64);
        assert!(what.starts_with("<bytes>: "), "{what}");
    }
    let found = read(image.as_ref(), (last * PAGE) as u64, PAGE).unwrap();
    assert_eq!(found, soft_page(7));
}

#[test]
fn truncated_and_damaged_dumps_do_not_panic() {
    for wide in [true, false] {
        let mut writer = Writer {
            wide,
            vmcoreinfo: b"OSRELEASE=6.12\n".to_vec(),
            ..mixed()
        };
        writer.pages.truncate(12);
        let bytes = writer.write();
        let mut boundaries = vec![0, 8, 464, 4096, 8192, 8195, 12288, 12291, 16384];
        boundaries.extend((16384..bytes.len()).step_by(499));
        try_truncations(&bytes, &boundaries);
        try_damage(&bytes, 0..12);
        try_damage(&bytes, 400..464);
        try_damage(&bytes, 4096..4224);
        try_damage(&bytes, 8192..8196);
        try_damage(&bytes, 12288..12292);
        try_damage(&bytes, 16384..16384 + 60);
        let flat = flatten(&bytes, 3000);
        try_truncations(
            &flat,
            &[16, 32, 4096, 4112, 4128, 4144, 8000, flat.len() - 17],
        );
        try_damage(&flat, 16..32);
        try_damage(&flat, 4096..4160);
    }
}

#[test]
fn impossible_headers_are_refused() {
    let bytes = mixed().write();
    let with = |at: usize, value: u32| {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        refusal(open_bytes(&bytes))
    };
    assert!(with(428, 4095).to_string().contains("block size"));
    assert!(with(432, 0).to_string().contains("sub-header"));
    assert!(with(436, 1).to_string().contains("bitmaps"));
    assert!(with(440, 0xffff_ffff).to_string().contains("bitmaps"));
    assert_eq!(with(436, 0x7fff_ffff).kind, ImageErrorKind::Truncated);
}

#[test]
fn a_dump_that_shrinks_reads_as_damaged_or_zeros() {
    let folder = Folder::new();
    let path = folder.file("dump", &mixed().write());
    let image = open_path(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(8192).unwrap();
    read_all(image.as_ref());
    assert!(image.changed());
}

#[test]
fn the_machine_is_told_by_the_notes_when_qemu_wrote_the_dump() {
    let notes = |size: usize| {
        crate::elf::Writer::default()
            .note("CORE", 1, &vec![0; size])
            .notes
    };
    for (size, release, expected) in [(392, "", 183), (336, "", 62), (0, "", 0), (0, "6.12", 62)] {
        let writer = Writer {
            release,
            notes: if size > 0 { notes(size) } else { Vec::new() },
            ..mixed()
        };
        let image = open_bytes(&writer.write()).unwrap();
        assert_eq!(image.describe().machine.unwrap().e_machine, expected);
    }
}
