//! The layer that a kernel computes, as a graph, and what its buffers hold of it.

use crate::graph::{Graph, NodeId};
use crate::kernels::chain::ChainKernel;
use crate::kernels::conv::ConvKernel;
use crate::kernels::depthwise::DepthwiseKernel;
use crate::kernels::packed::PackedFilter;
use crate::kernels::polyphase::PolyphaseKernel;
use crate::kernels::winograd::WinogradKernel;
use crate::kernels::{
    BatchNormKernel, ElementFunction, Elementwise, Family, Fill, FusedEpilogue, FusedStep, KernelSpec, View,
};
use crate::lower::PackSource;
use crate::ops::{
    BatchNorm, Binary, BinaryFunction, Constant, Conv, ConvChain, ConvStage, Epilogue, EpilogueStep,
    Identity, Init, Input, Op, Parameter, ShapeError, Statistics, Unary, UnaryFunction, Window,
};
use crate::tensor::{Shape, Tensor};

/// The key of a layer's weights, which a suffix follows where there are several.
pub const WEIGHT: &str = "weight";

/// What a kernel's buffer holds.
pub enum Buffer {
    /// An input of the graph, where the view says.
    Input(NodeId, View),
    Packed(PackSource),
    Output(View),
    Scratch,
}

/// A graph of one layer, and the buffers of the kernel for it, in order.
pub struct Layer {
    pub graph: Graph,
    pub buffers: Vec<Buffer>,
    /// Whether inputs must be positive: those of roots and quotients.
    pub positive: bool,
}

impl Layer {
    /// The layer of a kernel for vectors of `lanes` elements.
    ///
    /// # Errors
    /// Where the kernel's parts contradict each other.
    pub fn of(spec: &KernelSpec, lanes: usize) -> Result<Layer, String> {
        let mut layer = Layer { graph: Graph::new("layer"), buffers: Vec::new(), positive: false };
        let made = match spec {
            KernelSpec::Conv(kernel) => {
                check_panels(
                    kernel.blocking.channels,
                    kernel.tile.vectors * lanes,
                    kernel.y.dims[1] / kernel.groups,
                )?;
                layer.conv(kernel, lanes)
            }
            KernelSpec::Winograd(kernel) => {
                check_panels(kernel.channels, kernel.tile.vectors * lanes, kernel.y.dims[1])?;
                layer.winograd(kernel, lanes)
            }
            KernelSpec::Polyphase(kernel) => {
                let outputs = kernel.y.dims[1] / kernel.groups;
                check_panels(kernel.channels, kernel.tile.vectors * lanes, outputs)?;
                layer.polyphase(kernel, lanes)
            }
            KernelSpec::Depthwise(kernel) => layer.depthwise(kernel),
            KernelSpec::Chain(kernel) => {
                check_panels(kernel.channels, kernel.tile.vectors * lanes, kernel.y.dims[1])?;
                layer.chain(kernel, lanes)
            }
            KernelSpec::Pool(kernel) => layer.windowed(kernel.pool, &kernel.x, &kernel.y, &kernel.epilogue),
            KernelSpec::GlobalPool(kernel) => {
                layer.windowed(kernel.pool, &kernel.x, &kernel.y, &kernel.epilogue)
            }
            KernelSpec::Lrn(kernel) => layer.windowed(kernel.lrn, &kernel.x, &kernel.y, &kernel.epilogue),
            KernelSpec::Softmax(kernel) => {
                layer.windowed(kernel.softmax, &kernel.x, &kernel.y, &kernel.epilogue)
            }
            KernelSpec::BatchNorm(kernel) => layer.batch_norm(kernel),
            KernelSpec::Elementwise(kernel) => layer.elementwise(kernel),
            KernelSpec::Fill(kernel) => layer.fill(kernel),
            KernelSpec::MatMul(_) | KernelSpec::Reduce(_) | KernelSpec::Sampling(_) => {
                return Err("its name does not say all of it".to_owned());
            }
        };
        made.map_err(|error| error.to_string())?;
        if spec.build(lanes).scratch_elements() > 0 {
            layer.buffers.push(Buffer::Scratch);
        }
        Ok(layer)
    }

