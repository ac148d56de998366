//! The kernel's own text: what `show --stage plan` prints.

use std::fmt;

use super::{Address, Inst, Kernel, Stmt};

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [g0, g1, g2] = self.grid();
        writeln!(f, "kernel {} lanes={} grid={g0}x{g1}x{g2}", self.name, self.lanes)?;
        for (id, buffer) in self.buffers.iter().enumerate() {
            writeln!(f, "  {:?} b{id} {}[{}]", buffer.access, buffer.name, buffer.elements)?;
        }
        self.block(f, &self.body, 1)
    }
}

impl Kernel {
    fn block(&self, f: &mut fmt::Formatter<'_>, body: &[Stmt], depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        for stmt in body {
            match stmt {
                Stmt::Inst(inst) => writeln!(f, "{indent}{}", self.inst(inst))?,
                Stmt::Loop { index, body } => {
                    writeln!(f, "{indent}for i{} in 0..{}", index.0, self.extents[index.0])?;
                    self.block(f, body, depth + 1)?;
                }
                Stmt::If { index, below, then, otherwise } => {
                    writeln!(f, "{indent}if i{} < {below}", index.0)?;
                    self.block(f, then, depth + 1)?;
                    writeln!(f, "{indent}else")?;
                    self.block(f, otherwise, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn inst(&self, inst: &Inst) -> String {
        let lanes =
            |lanes: usize| if lanes == self.lanes { String::new() } else { format!(" lanes={lanes}") };
        let name = |op: &dyn fmt::Debug| format!("{op:?}").to_lowercase();
        match inst {
            Inst::Load { dst, at, lanes: n } => {
                format!("v{} = load {}{}", dst.0, self.address(at), lanes(*n))
            }
            Inst::LoadHalf { dst, at } => format!("v{} = load_half {}", dst.0, self.address(at)),
            Inst::Broadcast { dst, at } => format!("v{} = broadcast {}", dst.0, self.address(at)),
            Inst::Constant { dst, value } => format!("v{} = {value:?}", dst.0),
            Inst::Unary { dst, op, x } => format!("v{} = {} v{}", dst.0, name(op), x.0),
            Inst::Binary { dst, op, a, b } => format!("v{} = {} v{}, v{}", dst.0, name(op), a.0, b.0),
            Inst::Fma { dst, a, b, c } => format!("v{} = fma v{}, v{}, v{}", dst.0, a.0, b.0, c.0),
            Inst::Select { dst, a, b, yes, no } => {
                format!("v{} = v{} > v{} ? v{} : v{}", dst.0, a.0, b.0, yes.0, no.0)
            }
            Inst::Reduce { dst, op, x } => format!("v{} = reduce_{} v{}", dst.0, name(op), x.0),
            Inst::Store { src, at, lanes: n } => {
                format!("store {}{}, v{}", self.address(at), lanes(*n), src.0)
            }
            Inst::Prefetch { at } => format!("prefetch {}", self.address(at)),
        }
    }

    fn address(&self, at: &Address) -> String {
        let mut text = self.buffers[at.buffer.0].name.clone() + "[";
        for (index, stride) in &at.terms {
            text += &format!("{stride}*i{} + ", index.0);
        }
        text + &format!("{}]", at.offset)
    }
}
