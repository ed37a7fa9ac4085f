//! Where QEMU's machines put their RAM blocks: a migration stream names blocks and
//! offsets in them, not physical addresses.

/// A RAM block as the stream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RamBlock {
    pub(super) name: String,
    pub(super) len: u64,
    /// Where the machine has it.
    pub(super) parts: Vec<BlockPart>,
}

/// A part of a block that lies in one piece of physical memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockPart {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) pa: u64,
}

impl RamBlock {
    /// The physical address of an offset; None if the block is no main memory.
    pub(super) fn pa(&self, offset: u64) -> Option<u64> {
        let part = self
            .parts
            .iter()
            .find(|part| offset >= part.offset && offset - part.offset < part.len)?;
        Some(part.pa + (offset - part.offset))
    }
}

/// How a machine lays out its main memory.
#[derive(Debug, Clone, Copy)]
enum Map {
    /// All of it from an address on.
    At(u64),
    /// On a PC: if it reaches `limit`, the part from `split` on is moved to 4 GiB.
    Pc { limit: u64, split: u64 },
}

/// i440fx, q35 and microvm: QEMU `hw/i386/pc_piix.c`, `pc_q35.c`, `microvm.c`.
const I440FX: Map = Map::Pc {
    limit: 0xe000_0000,
    split: 0xc000_0000,
};
const Q35: Map = Map::Pc {
    limit: 0xb000_0000,
    split: 0x8000_0000,
};

/// Machines by the beginning of their name, the first that fits.
/// `hw/arm/virt.c`, `hw/arm/sbsa-ref.c`, `hw/riscv/virt.c` (`virt_memmap`), and the
/// s390x and pseries machines, which begin at 0.
const MACHINES: &[(&str, Map)] = &[
    ("pc-q35", Q35),
    ("q35", Q35),
    ("microvm", I440FX),
    ("pc", I440FX),
    ("virt-", Map::At(0x4000_0000)),
    ("virt", Map::At(0x8000_0000)),
    ("sbsa-ref", Map::At(0x100_0000_0000)),
    ("s390-ccw", Map::At(0)),
    ("pseries", Map::At(0)),
];

/// Main memory by the name that a machine gives it when the user gives none.
const NAMES: &[(&str, Option<Map>)] = &[
    // i440fx or q35: the machine's name tells.
    ("pc.ram", None),
    ("microvm.ram", Some(I440FX)),
    ("mach-virt.ram", Some(Map::At(0x4000_0000))),
    ("riscv_virt_board.ram", Some(Map::At(0x8000_0000))),
    ("sbsa-ref.ram", Some(Map::At(0x100_0000_0000))),
    ("s390.ram", Some(Map::At(0))),
    ("ppc_spapr.ram", Some(Map::At(0))),
];

/// Parts of names of blocks that are no main memory.
const DEVICES: &[&str] = &[
    "vram", "rom", "bios", "flash", "acpi", "pci", "vga", "nvdimm", "vhost", "tpm",
];

/// Finds main memory among the blocks and gives it its addresses.
///
/// Says, as warnings, what was not certain.
pub(super) fn place(machine: &str, blocks: &mut [RamBlock]) -> Vec<String> {
    let mut warnings = Vec::new();
    let by_machine = MACHINES
        .iter()
        .find(|(prefix, _)| machine.starts_with(prefix))
        .map(|&(_, map)| map);
    let known = |block: &RamBlock| NAMES.iter().find(|(name, _)| *name == block.name);
    if let Some(index) = blocks.iter().position(|block| known(block).is_some()) {
        let by_name = known(&blocks[index]).and_then(|&(_, map)| map);
        let map = by_name.or(by_machine).unwrap_or(I440FX);
        put(map, &mut blocks[index..=index]);
        return warnings;
    }
    // Memory of the user's own backends: one, or one a NUMA node, in order of name.
    let is_device = |block: &RamBlock| DEVICES.iter().any(|part| block.name.contains(part));
    let largest = blocks
        .iter()
        .filter(|block| !is_device(block))
        .map(|block| block.len)
        .max();
    let Some(largest) = largest else {
        warnings.push("no RAM block of the stream is main memory".to_owned());
        return warnings;
    };
    blocks.sort_by(|a, b| a.name.cmp(&b.name));
    let is_main = |block: &RamBlock| {
        !is_device(block) && (block.len == largest || block.name.starts_with("/objects/"))
    };
    // Main memory first, so that it is one slice.
    blocks.sort_by_key(|block| !is_main(block));
    let count = blocks.iter().filter(|block| is_main(block)).count();
    let map = by_machine.unwrap_or_else(|| {
        warnings.push(format!(
            "the memory map of machine {machine:?} is not known: RAM is taken to begin at address 0"
        ));
        Map::At(0)
    });
    if count > 1 {
        warnings.push(format!(
            "{count} RAM blocks are taken as main memory, one after the other in order of their names"
        ));
    }
    put(map, &mut blocks[..count]);
    warnings
}

