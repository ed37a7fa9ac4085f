use crate::elf::Out;
use crate::support::{coverage, open_bytes, pattern, read, refusal, try_damage, try_truncations};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::ReadError;
use std::io::Write;

const PAGE: usize = 4096;

/// Writes a stream section by section.
pub struct Writer {
    out: Out,
    last: String,
}

impl Writer {
    pub fn new(machine: &str, capabilities: &[&str]) -> Self {
        let mut out = Out {
            big: true,
            bytes: b"QEVM".to_vec(),
        };
        out.put(3, 4);
        out.put(7, 1);
        out.put(machine.len() as u64, 4);
        out.bytes.extend(machine.as_bytes());
        let mut writer = Self {
            out,
            last: String::new(),
        };
        if !capabilities.is_empty() {
            writer.out.put(5, 1);
            writer.name("configuration/capabilities");
            writer.out.put(1, 4);
            writer.out.put(capabilities.len() as u64, 4);
            for capability in capabilities {
                writer.name(capability);
            }
        }
        writer
    }

    fn name(&mut self, name: &str) {
        self.out.put(name.len() as u64, 1);
        self.out.bytes.extend(name.as_bytes());
    }

    pub fn start(&mut self, blocks: &[(&str, u64)]) {
        self.out.put(1, 1);
        self.out.put(2, 4);
        self.name("ram");
        self.out.put(0, 4);
        self.out.put(4, 4);
        let total: u64 = blocks.iter().map(|(_, len)| len).sum();
        self.out.put(total | 4, 8);
        for (name, len) in blocks {
            self.name(name);
            self.out.put(*len, 8);
        }
        self.end_section();
    }

    pub fn section(&mut self, kind: u64) {
        self.out.put(kind, 1);
        self.out.put(2, 4);
    }

    pub fn end_section(&mut self) {
        self.out.put(0x10, 8);
        self.out.put(0x7e, 1);
        self.out.put(2, 4);
        self.last.clear();
    }

    fn record(&mut self, block: &str, offset: u64, flag: u64) {
        let same = self.last == block;
        self.out.put(offset | flag | if same { 0x20 } else { 0 }, 8);
        if !same {
            self.name(block);
            self.last = block.to_owned();
        }
    }

    pub fn page(&mut self, block: &str, offset: u64, bytes: &[u8]) {
        if bytes.iter().all(|&byte| byte == bytes[0]) {
            self.record(block, offset, 2);
            self.out.bytes.push(bytes[0]);
        } else {
            self.record(block, offset, 8);
            self.out.bytes.extend(bytes);
        }
    }

    /// Ends the RAM and begins the state of a device.
    pub fn finish(mut self) -> Vec<u8> {
        self.section(3);
        self.end_section();
        self.out.put(4, 1);
        self.out.bytes.extend([0; 40]);
        self.out.bytes
    }
}

const GIB: u64 = 1 << 30;

/// 4 GiB of a q35 machine, of which some pages were sent, one of them twice.
pub fn sample() -> Vec<u8> {
    let mut writer = Writer::new("pc-q35-9.2", &[]);
    // A command comes first.
    writer.out.bytes.extend([8, 0, 1, 0, 4, 1, 2, 3, 4]);
    writer.start(&[("pc.ram", 4 * GIB), ("vga.vram", 0x100_0000)]);
    writer.section(2);
    writer.page("pc.ram", 0x1000, &pattern(1, PAGE));
    writer.page("pc.ram", 0x2000, &[0; PAGE]);
    writer.page("pc.ram", 0x3000, &[0xff; PAGE]);
    writer.page("vga.vram", 0, &pattern(9, PAGE));
    writer.page("pc.ram", 2 * GIB, &pattern(2, PAGE));
    writer.end_section();
    writer.section(2);
    writer.page("pc.ram", 0x1000, &pattern(3, PAGE));
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
    encoder.write_all(&pattern(4, PAGE)).unwrap();
    let compressed = encoder.finish().unwrap();
    writer.record("pc.ram", 0x4000, 0x100);
    writer.out.put(compressed.len() as u64, 4);
    writer.out.bytes.extend(compressed);
    writer.record("pc.ram", 0x5000, 0x40);
    writer.out.bytes.extend([1, 0, 3, 7, 7, 7]);
    writer.end_section();
    writer.finish()
}

