//! Read-only memory maps that survive a file that shrinks, and raw bytes to read
//! them through.
//!
//! Reading a mapped page that lies beyond the end of its file raises SIGBUS. A
//! handler, installed with the first mapping and chained to the one before it, looks
//! whether the address lies in one of our mappings; if so it maps zeros over the
//! faulting page, marks the mapping as changed and lets the read go on. Any other
//! SIGBUS goes to the handler before ours, or has its default effect.
//!
//! All unsafe code of [`image`](super) is in this file.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fs::{File, Metadata};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

/// Bytes of an image that can be read where they are.
///
/// Never a `&[u8]`: the file behind a mapping can change, or end, while it is read.
/// They are not aligned either (QEMU puts segments at odd file offsets).
#[derive(Clone, Copy, Debug)]
pub struct RawBytes<'a> {
    ptr: *const u8,
    len: usize,
    image: PhantomData<&'a ()>,
}

// SAFETY: RawBytes only reads memory that stays mapped for 'a, and its owners
// (mappings, owned bytes) may be read from every thread.
unsafe impl Send for RawBytes<'_> {}
// SAFETY: as for Send: there is no way to write through it.
unsafe impl Sync for RawBytes<'_> {}

impl<'a> RawBytes<'a> {
    /// Bytes that others can change meanwhile.
    ///
    /// # Safety
    /// `ptr .. ptr + len` can be read, from every thread, for as long as `'a`.
    pub unsafe fn new(ptr: *const u8, len: usize) -> Self {
        Self {
            ptr,
            len,
            image: PhantomData,
        }
    }

    /// Bytes that are ordinary memory.
    pub fn from_slice(bytes: &'a [u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            image: PhantomData,
        }
    }

    /// Address of the first byte. It has no alignment. Reads of `ptr .. ptr + len`
    /// are valid for `'a`, but two reads of one byte may differ.
    #[inline]
    pub fn as_ptr(self) -> *const u8 {
        self.ptr
    }

    /// Length in bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.len
    }

    /// True if there are no bytes.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// `len` of these bytes from `offset` on, or None if they are not all here.
    #[inline]
    pub fn get(self, offset: usize, len: usize) -> Option<Self> {
        if len > self.len.checked_sub(offset)? {
            return None;
        }
        Some(Self {
            // SAFETY: offset + len <= self.len, checked above, so the result stays
            // inside (or one past the end of) the same memory.
            ptr: unsafe { self.ptr.add(offset) },
            len,
            image: PhantomData,
        })
    }

    /// Copies these bytes to the front of `buf`; of the shorter one's length.
    pub fn copy_to(self, buf: &mut [u8]) {
        // SAFETY: self.ptr is readable for self.len bytes, buf is exclusively ours and
        // cannot overlap memory that somebody else can read; the length is the minimum.
        unsafe { ptr::copy_nonoverlapping(self.ptr, buf.as_mut_ptr(), self.len.min(buf.len())) }
    }
}

/// False where the first page of some mapped bytes would have to be read from the disk.
/// Where that cannot be told, true.
#[cfg(target_os = "linux")]
pub fn is_resident(bytes: RawBytes<'_>) -> bool {
    let page_size = HANDLER.page_size.load(Ordering::SeqCst);
    let page = bytes.ptr.map_addr(|at| at & !(page_size - 1));
    let mut resident = 1;
    // SAFETY: mincore reads no memory, only what the kernel knows of the page, which it
    // refuses for what is not mapped; one page's answer is one byte.
    let status = unsafe { libc::mincore(page.cast_mut().cast(), 1, &raw mut resident) };
    status != 0 || resident & 1 != 0
}

/// See Linux's: other systems are not asked.
#[cfg(not(target_os = "linux"))]
pub fn is_resident(_: RawBytes<'_>) -> bool {
    true
}

/// Asks for mapped bytes to be read from the disk before they are needed.
pub fn will_need(bytes: RawBytes<'_>) {
    advise(bytes, libc::MADV_WILLNEED);
}

/// Has mapped bytes mapped in, page by page, as reading them would. Linux before 5.14 and
/// other systems leave that to reading them.
pub fn map_now(bytes: RawBytes<'_>) {
    #[cfg(target_os = "linux")]
    advise(bytes, libc::MADV_POPULATE_READ);
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}

