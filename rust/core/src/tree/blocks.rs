//! Where the bitmaps and kept rows of a depth lie: a few big blocks, each filled by one
//! chunk of tables after the other.

use crate::memory::Buffer;
use std::sync::{Mutex, PoisonError};

/// Words of a block, where chunks need no more: all of it is mapped, but only what is
/// written takes memory.
const BLOCK_WORDS: usize = 1 << 20;

/// Blocks that are being filled.
pub(super) struct Blocks {
    /// Words of a new block.
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By number; empty while a chunk is being written to it.
    blocks: Vec<Buffer<u64>>,
    /// Numbers of those that nobody has.
    free: Vec<u32>,
}

impl Blocks {
    /// None yet. `each` is what a chunk may need, `all` what all of them may.
    pub(super) fn new(each: usize, all: usize) -> Self {
        Self {
            capacity: each.max(all.min(BLOCK_WORDS)),
            state: Mutex::default(),
        }
    }

    /// A block with room for `words` more, and its number.
    pub(super) fn take(&self, words: usize) -> (u32, Buffer<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(number) = state.free.pop() {
            let block = &mut state.blocks[number as usize];
            if self.capacity - block.len() >= words {
                return (number, std::mem::take(block));
            }
        }
        state.blocks.push(Buffer::default());
        let number = state.blocks.len() as u32 - 1;
        (number, Buffer::with_capacity(self.capacity))
    }

    /// Takes a block back.
    pub(super) fn give(&self, number: u32, block: Buffer<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.blocks[number as usize] = block;
        state.free.push(number);
    }

    /// All of them, by number.
    pub(super) fn finish(self) -> Vec<Buffer<u64>> {
        let state = self.state.into_inner();
        state.unwrap_or_else(PoisonError::into_inner).blocks
    }
}
