//! What holds for every kernel that reaches an emitter.
//!
//! 1. Indices are used only inside their loop (grid coordinates everywhere); every index has one loop,
//!    which runs at least twice.
//! 2. A register is read only where an assignment dominates the read.
//! 3. Loads, stores and broadcasts touch only elements inside their buffer, for every value that the indices
//!    can take there. Shapes are static, so this is proven once, and generated code needs no checks.
//! 4. Nothing is stored to a buffer that is only read, nothing is loaded from one that is only written.
//! 5. A load or store covers between one and `lanes` elements.
//! 6. Byte offsets fit the signed 32-bit displacement of the machines' addressing modes.

use rustc_hash::FxHashSet;

use super::{Access, Address, GRID_RANK, Index, Inst, Kernel, Reg, Stmt};

/// An invariant that a kernel breaks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("kernel '{kernel}': {problem}")]
pub struct VerifyError {
    pub kernel: String,
    pub problem: String,
}

/// Checks the invariants that this file lists.
pub fn verify(kernel: &Kernel) -> Result<(), VerifyError> {
    let mut verifier =
        Verifier { kernel, ranges: vec![None; kernel.extents.len()], assigned: FxHashSet::default() };
    for coordinate in 0..GRID_RANK {
        verifier.ranges[coordinate] = Some((0, kernel.extents[coordinate]));
    }
    verifier.block(&kernel.body).map_err(|problem| VerifyError { kernel: kernel.name.clone(), problem })
}

struct Verifier<'a> {
    kernel: &'a Kernel,
    /// The half-open range of each index that is in scope.
    ranges: Vec<Option<(usize, usize)>>,
    assigned: FxHashSet<Reg>,
}

impl Verifier<'_> {
    fn block(&mut self, body: &[Stmt]) -> Result<(), String> {
        body.iter().try_for_each(|stmt| self.stmt(stmt))
    }

    /// A block whose assignments do not reach beyond it.
    fn scoped(&mut self, body: &[Stmt]) -> Result<(), String> {
        let before = self.assigned.clone();
        let result = self.block(body);
        self.assigned = before;
        result
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<(), String> {
        match stmt {
            Stmt::Inst(inst) => self.inst(inst),
            Stmt::Loop { index, body } => {
                let extent = *self.kernel.extents.get(index.0).ok_or(format!("{index:?} is not declared"))?;
                if self.ranges[index.0].is_some() {
                    return Err(format!("{index:?} is already in use"));
                }
                if extent < 2 {
                    return Err(format!("the loop over {index:?} runs {extent} times"));
                }
                self.ranges[index.0] = Some((0, extent));
                let result = self.scoped(body);
                self.ranges[index.0] = None;
                result
            }
            Stmt::If { index, below, then, otherwise } => {
                let (low, high) = self.range(*index)?;
                self.ranges[index.0] = Some((low, high.min(*below)));
                self.scoped(then)?;
                self.ranges[index.0] = Some((low.max(*below), high));
                self.scoped(otherwise)?;
                self.ranges[index.0] = Some((low, high));
                Ok(())
            }
        }
    }

    fn range(&self, index: Index) -> Result<(usize, usize), String> {
        self.ranges.get(index.0).copied().flatten().ok_or(format!("{index:?} is used outside its loop"))
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), String> {
        for reg in inst.sources() {
            if !self.assigned.contains(&reg) {
                return Err(format!("{reg:?} is read before it is assigned, in {inst:?}"));
            }
        }
        match inst {
            Inst::Load { at, lanes, .. } => self.access(at, *lanes, Access::Read)?,
            Inst::LoadHalf { at, .. } => self.access(at, self.kernel.lanes / 2, Access::Read)?,
            Inst::Broadcast { at, .. } => self.access(at, 1, Access::Read)?,
            Inst::Store { at, lanes, .. } => self.access(at, *lanes, Access::Write)?,
            _ => {}
        }
        if let Some(dst) = inst.dst() {
            if dst.0 >= self.kernel.registers {
                return Err(format!("{dst:?} is not declared"));
            }
            self.assigned.insert(dst);
        }
        Ok(())
    }

    fn access(&self, at: &Address, lanes: usize, access: Access) -> Result<(), String> {
        let buffer =
            self.kernel.buffers.get(at.buffer.0).ok_or(format!("{:?} is not declared", at.buffer))?;
        if buffer.access != access && buffer.access != Access::Scratch {
            return Err(format!("buffer '{}' does not allow {access:?}", buffer.name));
        }
        if lanes == 0 || lanes > self.kernel.lanes {
            return Err(format!("{lanes} lanes of {} in an access to '{}'", self.kernel.lanes, buffer.name));
        }
        let (mut low, mut high) = (i128::from(at.offset), i128::from(at.offset));
        for &(index, stride) in &at.terms {
            let (first, end) = self.range(index)?;
            if first >= end {
                return Ok(()); // never executed
            }
            let ends = [first, end - 1].map(|value| i128::from(stride) * value as i128);
            low += ends[0].min(ends[1]);
            high += ends[0].max(ends[1]);
        }
        if low < 0 || high + lanes as i128 > buffer.elements as i128 {
            return Err(format!(
                "{access:?} of elements {low} to {} of '{}', which has {}",
                high + lanes as i128 - 1,
                buffer.name,
                buffer.elements
            ));
        }
        if at.offset.checked_mul(4).is_none_or(|bytes| i32::try_from(bytes).is_err()) {
            return Err(format!(
                "'{}' is too large: element {} is beyond the reach of a 32-bit displacement",
                buffer.name, at.offset
            ));
        }
        Ok(())
    }
}
