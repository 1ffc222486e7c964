//! The processor that code is generated for, and the module that owns the code's memory.

use std::sync::{Arc, OnceLock};

use cranelift::prelude::{Configurable, isa::TargetIsa, settings};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::default_libcall_names;

use super::math;
use crate::error::{Error, Result};

/// The instruction set of this machine, found once a process.
pub(super) fn isa() -> Result<Arc<dyn TargetIsa>> {
    static ISA: OnceLock<Result<Arc<dyn TargetIsa>>> = OnceLock::new();
    ISA.get_or_init(detect).clone()
}

fn detect() -> Result<Arc<dyn TargetIsa>> {
    let mut flags = settings::builder();
    // The optimising is done on our own IR: Cranelift's mid-end hoists loads above arithmetic, which made
    // reductions 4–7 times slower and compilation 4–90 times.
    let choices = [("opt_level", "none"), ("is_pic", "false"), ("use_colocated_libcalls", "false")];
    let verifier = ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" });
    for (name, value) in choices.into_iter().chain([verifier]) {
        flags.set(name, value).map_err(|error| Error::Codegen(error.to_string()))?;
    }
    let builder = cranelift_native::builder().map_err(|error| Error::Codegen(error.into()))?;
    builder.finish(settings::Flags::new(flags)).map_err(|error| Error::Codegen(error.to_string()))
}

/// Whether fused multiply-add is one instruction; else it would be a call, and rounding it twice is
/// faster.
pub(super) fn has_fma(isa: &dyn TargetIsa) -> bool {
    let is_x86 = matches!(isa.triple().architecture, target_lexicon::Architecture::X86_64);
    !is_x86 || isa.isa_flags().iter().any(|flag| flag.name == "has_fma" && flag.as_bool() == Some(true))
}

/// Whether rounding to integers is one instruction.
pub(super) fn has_rounding(isa: &dyn TargetIsa) -> bool {
    let is_x86 = matches!(isa.triple().architecture, target_lexicon::Architecture::X86_64);
    !is_x86 || isa.isa_flags().iter().any(|flag| flag.name == "has_sse41" && flag.as_bool() == Some(true))
}

/// An empty module.
pub(super) fn module(isa: Arc<dyn TargetIsa>) -> JITModule {
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    math::register(&mut builder);
    JITModule::new(builder)
}
