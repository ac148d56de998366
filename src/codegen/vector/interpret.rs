//! Running a kernel as written, one grid point after the other: the yardstick of every emitter.

use half::f16;

use super::{Address, Binary, Inst, Kernel, Stmt, Unary};

/// Runs `kernel` over its whole grid on `buffers`, one for each of the kernel's, scratch included.
///
/// # Panics
/// On kernels that [`verify`](super::verify()) refuses, and on buffers shorter than declared.
pub fn interpret(kernel: &Kernel, buffers: &mut [Vec<f32>]) {
    let mut machine = Machine {
        lanes: kernel.lanes,
        extents: &kernel.extents,
        indices: vec![0; kernel.extents.len()],
        registers: vec![vec![f32::NAN; kernel.lanes]; kernel.registers],
        buffers,
    };
    let [g0, g1, g2] = kernel.grid();
    for point in 0..g0 * g1 * g2 {
        machine.indices[0] = point / (g1 * g2);
        machine.indices[1] = point / g2 % g1;
        machine.indices[2] = point % g2;
        machine.block(&kernel.body);
    }
}

struct Machine<'a> {
    lanes: usize,
    extents: &'a [usize],
    indices: Vec<usize>,
    registers: Vec<Vec<f32>>,
    buffers: &'a mut [Vec<f32>],
}

impl Machine<'_> {
    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Inst(inst) => self.inst(inst),
                Stmt::Loop { index, body } => {
                    for value in 0..self.extents[index.0] {
                        self.indices[index.0] = value;
                        self.block(body);
                    }
                }
                Stmt::If { index, below, then, otherwise } => {
                    self.block(if self.indices[index.0] < *below { then } else { otherwise });
                }
            }
        }
    }

    fn element(&self, at: &Address) -> usize {
        let terms = at.terms.iter().map(|&(index, stride)| stride * self.indices[index.0] as i64);
        usize::try_from(at.offset + terms.sum::<i64>()).expect("verified")
    }

    fn inst(&mut self, inst: &Inst) {
        let r = |reg: super::Reg| &self.registers[reg.0];
        let value: Vec<f32> = match inst {
            Inst::Load { at, lanes, .. } => {
                let first = self.element(at);
                let buffer = &self.buffers[at.buffer.0];
                (0..self.lanes).map(|l| if l < *lanes { buffer[first + l] } else { 0.0 }).collect()
            }
            Inst::LoadHalf { at, .. } => {
                let first = self.element(at);
                let elements = &self.buffers[at.buffer.0][first..first + self.lanes / 2];
                let halves = elements.iter().flat_map(|element| {
                    let bits = element.to_bits();
                    [bits as u16, (bits >> 16) as u16]
                });
                halves.map(|bits| f16::from_bits(bits).to_f32()).collect()
            }
            Inst::Broadcast { at, .. } => vec![self.buffers[at.buffer.0][self.element(at)]; self.lanes],
            Inst::Constant { value, .. } => vec![*value; self.lanes],
            Inst::Unary { op, x, .. } => r(*x).iter().map(|&x| unary(*op, x)).collect(),
            Inst::Binary { op, a, b, .. } => {
                r(*a).iter().zip(r(*b)).map(|(&a, &b)| binary(*op, a, b)).collect()
            }
            Inst::Fma { a, b, c, .. } => {
                (0..self.lanes).map(|l| r(*a)[l].mul_add(r(*b)[l], r(*c)[l])).collect()
            }
            Inst::Select { a, b, yes, no, .. } => {
                (0..self.lanes).map(|l| if r(*a)[l] > r(*b)[l] { r(*yes)[l] } else { r(*no)[l] }).collect()
            }
            Inst::Reduce { op, x, .. } => {
                let mut all = r(*x).clone();
                while all.len() > 1 {
                    let upper = all.split_off(all.len() / 2);
                    all = all.iter().zip(upper).map(|(&a, b)| binary(*op, a, b)).collect();
                }
                vec![all[0]; self.lanes]
            }
            Inst::Store { src, at, lanes } => {
                let first = self.element(at);
                let value = self.registers[src.0][..*lanes].to_vec();
                self.buffers[at.buffer.0][first..first + lanes].copy_from_slice(&value);
                return;
            }
            Inst::Prefetch { .. } => return,
        };
        self.registers[inst.dst().expect("stores returned").0] = value;
    }
}

fn unary(op: Unary, x: f32) -> f32 {
    match op {
        Unary::Copy => x,
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sqrt => x.sqrt(),
        Unary::Round => x.round_ties_even(),
        Unary::Exp2 => f32::from_bits(((x as i32 + 127) << 23) as u32),
        Unary::Exponent => ((x.to_bits() >> 23) as i32 - 127) as f32,
        Unary::Mantissa => f32::from_bits(x.to_bits() & 0x007f_ffff | 0x3f80_0000),
    }
}

fn binary(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max => {
            if a > b {
                a
            } else {
                b
            }
        }
        Binary::Min => {
            if a < b {
                a
            } else {
                b
            }
        }
    }
}
