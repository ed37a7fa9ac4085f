//! A file, mapped.

use std::ffi::CString;
use std::ptr;

/// A mapped file whose physical address 0 is `skip` bytes in.
pub struct Map {
    start: *mut u8,
    len: usize,
    skip: usize,
}

// SAFETY: memory that is only read.
unsafe impl Send for Map {}
// SAFETY: as for Send.
unsafe impl Sync for Map {}

impl Map {
    pub fn new(path: &str, skip: usize) -> Result<Self, String> {
        let name = CString::new(path).map_err(|e| e.to_string())?;
        // SAFETY: plain system calls on a file of our own; a bench's file does not shrink.
        unsafe {
            let fd = libc::open(name.as_ptr(), libc::O_RDONLY);
            if fd < 0 {
                return Err(format!("{path}: {}", std::io::Error::last_os_error()));
            }
            let len = libc::lseek(fd, 0, libc::SEEK_END) as usize;
            let start = libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd,
                0,
            );
            libc::close(fd);
            if start == libc::MAP_FAILED {
                return Err(format!("{path}: {}", std::io::Error::last_os_error()));
            }
            Ok(Self {
                start: start.cast(),
                len,
                skip,
            })
        }
    }

    pub fn has(&self, pa: u64, size: usize) -> bool {
        (pa as usize)
            .checked_add(self.skip + size)
            .is_some_and(|end| end <= self.len)
    }

    /// Where `pa` is; [`Map::has`] says whether it is.
    pub fn at(&self, pa: u64) -> *const u8 {
        self.start.wrapping_add(self.skip + pa as usize)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped in new, with this length.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}
