//! Plain writes: columns copied into memory that was never touched.

use std::ptr;
use std::time::Instant;

/// A piece of memory straight from the kernel.
struct Fresh(*mut u8, usize);

impl Fresh {
    fn new(len: usize, huge: bool) -> Self {
        let len = len.max(1);
        // SAFETY: an anonymous mapping at a place of the kernel's choice.
        unsafe {
            let start = libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert!(start != libc::MAP_FAILED, "no memory for {len} bytes");
            if huge {
                libc::madvise(start, len, libc::MADV_HUGEPAGE);
            }
            Self(start.cast(), len)
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // SAFETY: mapped in new, with this length.
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}

struct Copy(*const u8, *mut u8, usize);
// SAFETY: disjoint shares of memory that outlives the threads.
unsafe impl Send for Copy {}

impl Copy {
    fn run(self) {
        // SAFETY: two live pieces of memory of at least this length.
        unsafe { ptr::copy_nonoverlapping(self.0, self.1, self.2) };
    }
}

pub fn columns(rows: usize, widths: &[usize], huge: bool, threads: usize) -> f64 {
    let from: Vec<Vec<u8>> = widths.iter().map(|w| vec![0xa5; w * rows]).collect();
    let start = Instant::now();
    let to: Vec<Fresh> = widths.iter().map(|w| Fresh::new(w * rows, huge)).collect();
    std::thread::scope(|scope| {
        let share = rows.div_ceil(threads.max(1)).max(1);
        for first in (0..rows).step_by(share) {
            let copies: Vec<Copy> = from
                .iter()
                .zip(&to)
                .zip(widths)
                .map(|((from, to), width)| {
                    let at = first * width;
                    let len = share.min(rows - first) * width;
                    Copy(from.as_ptr().wrapping_add(at), to.0.wrapping_add(at), len)
                })
                .collect();
            if threads < 2 {
                copies.into_iter().for_each(Copy::run);
            } else {
                scope.spawn(move || copies.into_iter().for_each(Copy::run));
            }
        }
    });
    start.elapsed().as_secs_f64()
}
