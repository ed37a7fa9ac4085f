//! What is wrong with a description is told by its path.

use crate::toy::{dialect, field, spec};
use fastwalk_core::plan::{Coalesce, Plan, SpecError};
use fastwalk_core::spec::{Dialect, Field, Kind, Length, MarkerPolicy, NoteAction, PathBit, Spec};

fn refused(change: impl FnOnce(&mut Spec)) -> SpecError {
    let mut spec = spec();
    change(&mut spec);
    Plan::new(&spec, Coalesce::Physical).unwrap_err()
}

#[track_caller]
fn says(path: &str, problem: &str, change: impl FnOnce(&mut Spec)) {
    let error = refused(change);
    assert_eq!(error.path, path, "{error}");
    assert!(error.problem.contains(problem), "{error}");
}

#[test]
fn the_mode_as_it_is() {
    for coalesce in [Coalesce::Attributes, Coalesce::Physical, Coalesce::None] {
        assert!(Plan::new(&spec(), coalesce).is_ok());
    }
}

#[test]
fn sizes() {
    says("page_bits", "no size of a page", |s| s.page_bits = 5);
    says("page_bits", "no size of a page", |s| s.page_bits = 31);
    says("depths", "1 to 8", |s| s.depths.clear());
    says("depths", "1 to 8", |s| {
        s.depths = vec![s.depths[0].clone(); 9]
    });
    says("depths[1].index_bits", "1 to 16", |s| {
        s.depths[1].index_bits = 0
    });
    says("depths[0].index_bits", "1 to 16", |s| {
        s.depths[0].index_bits = 17
    });
    says("depths[0].index_bits", "more than an address", |s| {
        s.page_bits = 30;
        s.depths = vec![s.depths[0].clone(); 3];
        s.depths.iter_mut().for_each(|d| d.index_bits = 16);
    });
    says("va_bits", "add up to 10", |s| s.va_bits = 11);
    says("permissions", "six bits", |s| s.permissions = 0x40);
    says("depths[1].entry_bytes", "neither 4 nor 8", |s| {
        s.depths[1].format.bytes = 2
    });
}

#[test]
fn windows() {
    says("halves", "none", |s| s.halves.clear());
    says("halves[0].windows[0]", "past the root's span", |s| {
        s.halves[0][0].last = 0x400
    });
    says("halves[0].windows[0]", "past the root's span", |s| {
        s.halves[0][0].offset = u64::MAX;
    });
    says("halves[0].windows[0].base", "past 2^64", |s| {
        s.halves[0][0].base = u64::MAX
    });
}

#[test]
fn rules() {
    says("depths[0].rules", "none", |s| s.depths[0].rules.clear());
    says("depths[0].rules", "are 257", |s| {
        let rule = s.depths[0].rules[0].clone();
        s.depths[0].rules.splice(..0, vec![rule; 254]);
    });
    says("depths[0].rules[1]", "never reached", |s| {
        s.depths[0].rules[1].mask = 0;
        s.depths[0].rules[1].value = 0;
    });
    says("depths[1].rules[2].mask", "match everything", |s| {
        s.depths[1].rules[2].mask = 1
    });
    says("depths[0].rules[1].value", "never matches", |s| {
        s.depths[0].rules[1].value = 4
    });
    says("depths[0].rules[0].mask", "does not fit", |s| {
        s.depths[0].format.bytes = 4;
        s.depths[0].rules[0].mask = 1 << 32;
    });
    says("depths[1].rules[2].kind", "no table below", |s| {
        s.depths[1].rules[2].kind = Kind::Table;
    });
    says("depths[1].rules", "makes a leaf", |s| {
        s.depths[1].rules[2].kind = Kind::Other
    });
    says("depths[0].rules", "depths[1] is never reached", |s| {
        s.depths[0].rules[2].kind = Kind::Other;
    });
}

