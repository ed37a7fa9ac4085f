//! Many addresses at once against each by itself, over tables of a mode that has more of
//! them than are kept: whole, short and absent ones, leaves at every depth.

use fastwalk_core::addr::Pa;
use fastwalk_core::entries::Entries;
use fastwalk_core::image::{PhysicalMemory, RawBytes, ReadError, Segment, Stored};
use fastwalk_core::plan::{Coalesce, Plan};
use fastwalk_core::scan::Isa;
use fastwalk_core::spec::{
    Depth, EntryFormat, Exclusion, Field, Kind, Length, PathBit, Rule, Spec, Window,
};
use fastwalk_core::translate::{Status, Translations, Translator};
use fastwalk_core::visit::Span;

const P: u64 = 1;
const TABLE: u64 = 2;
const LONG: u64 = 4;
const W: u64 = 8;
const X: u64 = 16;
const REPEATED: u64 = 32;
const FIRST: u64 = 0xc0;
const ADDRESS: u64 = 0xffff_ff00;
/// Entries of a table, as a power of two, and bytes of a page, too.
const INDEX_BITS: u32 = 6;
const PAGE_BITS: u32 = 8;
const VA_BITS: u32 = PAGE_BITS + 3 * INDEX_BITS;

fn spec(format: EntryFormat) -> Spec {
    let field = |mask| vec![Field { mask, shift: 0 }];
    let rule = |mask, value, kind, pa, replicated| Rule {
        mask,
        value,
        kind,
        pa,
        offset: 0,
        replicated,
    };
    let none = rule(P, 0, Kind::None, vec![], 1);
    let other = rule(W | X, W | X, Kind::Other, vec![], 1);
    let leaf = |shift: u32| rule(0, 0, Kind::Leaf, field(ADDRESS & (u64::MAX << shift)), 1);
    let repeated = |shift: u32| {
        let pa = field(ADDRESS & (u64::MAX << (shift + 2)));
        rule(REPEATED, REPEATED, Kind::Leaf, pa, 4)
    };
    let denied = |bits, mask, value| PathBit { bits, mask, value };
    let path = vec![denied(2, W, 0), denied(4, X, 0)];
    let depths = (0..3).rev().map(|below| {
        let shift = PAGE_BITS + below * INDEX_BITS;
        let table = rule(TABLE, TABLE, Kind::Table, field(ADDRESS), 1);
        let rules = if below > 0 {
            vec![
                none.clone(),
                table,
                other.clone(),
                repeated(shift),
                leaf(shift),
            ]
        } else {
            vec![none.clone(), other.clone(), repeated(shift), leaf(shift)]
        };
        Depth {
            index_bits: INDEX_BITS,
            rules,
            attributes: W | X | LONG,
            table_path: path.clone(),
            leaf_path: path.clone(),
            format,
            // Entries from 0, 32 or 64 on, to 31, or to 63 where it is a long one: all of
            // them, some or none.
            length: (below > 0).then_some(Length {
                first: Field {
                    mask: FIRST,
                    shift: -1,
                },
                last: Field {
                    mask: LONG,
                    shift: 3,
                },
                last_add: 31,
            }),
        }
    });
    Spec {
        va_bits: VA_BITS,
        page_bits: PAGE_BITS,
        depths: depths.collect(),
        halves: vec![vec![Window {
            offset: 0,
            last: (1 << VA_BITS) - 1,
            base: 0,
        }]],
        permissions: 7,
        exclusions: vec![Exclusion {
            granted: 6,
            denied: 1,
        }],
    }
}

/// Numbers that follow from the first one.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }
}

/// Physical memory of which some is absent, and some cannot be read in place.
struct Memory {
    bytes: Vec<u8>,
    segments: Vec<Segment>,
    packed: fn(u64) -> bool,
}

const SIZE: u64 = 1 << 18;

