//! Floor 5: loops → CLIF → machine code. Tiny programs become straight-line code over registers
//! ([`tape`], [`straight`]); all others become vectorised loop nests ([`nest`]). Never sees a tensor
//! operator.

mod constants;
mod cost;
mod entry;
mod host;
mod math;
mod nest;
mod packing;
mod parts;
mod scalar;
mod straight;
mod tape;
mod vectorise;
mod x86;

use std::time::{Duration, Instant};

use cranelift::codegen::CodegenError;
use cranelift::codegen::Context;
use cranelift::prelude::{
    Block, FunctionBuilder, FunctionBuilderContext, InstBuilder, IntCC, MemFlagsData, Value, types,
};
use cranelift_jit::JITModule;
use cranelift_module::{FuncId, Module, ModuleError};
use memmap2::Mmap;

pub use entry::{Contract, Library, PieceFn, Prepared, SortFn, StepFn, StepsFn};
pub use host::Cpu;
use parts::TaskEntry;
pub use parts::{Memory, Part, TaskCode, Turns};

use crate::error::{Error, Result};
use crate::loops::{BufferId, Kernel, Program, Repeat, Stmt, Task};
use constants::Constants;
use entry::Bases;
use host::Features;
use scalar::Emit;
use tape::Tape;
use x86::Isa;

/// What to keep of the way to machine code, beside the code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    #[default]
    None,
    /// The CLIF and the assembly of every function.
    Full,
}

/// Machine code, and the memory it lies in.
pub struct Code {
    /// Taken when the code is dropped.
    module: Option<JITModule>,
    /// Where code lies that is not in a module.
    _mapping: Option<Mmap>,
    /// What the code refers to by address.
    _contractions: Vec<Prepared>,
    /// Runs steps.
    pub steps: StepsFn,
    /// Runs one task each: together, in order, they are a step. Straight-line code has none.
    pub tasks: Vec<TaskCode>,
    /// CLIF of every function, with [`Listing::Full`].
    pub clif: String,
    /// Assembly of every function, with [`Listing::Full`].
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
pub fn compile(program: &Program, cpu: Cpu, library: Library, listing: Listing) -> Result<Code> {
    check_size(program)?;
    let started = Instant::now();
    let tape = is_tiny(program).then(|| Tape::of(program));
    let assembly = Isa::of(cpu).and(tape.as_ref()).and_then(|tape| x86::steps(tape, program));
    let compiler = || Compiler::new(program, tape.as_ref(), (cpu, library), listing);
    let failed = |error: ModuleError| Error::Codegen(describe(&error));
    let Some(assembly) = assembly else { return compiler()?.compile(started).map_err(failed) };
    let (clif, asm) = match listing {
        Listing::None => (String::new(), String::new()),
        Listing::Full => {
            let clif = compiler()?.clif_of_steps().map_err(failed)?;
            (clif, format!("; steps\n{}\n", assembly.listing()))
        }
    };
    let mapping = host::map(&assembly.bytes)?;
    Ok(Code {
        module: None,
        // SAFETY: the code has the signature of this type.
        steps: unsafe { std::mem::transmute::<*const u8, StepsFn>(mapping.as_ptr()) },
        _mapping: Some(mapping),
        _contractions: vec![],
        tasks: vec![],
        clif,
        asm,
        bytes: assembly.bytes.len(),
        lowering: started.elapsed(),
        cranelift: Duration::ZERO,
    })
}

/// What went wrong, with every fault of the code that Cranelift's verifier names.
fn describe(error: &ModuleError) -> String {
    match error {
        ModuleError::Compilation(CodegenError::Verifier(faults)) => format!("{error}\n{faults}"),
        other => other.to_string(),
    }
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
    program.work(&|instr| cost::instructions(instr, true)) <= cost::STRAIGHT_LINE && program.is_fixed()
}

struct Compiler<'p> {
    program: &'p Program,
    library: Library,
    contractions: Vec<Prepared>,
    constants: Constants,
    module: JITModule,
    tape: Option<&'p Tape>,
    features: Features,
    /// What Cranelift allocated for the function before.
    context: Option<Context>,
    scratch: FunctionBuilderContext,
    listing: Listing,
    clif: String,
    asm: String,
    bytes: usize,
    cranelift: Duration,
}

/// A function of the module.
#[derive(Clone, Copy)]
struct Function {
    id: FuncId,
    /// If threads share its work out: how many iterations there are, a range of which it takes.
    shared: Option<usize>,
}

