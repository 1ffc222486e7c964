//! What a call reports.

use ndarray::ArrayViewD;

use super::{Signature, State, find, signatures};
use crate::error::{Error, Result};
use crate::types::{Element, Value};

/// The outputs of the last call, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Report<'s> {
    pub(super) state: &'s State,
}

impl<'s> Report<'s> {
    /// The loss before the update: the output named `loss`, which every training step has. NaN for a
    /// program without one.
    pub fn loss(&self) -> f64 {
        self.number("loss").unwrap_or(f64::NAN)
    }

    /// The first element of an output, as `f64`.
    ///
    /// # Errors
    /// An unknown name; an output without elements.
    pub fn number(&self, name: &str) -> Result<f64> {
        let entry = find(&self.state.layout.outputs, "output", name)?;
        let number = self.state.outputs.read_scalar(entry);
        number.ok_or_else(|| Error::Value(format!("output `{name}` is {} and has no elements", entry.ty)))
    }

    /// An output in place, without a copy.
    ///
    /// # Errors
    /// An unknown name; elements of another type than `T`.
    pub fn view<T: Element>(&self, name: &str) -> Result<ArrayViewD<'s, T>> {
        let entry = find(&self.state.layout.outputs, "output", name)?;
        self.state.outputs.view(entry).ok_or_else(|| {
            Error::Value(format!("output `{name}` is {}, asked for as {}", entry.ty, T::DTYPE))
        })
    }

    /// A copy of an output.
    ///
    /// # Errors
    /// An unknown name.
    pub fn output(&self, name: &str) -> Result<Value> {
        let entry = find(&self.state.layout.outputs, "output", name)?;
        let value = self.state.outputs.read(entry);
        value.ok_or_else(|| Error::Internal(format!("output `{name}` lies outside its memory")))
    }

    /// Every output's name and type.
    pub fn signature(&self) -> Vec<Signature> {
        signatures(&self.state.layout.outputs)
    }
}
