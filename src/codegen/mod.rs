//! Floor 5: loops → CLIF → machine code. Tiny programs become straight-line code over registers
//! ([`tape`], [`straight`]); all others become vectorised loop nests ([`nest`]). Never sees a tensor
//! operator.

mod cost;
mod entry;
mod host;
mod math;
mod nest;
mod scalar;
mod straight;
mod tape;
mod vectorise;

use std::time::{Duration, Instant};

use cranelift::codegen::Context;
use cranelift::prelude::{FunctionBuilder, FunctionBuilderContext, InstBuilder, IntCC, Value, types};
use cranelift_jit::JITModule;
use cranelift_module::{FuncId, Module, ModuleError};

pub use entry::{StepFn, StepsFn};
pub use host::Cpu;

use crate::error::{Error, Result};
use crate::loops::Program;
use entry::Bases;
use host::Features;
use scalar::Emit;
use tape::Tape;

/// What to keep of the way to machine code, beside the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    #[default]
    None,
    /// The CLIF and the assembly of both entries.
    Full,
}

/// Machine code, and the memory it lies in.
pub struct Code {
    /// Taken when the code is dropped.
    module: Option<JITModule>,
    /// Runs one step.
    pub step: StepFn,
    /// Runs many steps.
    pub steps: StepsFn,
    /// CLIF of both entries, with [`Listing::Full`].
    pub clif: String,
    /// Assembly of both entries, with [`Listing::Full`].
    pub asm: String,
    /// Bytes of machine code.
    pub bytes: usize,
    /// Time to build the CLIF.
    pub lowering: Duration,
    /// Time Cranelift took.
    pub cranelift: Duration,
}

// SAFETY: the module is only kept to be freed on drop, and the code it holds is immutable once finalised.
unsafe impl Send for Code {}
// SAFETY: as above; calling the code takes the memory it works on as arguments.
unsafe impl Sync for Code {}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the entries are only called through `&Code`, so none is running, and the pointers
            // die with this value.
            unsafe { module.free_memory() };
        }
    }
}

/// Compiles a program that has passed [`Program::verify`].
///
/// # Errors
/// [`Error::Codegen`] if the processor is not supported or Cranelift refuses the program.
pub fn compile(program: &Program, cpu: Cpu, listing: Listing) -> Result<Code> {
    check_size(program)?;
    let started = Instant::now();
    let isa = host::isa(cpu)?;
    let compiler = Compiler {
        features: Features::of(&*isa),
        module: host::module(isa),
        tape: is_tiny(program).then(|| Tape::of(program)),
        program,
        listing,
        clif: String::new(),
        asm: String::new(),
        bytes: 0,
        cranelift: Duration::ZERO,
    };
    compiler.compile(started).map_err(|error| Error::Codegen(error.to_string()))
}

/// Addresses are 32-bit offsets from their bases.
fn check_size(program: &Program) -> Result<()> {
    let largest = program.buffers.iter().map(|buffer| buffer.elements * buffer.dtype.size()).sum::<usize>();
    if largest.max(program.arena_bytes) < i32::MAX as usize {
        return Ok(());
    }
    Err(Error::Codegen(format!("the program needs {largest} bytes of memory; at most 2 GiB are supported")))
}

/// Whether the program is to become straight-line code.
fn is_tiny(program: &Program) -> bool {
    let work = program.kernels.iter().fold(0usize, |sum, kernel| sum.saturating_add(kernel.work()));
    work <= cost::STRAIGHT_LINE && program.kernels.iter().all(|kernel| kernel.has_fixed_addresses())
}

struct Compiler<'p> {
    program: &'p Program,
    module: JITModule,
    tape: Option<Tape>,
    features: Features,
    listing: Listing,
    clif: String,
    asm: String,
    bytes: usize,
    cranelift: Duration,
}

