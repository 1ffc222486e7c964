//! Functions of the Rust library, called from generated code.

use cranelift::prelude::{AbiParam, InstBuilder, Signature, Type, Value, types};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError};

use super::lanes::Shape;
use crate::codegen::scalar::Emit;

/// Operands and result of a function on the lanes of a vector, each as its bits: generated code fills this in, calls, and
/// reads the result. N lanes of T are 64 bytes.
#[repr(C)]
pub(in crate::codegen) struct Vectors<T, const N: usize> {
    result: [T; N],
    operands: [[T; N]; 2],
    /// The lanes to compute, a bit each.
    mask: u64,
}

/// Where generated code finds the parts of [`Vectors`], and their size.
pub(in crate::codegen) mod place {
    use super::Vectors;
    use std::mem::offset_of;

    pub const RESULT: i32 = offset_of!(Vectors<u32, 16>, result) as i32;
    pub const OPERANDS: [i32; 2] = {
        let first = offset_of!(Vectors<u32, 16>, operands) as i32;
        [first, first + 64]
    };
    pub const MASK: i32 = offset_of!(Vectors<u32, 16>, mask) as i32;
    pub const SIZE: i32 = size_of::<Vectors<u32, 16>>() as i32;
}

impl<T: Copy + PartialEq, const N: usize> Vectors<T, N> {
    /// What is the same in all lanes is computed once.
    fn fill(&mut self, f: impl Fn([T; 2]) -> T) {
        let at = |lane: usize| [self.operands[0][lane], self.operands[1][lane]];
        let is_same = (1..N).all(|lane| at(lane) == at(0));
        let same = is_same.then(|| f(at(0)));
        for lane in (0..N).filter(|lane| self.mask >> lane & 1 == 1) {
            self.result[lane] = same.unwrap_or_else(|| f(at(lane)));
        }
    }
}

/// A function as machine code, for f32 and for f64.
struct Entry {
    names: [&'static str; 2],
    arity: usize,
    /// Takes scalars.
    scalar: [*const u8; 2],
    /// Takes a pointer to [`Vectors`].
    vector: [*const u8; 2],
}

macro_rules! library {
    ($($name:ident($($arg:ident),*) = $narrow:expr, $wide:expr;)*) => {
        /// The functions of the library.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Function { $($name),* }

        const FUNCTIONS: &[Entry] = &[$({
            extern "C" fn narrow($($arg: f32),*) -> f32 { $narrow($($arg),*) }
            extern "C" fn wide($($arg: f64),*) -> f64 { $wide($($arg),*) }
            extern "C" fn narrow_lanes(vectors: &mut Vectors<u32, 16>) {
                vectors.fill(|operands| {
                    let [$($arg,)* ..] = operands.map(f32::from_bits);
                    narrow($($arg),*).to_bits()
                });
            }
            extern "C" fn wide_lanes(vectors: &mut Vectors<u64, 8>) {
                vectors.fill(|operands| {
                    let [$($arg,)* ..] = operands.map(f64::from_bits);
                    wide($($arg),*).to_bits()
                });
            }
            Entry {
                names: [concat!(stringify!($name), "F32"), concat!(stringify!($name), "F64")],
                arity: [$(stringify!($arg)),*].len(),
                scalar: [narrow as *const u8, wide as *const u8],
                vector: [narrow_lanes as *const u8, wide_lanes as *const u8],
            }
        }),*];
    };
}

library! {
    Sin(x) = f32::sin, f64::sin;
    Cos(x) = f32::cos, f64::cos;
    Tan(x) = f32::tan, f64::tan;
    Pow(x, y) = f32::powf, f64::powf;
    Rem(x, y) = std::ops::Rem::rem, std::ops::Rem::rem;
}

/// Makes the library's addresses known to the linker.
pub(in crate::codegen) fn register(builder: &mut JITBuilder) {
    for entry in FUNCTIONS {
        for (name, address) in entry.names.into_iter().zip(entry.scalar) {
            builder.symbol(name, address);
        }
    }
}

impl Function {
    /// The name and the address of the function that takes a pointer to [`Vectors`], of f64 if `is_wide`.
    pub fn on_lanes(self, is_wide: bool) -> (&'static str, *const u8) {
        let (entry, format) = (&FUNCTIONS[self as usize], usize::from(is_wide));
        (entry.names[format], entry.vector[format])
    }
}

/// Calls a library function on scalars, or on each lane of vectors.
pub(super) fn call(emit: &mut Emit<'_, '_>, function: Function, args: &[Value]) -> Value {
    let ty = emit.ty(args[0]);
    let callee = match declare(emit.module, function, ty.lane_type()) {
        Ok(id) => emit.module.declare_func_in_func(id, emit.builder.func),
        Err(error) => {
            emit.error.get_or_insert(error);
            return args[0];
        }
    };
    if !ty.is_vector() {
        let call = emit.builder.ins().call(callee, args);
        return emit.builder.inst_results(call)[0];
    }
    let mut result = args[0];
    for lane in 0..ty.lane_count() as u8 {
        let scalars: Vec<Value> = args.iter().map(|&arg| emit.builder.ins().extractlane(arg, lane)).collect();
        let call = emit.builder.ins().call(callee, &scalars);
        let value = emit.builder.inst_results(call)[0];
        result = emit.builder.ins().insertlane(result, value, lane);
    }
    result
}

/// The library's value where the mask is set, else `otherwise`; a branch around the calls.
pub(super) fn patch(
    emit: &mut Emit<'_, '_>,
    mask: Value,
    function: Function,
    x: Value,
    otherwise: Value,
    shape: Shape,
) -> Value {
    let ty = emit.ty(x);
    let (slow, done) = (emit.builder.create_block(), emit.builder.create_block());
    emit.builder.set_cold_block(slow);
    let result = emit.builder.append_block_param(done, ty);
    let any = emit.builder.ins().vany_true(mask);
    emit.builder.ins().brif(any, slow, &[], done, &[otherwise.into()]);
    emit.builder.switch_to_block(slow);
    let called = match shape {
        Shape::Vector => call(emit, function, &[x]),
        Shape::Scalar => {
            let x = emit.builder.ins().extractlane(x, 0);
            let value = call(emit, function, &[x]);
            emit.splat(value, ty)
        }
    };
    let patched = emit.select(mask, called, otherwise);
    emit.builder.ins().jump(done, &[patched.into()]);
    emit.builder.switch_to_block(done);
    result
}

fn declare(module: &mut JITModule, function: Function, ty: Type) -> Result<FuncId, ModuleError> {
    let Entry { names, arity, .. } = FUNCTIONS[function as usize];
    let mut signature = Signature::new(module.target_config().default_call_conv);
    signature.params.extend((0..arity).map(|_| AbiParam::new(ty)));
    signature.returns.push(AbiParam::new(ty));
    module.declare_function(names[usize::from(ty == types::F64)], Linkage::Import, &signature)
}
