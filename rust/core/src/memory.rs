//! Memory for big results. One of the few files that may use `unsafe`.
#![allow(unsafe_code)]

/// What a huge page is on the machines that have them; elsewhere the advice is refused.
const HUGE: usize = 2 << 20;

/// `len` zeros, in huge pages where the system gives them: results are written once, and
/// what that costs is the faults.
pub fn zeros<T: Zero>(len: usize) -> Vec<T> {
    let mut memory = vec![T::ZERO; len];
    advise(&mut memory);
    memory
}

/// Numbers that are all zero bytes when they are 0.
pub trait Zero: Copy {
    /// 0.
    const ZERO: Self;
}

impl Zero for u8 {
    const ZERO: Self = 0;
}

impl Zero for u64 {
    const ZERO: Self = 0;
}

#[cfg(target_os = "linux")]
fn advise<T>(memory: &mut [T]) {
    let start = memory.as_mut_ptr().addr().next_multiple_of(HUGE);
    let end = (memory.as_ptr().addr() + size_of_val(memory)) & !(HUGE - 1);
    if start < end {
        let first = memory.as_mut_ptr().with_addr(start);
        // SAFETY: whole pages within a slice that is exclusively ours; the advice changes
        // neither their contents nor who may use them, and may be refused.
        unsafe { libc::madvise(first.cast(), end - start, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise<T>(_: &mut [T]) {}
