//! What a program is given at a call.

use std::sync::Arc;

use super::memory::Block;
use super::{Layout, Signature, check_type, find, signatures};
use crate::error::{Error, Result};
use crate::types::Value;

/// The inputs of a program: checked once, when they are set, and used by as many calls as you like.
#[derive(Debug)]
pub struct Inputs {
    pub(super) layout: Arc<Layout>,
    values: Vec<Option<Block>>,
    table: Table,
    missing: usize,
}

/// One pointer an input, as generated code wants them.
#[derive(Debug)]
struct Table(Vec<*const u8>);

// SAFETY: the pointers are into blocks that the same `Inputs` owns.
unsafe impl Send for Table {}
// SAFETY: as above; generated code only reads through them.
unsafe impl Sync for Table {}

impl Clone for Inputs {
    fn clone(&self) -> Inputs {
        let values = self.values.clone();
        let pointer = |block: &Option<Block>| {
            block.as_ref().map_or(std::ptr::null(), |block| block.start().cast_const())
        };
        let table = Table(values.iter().map(pointer).collect());
        Inputs { layout: self.layout.clone(), values, table, missing: self.missing }
    }
}

impl Inputs {
    pub(super) fn new(layout: &Arc<Layout>) -> Inputs {
        let count = layout.inputs.len();
        Inputs {
            layout: layout.clone(),
            values: vec![None; count],
            table: Table(vec![std::ptr::null(); count]),
            missing: count,
        }
    }

    /// Sets an input; an earlier value of it is overwritten in place.
    ///
    /// # Errors
    /// An unknown name; a value of another element type or shape. The inputs are unchanged then.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        let entry = find(&self.layout.inputs, "input", name)?;
        check_type("input", entry, value.ty())?;
        let slot = &mut self.values[entry.at];
        if slot.is_none() {
            self.missing -= 1;
        }
        let block = slot.get_or_insert_with(|| Block::new(entry.ty.bytes()));
        block.write(0, &value);
        self.table.0[entry.at] = block.start();
        Ok(())
    }

    /// Sets an input and returns the inputs, for chains.
    ///
    /// # Errors
    /// As [`Inputs::set`].
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Result<Inputs> {
        self.set(name, value)?;
        Ok(self)
    }

    /// Every input's name and type.
    pub fn signature(&self) -> Vec<Signature> {
        signatures(&self.layout.inputs)
    }

    /// The table of pointers, once every input is set.
    #[inline]
    pub(super) fn pointers(&self) -> Result<*const *const u8> {
        if self.missing > 0 {
            return Err(self.missing_input());
        }
        Ok(self.table.0.as_ptr())
    }

    #[cold]
    fn missing_input(&self) -> Error {
        let missing = self.layout.inputs.iter().zip(&self.values).find(|(_, value)| value.is_none());
        match missing {
            Some((entry, _)) => Error::MissingInput { name: entry.name.to_string(), ty: entry.ty },
            None => Error::Internal("an input is counted as missing that is set".into()),
        }
    }
}
