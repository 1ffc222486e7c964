//! The processor that code is generated for, and the memory that code lies in.

use std::sync::{Arc, OnceLock};

use cranelift::prelude::{Configurable, isa::TargetIsa, settings};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::default_libcall_names;
use memmap2::{Mmap, MmapMut};

use super::math;
use super::x86::Isa;
use crate::error::{Error, Result};

/// Which processors code is generated for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cpu {
    /// This machine's, with all it can do.
    #[default]
    Native,
    /// This machine's without AVX-512, as most are.
    WithoutAvx512,
    /// Every one of this architecture: on x86-64 no AVX and no fused multiply-add.
    Baseline,
}

/// The instruction set to generate for, found once a process.
pub(super) fn isa(cpu: Cpu) -> Result<Arc<dyn TargetIsa>> {
    static NATIVE: OnceLock<Result<Arc<dyn TargetIsa>>> = OnceLock::new();
    static BASELINE: OnceLock<Result<Arc<dyn TargetIsa>>> = OnceLock::new();
    match cpu {
        Cpu::Native | Cpu::WithoutAvx512 => NATIVE.get_or_init(|| detect(true)).clone(),
        Cpu::Baseline => BASELINE.get_or_init(|| detect(false)).clone(),
    }
}

fn detect(with_features: bool) -> Result<Arc<dyn TargetIsa>> {
    let mut flags = settings::builder();
    // The optimising is done on our own IR: Cranelift's mid-end hoists loads above arithmetic, which made
    // reductions 4–7 times slower and compilation 4–90 times.
    let choices = [("opt_level", "none"), ("is_pic", "false"), ("use_colocated_libcalls", "false")];
    let verifier = ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" });
    for (name, value) in choices.into_iter().chain([verifier]) {
        flags.set(name, value).map_err(|error| Error::Codegen(error.to_string()))?;
    }
    let builder = cranelift_native::builder_with_options(with_features);
    let builder = builder.map_err(|error| Error::Codegen(error.into()))?;
    builder.finish(settings::Flags::new(flags)).map_err(|error| Error::Codegen(error.to_string()))
}

/// What the processor can do in one instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// Fused multiply-add; else it would be a call, and rounding it twice is faster.
    pub fma: bool,
    /// Rounding to integers.
    pub rounding: bool,
    /// Vector operands in memory at any address.
    pub unaligned_operands: bool,
    /// The vectors that [`super::x86`] writes code for.
    pub vectors: Option<Isa>,
}

impl Features {
    pub fn of(isa: &dyn TargetIsa, cpu: Cpu) -> Features {
        let is_x86 = matches!(isa.triple().architecture, target_lexicon::Architecture::X86_64);
        let flags = isa.isa_flags();
        let has =
            |name| !is_x86 || flags.iter().any(|flag| flag.name == name && flag.as_bool() == Some(true));
        Features {
            fma: has("has_fma"),
            rounding: has("has_sse41"),
            unaligned_operands: has("has_avx"),
            vectors: Isa::of(cpu),
        }
    }
}

/// Machine code in memory of its own, where it may run.
pub(super) fn map(bytes: &[u8]) -> Result<Mmap> {
    let mapped = MmapMut::map_anon(bytes.len()).and_then(|mut memory| {
        memory.copy_from_slice(bytes);
        memory.make_exec()
    });
    mapped.map_err(|error| Error::Codegen(format!("there is no memory for code: {error}")))
}

/// An empty module.
pub(super) fn module(isa: Arc<dyn TargetIsa>) -> JITModule {
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    math::register(&mut builder);
    JITModule::new(builder)
}
