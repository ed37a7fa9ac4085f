use crate::support::{coverage, open_bytes, pattern, read, refusal, try_damage, try_truncations};

const PAGE: usize = 4096;

/// A core as `xl dump-core` writes it: sections, no segments.
pub fn write(table: (&str, Vec<u8>), pages: &[u8], context: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [4u32, 32, 0x0200_0001] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    for word in [0xf00f_ebedu64, 1, (pages.len() / PAGE) as u64, PAGE as u64] {
        note.extend(word.to_le_bytes());
    }
    let names = [
        "",
        ".shstrtab",
        ".note.Xen",
        ".xen_prstatus",
        table.0,
        ".xen_pages",
    ];
    let strings = names.join("\0").into_bytes();
    let contents: [&[u8]; 6] = [&[], &strings, &note, context, &table.1, pages];
    let headers = 64 * names.len();
    let mut body: Vec<u8> = Vec::new();
    let mut out = b"\x7fELF\x02\x01\x01".to_vec();
    out.resize(16, 0);
    for value in [4u16, 62] {
        out.extend(value.to_le_bytes());
    }
    out.extend(1u32.to_le_bytes());
    out.extend([0; 16]);
    out.extend(64u64.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    for value in [64u16, 0, 0, 64, names.len() as u16, 1] {
        out.extend(value.to_le_bytes());
    }
    assert_eq!(out.len(), 64);
    let mut name_at = 0;
    for (name, content) in names.iter().zip(contents) {
        let offset = 64 + headers + body.len();
        out.extend((name_at as u32).to_le_bytes());
        out.extend([0; 20]);
        out.extend((offset as u64).to_le_bytes());
        out.extend((content.len() as u64).to_le_bytes());
        out.extend([0; 24]);
        body.extend(content);
        name_at += name.len() + 1;
    }
    out.extend(body);
    out
}

pub fn words(values: &[u64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[test]
fn guests_that_see_physical_addresses() {
    let pages = pattern(1, 4 * PAGE);
    let bytes = write((".xen_pfn", words(&[0, 1, 0x100, u64::MAX])), &pages, &[]);
    let image = open_bytes(&bytes).unwrap();
    assert_eq!(image.describe().format, "xen");
    assert_eq!(coverage(image.as_ref()), [(0, 0x2000), (0x10_0000, 0x1000)]);
    assert_eq!(read(image.as_ref(), 0, 0x2000).unwrap(), pages[..0x2000]);
    assert_eq!(
        read(image.as_ref(), 0x10_0000, PAGE).unwrap(),
        pages[0x2000..0x3000]
    );
}

#[test]
fn pv_guests_are_read_by_machine_address() {
    let pages = pattern(2, 3 * PAGE);
    let table = words(&[0, 0x5000, 1, 0x4fff, 2, 0x5001]);
    let mut context = vec![0; 5168];
    context[4984 + 24..4984 + 32].copy_from_slice(&0x500_0000u64.to_le_bytes());
    let image = open_bytes(&write((".xen_p2m", table), &pages, &context)).unwrap();
    assert_eq!(coverage(image.as_ref()), [(0x4ff_f000, 0x3000)]);
    assert_eq!(
        read(image.as_ref(), 0x500_0000, PAGE).unwrap(),
        pages[..PAGE]
    );
    assert_eq!(
        read(image.as_ref(), 0x4ff_f000, PAGE).unwrap(),
        pages[PAGE..2 * PAGE]
    );
    let registers = &image.describe().registers;
    let cr3 = registers.iter().find(|register| register.name == "cr3");
    assert_eq!(cr3.unwrap().value, 0x500_0000);
    assert!(
        image
            .describe()
            .details
            .iter()
            .any(|(_, value)| value.contains("PV"))
    );
}

#[test]
fn hostile_cores() {
    let bytes = write(
        (".xen_pfn", words(&[0, 1, 0x100])),
        &pattern(3, 3 * PAGE),
        &[],
    );
    try_truncations(&bytes, &(0..600).step_by(7).collect::<Vec<_>>());
    try_damage(&bytes, 16..64 + 6 * 64);
    let far = write((".xen_pfn", words(&[u64::MAX / 2])), &[0; PAGE], &[]);
    let error = refusal(open_bytes(&far));
    assert!(error.to_string().contains("page frame"), "{error}");
}