fn advise(bytes: RawBytes<'_>, advice: libc::c_int) {
    let page_size = HANDLER.page_size.load(Ordering::SeqCst);
    let page = bytes.ptr.map_addr(|at| at & !(page_size - 1));
    let len = bytes.ptr.addr() - page.addr() + bytes.len;
    // SAFETY: advice that changes nothing that can be seen in memory; what cannot be had
    // is refused.
    unsafe { libc::madvise(page.cast_mut().cast(), len, advice) };
}

/// How often this thread has waited for a page that was in memory to be mapped.
#[cfg(target_os = "linux")]
pub fn page_faults() -> u64 {
    // SAFETY: all zeros is a value of this structure of numbers, which getrusage writes.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage
    };
    u64::try_from(usage.ru_minflt).unwrap_or(0)
}

/// See Linux's: others do not count them by thread.
#[cfg(not(target_os = "linux"))]
pub fn page_faults() -> u64 {
    0
}

/// How many mappings the handler can tell apart. More are refused, and their files
/// are read with pread instead.
const SLOTS: usize = 512;

/// One live mapping, as the signal handler sees it.
///
/// `version` is odd while the slot is being written; a reader that sees it odd or
/// changed has met a mapping that is not in use, so it passes on.
struct Slot {
    version: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
    changed: AtomicBool,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        version: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        changed: AtomicBool::new(false),
    }
}; SLOTS];

/// Taken by those who write the table, never by the handler.
static TABLE_WRITERS: Mutex<()> = Mutex::new(());

impl Slot {
    fn set(&self, start: usize, len: usize) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.start.store(start, Ordering::SeqCst);
        self.len.store(len, Ordering::SeqCst);
        self.changed.store(false, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// Start and length, if the slot holds still while they are read.
    fn get(&self) -> Option<(usize, usize)> {
        let version = self.version.load(Ordering::SeqCst);
        let (start, len) = (
            self.start.load(Ordering::SeqCst),
            self.len.load(Ordering::SeqCst),
        );
        let still = version & 1 == 0 && version == self.version.load(Ordering::SeqCst);
        (still && start != 0).then_some((start, len))
    }
}

fn claim_slot(start: usize, len: usize) -> Option<&'static Slot> {
    let _writers = TABLE_WRITERS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let slot = TABLE
        .iter()
        .find(|slot| slot.start.load(Ordering::SeqCst) == 0)?;
    slot.set(start, len);
    Some(slot)
}

fn free_slot(slot: &Slot) {
    let _writers = TABLE_WRITERS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    slot.set(0, 0);
}

/// What the handler needs to know; written once, before the handler is installed.
struct Handler {
    page_size: AtomicUsize,
    previous: UnsafeCell<libc::sigaction>,
}

// SAFETY: `previous` is written by sigaction(2) inside the Once of `install_handler`
// only, and then only read.
unsafe impl Sync for Handler {}

static HANDLER: Handler = Handler {
    page_size: AtomicUsize::new(4096),
    // SAFETY: sigaction is a plain C struct for which all zeros (default action, no
    // flags, empty mask) is a valid value.
    previous: UnsafeCell::new(unsafe { std::mem::zeroed() }),
};

fn install_handler() -> io::Result<()> {
    static INSTALL: Once = Once::new();
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    INSTALL.call_once(|| {
        // SAFETY: sysconf has no preconditions.
        let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if let Ok(page_size) = usize::try_from(page_size) {
            HANDLER.page_size.store(page_size, Ordering::SeqCst);
        }
        // SAFETY: as for HANDLER.previous above.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_sigbus as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both structs are valid; the old action is written to a place that
        // nobody reads before the handler can run.
        let status = unsafe {
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, HANDLER.previous.get())
        };
        INSTALLED.store(status == 0, Ordering::SeqCst);
    });
    if INSTALLED.load(Ordering::SeqCst) {
        Ok(())
    } else {
        Err(io::Error::other("cannot install a SIGBUS handler"))
    }
}

/// Async-signal-safe: atomics, mmap, sigaction and raise only; keeps errno.
extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: errno's location is valid for the life of the thread.
    let errno = unsafe { *errno_location() };
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // A positive code: raised by the processor, not sent with kill(2).
    if code <= 0 || !patch(address) {
        pass_on(signal, code, info, context);
    }
    // SAFETY: as above.
    unsafe { *errno_location() = errno };
}

