//! Every instruction set that the machine has, against a scan that anyone can read.

use super::{Bitmaps, Isa, Masks, ROOM, Scan, WORDS};
use crate::entries::Entries;
use crate::image::RawBytes;
use crate::spec::EntryFormat;

/// The reference: one pair after the other, on decoded entries.
fn naive(entries: &[u64], masks: &Masks) -> (Vec<bool>, Vec<bool>) {
    let mut ends = vec![true; entries.len()];
    let mut jumps = vec![false; entries.len()];
    for i in 0..entries.len() - 1 {
        let (here, next) = (entries[i], entries[i + 1]);
        let zero = |e: u64| masks.zero != 0 && e & masks.zero == 0;
        ends[i] = (here ^ next) & masks.key != 0 || zero(here) != zero(next);
        jumps[i] = masks.address != 0
            && (next & masks.address).wrapping_sub(here & masks.address) != masks.step;
    }
    (ends, jumps)
}

/// xorshift64*: tests need no more.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Tables with long runs, short runs, zeros and noise.
fn entries(random: &mut Random, len: usize, format: EntryFormat) -> Vec<u64> {
    let limit = if format.bytes == 4 {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    };
    let mut out = Vec::new();
    while out.len() < len {
        let run = (random.next() % 90 + 1) as usize;
        let start = random.next() & limit;
        let step = [0, 0x1000, 1, 0][(random.next() % 4) as usize];
        let start = if random.next().is_multiple_of(3) {
            0
        } else {
            start
        };
        for i in 0..run as u64 {
            out.push(start.wrapping_add(i * step) & limit);
        }
    }
    out.truncate(len);
    out
}

fn to_bytes(entries: &[u64], format: EntryFormat, misalign: usize) -> Vec<u8> {
    let mut out = vec![0xa5; misalign];
    for &entry in entries {
        let bytes = if format.big_endian {
            entry.to_be_bytes()
        } else {
            entry.to_le_bytes()
        };
        match (format.bytes, format.big_endian) {
            (8, _) => out.extend(bytes),
            (_, true) => out.extend(&bytes[4..]),
            (_, false) => out.extend(&bytes[..4]),
        }
    }
    out
}

fn check(isa: Isa) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let all_masks = [
        Masks {
            key: !0,
            ..Masks::default()
        },
        Masks {
            key: 0xfff0_0000_0000_0fff,
            zero: !0x60,
            ..Masks::default()
        },
        Masks {
            key: 0x1ff,
            zero: 0,
            address: 0x000f_ffff_ffff_f000,
            step: 0x1000,
        },
        Masks {
            key: 0x8000_0fff,
            zero: 0xffff_ffff,
            address: 0x7fff_f000,
            step: 0x1000,
        },
    ];
    for bytes in [4, 8] {
        for big_endian in [false, true] {
            let format = EntryFormat { bytes, big_endian };
            for len in [
                1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 256, 512, 2048,
            ] {
                for round in 0..6 {
                    let table = entries(&mut random, len, format);
                    let misalign = (round * 3) % 8;
                    let raw = to_bytes(&table, format, misalign);
                    for masks in &all_masks {
                        let masks = if bytes == 4 {
                            Masks {
                                key: masks.key & 0xffff_ffff,
                                zero: masks.zero & 0xffff_ffff,
                                address: masks.address & 0xffff_ffff,
                                step: masks.step,
                            }
                        } else {
                            *masks
                        };
                        compare(isa, format, &table, &raw[misalign..], &masks);
                    }
                }
            }
        }
    }
}

fn compare(isa: Isa, format: EntryFormat, table: &[u64], raw: &[u8], masks: &Masks) {
    let words = table.len().div_ceil(64);
    // Bits that the scan has to clear, not only to set.
    let (mut ends, mut jumps, mut zeros) = (vec![!0; words], vec![!0; words], vec![!0; words]);
    let view = Entries::new(RawBytes::from_slice(raw), format);
    let scan = Scan::new(isa, format, *masks);
    let mut out = Bitmaps {
        ends: &mut ends,
        jumps: &mut jumps,
        zeros: &mut zeros,
    };
    let uniform = scan.run(&view, 1, &view, &mut out) > 0;
    let (want_ends, want_jumps) = naive(table, masks);
    let breaks = want_ends[..table.len() - 1]
        .iter()
        .chain(&want_jumps)
        .any(|&b| b);
    assert_eq!(uniform, !breaks);
    let bit = |map: &[u64], i: usize| map[i / 64] >> (i % 64) & 1 != 0;
    for i in 0..if uniform { 0 } else { words * 64 } {
        let want = |of: &[bool]| of.get(i).copied().unwrap_or(false);
        // Only made when it is printed: formatting is what would take most of the time.
        let place = || format!("{isa} {format:?} {masks:x?} len {} entry {i}", table.len());
        assert_eq!(bit(&ends, i), want(&want_ends), "ends: {}", place());
        if table.len() > 1 {
            assert_eq!(bit(&jumps, i), want(&want_jumps), "jumps: {}", place());
        }
        if table.len() > 1 && masks.zero != 0 {
            let want = table.get(i).is_some_and(|e| e & masks.zero == 0);
            assert_eq!(bit(&zeros, i), want, "zeros: {}", place());
        }
    }
    let mut hits = vec![!0; words];
    for value in [0, table[0] & masks.key, table[table.len() / 2] & masks.key] {
        scan.sift(&view, masks.key, value, &mut hits);
        for i in 0..words * 64 {
            let want = table.get(i).is_some_and(|e| e & masks.key == value);
            assert_eq!(bit(&hits, i), want, "sift: {isa} {format:?} entry {i}");
        }
    }
}