/// Lays blocks out one after the other by a machine's map.
fn put(map: Map, blocks: &mut [RamBlock]) {
    let total = blocks
        .iter()
        .fold(0u64, |sum, block| sum.saturating_add(block.len));
    // Pieces of the map: first byte of memory, length, address.
    let pieces = match map {
        Map::At(pa) => [(0, u64::MAX, pa), (0, 0, 0)],
        Map::Pc { limit, split } => {
            let low = if total >= limit { split } else { total };
            [(0, low, 0), (low, u64::MAX - low, 1 << 32)]
        }
    };
    let mut start = 0u64;
    for block in blocks {
        for (first, len, pa) in pieces {
            let from = start.max(first);
            let to = start
                .saturating_add(block.len)
                .min(first.saturating_add(len));
            let room = (u64::MAX - pa).saturating_sub(from - first.min(from));
            if from < to && to - from <= room {
                block.parts.push(BlockPart {
                    offset: from - start,
                    len: to - from,
                    pa: pa + (from - first),
                });
            }
        }
        start = start.saturating_add(block.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(name: &str, len: u64) -> RamBlock {
        RamBlock {
            name: name.to_owned(),
            len,
            parts: Vec::new(),
        }
    }

    #[test]
    fn pcs_have_a_hole_below_4_gib() {
        let gib = 1 << 30;
        for (machine, len, low) in [
            ("pc-i440fx-9.2", 3 * gib, 3 * gib),
            ("pc-i440fx-9.2", 4 * gib, 3 * gib),
            ("pc-q35-9.2", 2 * gib, 2 * gib),
            ("pc-q35-9.2", 3 * gib, 2 * gib),
        ] {
            let mut blocks = [block("vga.vram", 1 << 24), block("pc.ram", len)];
            assert!(place(machine, &mut blocks).is_empty());
            assert!(blocks[0].pa(0).is_none());
            assert_eq!(blocks[1].pa(low - 1), Some(low - 1));
            let above = (low < len).then_some(4 * gib);
            assert_eq!(blocks[1].pa(low), above);
            assert_eq!(blocks[1].pa(len), None);
        }
    }

    #[test]
    fn blocks_of_the_user() {
        let mut blocks = [
            block("/rom@etc/acpi/tables", 1 << 20),
            block("/objects/node1", 1 << 30),
            block("/objects/node0", 1 << 30),
        ];
        let warnings = place("virt-9.2", &mut blocks);
        assert!(warnings[0].contains("2 RAM blocks"));
        let pa = |name: &str| {
            let block = blocks.iter().find(|block| block.name == name);
            block.and_then(|block| block.pa(0))
        };
        assert_eq!(pa("/objects/node0"), Some(0x4000_0000));
        assert_eq!(pa("/objects/node1"), Some(0x8000_0000));
        assert_eq!(pa("/rom@etc/acpi/tables"), None);
        let mut blocks = [block("ram0", 1 << 30)];
        assert!(place("newmachine", &mut blocks)[0].contains("not known"));
        assert_eq!(blocks[0].pa(5), Some(5));
    }

    #[test]
    fn impossible_lengths_do_not_overflow() {
        for machine in ["pc", "pc-q35-1", "virt-1", "sbsa-ref", "x"] {
            let mut blocks = [
                block("a", u64::MAX),
                block("b", u64::MAX),
                block("pc.ram", 0),
            ];
            place(machine, &mut blocks);
            let mut blocks = [block("a", u64::MAX), block("b", u64::MAX)];
            place(machine, &mut blocks);
            for block in &blocks {
                let _ = (block.pa(0), block.pa(u64::MAX - 1));
            }
        }
    }
}
