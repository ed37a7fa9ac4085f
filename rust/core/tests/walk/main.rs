//! The walk on a paging mode small enough to be written down: two depths of four
//! entries, pages of 64 bytes. What is refused, what is joined, where markers cut.

mod chains;
mod notes;
mod refusals;
mod rows;
mod toy;
mod translations;