impl Compiler<'_> {
    fn compile(mut self, started: Instant) -> Result<Code, ModuleError> {
        let step = self.define("step", false, None)?;
        let steps = self.define("steps", true, Some(step))?;
        let finalising = Instant::now();
        self.module.finalize_definitions()?;
        self.cranelift += finalising.elapsed();
        let (step, steps) =
            (self.module.get_finalized_function(step), self.module.get_finalized_function(steps));
        Ok(Code {
            // SAFETY: both functions were defined with the signatures of these types.
            step: unsafe { std::mem::transmute::<*const u8, StepFn>(step) },
            // SAFETY: as above.
            steps: unsafe { std::mem::transmute::<*const u8, StepsFn>(steps) },
            module: Some(self.module),
            clif: self.clif,
            asm: self.asm,
            bytes: self.bytes,
            lowering: started.elapsed().saturating_sub(self.cranelift),
            cranelift: self.cranelift,
        })
    }

    /// Builds and compiles one entry.
    fn define(&mut self, name: &str, counted: bool, step: Option<FuncId>) -> Result<FuncId, ModuleError> {
        let mut context = self.module.make_context();
        context.func.signature = entry::signature(self.module.target_config().default_call_conv, counted);
        context.set_disasm(self.listing == Listing::Full);
        let id = self.module.declare_anonymous_function(&context.func.signature)?;
        self.build(&mut context, counted, step)?;
        if self.listing == Listing::Full {
            self.clif += &format!("; {name}\n{}\n", context.func.display());
        }
        let compiling = Instant::now();
        self.module.define_function(id, &mut context)?;
        self.cranelift += compiling.elapsed();
        if let Some(code) = context.compiled_code() {
            self.bytes += code.code_info().total_size as usize;
            self.asm += &code.vcode.as_ref().map_or(String::new(), |text| format!("; {name}\n{text}\n"));
        }
        Ok(id)
    }

    fn build(
        &mut self,
        context: &mut Context,
        counted: bool,
        step: Option<FuncId>,
    ) -> Result<(), ModuleError> {
        let mut scratch = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut context.func, &mut scratch);
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        let params = builder.block_params(block).to_vec();
        let step = step.map(|step| self.module.declare_func_in_func(step, builder.func));
        let mut emit =
            Emit { builder: &mut builder, module: &mut self.module, features: self.features, error: None };
        match (&self.tape, step) {
            (Some(tape), _) => {
                let bases = Bases::of(emit.builder, &params, self.program);
                match counted {
                    false => straight::step(tape, self.program, &mut emit, &bases),
                    true => straight::steps(tape, self.program, &mut emit, &bases, params[4]),
                }
            }
            (None, Some(step)) => call_repeatedly(&mut emit, step, &params),
            (None, None) => {
                let bases = Bases::of(emit.builder, &params, self.program);
                nest::program(self.program, &mut emit, &bases);
            }
        }
        emit.builder.ins().return_(&[]);
        let failed = emit.error.take();
        builder.seal_all_blocks();
        builder.finalize(self.module.target_config());
        failed.map_or(Ok(()), Err)
    }
}

/// A loop of calls of the one-step entry.
fn call_repeatedly(emit: &mut Emit<'_, '_>, step: cranelift::codegen::ir::FuncRef, params: &[Value]) {
    let (body, done) = (emit.builder.create_block(), emit.builder.create_block());
    let i = emit.builder.append_block_param(body, types::I64);
    let zero = emit.builder.ins().iconst(types::I64, 0);
    emit.builder.ins().jump(body, &[zero.into()]);
    emit.builder.switch_to_block(body);
    emit.builder.ins().call(step, &params[..4]);
    let next = emit.builder.ins().iadd_imm_s(i, 1);
    let more = emit.builder.ins().icmp(IntCC::UnsignedLessThan, next, params[4]);
    emit.builder.ins().brif(more, body, &[next.into()], done, &[]);
    emit.builder.switch_to_block(done);
}
