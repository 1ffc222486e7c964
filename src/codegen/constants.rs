//! Constants of vector code, in memory: from there they are operands of instructions, where a constant of CLIF would be
//! loaded into a register at each use.

use cranelift::prelude::{FunctionBuilder, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_jit::JITModule;
use cranelift_module::{DataDescription, DataId, Module, ModuleError};
use rustc_hash::FxHashMap;

/// The constants of a module, each once.
#[derive(Default)]
pub(super) struct Constants {
    /// Where the bytes of a vector begin.
    offsets: FxHashMap<[u8; 16], i32>,
    bytes: Vec<u8>,
    data: Option<DataId>,
}

impl Constants {
    /// The address of the constants, for a function. Costs nothing if it is not used.
    pub fn base(
        &mut self,
        module: &mut JITModule,
        builder: &mut FunctionBuilder<'_>,
    ) -> Result<Value, ModuleError> {
        let data = match self.data {
            Some(data) => data,
            None => *self.data.insert(module.declare_anonymous_data(false, false)?),
        };
        let data = module.declare_data_in_func(data, builder.func);
        Ok(builder.ins().symbol_value(types::I64, data))
    }

    /// A vector of these bytes, to be used once and right away.
    pub fn load(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        base: Value,
        bytes: [u8; 16],
        ty: Type,
    ) -> Value {
        let end = self.bytes.len() as i32;
        let offset = *self.offsets.entry(bytes).or_insert(end);
        if offset == end {
            self.bytes.extend(bytes);
        }
        let flags = MemFlagsData::trusted().with_readonly();
        builder.ins().load(ty, flags, base, offset)
    }

    /// Puts the constants where the functions expect them.
    pub fn define(&mut self, module: &mut JITModule) -> Result<(), ModuleError> {
        let Some(data) = self.data else { return Ok(()) };
        let mut description = DataDescription::new();
        // An empty object has no address.
        let bytes = if self.bytes.is_empty() { vec![0; 16] } else { std::mem::take(&mut self.bytes) };
        description.define(bytes.into_boxed_slice());
        description.set_align(16);
        module.define_data(data, &description)
    }
}
