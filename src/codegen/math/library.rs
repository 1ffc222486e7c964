//! Functions of the Rust library, called from generated code.

use cranelift::prelude::{AbiParam, InstBuilder, Signature, Type, Value, types};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError};

use super::lanes::Shape;
use crate::codegen::scalar::Emit;
use crate::loops::Special;

macro_rules! library {
    ($($name:ident($($arg:ident),*) = $narrow:expr, $wide:expr;)*) => {
        /// The functions of the library.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::codegen) enum Function { $($name),* }

        const FUNCTIONS: &[(Function, &str, &str, usize)] = &[
            $((Function::$name, concat!(stringify!($name), "F32"), concat!(stringify!($name), "F64"), [$(stringify!($arg)),*].len())),*
        ];

        /// Makes the library's addresses known to the linker.
        pub(in crate::codegen) fn register(builder: &mut JITBuilder) {
            $({
                extern "C" fn narrow($($arg: f32),*) -> f32 { $narrow($($arg),*) }
                extern "C" fn wide($($arg: f64),*) -> f64 { $wide($($arg),*) }
                builder.symbol(concat!(stringify!($name), "F32"), narrow as *const u8);
                builder.symbol(concat!(stringify!($name), "F64"), wide as *const u8);
            })*
        }
    };
}

library! {
    Sin(x) = f32::sin, f64::sin;
    Cos(x) = f32::cos, f64::cos;
    Tan(x) = f32::tan, f64::tan;
    Asin(x) = f32::asin, f64::asin;
    Acos(x) = f32::acos, f64::acos;
    Atan(x) = f32::atan, f64::atan;
    ErfInv(x) = Special::erf_inv, Special::erf_inv;
    Rem(x, y) = std::ops::Rem::rem, std::ops::Rem::rem;
    Pow(x, y) = f32::powf, f64::powf;
    Atan2(x, y) = f32::atan2, f64::atan2;
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
    let (_, narrow, wide, arity) = FUNCTIONS[function as usize];
    let mut signature = Signature::new(module.target_config().default_call_conv);
    signature.params.extend((0..arity).map(|_| AbiParam::new(ty)));
    signature.returns.push(AbiParam::new(ty));
    let name = if ty == types::F32 { narrow } else { wide };
    module.declare_function(name, Linkage::Import, &signature)
}