#[cfg(any(target_os = "linux", target_os = "emscripten"))]
unsafe fn errno_location() -> *mut libc::c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__errno_location() }
}

#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
unsafe fn errno_location() -> *mut libc::c_int {
    // SAFETY: no preconditions.
    unsafe { libc::__error() }
}

/// Maps zeros over the page of `address` if it lies in one of our mappings.
fn patch(address: usize) -> bool {
    let page_size = HANDLER.page_size.load(Ordering::SeqCst);
    let page = address & !(page_size - 1);
    for slot in &TABLE {
        let Some((start, len)) = slot.get() else {
            continue;
        };
        if address < start || address - start >= len {
            continue;
        }
        slot.changed.store(true, Ordering::SeqCst);
        // One page; if that fails (the kernel's limit on the number of maps, or
        // large pages) the whole mapping, which then is one map again.
        return map_zeros(page, page_size) || map_zeros(start, len);
    }
    false
}

fn map_zeros(start: usize, len: usize) -> bool {
    // SAFETY: start .. start + len lies in a mapping of ours, made with this length
    // rounded up to pages, and still alive: its slot is freed before it is unmapped.
    // Nobody holds a reference into it, only raw pointers that expect any bytes.
    let mapped = unsafe {
        libc::mmap(
            ptr::without_provenance_mut(start),
            len,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

/// Does with a SIGBUS that is not ours what would have been done without us.
fn pass_on(
    signal: libc::c_int,
    code: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: written before the handler was installed, never since.
    let previous = unsafe { &*HANDLER.previous.get() };
    match previous.sa_sigaction {
        libc::SIG_IGN if code <= 0 => {}
        // The kernel does not let a process ignore its own fault: default action.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: zeros are SIG_DFL without flags. The signal is blocked while we
            // run, so the raised one comes when we return and ends the process.
            unsafe {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &raw const default, ptr::null_mut());
                libc::raise(signal);
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the previous owner registered this address with SA_SIGINFO, so
            // it is a function of this signature.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: registered without SA_SIGINFO: a function of one argument.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

/// A file mapped for reading.
#[derive(Debug)]
pub struct Mapping {
    start: *const u8,
    len: usize,
    slot: &'static Slot,
    file: File,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

// SAFETY: a Mapping is read-only memory with a lifetime of its own; all that changes
// in it are the slot's atomics.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`; `len` must not be 0.
    ///
    /// # Errors
    /// What mmap(2) says; `OutOfMemory` too if too many images are mapped at a time.
    pub fn new(file: File, len: usize) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        install_handler()?;
        let page_size = HANDLER.page_size.load(Ordering::SeqCst);
        let whole_pages = len
            .checked_next_multiple_of(page_size)
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing of
        // ours; the file descriptor is open.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(slot) = claim_slot(start as usize, whole_pages) else {
            // SAFETY: the mapping made above, which nobody has seen.
            unsafe { libc::munmap(start, len) };
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        Ok(Self {
            start: start.cast_const().cast(),
            len,
            slot,
            file,
        })
    }

    /// The mapped bytes.
    #[inline]
    pub fn bytes(&self) -> RawBytes<'_> {
        RawBytes {
            ptr: self.start,
            len: self.len,
            image: PhantomData,
        }
    }

    /// Of the file as it is now.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// True once the file is, or was seen to be, shorter than its mapping.
    ///
    /// The handler does not see the loss of a part of the last page, which then reads
    /// as zeros: so the length is asked for as well.
    pub fn changed(&self) -> bool {
        if self.slot.changed.load(Ordering::SeqCst) {
            return true;
        }
        let shorter = match self.file.metadata() {
            Ok(metadata) => metadata.is_file() && metadata.len() < self.len as u64,
            Err(_) => false,
        };
        if shorter {
            self.slot.changed.store(true, Ordering::SeqCst);
        }
        shorter
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        free_slot(self.slot);
        // SAFETY: mapped by `new` with this length; RawBytes borrow self, so none is
        // left.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.len) };
    }
}

/// A file of our own for a descriptor that somebody else keeps.
///
/// # Errors
/// What fcntl(2) says, such as EBADF.
pub fn duplicate(descriptor: RawFd) -> io::Result<File> {
    // SAFETY: F_DUPFD_CLOEXEC does not touch memory, and fails on a bad descriptor.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 0) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else knows.
    Ok(unsafe { File::from_raw_fd(copy) })
}
