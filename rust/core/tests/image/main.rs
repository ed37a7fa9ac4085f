//! Tests of the image formats: each writes its own files, byte by byte, so that it
//! depends on the format's description and not on the reader.

mod avml;
mod compressed;
mod elf;
mod kdump;
mod lime;
mod live;
mod migration;
mod mutations;
mod raw;
mod same_memory;
mod shrink;
mod snapshot;
mod support;
mod vmware;
mod windows;
mod xen;
