//! VMware snapshots and suspended machines: memory in a `.vmem` file, and what it means
//! in the `.vmss` or `.vmsn` beside it (older versions have the memory in there too).
//!
//! The state file: magic, version, number of groups; 80 bytes a group (name, offset,
//! size); each group a list of tags. A tag is 16 bits: length of the name, number of
//! indices, size of the value. Known from the crash utility's `vmware_vmss.h` and from
//! volatility3 `vmware.py`. Group `memory` has the regions, group `cpu` the registers.

use super::beside;
use super::cursor::Cursor;
use super::describe::{Description, Machine, Register};
use super::error::{ImageError, ImageErrorKind};
use super::flat::{Flat, Piece, Place};
use super::source::Store;
use super::{Input, OpenOptions, Opened};

/// Old, current, partial, restored, and not to be restored.
const MAGICS: [u32; 5] = [
    0xbed0_bed0,
    0xbed2_bed2,
    0xbed3_bed3,
    0xbad1_bad1,
    0xbad2_bad2,
];
const PAGE_SIZE: u64 = 4096;
const MAX_GROUPS: u32 = 4096;
const MAX_REGIONS: usize = 4096;
const MAX_REGISTERS: usize = 1 << 16;
/// Sizes of a value that mean a block, and a compressed block.
const BLOCK: u16 = 0x3f;
const COMPRESSED_BLOCK: u16 = 0x3e;

/// True for a state file, and for a file with one beside it.
pub(super) fn recognize(input: &Input, options: &OpenOptions) -> bool {
    is_state(&input.store)
        || beside::same_stem(input, options)
            .iter()
            .any(|source| beside::probe(source).is_some_and(|store| is_state(&store)))
}

fn is_state(store: &Store) -> bool {
    let mut magic = [0; 4];
    store.read_at(0, &mut magic).is_ok() && MAGICS.contains(&u32::from_le_bytes(magic))
}

/// Opens a snapshot from either of its files.
pub(super) fn open(input: Input, options: &OpenOptions) -> Opened {
    let mut description = Description::new("vmware", &input);
    let others = || {
        beside::same_stem(&input, options)
            .into_iter()
            .filter_map(|source| beside::open(&source, options))
    };
    if !is_state(&input.store) {
        let state = others().find(is_state).ok_or_else(|| {
            let what = "there is no .vmss or .vmsn file of VMware beside it";
            ImageError::new(ImageErrorKind::Unsupported, input.store.name(), what)
                .hint("put it there, or use --image-format raw")
        })?;
        let parsed = State::read(&state)?;
        return image(input.store, 0, &parsed, description);
    }
    let parsed = State::read(&input.store)?;
    if let Some((offset, len)) = parsed.memory {
        if len < parsed.regions_end() {
            description.warn("the memory in the state file is shorter than its regions");
        }
        return image(input.store, offset, &parsed, description);
    }
    let memory = others()
        .filter(|store| !is_state(store))
        .max_by_key(Store::len)
        .ok_or_else(|| {
            let what = "holds no memory, and there is no .vmem file of the same name beside it";
            ImageError::new(ImageErrorKind::Unsupported, input.store.name(), what)
                .hint("copy the .vmem file too")
        })?;
    image(memory, 0, &parsed, description)
}

fn image(memory: Store, start: u64, state: &State, mut description: Description) -> Opened {
    let mut pieces = Vec::new();
    for region in &state.regions {
        if region.pages == 0 {
            continue;
        }
        let place = |page: u32| u64::from(page) * PAGE_SIZE;
        pieces.push(Piece {
            pa: place(region.ppn),
            len: place(region.pages),
            place: Place::File {
                file: 0,
                offset: start.saturating_add(place(region.page)),
            },
        });
    }
    if pieces.is_empty() {
        pieces.push(Piece {
            pa: 0,
            len: state
                .memory
                .map_or(memory.len(), |(_, len)| len.min(memory.len() - start)),
            place: Place::File {
                file: 0,
                offset: start,
            },
        });
    }
    pieces.retain(|piece| piece.len > 0);
    description.machine = Some(Machine {
        e_machine: 62,
        class_bits: 64,
        big_endian: false,
    });
    description.registers.clone_from(&state.registers);
    description.detail("memory file", memory.name());
    description.detail("regions", state.regions.len());
    description.detail("access", memory.access());
    Ok(Box::new(Flat::new(vec![memory], pieces, description)))
}

