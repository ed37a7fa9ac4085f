use crate::support::{
    Folder, coverage, open_bytes, open_path, pattern, read, read_all, refusal, try_damage,
    try_truncations,
};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::{ImageErrorKind, ReadError, Stored};

/// A small writer of ELF core files.
#[derive(Clone)]
pub struct Writer {
    pub wide: bool,
    pub big: bool,
    pub e_type: u16,
    pub machine: u16,
    /// Bytes before the first segment's data, to bring it to an odd offset.
    pub padding: usize,
    pub ehsize: u16,
    pub xnum: bool,
    pub notes: Vec<u8>,
    /// (p_paddr, p_memsz, bytes)
    pub segments: Vec<(u64, u64, Vec<u8>)>,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            wide: true,
            big: false,
            e_type: 4,
            machine: 62,
            padding: 0,
            ehsize: 64,
            xnum: false,
            notes: Vec::new(),
            segments: Vec::new(),
        }
    }
}

pub struct Out {
    pub big: bool,
    pub bytes: Vec<u8>,
}

impl Out {
    pub fn put(&mut self, value: u64, size: usize) {
        let bytes = value.to_be_bytes();
        let mut bytes = bytes[8 - size..].to_vec();
        if !self.big {
            bytes.reverse();
        }
        self.bytes.extend(bytes);
    }
}

impl Writer {
    pub fn segment(mut self, pa: u64, bytes: &[u8]) -> Self {
        self.segments.push((pa, bytes.len() as u64, bytes.to_vec()));
        self
    }

    pub fn note(mut self, name: &str, kind: u32, desc: &[u8]) -> Self {
        let mut out = Out {
            big: self.big,
            bytes: std::mem::take(&mut self.notes),
        };
        out.put(name.len() as u64 + 1, 4);
        out.put(desc.len() as u64, 4);
        out.put(kind.into(), 4);
        out.bytes.extend(name.as_bytes());
        out.bytes.push(0);
        out.bytes.resize(out.bytes.len().next_multiple_of(4), 0);
        out.bytes.extend(desc);
        out.bytes.resize(out.bytes.len().next_multiple_of(4), 0);
        self.notes = out.bytes;
        self
    }

    pub fn write(&self) -> Vec<u8> {
        let (ehdr, phdr, shdr, word) = if self.wide {
            (64, 56, 64, 8)
        } else {
            (52, 32, 40, 4)
        };
        let headers = self.segments.len() + usize::from(!self.notes.is_empty());
        let section = if self.xnum { shdr } else { 0 };
        let phoff = ehdr + section;
        let data = phoff + headers * phdr + self.padding;
        let mut out = Out {
            big: self.big,
            bytes: b"\x7fELF".to_vec(),
        };
        out.put(if self.wide { 2 } else { 1 }, 1);
        out.put(if self.big { 2 } else { 1 }, 1);
        out.put(1, 1);
        out.bytes.resize(16, 0);
        out.put(self.e_type.into(), 2);
        out.put(self.machine.into(), 2);
        out.put(1, 4);
        out.put(0, word);
        out.put(phoff as u64, word);
        out.put(if self.xnum { ehdr as u64 } else { 0 }, word);
        out.put(0, 4);
        out.put(self.ehsize.into(), 2);
        out.put(phdr as u64, 2);
        out.put(if self.xnum { 0xffff } else { headers as u64 }, 2);
        out.put(shdr as u64, 2);
        out.put(u64::from(self.xnum), 2);
        out.put(0, 2);
        if self.xnum {
            // sh_name .. sh_link are zero; sh_info is the number of program headers.
            let before = if self.wide { 44 } else { 28 };
            out.bytes.resize(ehdr + before, 0);
            out.put(headers as u64, 4);
            out.bytes.resize(ehdr + shdr, 0);
        }
        let mut offset = data as u64;
        let mut header = |kind: u64, pa: u64, size: u64, memsz: u64| {
            out.put(kind, 4);
            if self.wide {
                out.put(0, 4);
            }
            out.put(offset, word);
            out.put(
                0xffff_8880_0000_0000 & if self.wide { u64::MAX } else { 0 },
                word,
            );
            out.put(pa, word);
            out.put(size, word);
            out.put(memsz, word);
            if !self.wide {
                out.put(0, 4);
            }
            out.put(0, word);
            offset += size;
        };
        if !self.notes.is_empty() {
            let size = self.notes.len() as u64;
            header(4, 0, size, size);
        }
        for (pa, memsz, bytes) in &self.segments {
            header(1, *pa, bytes.len() as u64, *memsz);
        }
        out.bytes.resize(data, 0);
        out.bytes.extend(&self.notes);
        for (_, _, bytes) in &self.segments {
            out.bytes.extend(bytes);
        }
        out.bytes
    }
}

