//! Snapshots of Firecracker and Cloud Hypervisor: a memory file with the guest's regions
//! one after the other, and a state file beside it that says where they belong.
//!
//! Firecracker's state file begins with a magic number; the list of regions (base and
//! size of each) is somewhere in it, where, depends on the version. Cloud Hypervisor's
//! `state.json` has it as `memory_ranges`. In both cases the sizes have to add up to
//! the length of the memory file, which tells the right list from a wrong one.

use super::beside;
use super::describe::{Description, Machine};
use super::error::{ImageError, ImageErrorKind};
use super::flat::{Flat, Piece, Place};
use super::source::{Source, Store};
use super::{Input, OpenOptions, Opened};

/// Upper 48 bits of Firecracker's `SNAPSHOT_MAGIC_ID` (`src/vmm/src/snapshot/mod.rs`),
/// and the machine they stand for; the lower 16 bits were once a version.
const FIRECRACKER: &[(u64, u16)] = &[(0x0710_1984_8664, 62), (0x0710_1984_aaaa, 183)];
/// Firecracker's own limit is 10 MB.
const MAX_STATE: u64 = 64 << 20;
const MAX_REGIONS: u64 = 64;
const PAGE_SIZE: u64 = 4096;

/// A guest's region: base address and size.
type Region = (u64, u64);

/// What a state file says.
struct State {
    kind: &'static str,
    machine: Option<u16>,
    bytes: Vec<u8>,
}

impl State {
    /// A candidate beside a memory file, if it is a state file. Of JSON files only the
    /// one with Cloud Hypervisor's name is looked at: there may be many.
    fn beside(source: &Source) -> Option<Self> {
        let store = beside::probe(source)?;
        let other_json = source
            .path()
            .is_some_and(|path| path.file_name() != Some("state.json".as_ref()));
        let state = Self::read_if(&store, !other_json)?;
        Some(state)
    }

    fn read(store: &Store) -> Option<Self> {
        Self::read_if(store, true)
    }

    fn read_if(store: &Store, json_too: bool) -> Option<Self> {
        let mut magic = [0; 8];
        store.read_at(0, &mut magic).ok()?;
        let number = u64::from_le_bytes(magic) >> 16;
        let firecracker = FIRECRACKER.iter().find(|(magic, _)| *magic == number);
        let json = magic.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let wanted = firecracker.is_some() || json && json_too;
        if !wanted || store.len() > MAX_STATE {
            return None;
        }
        let state = Self {
            kind: if json {
                "Cloud Hypervisor"
            } else {
                "Firecracker"
            },
            machine: firecracker.map(|&(_, machine)| machine),
            bytes: store.bytes(0, store.len(), "state").ok()?,
        };
        let known = firecracker.is_some() || find(&state.bytes, b"memory_ranges").is_some();
        known.then_some(state)
    }

    /// The regions of a memory file of `len` bytes.
    fn regions(&self, len: u64) -> Option<Vec<Region>> {
        if self.machine.is_some() {
            firecracker_regions(&self.bytes, len)
        } else {
            json_regions(&self.bytes).filter(|regions| fit(regions, len))
        }
    }
}

/// True if the file is a state file, or one beside it says what it is.
pub(super) fn recognize(input: &Input, options: &OpenOptions) -> bool {
    State::read(&input.store).is_some() || state_for(input, options).is_some()
}

fn state_for(input: &Input, options: &OpenOptions) -> Option<(State, Vec<Region>)> {
    beside::candidates(input, options)
        .iter()
        .filter_map(State::beside)
        .find_map(|state| {
            let regions = state.regions(input.store.len())?;
            Some((state, regions))
        })
}

/// Opens a snapshot from either of its files.
pub(super) fn open(input: Input, options: &OpenOptions) -> Opened {
    let description = Description::new("snapshot", &input);
    let Some(state) = State::read(&input.store) else {
        let (state, regions) = state_for(&input, options).ok_or_else(|| {
            let what =
                "there is no state file of Firecracker or Cloud Hypervisor beside it that fits";
            ImageError::new(ImageErrorKind::Unsupported, input.store.name(), what)
                .hint("put it there, or use --image-format raw")
        })?;
        return image(input.store, &state, &regions, description);
    };
    let memory = beside::candidates(&input, options)
        .iter()
        .find_map(|source| {
            let regions = state.regions(beside::probe(source)?.len())?;
            Some((beside::open(source, options)?, regions))
        });
    match memory {
        Some((memory, regions)) => image(memory, &state, &regions, description),
        None => Err(ImageError::new(
            ImageErrorKind::Unsupported,
            input.store.name(),
            format!(
                "is the state of a {} machine, and no memory file beside it fits",
                state.kind
            ),
        )
        .hint("give the memory file; if it is not recognised, --image-format raw --base PA")),
    }
}

fn image(memory: Store, state: &State, regions: &[Region], mut description: Description) -> Opened {
    let mut offset = 0;
    let mut pieces = Vec::new();
    for &(pa, len) in regions {
        pieces.push(Piece {
            pa,
            len,
            place: Place::File { file: 0, offset },
        });
        // `fit` looked: the sum is the length of the file.
        offset += len;
    }
    description.machine = state.machine.map(|e_machine| Machine {
        e_machine,
        class_bits: 64,
        big_endian: false,
    });
    description.detail("written by", state.kind);
    description.detail("memory file", memory.name());
    description.detail("regions", regions.len());
    description.detail("access", memory.access());
    Ok(Box::new(Flat::new(vec![memory], pieces, description)))
}

/// Whether regions are in order, whole pages, and as long together as the file.
fn fit(regions: &[Region], len: u64) -> bool {
    let mut end = 0u64;
    let mut total = 0u64;
    for &(base, size) in regions {
        let next = base.checked_add(size);
        let sum = total.checked_add(size);
        let (Some(next), Some(sum)) = (next, sum) else {
            return false;
        };
        if base < end || size == 0 || base % PAGE_SIZE != 0 || size % PAGE_SIZE != 0 {
            return false;
        }
        (end, total) = (next, sum);
    }
    total == len
}

/// The list of regions: their number, then base and size of each, and in some versions
/// the offset in the memory file; all 64 bits and little-endian.
fn firecracker_regions(state: &[u8], len: u64) -> Option<Vec<Region>> {
    let word = |at: usize| {
        let bytes = state.get(at..at.checked_add(8)?)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    };
    (0..state.len()).find_map(|at| {
        let count = word(at).filter(|count| (1..=MAX_REGIONS).contains(count))?;
        [16, 24].into_iter().find_map(|stride| {
            let regions: Option<Vec<Region>> = (0..count as usize)
                .map(|number| {
                    let region = at + 8 + number * stride;
                    Some((word(region)?, word(region + 8)?))
                })
                .collect();
            regions.filter(|regions| fit(regions, len))
        })
    })
}

/// The pairs of "gpa" and "length" that follow "memory_ranges". The JSON may be in a
/// string of another JSON, with its quotes escaped.
fn json_regions(state: &[u8]) -> Option<Vec<Region>> {
    let from = find(state, b"memory_ranges")?;
    let text: String = String::from_utf8_lossy(&state[from..])
        .chars()
        .take_while(|&c| c != ']')
        .filter(|&c| c != '\\' && !c.is_whitespace())
        .collect();
    let number = |text: &str, key: &str| -> Option<u64> {
        let from = text.find(key)? + key.len();
        let digits: String = text[from..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().ok()
    };
    text.split('{')
        .filter(|object| object.contains("\"gpa\":"))
        .map(|object| Some((number(object, "\"gpa\":")?, number(object, "\"length\":")?)))
        .collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
