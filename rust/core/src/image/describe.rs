//! What an image says about itself.

use super::{CHANGED_HINT, Input};

/// A note of an ELF file, or of another container that carries ELF notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Name, without the terminating zero.
    pub name: String,
    /// Type; its meaning depends on the name.
    pub kind: u32,
    /// Contents, in the byte order of the image.
    pub desc: Vec<u8>,
}

/// The machine that an ELF header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine`; 0 (EM_NONE) if it is not said.
    pub e_machine: u16,
    /// 32 or 64 (`EI_CLASS`). i386 images of QEMU say 64.
    pub class_bits: u8,
    /// `EI_DATA`. The guest may use another order (ppc64le images of QEMU say big).
    pub big_endian: bool,
}

/// A register that a container gives by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Number of the processor.
    pub cpu: u32,
    /// Lower-case name as in the architecture's manual, such as `cr3`.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// What an image says about itself, beside its memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Name of the format, as in [`formats`](super::formats).
    pub format: &'static str,
    /// Name of the file, for messages.
    pub file: String,
    /// What a person may want to know: key and value, in order.
    pub details: Vec<(String, String)>,
    /// What is wrong with the image though it can be read; one line each.
    pub warnings: Vec<String>,
    /// Notes in the order of the file; processors' registers (`NT_PRSTATUS`, `QEMU`,
    /// `VBCPU`) are among them, undecoded.
    pub notes: Vec<Note>,
    /// The machine, where the container names it.
    pub machine: Option<Machine>,
    /// The text of VMCOREINFO, where the container has it.
    pub vmcoreinfo: Option<String>,
    /// Registers, where the container gives them by name.
    pub registers: Vec<Register>,
}

impl Description {
    /// Nothing said.
    pub const EMPTY: Self = Self {
        format: "",
        file: String::new(),
        details: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        machine: None,
        vmcoreinfo: None,
        registers: Vec::new(),
    };

    /// Of an image of `format`, with the containers that had to be opened first.
    pub(crate) fn new(format: &'static str, input: &Input) -> Self {
        let layers = input.layers.iter();
        Self {
            format,
            file: input.store.name().to_owned(),
            details: layers
                .map(|layer| ("container".to_owned(), layer.what.to_owned()))
                .collect(),
            warnings: input
                .layers
                .iter()
                .flat_map(|layer| layer.warnings.clone())
                .collect(),
            ..Self::EMPTY
        }
    }

    /// What to say where the image changed under its reader, and no more is known.
    pub(crate) fn changed(&self) -> String {
        format!("{}: changed while it was read; {CHANGED_HINT}", self.file)
    }

    pub(crate) fn detail(&mut self, key: &str, value: impl ToString) {
        self.details.push((key.to_owned(), value.to_string()));
    }

    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Takes notes over, and VMCOREINFO from among them.
    pub(crate) fn add_notes(&mut self, notes: Vec<Note>) {
        for note in &notes {
            if note.name == "VMCOREINFO" && self.vmcoreinfo.is_none() {
                self.set_vmcoreinfo(&note.desc);
            }
        }
        self.notes.extend(notes);
    }

    /// Keeps the text up to its first zero byte.
    pub(crate) fn set_vmcoreinfo(&mut self, text: &[u8]) {
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        if !text.is_empty() {
            self.vmcoreinfo = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
}
