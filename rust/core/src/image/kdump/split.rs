//! The files of one split kdump (`makedumpfile --split`): each has the same header and
//! bitmaps, and the descriptors and pages of one range of page frame numbers.

use super::part::Part;
use crate::image::OpenOptions;
use crate::image::describe::Description;
use crate::image::error::{ImageError, ImageErrorKind};
use crate::image::source::Source;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Files of one folder that are looked at as possible parts.
const MAX_CANDIDATES: usize = 4096;

/// The other parts of the dump whose first file is `first`.
///
/// Those of the options, else the files beside it whose names differ in the number at
/// the end only, and that begin with the same header.
pub(super) fn sources(first: &Part, path: Option<&Path>, options: &OpenOptions) -> Vec<Source> {
    if !options.parts.is_empty() || !first.sub.split {
        return options.parts.clone();
    }
    path.map_or_else(Vec::new, beside)
        .into_iter()
        .map(Source::Path)
        .collect()
}

fn beside(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Vec::new();
    };
    let stem = |name: &str| {
        name.trim_end_matches(|c: char| c.is_ascii_digit())
            .to_owned()
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let Some(head) = head(path) else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|other| other != name && stem(other) == stem(name))
        })
        .take(MAX_CANDIDATES)
        .map(|entry| entry.path())
        .filter(|path| head_of_same_dump(&head, path))
        .collect();
    paths.sort();
    paths
}

/// Signature, version and utsname.
fn head(path: &Path) -> Option<[u8; 402]> {
    let mut head = [0; 402];
    fs::File::open(path).ok()?.read_exact(&mut head).ok()?;
    Some(head)
}

fn head_of_same_dump(first: &[u8; 402], path: &Path) -> bool {
    path.is_file() && head(path).is_some_and(|head| head == *first)
}

/// Refuses a part that is not of the same dump.
pub(super) fn check(first: &Part, part: &Part) -> Result<(), ImageError> {
    let (a, b) = (&first.header, &part.header);
    let same = a.form == b.form
        && a.identity == b.identity
        && a.block_size == b.block_size
        && a.max_mapnr == b.max_mapnr
        && first.sub.split
        && part.sub.split;
    if same {
        return Ok(());
    }
    let what = format!(
        "is not a part of the same split dump as {}",
        first.store.name()
    );
    Err(
        ImageError::new(ImageErrorKind::Option, part.store.name(), what)
            .hint("give the files that one makedumpfile --split wrote"),
    )
}

/// Puts the parts in order, and says which are missing.
pub(super) fn finish(parts: &mut [Part], description: &mut Description) -> Result<(), ImageError> {
    parts.sort_by_key(|part| part.pages);
    let mut next = 0;
    let mut missing = Vec::new();
    for part in parts.iter() {
        if part.pages.0 < next {
            let what = format!(
                "its pages {:#x} to {:#x} are in another part too",
                part.pages.0, part.pages.1
            );
            return Err(
                ImageError::new(ImageErrorKind::Malformed, part.store.name(), what)
                    .hint("give each part once"),
            );
        }
        if part.pages.0 > next {
            missing.push((next, part.pages.0));
        }
        next = part.pages.1;
    }
    let end = parts.first().map_or(0, |part| part.header.max_mapnr);
    if next < end {
        missing.push((next, end));
    }
    for (from, to) in missing {
        description.warn(format!(
            "this is a split dump, and the part with the pages {from:#x} to {to:#x} was not found: they are absent"
        ));
    }
    Ok(())
}