    /// How the packed buffers are made.
    pub fn sources(&self) -> impl Iterator<Item = &PackSource> {
        self.buffers.iter().filter_map(|buffer| match buffer {
            Buffer::Packed(source) => Some(source),
            _ => None,
        })
    }

    /// An input that lies where a view says.
    fn input(&mut self, name: &str, view: &View) -> Result<NodeId, ShapeError> {
        let input = Input { shape: Shape::new(view.dims.clone()) };
        let id = self.graph.add(name, Op::Input(input), &[])?;
        self.buffers.push(Buffer::Input(id, view.clone()));
        Ok(id)
    }

    fn parameter(&mut self, key: &str, dims: &[usize], init: Init) -> Result<NodeId, ShapeError> {
        let parameter = Parameter { key: key.to_owned(), shape: Shape::new(dims), init };
        self.graph.add(key, Op::Parameter(parameter), &[])
    }

    /// `[o, c, kh, kw]` and `[o]`.
    fn filter(&mut self, suffix: &str, dims: [usize; 4]) -> Result<[NodeId; 2], ShapeError> {
        let fan_in = dims[1..].iter().product();
        let weight = self.parameter(&format!("{WEIGHT}{suffix}"), &dims, Init::Kaiming { fan_in })?;
        let bias =
            self.parameter(&format!("bias{suffix}"), &dims[..1], Init::Uniform { low: -0.5, high: 0.5 })?;
        Ok([weight, bias])
    }

    /// The packed weights and bias of a matrix product.
    fn packed_filter(&mut self, weight: NodeId, taps: usize, bias: NodeId, packed: PackedFilter) {
        let bias = PackSource::Bias { bias: Some(bias), packed };
        self.buffers.extend([PackSource::Filter { weight, taps, packed }, bias].map(Buffer::Packed));
    }

    fn plain(&mut self, node: NodeId) {
        self.buffers.push(Buffer::Packed(PackSource::Plain { node }));
    }

    /// The operands of an epilogue, and the epilogue as graphs have it.
    fn epilogue(&mut self, name: &str, fused: &FusedEpilogue) -> Result<(Epilogue, Vec<NodeId>), ShapeError> {
        let mut steps = Vec::new();
        let mut operands = Vec::new();
        for step in &fused.0 {
            let name = format!("{name}{}", operands.len());
            steps.push(match step {
                FusedStep::Activation(activation) => EpilogueStep::Activation(*activation),
                FusedStep::ScaleShift { channels } => {
                    for (what, low, high) in [("scale", 0.5, 1.5), ("shift", -0.5, 0.5)] {
                        let init = Init::Uniform { low, high };
                        let node = self.parameter(&format!("{what}_{name}"), &[*channels], init)?;
                        self.plain(node);
                        operands.push(node);
                    }
                    EpilogueStep::ScaleShift
                }
                FusedStep::Add(view) => {
                    operands.push(self.input(&name, view)?);
                    EpilogueStep::Add
                }
                FusedStep::Mul(view) => {
                    operands.push(self.input(&name, view)?);
                    EpilogueStep::Mul
                }
            });
        }
        Ok((Epilogue(steps), operands))
    }

    /// The layer itself, with its epilogue and the array that it writes.
    fn finish(
        &mut self,
        op: impl Into<Op>,
        mut operands: Vec<NodeId>,
        epilogue: &FusedEpilogue,
        y: &View,
    ) -> Result<(), ShapeError> {
        let (epilogue, extra) = self.epilogue("operand", epilogue)?;
        operands.extend(extra);
        let node = self.graph.add_fused("layer", op, epilogue, &operands)?;
        self.output(node, y)
    }

    fn output(&mut self, node: NodeId, y: &View) -> Result<(), ShapeError> {
        if self.graph.shape(node).dims() != y.dims {
            let shape = self.graph.shape(node);
            return Err(ShapeError::new(format!("its layer yields {shape}, not {:?}", y.dims)));
        }
        self.graph.add_output("y", node);
        self.buffers.push(Buffer::Output(y.clone()));
        Ok(())
    }

