//! Fetching ahead what is read or written under masks alone: the processor does not notice such rows follow each other, as
//! it does with others.

use super::machine::{Address, Code, Inst, Operand, Writes};
use super::nest::{Nest, Rest};
use crate::codegen::cost::AHEAD;
use crate::loops::Access;

const FETCH: Code = Code { map: 1, is_wide: false, ..Code::plain("prefetcht0", 0x18) }
    .with_digit(1)
    .writing(Writes::NoRegister);

impl Nest<'_> {
    /// Asks for what follows a vector at this address in later turns, if it is masked, and beside so many whole ones at most.
    pub(super) fn fetch_ahead(&mut self, access: &Access, address: Address, is_guarded: bool, beside: i64) {
        let Some(vector) = self.vector else { return };
        let is_masked = match self.rest {
            Rest::Full => is_guarded,
            Rest::First(_) => self.whole_turns(vector) <= beside,
            Rest::Masked(_) => true,
        };
        if !is_masked {
            return;
        }
        let size = self.program.buffers[access.buffer.index()].dtype.size() as i64;
        // The innermost counter comes last.
        let Some(&(_, coefficient)) = self.moving(&access.index).0.last() else { return };
        let bytes = coefficient * size;
        if bytes == 0 || bytes.abs() > AHEAD {
            return;
        }
        let Some(offset) = address.offset.checked_add((AHEAD / bytes * bytes) as i32) else { return };
        let there = Address { offset, ..address };
        if self.fetched.insert(there) {
            self.lanes.build.here(Inst::new(FETCH, None, None, Operand::Memory(there)));
        }
    }
}