/// A task whose functions are defined: its own, and those of its kernels in order.
struct Defined {
    function: Function,
    kernels: Vec<Function>,
}

impl<'p> Compiler<'p> {
    fn new(
        program: &'p Program,
        tape: Option<&'p Tape>,
        (cpu, library): (Cpu, Library),
        listing: Listing,
    ) -> Result<Compiler<'p>> {
        let isa = host::isa(cpu)?;
        Ok(Compiler {
            features: Features::of(&*isa, cpu),
            module: host::module(isa),
            tape,
            program,
            library,
            contractions: Vec::new(),
            constants: Constants::default(),
            context: None,
            scratch: FunctionBuilderContext::new(),
            listing,
            clif: String::new(),
            asm: String::new(),
            bytes: 0,
            cranelift: Duration::ZERO,
        })
    }

    fn compile(mut self, started: Instant) -> Result<Code, ModuleError> {
        let tasks = match self.tape {
            Some(_) => vec![],
            None => self.define_tasks()?,
        };
        let steps = self.define("steps", 1, |compiler, context| compiler.build_steps(context, &tasks))?;
        let finalising = Instant::now();
        self.constants.define(&mut self.module)?;
        self.module.finalize_definitions()?;
        self.cranelift += finalising.elapsed();
        let steps = self.module.get_finalized_function(steps);
        let tasks =
            self.program.tasks.iter().zip(&tasks).map(|(task, code)| self.finished(task, code)).collect();
        Ok(Code {
            // SAFETY: the function was defined with the signature of this type.
            steps: unsafe { std::mem::transmute::<*const u8, StepsFn>(steps) },
            tasks,
            module: Some(self.module),
            _mapping: None,
            _contractions: self.contractions,
            clif: self.clif,
            asm: self.asm,
            bytes: self.bytes,
            lowering: started.elapsed().saturating_sub(self.cranelift),
            cranelift: self.cranelift,
        })
    }

    /// The CLIF of a program that is written out, where other code runs.
    fn clif_of_steps(mut self) -> Result<String, ModuleError> {
        self.clif("steps, for processors without AVX2", 1, |compiler, context| {
            compiler.build_steps(context, &[])
        })?;
        Ok(self.clif)
    }

    /// Compiles every kernel, and every repeat that is not inside another, to a function of its own.
    fn define_tasks(&mut self) -> Result<Vec<Defined>, ModuleError> {
        let mut number = 0..;
        let mut tasks = Vec::with_capacity(self.program.tasks.len());
        for task in &self.program.tasks {
            let mut kernels = Vec::new();
            task.kernels(&mut kernels);
            let kernels: Vec<Function> = (kernels.into_iter().zip(number.by_ref()))
                .map(|(kernel, number)| self.define_kernel(number, kernel))
                .collect::<Result<_, _>>()?;
            let function = match task {
                Task::Run(_) => kernels[0],
                Task::Repeat(repeat) => self.define_repeat(repeat, &kernels)?,
            };
            tasks.push(Defined { function, kernels });
        }
        Ok(tasks)
    }

    /// Compiles a repeat of these kernels: all turns, or a range of them that a thread is given.
    fn define_repeat(&mut self, repeat: &Repeat, kernels: &[Function]) -> Result<Function, ModuleError> {
        let counts = if repeat.is_parallel { 2 } else { 0 };
        let id = self.define("repeat", counts, |compiler, context| {
            compiler.build(context, |emit, params, program| {
                let mut calls = Calls { program, params, kernels: kernels.iter() };
                match params[4..] {
                    [first, end] => calls.turns(repeat, (first, end), emit, &mut vec![]),
                    _ => calls.all_turns(repeat, emit, &mut vec![]),
                }
            })
        })?;
        Ok(Function { id, shared: repeat.is_parallel.then_some(repeat.turns) })
    }

    /// The code of a task, when all is in place.
    fn finished(&self, task: &Task, code: &Defined) -> TaskCode {
        let Function { id, shared } = code.function;
        let address = self.module.get_finalized_function(id);
        // SAFETY: the function was defined with the signature of these types.
        let entry = unsafe {
            match shared {
                Some(iterations) => TaskEntry::Shared {
                    run: self.library.parallel,
                    piece: std::mem::transmute::<*const u8, PieceFn>(address),
                    iterations: iterations as u64,
                },
                None => TaskEntry::Whole(std::mem::transmute::<*const u8, StepFn>(address)),
            }
        };
        let turns = match task {
            Task::Run(_) => None,
            Task::Repeat(repeat) => self.turns(repeat, &code.kernels),
        };
        TaskCode { entry, turns }
    }

    /// Compiles one kernel to a function of its own.
    fn define_kernel(&mut self, number: usize, kernel: &Kernel) -> Result<Function, ModuleError> {
        let name = format!("kernel {number}: {}", kernel.name);
        let counts = kernel.repeats + if kernel.is_parallel { 2 } else { 0 };
        let assembly = self.features.vectors.and_then(|isa| x86::kernel(self.program, kernel, isa));
        let group = assembly.as_ref().map_or(1, |assembly| assembly.group);
        let id = match assembly {
            Some(assembly) => self.define_assembly(&name, counts, &assembly)?,
            None => self.define(&name, counts, |compiler, context| {
                compiler.build(context, |emit, params, program| {
                    let (reads, writes) = kernel.reads_and_writes();
                    let places = reads.union(&writes).map(|id| program.buffers[id.index()].place);
                    let bases = Bases::of(emit.builder, params, places);
                    nest::kernel(program, kernel, emit, &bases, &params[4..]);
                })
            })?,
        };
        let iterations = || kernel.body.last().and_then(Stmt::loop_var).map_or(0, |var| kernel.extent(var));
        // A group of iterations counts as one.
        Ok(Function { id, shared: kernel.is_parallel.then(|| iterations() / group) })
    }

    /// A function that is machine code already.
    fn define_assembly(
        &mut self,
        name: &str,
        counts: usize,
        assembly: &x86::Assembly,
    ) -> Result<FuncId, ModuleError> {
        let signature = entry::signature(self.module.target_config().default_call_conv, counts);
        let id = self.module.declare_anonymous_function(&signature)?;
        self.module.define_function_bytes(id, 64, &assembly.bytes, &[])?;
        self.bytes += assembly.bytes.len();
        if self.listing == Listing::Full {
            self.clif += &format!("; {name}\n; {}, without CLIF: see the assembly\n", assembly.isa.name());
            self.asm += &format!("; {name}\n{}\n", assembly.listing());
        }
        Ok(id)
    }

    /// Builds one function, which takes some numbers beside the memory.
    fn clif(
        &mut self,
        name: &str,
        counts: usize,
        build: impl FnOnce(&mut Self, &mut Context) -> Result<(), ModuleError>,
    ) -> Result<Context, ModuleError> {
        let mut context = self.context.take().unwrap_or_else(Context::new);
        self.module.clear_context(&mut context);
        context.func.signature = entry::signature(self.module.target_config().default_call_conv, counts);
        context.set_disasm(self.listing == Listing::Full);
        build(self, &mut context)?;
        if self.listing == Listing::Full {
            self.clif += &format!("; {name}\n{}\n", context.func.display());
        }
        Ok(context)
    }

    /// Builds and compiles one function, as [`Compiler::clif`].
    fn define(
        &mut self,
        name: &str,
        counts: usize,
        build: impl FnOnce(&mut Self, &mut Context) -> Result<(), ModuleError>,
    ) -> Result<FuncId, ModuleError> {
        let mut context = self.clif(name, counts, build)?;
        let id = self.module.declare_anonymous_function(&context.func.signature)?;
        let compiling = Instant::now();
        self.module.define_function(id, &mut context)?;
        self.cranelift += compiling.elapsed();
        if let Some(code) = context.compiled_code() {
            self.bytes += code.code_info().total_size as usize;
            self.asm += &code.vcode.as_ref().map_or(String::new(), |text| format!("; {name}\n{text}\n"));
        }
        self.context = Some(context);
        Ok(id)
    }

    /// Straight-line code that keeps the state in registers from step to step, or calls of every task in order.
    fn build_steps(&mut self, context: &mut Context, tasks: &[Defined]) -> Result<(), ModuleError> {
        let tape = self.tape;
        self.build(context, |emit, params, program| match tape {
            Some(tape) => {
                let bases =
                    Bases::of(emit.builder, params, program.buffers.iter().map(|buffer| buffer.place));
                straight::steps(tape, program, emit, &bases, params[4]);
            }
            None => {
                let (zero, done) = (emit.builder.ins().iconst(types::I64, 0), emit.builder.create_block());
                counted(emit, (zero, params[4]), done, |emit, _| {
                    tasks.iter().for_each(|task| call(emit, task.function, params, &[]));
                });
            }
        })
    }

    /// The frame of every function: an entry block with the parameters, and the return.
    fn build(
        &mut self,
        context: &mut Context,
        body: impl FnOnce(&mut Emit<'_, '_>, &[Value], &Program),
    ) -> Result<(), ModuleError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut builder = FunctionBuilder::new(&mut context.func, &mut scratch);
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        let params = builder.block_params(block).to_vec();
        let constants_base = self.constants.base(&mut self.module, &mut builder)?;
        let mut emit = Emit {
            builder: &mut builder,
            constants: &mut self.constants,
            constants_base,
            module: &mut self.module,
            features: self.features,
            library: self.library,
            is_straight: self.tape.is_some(),
            contractions: &mut self.contractions,
            error: None,
        };
        body(&mut emit, &params, self.program);
        emit.builder.ins().return_(&[]);
        let failed = emit.error.take();
        builder.seal_all_blocks();
        builder.finalize(self.module.target_config());
        self.scratch = scratch;
        failed.map_or(Ok(()), Err)
    }
}