    fn conv(&mut self, kernel: &ConvKernel, lanes: usize) -> Result<(), ShapeError> {
        let (groups, window, [kh, kw]) = (kernel.groups, kernel.window, kernel.kernel);
        let x = self.input("x", &kernel.x)?;
        let [weight, bias] = self.filter("", [kernel.y.dims[1], kernel.x.dims[1] / groups, kh, kw])?;
        let packed = kernel.packed_filter(lanes);
        self.packed_filter(weight, kh * kw, bias, packed);
        self.finish(Conv { window, groups }, vec![x, weight, bias], &kernel.epilogue, &kernel.y)
    }

    fn winograd(&mut self, kernel: &WinogradKernel, lanes: usize) -> Result<(), ShapeError> {
        let x = self.input("x", &kernel.x)?;
        let [kh, kw] = kernel.method.kernel();
        let [weight, bias] = self.filter("", [kernel.y.dims[1], kernel.x.dims[1] / kernel.groups, kh, kw])?;
        self.buffers.push(Buffer::Packed(PackSource::winograd(weight, kernel, lanes)));
        self.plain(bias);
        let conv = Conv { window: kernel.window, groups: kernel.groups };
        self.finish(conv, vec![x, weight, bias], &kernel.epilogue, &kernel.y)
    }

    fn polyphase(&mut self, kernel: &PolyphaseKernel, lanes: usize) -> Result<(), ShapeError> {
        let x = self.input("x", &kernel.x)?;
        let [kh, kw] = kernel.kernel();
        let [weight, bias] = self.filter("", [kernel.y.dims[1], kernel.x.dims[1] / kernel.groups, kh, kw])?;
        let filters = kernel.filters(lanes);
        self.buffers.push(Buffer::Packed(PackSource::Polyphase { weight, filters }));
        self.plain(bias);
        let conv = Conv { window: kernel.window, groups: kernel.groups };
        self.finish(conv, vec![x, weight, bias], &kernel.epilogue, &kernel.y)
    }

    fn depthwise(&mut self, kernel: &DepthwiseKernel) -> Result<(), ShapeError> {
        let (channels, [kh, kw]) = (kernel.x.dims[1], kernel.kernel);
        let x = self.input("x", &kernel.x)?;
        let [weight, bias] = self.filter("", [channels, 1, kh, kw])?;
        self.buffers.push(Buffer::Packed(PackSource::Depthwise { weight }));
        self.plain(bias);
        let conv = Conv { window: kernel.window, groups: channels };
        self.finish(conv, vec![x, weight, bias], &kernel.epilogue, &kernel.y)
    }

    fn chain(&mut self, kernel: &ChainKernel, lanes: usize) -> Result<(), ShapeError> {
        let (channels, [kh, kw]) = (kernel.x.dims[1], kernel.kernel);
        let x = self.input("x", &kernel.x)?;
        let [w1, b1] = self.filter("1", [channels, 1, kh, kw])?;
        let [w2, b2] = self.filter("2", [kernel.y.dims[1], channels, 1, 1])?;
        self.buffers.push(Buffer::Packed(PackSource::Depthwise { weight: w1 }));
        self.plain(b1);
        let packed = kernel.packed_filter(lanes);
        self.packed_filter(w2, 1, b2, packed);
        let (first, first_operands) = self.epilogue("inner", &kernel.depthwise_epilogue)?;
        let (second, second_operands) = self.epilogue("outer", &kernel.pointwise_epilogue)?;
        let stage = |name: &str, window, groups, epilogue| ConvStage {
            name: name.to_owned(),
            conv: Conv { window, groups },
            has_bias: true,
            epilogue,
        };
        let stages = vec![
            stage("depthwise", kernel.window, channels, first),
            stage("pointwise", Window::default(), 1, second),
        ];
        let operands: Vec<NodeId> = [vec![x, w1, b1], first_operands, vec![w2, b2], second_operands].concat();
        let node = self.graph.add("layer", ConvChain { stages }, &operands)?;
        self.output(node, &kernel.y)
    }

