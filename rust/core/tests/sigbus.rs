//! SIGBUS of somebody else's memory: an earlier handler gets it, or the process ends as
//! it would have without us. A test binary of its own: it owns the signal.
#![cfg(unix)]

use fastwalk_core::image::{self, OpenOptions, Source};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

static EARLIER_CALLS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn earlier(
    _signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    EARLIER_CALLS.fetch_add(1, Ordering::SeqCst);
    // SAFETY: info is valid in a handler with SA_SIGINFO; the page is one of `fault`'s
    // mapping, to which nobody holds a reference.
    unsafe {
        let page = (*info).si_addr() as usize & !4095;
        libc::mmap(
            ptr::without_provenance_mut(page),
            4096,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED,
            -1,
            0,
        );
    }
}

fn install_earlier() {
    // SAFETY: a zeroed sigaction is valid, and `earlier` has the signature that
    // SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = earlier as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
    }
}

/// As in a process that is not Rust's (std handles SIGBUS to tell stack overflows).
fn restore_default() {
    // SAFETY: SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

/// A scratch file of `len` bytes that has no name any more.
fn scratch(name: &str, len: u64) -> File {
    let path = std::env::temp_dir().join(format!("fastwalk-sigbus-{}-{name}", std::process::id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file.set_len(len).unwrap();
    file
}

/// Reads beyond the end of a file that is mapped by us, not by fastwalk.
fn fault() -> u8 {
    let file = scratch("foreign", 4096);
    // SAFETY: a fresh mapping; one byte inside it is read.
    unsafe {
        let start = libc::mmap(
            ptr::null_mut(),
            8192,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(start, libc::MAP_FAILED);
        start.cast::<u8>().add(4096).read_volatile()
    }
}

fn open_image() -> Box<dyn image::PhysicalMemory> {
    let source = Source::File(scratch("image", 8192).into(), "image".to_owned());
    image::open(&source, &OpenOptions::default()).unwrap()
}

/// Runs one of the `child_*` tests below in a process of its own.
fn child(name: &str) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("FASTWALK_SIGBUS_CHILD", "1")
        .output()
        .unwrap()
        .status
}

fn is_child() -> bool {
    std::env::var_os("FASTWALK_SIGBUS_CHILD").is_some()
}

#[test]
fn child_with_earlier_handler() {
    if !is_child() {
        assert!(child("child_with_earlier_handler").success());
        return;
    }
    install_earlier();
    let image = open_image();
    assert_eq!(fault(), 0);
    assert_eq!(EARLIER_CALLS.load(Ordering::SeqCst), 1);
    assert!(!image.changed());
}

#[test]
fn child_with_default_action() {
    if !is_child() {
        let status = child("child_with_default_action");
        assert_eq!(status.signal(), Some(libc::SIGBUS));
        return;
    }
    restore_default();
    let _image = open_image();
    fault();
}

#[test]
fn child_with_the_handler_of_std() {
    if !is_child() {
        let status = child("child_with_the_handler_of_std");
        assert_eq!(status.signal(), Some(libc::SIGBUS));
        return;
    }
    let _image = open_image();
    fault();
}

#[test]
fn child_that_is_sent_the_signal() {
    if !is_child() {
        let status = child("child_that_is_sent_the_signal");
        assert_eq!(status.signal(), Some(libc::SIGBUS));
        return;
    }
    restore_default();
    let _image = open_image();
    // SAFETY: raise has no preconditions.
    unsafe { libc::raise(libc::SIGBUS) };
}