fn check(bytes: &[u8]) {
    let image = open_bytes(bytes).unwrap();
    assert_eq!(image.describe().format, "migration");
    assert_eq!(
        coverage(image.as_ref()),
        [(0x1000, 0x5000), (4 * GIB, 0x1000)]
    );
    let page = |pa| read(image.as_ref(), pa, PAGE);
    assert_eq!(page(0x1000).unwrap(), pattern(3, PAGE));
    assert_eq!(page(0x2000).unwrap(), [0; PAGE]);
    assert_eq!(page(0x3000).unwrap(), [0xff; PAGE]);
    assert_eq!(page(0x4000).unwrap(), pattern(4, PAGE));
    assert_eq!(page(4 * GIB).unwrap(), pattern(2, PAGE));
    assert!(matches!(page(0x5000), Err(ReadError::Damaged { .. })));
    assert_eq!(page(0), Err(ReadError::Absent { pa: Pa(0) }));
    assert_eq!(
        read(image.as_ref(), 0x4ff0, 16).unwrap(),
        pattern(4, PAGE)[0xff0..]
    );
    assert!(image.in_place(Pa(0x1010), 32).is_some());
}

#[test]
fn the_last_copy_of_a_page_counts() {
    check(&sample());
}

/// An s390x guest's pages lie between parts of its storage attributes.
#[test]
fn storage_attributes_are_passed_over() {
    let mut writer = Writer::new("s390-ccw-virtio-7.2", &[]);
    writer.start(&[("s390.ram", 0x10_0000)]);
    let footer = |writer: &mut Writer| {
        writer.out.put(0x7e, 1);
        writer.out.put(7, 4);
    };
    writer.out.put(1, 1);
    writer.out.put(7, 4);
    writer.name("s390-storage_attributes");
    writer.out.put(0, 4);
    writer.out.put(0, 4);
    writer.out.put(1, 8);
    footer(&mut writer);
    for round in [1, 2] {
        writer.section(2);
        writer.page("s390.ram", round * 0x1000, &pattern(round, PAGE));
        writer.end_section();
        writer.out.put(2, 1);
        writer.out.put(7, 4);
        writer.out.put(2, 8);
        writer.out.put(100, 8);
        writer.out.bytes.extend([0x10; 100]);
        writer.out.put(1, 8);
        footer(&mut writer);
    }
    let image = open_bytes(&writer.finish()).unwrap();
    assert!(image.describe().warnings.is_empty());
    assert_eq!(coverage(image.as_ref()), [(0x1000, 0x2000)]);
    assert_eq!(
        read(image.as_ref(), 0x2000, PAGE).unwrap(),
        pattern(2, PAGE)
    );
}

#[test]
fn libvirt_images_plain_and_compressed() {
    let xml = b"<domain type='kvm'/>";
    for big in [false, true] {
        let mut out = Out {
            big,
            bytes: b"LibvirtQemudSave".to_vec(),
        };
        for value in [2, xml.len() as u64, 1, 0, 0] {
            out.put(value, 4);
        }
        out.bytes.resize(92, 0);
        out.bytes.extend(xml);
        check(&[&out.bytes[..], &sample()].concat());
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(&sample()).unwrap();
        let gzipped = encoder.finish().unwrap();
        check(&[&out.bytes[..], &gzipped].concat());
        let image = open_bytes(&[&out.bytes[..], &sample()].concat()).unwrap();
        assert_eq!(image.describe().details[0].1, "libvirt save image");
        let error = refusal(open_bytes(&[&out.bytes[..], &[1; 64]].concat()));
        assert!(error.to_string().contains("neither plain"), "{error}");
        try_truncations(&out.bytes, &[16, 20, 24, 92, 100]);
    }
    let partial = [&b"LibvirtQemudPart\x02\0\0\0"[..], &[0; 72], &sample()].concat();
    let image = open_bytes(&partial).unwrap();
    assert!(image.describe().warnings[0].contains("did not finish"));
}