impl Memory {
    fn new(random: &mut Random, format: EntryFormat, packed: fn(u64) -> bool) -> Self {
        let mut bytes = Vec::new();
        for _ in 0..SIZE / format.bytes as u64 {
            let entry = entry(random);
            match (format.bytes, format.big_endian) {
                (8, false) => bytes.extend(entry.to_le_bytes()),
                (8, true) => bytes.extend(entry.to_be_bytes()),
                (_, false) => bytes.extend((entry as u32).to_le_bytes()),
                (_, true) => bytes.extend((entry as u32).to_be_bytes()),
            }
        }
        let segments = [(0, SIZE / 2), (SIZE / 2 + 0x300, SIZE / 2 - 0x300)]
            .map(|(pa, len)| Segment {
                pa: Pa(pa),
                len,
                stored: Stored::Encoded,
            })
            .into();
        Self {
            bytes,
            segments,
            packed,
        }
    }

    fn bytes(&self, pa: u64, len: usize) -> Option<&[u8]> {
        let last = pa.checked_add(len as u64 - 1)?;
        self.segments
            .iter()
            .any(|segment| segment.pa.0 <= pa && last - segment.pa.0 < segment.len)
            .then(|| &self.bytes[pa as usize..][..len])
    }
}

/// Mostly an entry that leads on.
fn entry(random: &mut Random) -> u64 {
    // A few lead out of memory.
    let mut entry = random.next()
        & if random.one_in(20) {
            SIZE * 2 - 1
        } else {
            SIZE - 1
        };
    for (bit, rare) in [(P, 10), (TABLE, 3), (LONG, 8)] {
        entry = if random.one_in(rare) {
            entry & !bit
        } else {
            entry | bit
        };
    }
    for (bits, rare) in [(FIRST, 8), (REPEATED, 3)] {
        entry = if random.one_in(rare) {
            entry
        } else {
            entry & !bits
        };
    }
    entry
}

impl PhysicalMemory for Memory {
    fn in_place(&self, pa: Pa, len: usize) -> Option<RawBytes<'_>> {
        if (self.packed)(pa.0) {
            return None;
        }
        self.bytes(pa.0, len).map(RawBytes::from_slice)
    }

    fn read(&self, pa: Pa, buf: &mut [u8]) -> Result<(), ReadError> {
        let bytes = self
            .bytes(pa.0, buf.len())
            .ok_or(ReadError::Absent { pa })?;
        buf.copy_from_slice(bytes);
        Ok(())
    }

    fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// Two parts of the root's span, the first of which is shown twice.
const SPANS: [Span; 3] = [
    Span {
        root: 0,
        first: 0x1234,
        last: (1 << (VA_BITS - 1)) - 1,
        base: 0xffff_0000_0000_0000,
    },
    Span {
        root: 0,
        first: 0,
        last: (1 << VA_BITS) - 1,
        base: 0,
    },
    Span {
        root: 0,
        first: 1 << (VA_BITS - 2),
        last: (1 << VA_BITS) - 1,
        base: 0xffff_ffff_0000_0000,
    },
];

fn addresses(random: &mut Random, count: usize, near: bool) -> Vec<u64> {
    let mut vas = Vec::new();
    for _ in 0..count {
        let base = SPANS[(random.next() % 3) as usize].base;
        // A few lie outside.
        let top = VA_BITS + u32::from(random.one_in(30));
        let within = if near { 0xf_ffff } else { u64::MAX };
        vas.push(base.wrapping_add(random.next() & ((1 << top) - 1) & within));
    }
    vas
}

fn translate(translator: &Translator<'_>, vas: &[u64], detailed: bool) -> Translations {
    let bytes: Vec<u8> = vas.iter().flat_map(|va| va.to_le_bytes()).collect();
    let format = EntryFormat {
        bytes: 8,
        big_endian: false,
    };
    let vas = Entries::new(RawBytes::from_slice(&bytes), format);
    translator.translate(&vas, detailed).unwrap()
}