/// How many of the tables in `entries` are one run together, from the first one on.
fn naive_count(entries: &[u64], len: usize, masks: &Masks) -> usize {
    let whole = |count: &usize| {
        let (ends, jumps) = naive(&entries[..count * len], masks);
        !ends[..count * len - 1].iter().chain(&jumps).any(|&bit| bit)
    };
    (1..=entries.len() / len).take_while(whole).count()
}

#[test]
fn tables_behind_each_other_are_one_run_as_far_as_they_go() {
    let mut random = Random(0x0dd0_5eed_1234_5678);
    let mut seen = [0; 5];
    for bytes in [4, 8] {
        for big_endian in [false, true] {
            let format = EntryFormat { bytes, big_endian };
            let limit = if bytes == 4 { 0xffff_ffff } else { !0 };
            for len in [1, 4, 16, 32, 64, 100, 128, 512] {
                for round in 0..24 {
                    let step = if round % 2 == 0 { 0x1000 } else { 0 };
                    let masks = Masks {
                        key: 0xfff,
                        zero: if round % 3 == 0 { limit } else { 0 },
                        address: if round % 4 == 0 { limit & !0xfff } else { 0 },
                        step: 0x1000,
                    };
                    let start = random.next() & 0x3fff_f000 | round & 1;
                    let mut table: Vec<u64> =
                        (0..4 * len as u64).map(|i| start + i * step).collect();
                    // One that is different, or none.
                    let odd = random.next() as usize % (5 * len);
                    if let Some(odd) = table.get_mut(odd) {
                        *odd ^= [0x1000, 3][(random.next() % 2) as usize];
                    }
                    let raw = to_bytes(&table, format, 0);
                    let tables = Entries::new(RawBytes::from_slice(&raw), format);
                    let first = RawBytes::from_slice(&raw[..len * bytes]);
                    let first = Entries::new(first, format);
                    let want = naive_count(&table, len, &masks);
                    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                        let scan = Scan::new(isa, format, masks);
                        let mut words = vec![0; 3 * len.div_ceil(64)];
                        let count = scan.run(&tables, 4, &first, &mut Bitmaps::of(&mut words));
                        let told = masks.zero == 0 || start & masks.key != 0;
                        let at_once = told && len % 64 == 0;
                        let place = format!("{isa} {format:?} {masks:x?} len {len}");
                        let most = if at_once { 4 } else { 1 };
                        assert_eq!(count, want.min(most), "{place} odd {odd}");
                        seen[count] += 1;
                    }
                }
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
}

/// What the processor says it has, read by other means than [`Isa::is_available`], so
/// that an instruction set which should have been tested cannot be left out unseen.
/// Under user-mode emulation /proc/cpuinfo is the host's: other architectures' flags do
/// not count.
fn machine_has(isa: Isa) -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| {
        cfg!(target_arch = "x86_64") && flags.split_whitespace().any(|word| word == flag)
    };
    // Linux calls lzcnt by AMD's name for what brought it.
    let counts = ["popcnt", "bmi1", "bmi2", "abm"].into_iter().all(has);
    match isa {
        Isa::Scalar => true,
        Isa::Avx2 => has("avx2") && counts,
        Isa::Avx512 => has("avx512f") && has("avx512bw") && counts,
        Isa::Neon => cfg!(target_arch = "aarch64"),
    }
}

#[test]
fn every_isa_of_this_machine_agrees_with_the_naive_scan() {
    for isa in Isa::ALL {
        let run = isa.is_available();
        assert_eq!(
            run,
            machine_has(isa),
            "{isa} should have been tested, and was not"
        );
        if run {
            check(isa);
            // `make test-neon` looks for this line.
            println!("scanned with {isa}");
        }
    }
}

#[test]
fn every_isa_lists_the_bits_that_are_set() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for round in 0..200 {
        let words: [u64; WORDS] = std::array::from_fn(|_| match round % 4 {
            0 => random.next(),
            1 => random.next() & random.next() & random.next(),
            2 => [0, !0, 1, 1 << 63][(random.next() % 4) as usize],
            _ => !random.next() | random.next(),
        });
        let bits = (0..64 * WORDS).filter(|bit| words[bit / 64] >> (bit % 64) & 1 != 0);
        let want: Vec<u32> = bits.map(|bit| 1000 + bit as u32).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut out = vec![7; 3 + want.len() + ROOM];
            let end = isa.list(&words, 1000, &mut out, 3);
            assert_eq!(end, 3 + want.len());
            assert_eq!(out[..3], [7; 3]);
            assert_eq!(out[3..end], want, "{isa}");
        }
    }
}
