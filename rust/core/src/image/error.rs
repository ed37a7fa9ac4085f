//! Why an image could not be opened: one line that says which file, where in it, what
//! is wrong, and what to try.

use std::fmt;
use std::io;

/// What sort of failure an [`ImageError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageErrorKind {
    /// The operating system refused (missing file, permission, directory, I/O error).
    Io,
    /// The file has no bytes.
    Empty,
    /// The file ends inside a structure that is needed to read it.
    Truncated,
    /// A structure contradicts itself or the file.
    Malformed,
    /// A known format, but of a kind or with a feature that is not read.
    Unsupported,
    /// An option that does not fit: an unknown format name, a base past the end.
    Option,
    /// More than the limit allows.
    Limit,
    /// The user stopped it.
    Cancelled,
}

/// Why an image could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageError {
    /// What sort of failure it is.
    pub kind: ImageErrorKind,
    /// Name of the file, as the user gave it.
    pub file: String,
    /// Where in the file, if that can be said.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What the user can try; empty if nothing is known to help.
    pub hint: String,
    /// The operating system's error number, for `Io`.
    pub os_error: Option<i32>,
}

impl ImageError {
    /// An error about `file`, so far without offset and hint.
    pub fn new(kind: ImageErrorKind, file: &str, what: impl Into<String>) -> Self {
        Self {
            kind,
            file: file.to_owned(),
            offset: None,
            what: what.into(),
            hint: String::new(),
            os_error: None,
        }
    }

    /// The operating system's refusal to do something with `file`.
    pub fn io(file: &str, error: &io::Error) -> Self {
        let text = error.to_string();
        // The number goes into a field of its own.
        let what = text.split(" (os error").next().unwrap_or(&text);
        let mut result = Self::new(ImageErrorKind::Io, file, what);
        result.os_error = error.raw_os_error();
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "check the name, and the folder it is looked for in",
            io::ErrorKind::PermissionDenied => {
                "check the permissions, or run as a user who may read it"
            }
            io::ErrorKind::IsADirectory => "give the file in it that has the memory",
            _ => "",
        };
        result.hint = hint.to_owned();
        result
    }

    /// A structure of `file` that contradicts itself.
    pub fn malformed(file: &str, offset: u64, what: impl Into<String>) -> Self {
        Self::new(ImageErrorKind::Malformed, file, what).at(offset)
    }

    /// `file` ends before the end of `what`.
    pub fn truncated(file: &str, offset: u64, what: &str) -> Self {
        Self::new(
            ImageErrorKind::Truncated,
            file,
            format!("the file ends inside the {what}"),
        )
        .at(offset)
        .hint("copy the file again; it is not complete")
    }

    /// The same with the place in the file.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)?;
        if let Some(offset) = self.offset {
            write!(f, " (offset {offset:#x})")?;
        }
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ImageError {}