#[test]
fn both_classes_and_byte_orders() {
    for wide in [true, false] {
        for big in [true, false] {
            let low = pattern(1, 0x2000);
            let high = pattern(2, 0x1000);
            let writer = Writer {
                wide,
                big,
                machine: 22,
                ..Writer::default()
            };
            let writer = writer
                .note("CORE", 1, &[7; 13])
                .note("VMCOREINFO", 0, b"OSRELEASE=6.12\nPAGESIZE=4096\n")
                .segment(0x8000_0000, &high)
                .segment(0x1000, &low);
            let image = open_bytes(&writer.write()).unwrap();
            assert_eq!(
                coverage(image.as_ref()),
                [(0x1000, 0x2000), (0x8000_0000, 0x1000)]
            );
            assert_eq!(read(image.as_ref(), 0x1000, 0x2000).unwrap(), low);
            assert_eq!(read(image.as_ref(), 0x8000_0000, 0x1000).unwrap(), high);
            let description = image.describe();
            assert_eq!(description.format, "elf");
            let machine = description.machine.unwrap();
            assert_eq!(machine.e_machine, 22);
            assert_eq!(machine.class_bits, if wide { 64 } else { 32 });
            assert_eq!(machine.big_endian, big);
            assert_eq!(description.notes[0].name, "CORE");
            assert_eq!(description.notes[0].desc, [7; 13]);
            let text = description.vmcoreinfo.as_deref().unwrap();
            assert!(text.starts_with("OSRELEASE=6.12\n"));
            assert!(description.warnings.is_empty());
        }
    }
}

#[test]
fn odd_offsets_and_false_header_size() {
    let bytes = pattern(3, 0x1000);
    let mut writer = Writer::default().segment(0x4000, &bytes);
    writer.ehsize = 8;
    writer.padding = 0x113d - 64 - 56;
    let image = open_bytes(&writer.write()).unwrap();
    assert_eq!(image.segments()[0].stored, Stored::At(0x113d));
    assert_eq!(read(image.as_ref(), 0x4000, 0x1000).unwrap(), bytes);
    assert_eq!(read(image.as_ref(), 0x4007, 8).unwrap(), bytes[7..15]);
}

#[test]
fn memory_beyond_the_file_size_reads_as_zeros() {
    let mut writer = Writer::default();
    writer
        .segments
        .push((0x10_0000, 0x10_0000, pattern(4, 0x800)));
    let image = open_bytes(&writer.write()).unwrap();
    assert_eq!(coverage(image.as_ref()), [(0x10_0000, 0x10_0000)]);
    let across = read(image.as_ref(), 0x10_0000, 0x1000).unwrap();
    assert_eq!(across[..0x800], pattern(4, 0x800));
    assert_eq!(across[0x800..], [0; 0x800]);
    // Zeros have a place up to 64 KiB; longer ones are read.
    assert!(image.in_place(Pa(0x10_1000), 0x10000).is_some());
    assert!(image.in_place(Pa(0x10_1000), 0x10001).is_none());
    assert_eq!(
        read(image.as_ref(), 0x10_1000, 0x20000).unwrap(),
        vec![0; 0x20000]
    );
}

#[test]
fn extended_numbering() {
    for (wide, big) in [(true, false), (false, true)] {
        let mut writer = Writer {
            wide,
            big,
            xnum: true,
            ..Writer::default()
        };
        for number in 0..70_000u64 {
            // Every second page, so that nothing can be joined.
            let bytes = number.to_le_bytes();
            writer.segments.push((number * 0x2000, 8, bytes.to_vec()));
        }
        let image = open_bytes(&writer.write()).unwrap();
        assert_eq!(image.segments().len(), 70_000);
        for number in [0u64, 1, 65_534, 65_535, 65_536, 69_999] {
            let found = read(image.as_ref(), number * 0x2000, 8).unwrap();
            assert_eq!(found, number.to_le_bytes());
        }
        assert_eq!(
            read(image.as_ref(), 0x2008, 8),
            Err(ReadError::Absent { pa: Pa(0x2008) })
        );
    }
}

#[test]
fn adjacent_segments_are_read_across() {
    let (a, b) = (pattern(5, 0x1000), pattern(6, 0x1000));
    let writer = Writer::default().segment(0x2000, &b).segment(0x1000, &a);
    let image = open_bytes(&writer.write()).unwrap();
    assert!(image.in_place(Pa(0x1ff8), 16).is_none());
    let expected = [&a[0xff8..], &b[..8]].concat();
    assert_eq!(read(image.as_ref(), 0x1ff8, 16).unwrap(), expected);
    // Absent from the first byte that is not there, and filled up to it.
    let mut buf = [0xee; 16];
    let error = image.read(Pa(0x2ff8), &mut buf).unwrap_err();
    assert_eq!(error, ReadError::Absent { pa: Pa(0x3000) });
    assert_eq!(buf[..8], b[0xff8..]);
}

#[test]
fn of_overlapping_segments_the_first_header_wins() {
    let (a, b) = (pattern(7, 0x2000), pattern(8, 0x2000));
    let writer = Writer::default().segment(0x2000, &b).segment(0x1000, &a);
    let image = open_bytes(&writer.write()).unwrap();
    let expected = [&a[..0x1000], &b[..]].concat();
    assert_eq!(read(image.as_ref(), 0x1000, 0x3000).unwrap(), expected);
    assert!(image.describe().warnings[0].contains("overlap"));
}

