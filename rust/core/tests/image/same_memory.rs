//! One memory in every format: the same bytes come out, and the same is absent.

use crate::kdump::{Pack, Page};
use crate::support::{coverage, open_bytes, pattern, read};
use crate::{avml, elf, kdump, lime, migration, vmware, windows, xen};
use fastwalk_core::addr::Pa;
use fastwalk_core::image::ReadError;
use std::io::Write;

const PAGE: usize = 4096;
/// Runs of memory: first page and number of pages.
const RUNS: [(u64, u64); 3] = [(1, 7), (0x10, 3), (0x100, 6)];

/// The bytes of a run: some pages noise, some zeros, some in between.
fn bytes_of((first, count): (u64, u64)) -> Vec<u8> {
    (first..first + count)
        .flat_map(|page| match page % 3 {
            0 => vec![0; PAGE],
            1 => pattern(page, PAGE),
            _ => kdump::soft_page(page),
        })
        .collect()
}

fn all_pages() -> impl Iterator<Item = u64> {
    RUNS.into_iter()
        .flat_map(|(first, count)| first..first + count)
}

fn pa(page: u64) -> u64 {
    page * PAGE as u64
}

fn as_elf(wide: bool, big: bool) -> Vec<u8> {
    let mut writer = elf::Writer {
        wide,
        big,
        padding: 5,
        ..elf::Writer::default()
    };
    for run in RUNS {
        writer = writer.segment(pa(run.0), &bytes_of(run));
    }
    writer.write()
}

fn as_kdump(wide: bool, big: bool, pack: Pack) -> Vec<u8> {
    let mut pages = vec![Page::Hole; 0x110];
    for run in RUNS {
        for (page, bytes) in (run.0..).zip(bytes_of(run).chunks(PAGE)) {
            pages[page as usize] = if bytes.iter().all(|&byte| byte == 0) {
                Page::Excluded
            } else {
                Page::Stored(pack, bytes.to_vec())
            };
        }
    }
    let level = 1;
    kdump::Writer {
        wide,
        big,
        level,
        pages,
        ..kdump::Writer::default()
    }
    .write()
}

fn as_migration() -> Vec<u8> {
    let mut writer = migration::Writer::new("pc-i440fx-9.2", &[]);
    writer.start(&[("pc.ram", 1 << 30)]);
    writer.section(2);
    for run in RUNS {
        for (page, bytes) in (run.0..).zip(bytes_of(run).chunks(PAGE)) {
            writer.page("pc.ram", pa(page), bytes);
        }
    }
    writer.end_section();
    writer.finish()
}

fn as_vmware() -> Vec<u8> {
    let mut page = 0;
    let mut list = Vec::new();
    for (first, count) in RUNS {
        list.push((page, first as u32, count as u32));
        page += count as u32;
    }
    let memory: Vec<u8> = RUNS.into_iter().flat_map(bytes_of).collect();
    let tags = [
        vmware::regions(&list),
        vmware::block("Memory", false, &memory),
    ];
    vmware::state(&[("memory", tags.concat())])
}

fn every_format() -> Vec<(&'static str, Vec<u8>)> {
    let memory: Vec<u8> = RUNS.into_iter().flat_map(bytes_of).collect();
    let pages: Vec<u64> = all_pages().collect();
    let runs: Vec<(u64, Vec<u8>)> = RUNS
        .into_iter()
        .map(|run| (pa(run.0), bytes_of(run)))
        .collect();
    let slices: Vec<(u64, &[u8])> = runs.iter().map(|(pa, bytes)| (*pa, &bytes[..])).collect();
    vec![
        ("elf", as_elf(true, false)),
        ("elf", as_elf(true, true)),
        ("elf", as_elf(false, false)),
        ("elf", as_elf(false, true)),
        ("elf", kdump::flatten(&as_elf(true, false), 777)),
        ("kdump", as_kdump(true, false, Pack::Zlib)),
        ("kdump", as_kdump(true, true, Pack::Lzo)),
        ("kdump", as_kdump(false, false, Pack::Snappy)),
        ("kdump", as_kdump(false, true, Pack::Zstd)),
        (
            "kdump",
            kdump::flatten(&as_kdump(true, false, Pack::None), 16 << 10),
        ),
        ("lime", lime::write(false, &slices)),
        ("lime", lime::write(true, &slices)),
        (
            "avml",
            slices
                .iter()
                .flat_map(|(pa, bytes)| avml::block(*pa, bytes))
                .collect(),
        ),
        (
            "windows",
            [windows::header(1, &RUNS), memory.clone()].concat(),
        ),
        ("windows", windows::bitmap(5, &pages, &memory)),
        (
            "xen",
            xen::write((".xen_pfn", xen::words(&pages)), &memory, &[]),
        ),
        ("migration", as_migration()),
        ("vmware", as_vmware()),
    ]
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_same_bytes_and_the_same_holes() {
    let covered: Vec<(u64, u64)> = RUNS
        .into_iter()
        .map(|(first, count)| (pa(first), pa(count)))
        .collect();
    for (format, plain) in every_format() {
        for bytes in [gzipped(&plain), plain] {
            let image = open_bytes(&bytes).unwrap();
            let image = image.as_ref();
            assert_eq!(image.describe().format, format);
            assert_eq!(image.describe().warnings, [""; 0], "{format}");
            assert_eq!(coverage(image), covered, "{format}");
            for run in RUNS {
                let expected = bytes_of(run);
                assert_eq!(read(image, pa(run.0), expected.len()).unwrap(), expected);
                let end = pa(run.0 + run.1);
                assert_eq!(
                    read(image, end - 8, 16),
                    Err(ReadError::Absent { pa: Pa(end) }),
                    "{format}"
                );
            }
            assert_eq!(read(image, 0, 8), Err(ReadError::Absent { pa: Pa(0) }));
        }
    }
}
