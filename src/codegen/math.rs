//! Scalar functions that processors lack, called from generated code.

use cranelift::prelude::{AbiParam, FunctionBuilder, InstBuilder, Signature, Type, Value, types};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError};

use crate::loops::Special;

macro_rules! library {
    ($($name:ident($($arg:ident),*) = $narrow:expr, $wide:expr;)*) => {
        /// The functions of the library.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function { $($name),* }

        const FUNCTIONS: &[(Function, &str, &str, usize)] = &[
            $((Function::$name, concat!(stringify!($name), "F32"), concat!(stringify!($name), "F64"), [$(stringify!($arg)),*].len())),*
        ];

        /// Makes the library's addresses known to the linker.
        pub(super) fn register(builder: &mut JITBuilder) {
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
    Exp(x) = f32::exp, f64::exp;
    Expm1(x) = f32::exp_m1, f64::exp_m1;
    Log(x) = f32::ln, f64::ln;
    Log1p(x) = f32::ln_1p, f64::ln_1p;
    Sin(x) = f32::sin, f64::sin;
    Cos(x) = f32::cos, f64::cos;
    Tan(x) = f32::tan, f64::tan;
    Asin(x) = f32::asin, f64::asin;
    Acos(x) = f32::acos, f64::acos;
    Atan(x) = f32::atan, f64::atan;
    Sinh(x) = f32::sinh, f64::sinh;
    Cosh(x) = f32::cosh, f64::cosh;
    Tanh(x) = f32::tanh, f64::tanh;
    Erf(x) = libm::erff, libm::erf;
    ErfInv(x) = Special::erf_inv, Special::erf_inv;
    Rem(x, y) = std::ops::Rem::rem, std::ops::Rem::rem;
    Pow(x, y) = f32::powf, f64::powf;
    Atan2(x, y) = f32::atan2, f64::atan2;
    Floor(x) = f32::floor, f64::floor;
    Ceil(x) = f32::ceil, f64::ceil;
    Round(x) = f32::round_ties_even, f64::round_ties_even;
}

/// Calls a library function on scalars, or on each lane of vectors.
pub(super) fn call(
    module: &mut JITModule,
    builder: &mut FunctionBuilder<'_>,
    function: Function,
    args: &[Value],
) -> Result<Value, ModuleError> {
    let ty = builder.func.dfg.value_type(args[0]);
    let id = declare(module, function, ty.lane_type())?;
    let callee = module.declare_func_in_func(id, builder.func);
    if !ty.is_vector() {
        let call = builder.ins().call(callee, args);
        return Ok(builder.inst_results(call)[0]);
    }
    let mut result = args[0];
    for lane in 0..ty.lane_count() as u8 {
        let scalars: Vec<Value> = args.iter().map(|&arg| builder.ins().extractlane(arg, lane)).collect();
        let call = builder.ins().call(callee, &scalars);
        let value = builder.inst_results(call)[0];
        result = builder.ins().insertlane(result, value, lane);
    }
    Ok(result)
}

fn declare(module: &mut JITModule, function: Function, ty: Type) -> Result<FuncId, ModuleError> {
    let (_, narrow, wide, arity) = FUNCTIONS[function as usize];
    let mut signature = Signature::new(module.target_config().default_call_conv);
    signature.params.extend((0..arity).map(|_| AbiParam::new(ty)));
    signature.returns.push(AbiParam::new(ty));
    let name = if ty == types::F32 { narrow } else { wide };
    module.declare_function(name, Linkage::Import, &signature)
}