    /// An operator of one array.
    fn windowed(
        &mut self,
        op: impl Into<Op>,
        x: &View,
        y: &View,
        epilogue: &FusedEpilogue,
    ) -> Result<(), ShapeError> {
        let input = self.input("x", x)?;
        self.finish(op, vec![input], epilogue, y)
    }

    fn batch_norm(&mut self, kernel: &BatchNormKernel) -> Result<(), ShapeError> {
        let x = self.input("x", &kernel.x)?;
        let channels = [kernel.x.dims[1]];
        let scale = self.parameter("scale", &channels, Init::Uniform { low: 0.5, high: 1.5 })?;
        let shift = self.parameter("shift", &channels, Init::Uniform { low: -0.5, high: 0.5 })?;
        self.plain(scale);
        self.plain(shift);
        let norm = BatchNorm { epsilon: kernel.epsilon, statistics: Statistics::Batch };
        self.finish(norm, vec![x, scale, shift], &kernel.epilogue, &kernel.y)
    }

    fn elementwise(&mut self, kernel: &Elementwise) -> Result<(), ShapeError> {
        let mut inputs = Vec::new();
        for (number, view) in kernel.inputs.iter().enumerate() {
            inputs.push(self.input(&format!("x{number}"), view)?);
        }
        self.positive = matches!(
            kernel.function,
            ElementFunction::Unary(UnaryFunction::Sqrt | UnaryFunction::Rsqrt | UnaryFunction::Log)
                | ElementFunction::Binary(BinaryFunction::Div | BinaryFunction::Pow)
                | ElementFunction::BatchNorm { .. }
        );
        let op = match kernel.function {
            ElementFunction::Copy => Op::Identity(Identity { dropout: None }),
            ElementFunction::Unary(function) => Op::Unary(Unary { function }),
            ElementFunction::Binary(function) => Op::Binary(Binary { function }),
            ElementFunction::Activation(activation) => Op::Activation(activation),
            ElementFunction::BatchNorm { epsilon } => {
                let [x, scale, shift, mean, variance] = inputs[..] else { unreachable!("five inputs") };
                let binary = |function| Op::Binary(Binary { function });
                let value = Tensor::scalar(epsilon);
                let epsilon = self.graph.add("epsilon", Op::Constant(Constant { value }), &[])?;
                let variance = self.graph.add("offset", binary(BinaryFunction::Add), &[variance, epsilon])?;
                let root = Op::Unary(Unary { function: UnaryFunction::Sqrt });
                let deviation = self.graph.add("deviation", root, &[variance])?;
                let centred = self.graph.add("centred", binary(BinaryFunction::Sub), &[x, mean])?;
                let normal = self.graph.add("normal", binary(BinaryFunction::Div), &[centred, deviation])?;
                let scaled = self.graph.add("scaled", binary(BinaryFunction::Mul), &[normal, scale])?;
                inputs = vec![scaled, shift];
                binary(BinaryFunction::Add)
            }
            ElementFunction::ScaleShift => {
                let multiply = Binary { function: BinaryFunction::Mul };
                let product = self.graph.add("product", multiply, &inputs[..2])?;
                inputs = vec![product, inputs[2]];
                Op::Binary(Binary { function: BinaryFunction::Add })
            }
        };
        self.finish(op, inputs, &kernel.epilogue, &kernel.output)
    }

    fn fill(&mut self, kernel: &Fill) -> Result<(), ShapeError> {
        let value = Tensor::full(Shape::new(kernel.output.dims.clone()), kernel.value);
        self.finish(Op::Constant(Constant { value }), vec![], &FusedEpilogue::default(), &kernel.output)
    }
}

/// Blocks of channels must be whole panels of packed weights.
fn check_panels(channels: usize, panel: usize, outputs: usize) -> Result<(), String> {
    if channels >= outputs || channels.is_multiple_of(panel) {
        return Ok(());
    }
    Err(format!("its blocks of {channels} channels are no multiple of {panel}, the channels of its tile"))
}
