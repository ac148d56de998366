//! Operators with kernels of their own that need no choice: pooling, normalisation, softmax, padding.

use super::operators::bindings;
use super::{Lowering, PackSource, Value, Work};
use crate::graph::NodeId;
use crate::kernels::elementwise::ElementFunction;
use crate::kernels::fill::Fill;
use crate::kernels::global_pool::GlobalPoolKernel;
use crate::kernels::pool::PoolKernel;
use crate::kernels::{BatchNormKernel, Family, FusedEpilogue, KernelSpec, LrnKernel, SoftmaxKernel, View};
use crate::ops::{BatchNorm, Op, Pad, PadMode, Statistics};

/// Lowers a node whose operator has one kernel.
pub fn lower_window(l: &mut Lowering, id: NodeId, op: &Op, own: &[NodeId], extra: &[NodeId]) {
    match op {
        Op::BatchNorm(norm @ BatchNorm { statistics: Statistics::Running, .. }) => {
            return running_norm(l, id, norm, own, extra);
        }
        Op::Pad(pad) if pad.mode == PadMode::Constant => return padding(l, id, pad, own[0]),
        Op::Pad(pad) => {
            let samplings = pad.samplings(l.graph.shape(own[0]));
            return super::rearrange::sample(l, id, own[0], samplings);
        }
        _ => {}
    }
    let mut arrays: Vec<Value> = own.iter().map(|&operand| l.value(operand)).collect();
    let (epilogue, extra) = l.epilogue(&l.graph.node(id).epilogue, extra);
    let y = l.allocate(id);
    let spec = spec(op, arrays[0].view.clone(), y.view.clone(), epilogue);
    arrays.extend(extra);
    arrays.push(y);
    let work = Work { activation_bytes: l.bytes(&arrays.iter().collect::<Vec<_>>()), ..Work::default() };
    let mut bindings: Vec<_> = bindings(&arrays).collect();
    if spec.build(l.lanes()).scratch_elements() > 0 {
        bindings.push(super::Binding::Scratch);
    }
    l.step(id, spec, bindings, work);
}

fn spec(op: &Op, x: View, y: View, epilogue: FusedEpilogue) -> KernelSpec {
    match op {
        Op::Pool(pool) => KernelSpec::Pool(PoolKernel { pool: *pool, x, y, epilogue }),
        Op::GlobalPool(pool) => KernelSpec::GlobalPool(GlobalPoolKernel { pool: *pool, x, y, epilogue }),
        Op::Lrn(lrn) => KernelSpec::Lrn(LrnKernel { lrn: *lrn, x, y, epilogue }),
        Op::Softmax(softmax) => KernelSpec::Softmax(SoftmaxKernel { softmax: *softmax, x, y, epilogue }),
        Op::BatchNorm(norm) => {
            KernelSpec::BatchNorm(BatchNormKernel { epsilon: norm.epsilon, x, y, epilogue })
        }
        other => unreachable!("'{}' is lowered elsewhere", other.name()),
    }
}

/// A batch norm by running statistics that no pass has rewritten.
fn running_norm(l: &mut Lowering, id: NodeId, norm: &BatchNorm, own: &[NodeId], extra: &[NodeId]) {
    let [x, scale, shift, mean, variance] = own[..] else { unreachable!("inferred") };
    if !own[1..].iter().all(|&operand| l.layout.is_constant(operand)) {
        let rank = l.graph.shape(id).rank();
        let mut operands: Vec<Value> = own.iter().map(|&operand| l.value(operand)).collect();
        for operand in &mut operands[1..] {
            operand.view = operand.view.along_axis_1(rank);
        }
        let function = ElementFunction::BatchNorm { epsilon: norm.epsilon };
        return super::operators::element_kernel(l, id, function, operands, extra);
    }
    let epsilon = norm.epsilon.to_bits();
    let channels = View::row_major(l.graph.shape(scale));
    let factor = l.pack(PackSource::NormScale { scale, variance, epsilon });
    let offset = l.pack(PackSource::NormShift { scale, shift, mean, variance, epsilon });
    let rank = l.graph.shape(id).rank();
    let operands = vec![
        l.value(x),
        Value { view: channels.along_axis_1(rank), binding: factor },
        Value { view: channels.along_axis_1(rank), binding: offset },
    ];
    super::operators::element_kernel(l, id, ElementFunction::ScaleShift, operands, extra);
}

/// Fills the output, then copies the input into its interior.
fn padding(l: &mut Lowering, id: NodeId, pad: &Pad, x: NodeId) {
    let x = l.value(x);
    let y = l.allocate(id);
    let fill = Fill { output: y.view.clone(), value: pad.value };
    let work = Work { activation_bytes: l.bytes(&[&y]), ..Work::default() };
    l.step(id, KernelSpec::Fill(fill), vec![y.binding], work);
    let offset: usize = pad.before.iter().zip(&y.view.strides).map(|(before, stride)| before * stride).sum();
    let interior =
        View { dims: x.view.dims.clone(), strides: y.view.strides.clone(), offset: y.view.offset + offset };
    l.copy(id, &x, &Value { view: interior, binding: y.binding });
}