fn check(format: EntryFormat, packed: fn(u64) -> bool) {
    let plan = Plan::new(&spec(format), Coalesce::Attributes).unwrap();
    let mut random = Random(1 + format.bytes as u64);
    let memory = Memory::new(&mut random, format, packed);
    let mut ends = [0; 5];
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let translator = Translator::new(&plan, &memory, Pa(0), &SPANS).with_isa(isa);
        let many = [(700, true), (3000, false), (20_000, false)];
        for (count, near) in [(0, false), (1, false)].into_iter().chain(many) {
            let mut vas = addresses(&mut random, count, near);
            if random.one_in(2) {
                vas.sort_unstable();
            }
            if random.one_in(2) {
                // Many of one address in a row.
                let few = vas.clone();
                vas.fill_with(|| few[(random.next() % 100) as usize % few.len()]);
                let length = vas.len();
                vas[..length / 2].sort_unstable();
            }
            let all = translate(&translator, &vas, true);
            let some = translate(&translator, &vas, false);
            assert!(some.details.is_none());
            assert_eq!((some.pa[..].len(), &some.pa[..]), (count, &all.pa[..]));
            assert_eq!(some.status[..], all.status[..]);
            let details = all.details.unwrap();
            for (i, &va) in vas.iter().enumerate() {
                let (_, want) = translator.path(va).unwrap();
                ends[want.status as usize] += 1;
                assert_eq!(
                    (
                        all.pa[i],
                        all.status[i],
                        details.depth[i],
                        details.attributes[i],
                        details.effective[i],
                    ),
                    (
                        want.pa,
                        want.status as u8,
                        want.depth,
                        want.attributes,
                        want.effective,
                    ),
                    "{va:#x} {isa}"
                );
            }
        }
    }
    // Fewer on machines with fewer instruction sets; none would be a test of nothing.
    assert!(ends.iter().all(|&count| count > 10), "{ends:?}");
}

const FORMATS: [(usize, bool); 4] = [(8, false), (8, true), (4, false), (4, true)];

fn each_format(packed: fn(u64) -> bool) {
    for (bytes, big_endian) in FORMATS {
        check(EntryFormat { bytes, big_endian }, packed);
    }
}

#[test]
fn many_addresses_as_each_by_itself() {
    each_format(|_| false);
}

#[test]
fn tables_that_have_to_be_unpacked() {
    each_format(|_| true);
    each_format(|pa| pa >> 9 & 3 == 1);
}

#[test]
fn a_table_half_of_which_is_damaged_gives_its_other_half() {
    struct Damaged(Memory);
    impl PhysicalMemory for Damaged {
        fn in_place(&self, _: Pa, _: usize) -> Option<RawBytes<'_>> {
            None
        }
        fn read(&self, pa: Pa, buf: &mut [u8]) -> Result<(), ReadError> {
            if pa.0 + buf.len() as u64 > 0x100 {
                return Err(ReadError::Damaged {
                    pa,
                    offset: 0,
                    what: "damaged".to_owned(),
                });
            }
            self.0.read(pa, buf)
        }
        fn segments(&self) -> &[Segment] {
            self.0.segments()
        }
    }
    let format = EntryFormat {
        bytes: 8,
        big_endian: false,
    };
    let plan = Plan::new(&spec(format), Coalesce::Attributes).unwrap();
    let mut memory = Memory::new(&mut Random(3), format, |_| true);
    for entry in memory.bytes[..0x200].chunks_exact_mut(8) {
        entry.copy_from_slice(&(0x40_0000 | P).to_le_bytes());
    }
    let memory = Damaged(memory);
    let translator = Translator::new(&plan, &memory, Pa(0), &SPANS[1..2]);
    let vas: Vec<u64> = (0..1000).collect();
    let found = translate(&translator, &vas, false);
    assert!(
        found
            .status
            .iter()
            .all(|&status| status == Status::Mapped as u8)
    );
    assert!(
        found
            .pa
            .iter()
            .zip(&vas)
            .all(|(pa, va)| *pa == 0x40_0000 | va)
    );
    let far = Entries::new(
        RawBytes::from_slice(&[0xff, 0xff, 0xff, 3, 0, 0, 0, 0]),
        format,
    );
    assert!(matches!(
        translator.translate(&far, false),
        Err(ReadError::Damaged { .. })
    ));
}