/// A call of a function of this module, with the memory given to this one.
fn call(emit: &mut Emit<'_, '_>, function: Function, params: &[Value], counts: &[Value]) {
    let callee = emit.module.declare_func_in_func(function.id, emit.builder.func);
    let memory = &params[..4];
    let Some(iterations) = function.shared else {
        emit.builder.ins().call(callee, &[memory, counts].concat());
        return;
    };
    let piece = emit.builder.ins().func_addr(types::I64, callee);
    let iterations = emit.builder.ins().iconst(types::I64, iterations as i64);
    emit.call_library(emit.library.parallel as *const u8, &[&[piece], memory, &[iterations]].concat());
}

/// The calls of kernels that make up a repeat.
struct Calls<'a> {
    program: &'a Program,
    params: &'a [Value],
    /// The kernels still to be called, in order.
    kernels: std::slice::Iter<'a, Function>,
}

impl Calls<'_> {
    /// Does tasks, in the given turn of each repeat around them.
    fn tasks(&mut self, tasks: &[Task], emit: &mut Emit<'_, '_>, turns: &mut Vec<Value>) {
        for task in tasks {
            match task {
                Task::Run(_) => {
                    self.kernels.by_ref().take(1).for_each(|&kernel| call(emit, kernel, self.params, turns))
                }
                Task::Repeat(repeat) => self.all_turns(repeat, emit, turns),
            }
        }
    }

    fn all_turns(&mut self, repeat: &Repeat, emit: &mut Emit<'_, '_>, turns: &mut Vec<Value>) {
        let range = [0, repeat.turns as i64];
        let [first, end] = range.map(|turn| emit.builder.ins().iconst(types::I64, turn));
        self.turns(repeat, (first, end), emit, turns);
    }

    /// Does a range of turns of a repeat, at least one.
    fn turns(
        &mut self,
        repeat: &Repeat,
        range: (Value, Value),
        emit: &mut Emit<'_, '_>,
        turns: &mut Vec<Value>,
    ) {
        let done = emit.builder.create_block();
        counted(emit, range, done, |emit, turn| {
            repeat.condition.into_iter().for_each(|goes| self.leave_unless(goes, emit, done));
            turns.push(turn);
            self.tasks(&repeat.tasks, emit, turns);
            turns.pop();
        });
    }

    /// Goes to `done` if a bool in memory is false.
    fn leave_unless(&self, goes: BufferId, emit: &mut Emit<'_, '_>, done: Block) {
        let place = self.program.buffers[goes.index()].place;
        let bases = Bases::of(emit.builder, self.params, [place].into_iter());
        let (base, offset) = bases.address(place);
        let goes = emit.builder.ins().load(types::I8, MemFlagsData::new().with_notrap(), base, offset);
        let on = emit.builder.create_block();
        emit.builder.ins().brif(goes, on, &[], done, &[]);
        emit.builder.switch_to_block(on);
    }
}

/// A loop over the numbers from one to below another, at least one; it goes on at `done`.
fn counted(
    emit: &mut Emit<'_, '_>,
    (first, end): (Value, Value),
    done: Block,
    turn: impl FnOnce(&mut Emit<'_, '_>, Value),
) {
    let body = emit.builder.create_block();
    let i = emit.builder.append_block_param(body, types::I64);
    emit.builder.ins().jump(body, &[first.into()]);
    emit.builder.switch_to_block(body);
    turn(emit, i);
    let next = emit.builder.ins().iadd_imm_s(i, 1);
    let more = emit.builder.ins().icmp(IntCC::UnsignedLessThan, next, end);
    emit.builder.ins().brif(more, body, &[next.into()], done, &[]);
    emit.builder.switch_to_block(done);
}