#[test]
fn addresses() {
    says("depths[0].rules[2].pa", "nowhere", |s| {
        s.depths[0].rules[2].pa.clear()
    });
    says("depths[0].rules[2].pa[0].mask", "does not fit", |s| {
        s.depths[0].rules[2].pa = field(0);
    });
    says(
        "depths[0].rules[2].pa[0].shift",
        "out of the address",
        |s| {
            s.depths[0].rules[2].pa[0].shift = 40;
        },
    );
    says(
        "depths[0].rules[2].pa[0].shift",
        "out of the address",
        |s| {
            s.depths[0].rules[2].pa[0].shift = -7;
        },
    );
    says(
        "depths[0].rules[2].pa[0].shift",
        "out of the address",
        |s| {
            s.depths[0].rules[2].pa[0].shift = 64;
        },
    );
    says("depths[0].rules[2].pa[1]", "overlaps", |s| {
        s.depths[0].rules[2].pa.push(Field {
            mask: 0x40,
            shift: 0,
        });
    });
    says("depths[0].rules[1].pa", "leaf of 2^8", |s| {
        s.depths[0].rules[1].pa = field(0xffff_ffc0);
    });
    says("depths[1].rules[2].pa", "leaf of 2^7", |s| {
        s.depths[1].rules[2].replicated = 2
    });
    says("depths[1].rules[2].replicated", "power of two", |s| {
        s.depths[1].rules[2].replicated = 3;
    });
    says("depths[1].rules[2].replicated", "fits the table", |s| {
        s.depths[1].rules[2].replicated = 8;
    });
    says("depths[0].rules[2].replicated", "only leaves", |s| {
        s.depths[0].rules[2].replicated = 2;
    });
}

#[test]
fn bits_of_entries() {
    says("depths[1].attributes", "does not fit", |s| {
        s.depths[1].format.bytes = 4;
        s.depths[1].attributes = 1 << 40;
    });
    says("depths[0].table_path[0].bits", "sets nothing", |s| {
        s.depths[0].table_path[0].bits = 0;
    });
    says("depths[1].leaf_path[0].value", "never matches", |s| {
        s.depths[1].leaf_path[0].value = 3;
    });
    let length = |mask| {
        let field = Field { mask, shift: 0 };
        Some(Length {
            first: field,
            last: field,
            last_add: 0,
        })
    };
    says("depths[0].length.first[0].mask", "does not fit", |s| {
        s.depths[0].length = length(0)
    });
    says("depths[1].length", "no table below", |s| {
        s.depths[1].length = length(0x30)
    });
}

fn dumper_says(path: &str, problem: &str, change: impl FnOnce(&mut Dialect)) {
    let policy = MarkerPolicy {
        first: None,
        flush: None,
        note: None,
    };
    let mut dialect = dialect(policy);
    change(&mut dialect);
    let error = Plan::of_dialect(&dialect).unwrap_err();
    assert_eq!(error.path, path, "{error}");
    assert!(error.problem.contains(problem), "{error}");
}

#[test]
fn dumpers() {
    dumper_says("shadow_level", "no level 2", |d| d.shadow_level = 2);
    dumper_says("depths[1].rules[0].level", "no level 7", |d| {
        d.depths[1].rules[0].level = 7
    });
    dumper_says("depths[0].rules[0].level", "no level 7", |d| {
        d.depths[0].rules[0].level = 7
    });
    dumper_says("depths[1].rules[0].action", "no table below", |d| {
        d.depths[1].rules[0].action = NoteAction::Descend;
    });
    dumper_says("depths[0].rules[1].pa", "nowhere", |d| {
        d.depths[0].rules[1].pa.clear()
    });
    dumper_says("depths[0].rules[1].mask", "match everything", |d| {
        d.depths[0].rules[1].mask = 1;
    });
    dumper_says("depths[0].path[0].bits", "sets nothing", |d| {
        d.depths[0].path.push(PathBit {
            bits: 0,
            mask: 1,
            value: 1,
        });
    });
    dumper_says("depths[0].entry_bytes", "neither 4 nor 8", |d| {
        d.depths[0].format.bytes = 3
    });
}