/// A block of `count` pages of which some are stored; the others hold what was there before,
/// if `stale`. With the place of the bitmap.
fn mapped_sample(count: u64, present: &[u64], big_endian: bool, stale: bool) -> (Vec<u8>, usize) {
    let len = count * PAGE as u64;
    let mut writer = Writer::new("virt-9.2", &["x-ignore-shared", "mapped-ram"]);
    writer.out.put(1, 1);
    writer.out.put(2, 4);
    writer.name("ram");
    writer.out.put(0, 4);
    writer.out.put(4, 4);
    writer.out.put(len | 4, 8);
    writer.name("mach-virt.ram");
    writer.out.put(len, 8);
    writer.out.put(0x4000_0000, 8);
    let bitmap_at = writer.out.bytes.len() + 28;
    let pages_at = 0x2000;
    writer.out.put(1, 4);
    writer.out.put(PAGE as u64, 8);
    writer.out.put(bitmap_at as u64, 8);
    writer.out.put(pages_at, 8);
    for first in (0..count).step_by(64) {
        let here = present.iter().filter(|page| *page / 64 == first / 64);
        let bits = here.fold(0u64, |bits, page| bits | 1 << (page % 64));
        writer.out.bytes.extend(match big_endian {
            true => bits.to_be_bytes(),
            false => bits.to_le_bytes(),
        });
    }
    writer.out.bytes.resize(pages_at as usize, 0);
    for page in 0..count {
        let bytes = match present.contains(&page) {
            true => pattern(page + 1, PAGE),
            false => vec![if stale { 0xdd } else { 0 }; PAGE],
        };
        writer.out.bytes.extend(bytes);
    }
    writer.end_section();
    (writer.finish(), bitmap_at)
}

fn check_mapped(bytes: &[u8], count: u64, present: &[u64]) {
    let image = open_bytes(bytes).unwrap();
    let len = count * PAGE as u64;
    assert_eq!(coverage(image.as_ref()), [(0x4000_0000, len)]);
    for page in 0..count {
        let found = read(image.as_ref(), 0x4000_0000 + page * PAGE as u64, PAGE).unwrap();
        match present.contains(&page) {
            true => assert_eq!(found, pattern(page + 1, PAGE)),
            false => assert_eq!(found, [0; PAGE]),
        }
    }
}

#[test]
fn mapped_ram() {
    let present = [0, 1, 2, 9, 39];
    let (bytes, bitmap_at) = mapped_sample(40, &present, false, true);
    check_mapped(&bytes, 40, &present);
    let boundaries = [
        8,
        40,
        60,
        bitmap_at - 28,
        bitmap_at,
        bitmap_at + 8,
        0x2000,
        0x3000,
    ];
    try_truncations(&bytes, &boundaries);
    try_damage(&bytes, 8..bitmap_at + 8);
}

/// The bitmaps are in words of the host that wrote them.
#[test]
fn mapped_ram_of_a_big_endian_host() {
    let present = [0, 1, 2, 9, 39];
    let (bytes, _) = mapped_sample(40, &present, true, true);
    check_mapped(&bytes, 40, &present);
    // Whole words: the pages tell.
    let present = [3, 64, 65, 127, 190];
    for big_endian in [false, true] {
        let (bytes, _) = mapped_sample(192, &present, big_endian, false);
        check_mapped(&bytes, 192, &present);
    }
}

#[test]
fn streams_that_end_early_keep_what_was_read() {
    let bytes = sample();
    let image = open_bytes(&bytes[..bytes.len() - 400]).unwrap();
    assert!(image.describe().warnings[0].contains("absent"));
    assert_eq!(read(image.as_ref(), 0x2000, PAGE).unwrap(), [0; PAGE]);
}

#[test]
fn sections_that_cannot_be_passed_over() {
    let mut writer = Writer::new("pc-i440fx-9.2", &[]);
    writer.out.put(1, 1);
    writer.out.put(1, 4);
    writer.name("block");
    writer.out.put(0, 4);
    writer.out.put(1, 4);
    let error = refusal(open_bytes(&writer.finish()));
    assert!(error.to_string().contains("\"block\""), "{error}");
    let error = refusal(open_bytes(b"QEVM\0\0\0\x03\0"));
    assert!(error.to_string().contains("no RAM section"), "{error}");
}

#[test]
fn hostile_streams() {
    let bytes = sample();
    let ram = bytes.windows(3).position(|name| name == b"ram").unwrap();
    try_truncations(&bytes, &(0..ram + 80).collect::<Vec<_>>());
    try_damage(&bytes, 4..ram + 90);
}
