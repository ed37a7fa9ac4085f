//! Why a walk ended without a result.

/// Why a walk ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The caller asked for it.
    #[error("cancelled")]
    Cancelled,
    /// The file under the image changed.
    #[error("{what}")]
    Changed {
        /// Which file, and how ([`PhysicalMemory::change`](crate::image::PhysicalMemory::change)).
        what: String,
    },
    /// There are more rows than the caller wants.
    #[error("the result has {rows} rows, more than the budget of {budget}")]
    Budget {
        /// How many there are, exactly.
        rows: u64,
        /// How many were allowed.
        budget: u64,
    },
}
