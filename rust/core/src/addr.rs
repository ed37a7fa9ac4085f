//! Addresses as types, with almost no operators: whether arithmetic wraps or is
//! checked has to be visible where it is done, because the last range of an address
//! space ends at 2^64.

use std::fmt;

/// A physical address of the imaged machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pa(pub u64);

/// A virtual address of the imaged machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Va(pub u64);

macro_rules! address {
    ($name:ident) => {
        impl $name {
            /// The address `len` bytes on, or None past the end of the address space.
            #[inline]
            pub fn checked_add(self, len: u64) -> Option<Self> {
                self.0.checked_add(len).map(Self)
            }

            /// The address `len` bytes on, modulo 2^64.
            #[inline]
            pub fn wrapping_add(self, len: u64) -> Self {
                Self(self.0.wrapping_add(len))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address!(Pa);
address!(Va);
