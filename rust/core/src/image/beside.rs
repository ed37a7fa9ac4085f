//! The files beside an image that belong to it: formats that keep the memory and what
//! it means in two files.

use super::source::{Source, Store};
use super::{Input, OpenOptions};
use std::fs;
use std::path::PathBuf;

/// Files of one folder that are looked at.
const MAX_FILES: usize = 1024;

/// Candidates for the other file of an image: those that the user named as its parts,
/// then the files in its folder, in order of name.
pub(super) fn candidates(input: &Input, options: &OpenOptions) -> Vec<Source> {
    let mut sources = options.parts.clone();
    // A container's contents have no files beside them.
    if sources.is_empty() && input.layers.is_empty() {
        sources.extend(folder_of(input).into_iter().map(Source::Path));
    }
    sources
}

fn folder_of(input: &Input) -> Vec<PathBuf> {
    let Some(path) = &input.path else {
        return Vec::new();
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .take(MAX_FILES)
        .map(|entry| entry.path())
        .filter(|other| other.file_name() != path.file_name() && other.is_file())
        .collect();
    paths.sort();
    paths
}

/// The candidates with the image's name up to the extension.
pub(super) fn same_stem(input: &Input, options: &OpenOptions) -> Vec<Source> {
    let stem = input.path.as_ref().and_then(|path| path.file_stem());
    candidates(input, options)
        .into_iter()
        .filter(|source| {
            !options.parts.is_empty() || source.path().and_then(|path| path.file_stem()) == stem
        })
        .collect()
}

/// Opens a candidate to look at it; what cannot be opened is none.
pub(super) fn probe(source: &Source) -> Option<Store> {
    Store::open(source, false).ok()
}

/// Opens the candidate that was chosen.
pub(super) fn open(source: &Source, options: &OpenOptions) -> Option<Store> {
    Store::open(source, !options.no_map).ok()
}