#[test]
fn what_is_beyond_the_end_of_file_is_absent() {
    let writer = Writer::default()
        .segment(0x1000, &pattern(9, 0x1000))
        .segment(0x8000, &pattern(10, 0x1000))
        .segment(0x2_0000, &pattern(11, 0x1000));
    let bytes = writer.write();
    let image = open_bytes(&bytes[..bytes.len() - 0x1800]).unwrap();
    assert_eq!(
        coverage(image.as_ref()),
        [(0x1000, 0x1000), (0x8000, 0x800)]
    );
    let error = read(image.as_ref(), 0x8000, 0x1000).unwrap_err();
    assert_eq!(error, ReadError::Absent { pa: Pa(0x8800) });
    let warning = &image.describe().warnings[0];
    assert!(warning.contains("0x1800 bytes of 2 of 3"), "{warning}");
    assert!(warning.contains("0x8800"), "{warning}");
}

#[test]
fn segments_without_physical_address_are_left_out() {
    let writer = Writer::default()
        .segment(u64::MAX, &[1; 0x1000])
        .segment(0x1000, &[2; 0x1000]);
    let image = open_bytes(&writer.write()).unwrap();
    assert_eq!(coverage(image.as_ref()), [(0x1000, 0x1000)]);
}

#[test]
fn other_elf_files_are_refused() {
    for (e_type, word) in [(1, "module"), (2, "vmlinux"), (3, "program"), (9, "raw")] {
        let mut writer = Writer::default().segment(0x1000, &[1; 0x1000]);
        writer.e_type = e_type;
        let error = refusal(open_bytes(&writer.write()));
        assert_eq!(error.kind, ImageErrorKind::Unsupported);
        assert!(error.to_string().contains(word), "{error}");
    }
    let process = Writer::default()
        .segment(0, &[1; 0x1000])
        .segment(0, &[2; 0x1000]);
    let error = refusal(open_bytes(&process.write()));
    assert!(error.to_string().contains("core of a process"), "{error}");
    let error = refusal(open_bytes(&Writer::default().write()));
    assert!(error.to_string().contains("no segments"), "{error}");
}

#[test]
fn a_segment_past_the_end_of_the_addresses_is_refused() {
    let mut writer = Writer::default();
    writer
        .segments
        .push((u64::MAX - 0xfff, 0x1001, vec![1; 0x1000]));
    let error = refusal(open_bytes(&writer.write()));
    assert_eq!(error.kind, ImageErrorKind::Malformed);
    assert_eq!(error.offset, Some(64));
    // The last address itself is fine.
    writer.segments[0].1 = 0x1000;
    let image = open_bytes(&writer.write()).unwrap();
    assert_eq!(
        read(image.as_ref(), u64::MAX - 0xfff, 0x1000).unwrap(),
        vec![1; 0x1000]
    );
    let mut buf = [0; 2];
    assert!(image.read(Pa(u64::MAX), &mut buf).is_err());
}

#[test]
fn truncated_and_damaged_files_do_not_panic() {
    for (wide, big, xnum) in [(true, false, false), (false, true, true)] {
        let writer = Writer {
            wide,
            big,
            xnum,
            ..Writer::default()
        }
        .note("CORE", 1, &[1; 20])
        .segment(0x1000, &pattern(12, 0x40))
        .segment(0x2000, &pattern(13, 0x40));
        let bytes = writer.write();
        let boundaries: Vec<usize> = (0..=bytes.len()).collect();
        try_truncations(&bytes, &boundaries);
        try_damage(&bytes, 0..bytes.len() - 0x80);
    }
}

#[test]
fn claims_of_many_headers_cost_nothing() {
    let mut writer = Writer::default().segment(0x1000, &[1; 0x1000]);
    writer.xnum = true;
    let mut bytes = writer.write();
    bytes[64 + 44..64 + 48].fill(0xff);
    let error = refusal(open_bytes(&bytes));
    assert_eq!(error.kind, ImageErrorKind::Limit);
    bytes[64 + 44..64 + 48].copy_from_slice(&0x10_0000u32.to_le_bytes());
    let error = refusal(open_bytes(&bytes));
    assert_eq!(error.kind, ImageErrorKind::Truncated);
}

#[test]
fn a_file_of_gigabytes_opens_without_reading_it() {
    let folder = Folder::new();
    let mut writer = Writer::default();
    writer.segments.push((0, 4 << 30, Vec::new()));
    let mut bytes = writer.write();
    // p_filesz of the only segment.
    bytes[64 + 32..64 + 40].copy_from_slice(&(4u64 << 30).to_le_bytes());
    let path = folder.file("sparse", &bytes);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len((4 << 30) + bytes.len() as u64).unwrap();
    let start = std::time::Instant::now();
    let image = open_path(&path).unwrap();
    assert!(start.elapsed().as_millis() < 500);
    assert_eq!(coverage(image.as_ref()), [(0, 4 << 30)]);
    read_all(image.as_ref());
}
