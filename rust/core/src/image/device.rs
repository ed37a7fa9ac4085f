//! Live memory through a device such as `/dev/mem`: read piece by piece, and without an
//! end of its own. (`/proc/kcore` is an ELF core file.)

use super::describe::Description;
use super::flat::{Flat, Piece, Place};
use super::{Input, OpenOptions, Opened};
use std::fs;

/// True for a character device.
pub(super) fn recognize(input: &Input) -> bool {
    input.store.is_device()
}

/// Opens this machine's memory, the RAM that `/proc/iomem` lists.
pub(super) fn open(input: Input, _options: &OpenOptions) -> Opened {
    let mut description = Description::new("device", &input);
    description.warn("live memory changes while it is read: tables may contradict each other");
    let store = input.store;
    let ram =
        fs::read_to_string("/proc/iomem").map_or_else(|_| Vec::new(), |text| system_ram(&text));
    let mut pieces: Vec<Piece> = ram
        .iter()
        .map(|&(first, len)| Piece {
            pa: first,
            len,
            place: Place::File {
                file: 0,
                offset: first,
            },
        })
        .collect();
    if pieces.is_empty() {
        description.warn("/proc/iomem does not say where RAM is: all addresses are tried");
        pieces.push(Piece {
            pa: 0,
            len: store.len(),
            place: Place::File { file: 0, offset: 0 },
        });
    }
    description.detail("ranges of RAM", ram.len());
    description.detail("access", store.access());
    Ok(Box::new(Flat::new(vec![store], pieces, description)))
}

/// First address and length of each top-level range "System RAM". Without privilege
/// the kernel shows zeros for all of them (`kernel/resource.c`, r_show).
fn system_ram(iomem: &str) -> Vec<(u64, u64)> {
    iomem
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| {
            let (range, name) = line.split_once(" : ")?;
            let (first, last) = range.split_once('-')?;
            let first = u64::from_str_radix(first, 16).ok()?;
            let last = u64::from_str_radix(last, 16).ok()?;
            let len = last.checked_sub(first)?.checked_add(1)?;
            (name == "System RAM" && last != 0).then_some((first, len))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::system_ram;

    #[test]
    fn ram_of_iomem() {
        let text = "00000000-00000fff : Reserved\n\
                    00001000-0009fbff : System RAM\n\
                    000a0000-000bffff : PCI Bus 0000:00\n\
                    00100000-bffdffff : System RAM\n  01000000-01e00000 : Kernel code\n\
                    100000000-13fffffff : System RAM\n";
        assert_eq!(
            system_ram(text),
            [
                (0x1000, 0x9ec00),
                (0x10_0000, 0xbfee_0000),
                (0x1_0000_0000, 0x4000_0000)
            ]
        );
        assert!(system_ram("00000000-00000000 : System RAM\n").is_empty());
        assert!(system_ram("nonsense").is_empty());
    }
}