/// A run of memory, in pages.
#[derive(Debug, Clone, Copy, Default)]
struct Region {
    /// First page in the file.
    page: u32,
    /// First page of physical memory.
    ppn: u32,
    pages: u32,
}

/// What is used of a state file.
#[derive(Default)]
struct State {
    regions: Vec<Region>,
    /// Offset and length of the memory, if it is in this file.
    memory: Option<(u64, u64)>,
    registers: Vec<Register>,
}

impl State {
    fn read(store: &Store) -> Result<Self, ImageError> {
        let mut state = Self::default();
        let mut cursor = Cursor { store, at: 8 };
        let groups = cursor.le32("number of groups")?;
        if groups > MAX_GROUPS {
            let what = format!("{groups} groups; at most {MAX_GROUPS} are read");
            return Err(ImageError::new(ImageErrorKind::Limit, store.name(), what).at(8));
        }
        for _ in 0..groups {
            let name = cursor.text(64, "group")?;
            let name = name.trim_end_matches('\0');
            let (at, size) = (cursor.le64("group offset")?, cursor.le64("group size")?);
            if name != "memory" && name != "cpu" {
                continue;
            }
            let end = at.saturating_add(size).min(store.len());
            let mut tags = Cursor { store, at };
            while tags.at < end {
                if !state.tag(&mut tags, name)? {
                    break;
                }
            }
        }
        // Only the regions that were counted are used.
        state.regions.retain(|region| region.pages > 0);
        Ok(state)
    }

    fn regions_end(&self) -> u64 {
        let end = |region: &Region| u64::from(region.page) + u64::from(region.pages);
        self.regions.iter().map(end).max().unwrap_or(0) * PAGE_SIZE
    }

    /// Reads a tag; false for the one that ends the group.
    fn tag(&mut self, cursor: &mut Cursor<'_>, group: &str) -> Result<bool, ImageError> {
        let tag = cursor.le16("tag")?;
        if tag == 0 {
            return Ok(false);
        }
        let (name_len, indices, size) = (tag >> 8, tag >> 6 & 3, tag & 0x3f);
        let name = cursor.text(name_len.into(), "name of a tag")?;
        let mut index = [0; 3];
        for index in index.iter_mut().take(indices.into()) {
            *index = cursor.le32("index of a tag")?;
        }
        if size == BLOCK || size == COMPRESSED_BLOCK {
            let len = cursor.le64("size of a block")?;
            cursor.le64("size of a block in memory")?;
            let padding = cursor.le16("padding of a block")?;
            cursor.skip(padding.into(), "padding of a block")?;
            if group == "memory" && name == "Memory" && len > 0 {
                if size == COMPRESSED_BLOCK {
                    let what = "the memory in it is compressed by VMware, which is not read";
                    return Err(ImageError::new(
                        ImageErrorKind::Unsupported,
                        cursor.store.name(),
                        what,
                    )
                    .at(cursor.at)
                    .hint("convert it with VMware's vmss2core"));
                }
                self.memory = Some((cursor.at, len));
            }
            // The last block may be cut off: its pages are then absent.
            cursor.at = cursor.at.saturating_add(len);
            return Ok(true);
        }
        let bytes = cursor
            .store
            .bytes(cursor.at, size.into(), "value of a tag")?;
        cursor.at += u64::from(size);
        let mut value = [0; 8];
        let len = bytes.len().min(8);
        value[..len].copy_from_slice(&bytes[..len]);
        self.value(group, &name, index, u64::from_le_bytes(value));
        Ok(true)
    }

    fn value(&mut self, group: &str, name: &str, index: [u32; 3], value: u64) {
        if group == "cpu" {
            if name == "CR64" && self.registers.len() < MAX_REGISTERS {
                self.registers.push(Register {
                    cpu: index[0],
                    name: format!("cr{}", index[1]),
                    value,
                });
            }
            return;
        }
        let number = index[0] as usize;
        if !name.starts_with("region") || number >= MAX_REGIONS {
            return;
        }
        if self.regions.len() <= number {
            self.regions.resize(number + 1, Region::default());
        }
        let region = &mut self.regions[number];
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        match name {
            "regionPageNum" => region.page = value,
            "regionPPN" => region.ppn = value,
            "regionSize" => region.pages = value,
            _ => {}
        }
    }
}
