//! Random graphs over every operator, valid by construction, small enough to interpret in milliseconds.
//!
//! A graph is a sequence of steps, each an index into a table with a seed of its own choices: proptest shrinks a
//! failing graph by leaving steps out. Weights drawn from the parameters' distributions keep every value finite and
//! within a few orders of magnitude, so that results may be compared.

use kiln::graph::{Graph, NodeId};
use kiln::ops::{
    Activation, BatchNorm, Binary, BinaryFunction, Concat, Constant, Conv, Dense, GlobalPool, GlobalReduce,
    Identity, Init, Input, Lrn, Op, Pad, PadMode, Parameter, Pool, PoolKind, Reshape, ScaleShift, Softmax,
    Statistics, Transpose, Unary, UnaryFunction, Window,
};
use kiln::tensor::{Shape, Tensor};
#[allow(unused_imports, reason = "each test file uses its own part")]
pub use kiln::weights::random as random_weights;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// The same graphs every time, unless `PROPTEST_RNG_SEED` draws others. One graph in some hundreds ends in a difference of
/// near-equal values, whose relative error says nothing of the code that computes it.
#[allow(dead_code, reason = "each test file uses its own part")]
pub fn seed() -> RngSeed {
    match ProptestConfig::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(0),
        given => given,
    }
}

/// One step: an index into [`STEPS`] and the seed of its choices.
type Step = (usize, u64);

/// A strategy for random graphs.
pub fn graphs() -> impl Strategy<Value = Graph> {
    let steps = prop::collection::vec((0..STEPS.len(), any::<u64>()), 1..14);
    (any::<u64>(), steps).prop_map(|(seed, steps)| build(seed, &steps))
}

/// The random graph of a seed.
pub fn random_graph(seed: u64) -> Graph {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let count = rng.random_range(1..14);
    let steps: Vec<Step> = (0..count).map(|_| (rng.random_range(0..STEPS.len()), rng.random())).collect();
    build(seed, &steps)
}

fn build(seed: u64, steps: &[Step]) -> Graph {
    let mut builder = Builder {
        graph: Graph::new("random"),
        rng: Pcg64Mcg::seed_from_u64(seed),
        images: Vec::new(),
        layers: 0,
    };
    let extent = |rng: &mut Pcg64Mcg| if rng.random_bool(0.15) { 1 } else { rng.random_range(2..12) };
    let (n, c) = (builder.pick(&[1, 1, 2]), builder.pick(&[1, 2, 3, 4, 5, 8, 12]));
    let (h, w) = (extent(&mut builder.rng), extent(&mut builder.rng));
    for _ in 0..builder.pick(&[1, 1, 1, 2]) {
        let input = builder.add(Op::Input(Input { shape: Shape::from([n, c, h, w]) }), &[]);
        builder.images.push(input);
    }
    for &(step, seed) in steps {
        builder.rng = Pcg64Mcg::seed_from_u64(seed);
        let x = builder.image();
        if let Some(image) = STEPS[step](&mut builder, x) {
            builder.images.push(image);
        }
    }
    builder.finish()
}

struct Builder {
    graph: Graph,
    rng: Pcg64Mcg,
    /// The `[n, c, h, w]` values that further steps may read.
    images: Vec<NodeId>,
    layers: usize,
}

/// Builds on an image and yields another one, or `None` where the step does not apply.
type StepFunction = fn(&mut Builder, NodeId) -> Option<NodeId>;

const STEPS: &[StepFunction] = &[
    Builder::activation,
    Builder::conv_block,
    Builder::residual,
    Builder::separable,
    Builder::grouped_conv,
    Builder::pool,
    Builder::concat,
    Builder::squeeze_excitation,
    Builder::batch_norm,
    Builder::scale_shift,
    Builder::lrn,
    Builder::pad,
    Builder::added_bias,
    Builder::broadcast,
    Builder::binary,
    Builder::unary,
    Builder::softmax,
    Builder::identity,
    Builder::transpose,
    Builder::reshape,
];

impl Builder {
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        *choices.choose(&mut self.rng).expect("choices are given")
    }

    fn flip(&mut self) -> bool {
        self.rng.random_bool(0.5)
    }

    /// Mostly the last image; sometimes an earlier one, so that values have several readers.
    fn image(&mut self) -> NodeId {
        if self.rng.random_bool(0.75) {
            *self.images.last().expect("there is an input")
        } else {
            self.pick(&self.images.clone())
        }
    }

    fn nchw(&self, id: NodeId) -> (usize, usize, usize, usize) {
        self.graph.shape(id).nchw().expect("images have rank 4")
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        let op = op.into();
        self.layers += 1;
        let name = format!("{}_{}", op.name(), self.layers);
        self.graph.add(name, op, inputs).expect("steps build valid graphs")
    }

    fn parameter(&mut self, shape: impl Into<Shape>, init: Init) -> NodeId {
        let key = format!("layers.{}.weight", self.layers);
        self.add(Op::Parameter(Parameter { key, shape: shape.into(), init }), &[])
    }

    fn uniform(&mut self, shape: impl Into<Shape>, low: f32, high: f32) -> NodeId {
        self.parameter(shape, Init::Uniform { low, high })
    }

    fn activation(&mut self, x: NodeId) -> Option<NodeId> {
        let activation = self.pick(&[
            Activation::Relu,
            Activation::Relu6,
            Activation::LeakyRelu { slope: 0.1 },
            Activation::Clip { min: -0.5, max: 1.5 },
            Activation::Clip { min: -1.0, max: f32::INFINITY },
            Activation::Sigmoid,
            Activation::Silu,
            Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Activation::HardSwish,
            Activation::Tanh,
        ]);
        Some(self.add(activation, &[x]))
    }

    /// A window whose output is at least one pixel high and wide.
    fn window(&mut self, x: NodeId, kernel: [usize; 2], max_padding: [usize; 2]) -> Option<Window> {
        let (_, _, h, w) = self.nchw(x);
        let mut window =
            Window { stride: [self.pick(&[1, 1, 1, 2, 3]), self.pick(&[1, 1, 2])], ..Window::default() };
        if self.rng.random_bool(0.2) {
            window.dilation = [2, self.pick(&[1, 2])];
        }
        for side in 0..4 {
            window.padding[side] = self.rng.random_range(0..=max_padding[side % 2]);
        }
        let fits = [h, w]
            .into_iter()
            .enumerate()
            .all(|(axis, extent)| window.output_extent(axis, extent, kernel[axis], false).is_ok());
        fits.then_some(window)
    }

    fn convolve(
        &mut self,
        x: NodeId,
        channels: usize,
        kernel: [usize; 2],
        groups: usize,
        window: Window,
    ) -> NodeId {
        let (_, c, _, _) = self.nchw(x);
        let shape = [channels, c / groups, kernel[0], kernel[1]];
        let weight = self.parameter(shape, Init::Kaiming { fan_in: shape[1] * kernel[0] * kernel[1] });
        let mut inputs = vec![x, weight];
        if self.flip() {
            inputs.push(self.uniform([channels], -0.2, 0.2));
        }
        self.add(Conv { window, groups }, &inputs)
    }

    /// Convolution, then perhaps batch norm, then perhaps an activation.
    fn conv_block(&mut self, x: NodeId) -> Option<NodeId> {
        let kernel = [self.pick(&[1, 1, 2, 3, 5]), self.pick(&[1, 3, 3])];
        let window = self.window(x, kernel, [2, 2])?;
        let channels = self.pick(&[1, 2, 3, 4, 6, 8, 12, 17]);
        let conv = self.convolve(x, channels, kernel, 1, window);
        self.norm_and_activation(conv)
    }

    fn norm_and_activation(&mut self, x: NodeId) -> Option<NodeId> {
        let norm = if self.flip() { self.running_batch_norm(x) } else { x };
        if self.flip() { self.activation(norm) } else { Some(norm) }
    }

    /// A convolution that keeps the shape, added to what it read; in either order.
    fn residual(&mut self, x: NodeId) -> Option<NodeId> {
        let (_, c, _, _) = self.nchw(x);
        let window = Window { padding: [1; 4], ..Window::default() };
        let conv = self.convolve(x, c, [3, 3], 1, window);
        let branch = if self.flip() { self.running_batch_norm(conv) } else { conv };
        let operands = if self.flip() { [branch, x] } else { [x, branch] };
        let sum = self.add(Binary { function: BinaryFunction::Add }, &operands);
        if self.flip() { self.activation(sum) } else { Some(sum) }
    }

    /// Depthwise, then pointwise convolution.
    fn separable(&mut self, x: NodeId) -> Option<NodeId> {
        let (_, c, _, _) = self.nchw(x);
        let window = self.window(x, [3, 3], [1, 1])?;
        let depthwise = self.convolve(x, c, [3, 3], c, window);
        let middle = self.norm_and_activation(depthwise)?;
        let channels = self.pick(&[1, 4, 7, 16]);
        let pointwise = self.convolve(middle, channels, [1, 1], 1, Window::default());
        self.norm_and_activation(pointwise)
    }

    /// Grouped convolution; depthwise with a channel multiplier where each group has one channel.
    fn grouped_conv(&mut self, x: NodeId) -> Option<NodeId> {
        let (_, c, _, _) = self.nchw(x);
        let groups = self.pick(&(1..=c).filter(|g| c % g == 0).collect::<Vec<_>>());
        let channels = groups * self.pick(&[1, 2, 3]);
        let window = self.window(x, [3, 3], [2, 2])?;
        let conv = self.convolve(x, channels, [3, 3], groups, window);
        self.norm_and_activation(conv)
    }

    fn pool(&mut self, x: NodeId) -> Option<NodeId> {
        let kinds = [
            PoolKind::Max,
            PoolKind::Average { count_include_pad: false },
            PoolKind::Average { count_include_pad: true },
        ];
        let (kind, kernel) = (self.pick(&kinds), [self.pick(&[2, 3]), self.pick(&[2, 3])]);
        let window = self.window(x, kernel, [kernel[0] / 2, kernel[1] / 2])?;
        let pool = Pool { kind, kernel, window, ceil_mode: self.flip() };
        // A dilated window may see nothing but padding, which the operator refuses.
        Op::from(pool).infer(&[self.graph.shape(x)]).ok()?;
        Some(self.add(pool, &[x]))
    }

    /// With another image that agrees on the other axes, or a convolution of this one.
    fn concat(&mut self, x: NodeId) -> Option<NodeId> {
        let (_, _, h, w) = self.nchw(x);
        let fitting: Vec<NodeId> =
            self.images.iter().copied().filter(|&id| (self.nchw(id).2, self.nchw(id).3) == (h, w)).collect();
        let channels = self.pick(&[1, 3, 8]);
        let pointwise = self.convolve(x, channels, [1, 1], 1, Window::default());
        let mut inputs = vec![self.pick(&fitting), pointwise];
        if self.flip() {
            inputs.push(x);
        }
        Some(self.add(Concat { axis: 1 }, &inputs))
    }

    fn squeeze_excitation(&mut self, x: NodeId) -> Option<NodeId> {
        let (_, c, _, _) = self.nchw(x);
        let reduce = self.pick(&[GlobalReduce::Average, GlobalReduce::Max]);
        let pooled = self.add(GlobalPool { reduce }, &[x]);
        let squeezed = self.convolve(pooled, c.div_ceil(2), [1, 1], 1, Window::default());
        let activated = self.add(Activation::Relu, &[squeezed]);
        let excited = self.convolve(activated, c, [1, 1], 1, Window::default());
        let gate = self.add(Activation::Sigmoid, &[excited]);
        let operands = if self.flip() { [x, gate] } else { [gate, x] };
        Some(self.add(Binary { function: BinaryFunction::Mul }, &operands))
    }

    fn running_batch_norm(&mut self, x: NodeId) -> NodeId {
        let (_, c, _, _) = self.nchw(x);
        let inputs = [
            x,
            self.uniform([c], 0.5, 1.5),
            self.uniform([c], -0.5, 0.5),
            self.uniform([c], -0.3, 0.3),
            self.uniform([c], 0.5, 2.0),
        ];
        self.add(BatchNorm { epsilon: 1e-5, statistics: Statistics::Running }, &inputs)
    }

    fn batch_norm(&mut self, x: NodeId) -> Option<NodeId> {
        let (n, c, h, w) = self.nchw(x);
        // The statistics of few elements amplify rounding errors.
        if self.flip() || n * h * w < 8 {
            return Some(self.running_batch_norm(x));
        }
        let inputs = [x, self.uniform([c], 0.5, 1.5), self.uniform([c], -0.5, 0.5)];
        // So does a small epsilon where all elements are equal.
        Some(self.add(BatchNorm { epsilon: 0.5, statistics: Statistics::Batch }, &inputs))
    }

    fn scale_shift(&mut self, x: NodeId) -> Option<NodeId> {
        let (_, c, _, _) = self.nchw(x);
        let inputs = [x, self.uniform([c], 0.5, 1.5), self.uniform([c], -0.5, 0.5)];
        Some(self.add(ScaleShift {}, &inputs))
    }

    fn lrn(&mut self, x: NodeId) -> Option<NodeId> {
        let lrn =
            Lrn { size: self.pick(&[1, 3, 4, 5]), alpha: 0.1, beta: self.pick(&[0.5, 0.75]), bias: 1.0 };
        Some(self.add(lrn, &[x]))
    }

    fn pad(&mut self, x: NodeId) -> Option<NodeId> {
        let channels = usize::from(self.rng.random_bool(0.2));
        let before = vec![0, channels, self.pick(&[0, 1, 2]), self.pick(&[0, 1])];
        let after = vec![0, 0, self.pick(&[0, 1]), self.pick(&[0, 1, 3])];
        let value = self.pick(&[0.0, 0.0, 0.5]);
        Some(self.add(Pad { before, after, value, mode: PadMode::Constant }, &[x]))
    }

    /// A convolution whose bias, and perhaps scale, are operators of their own, as exporters write it.
    fn added_bias(&mut self, x: NodeId) -> Option<NodeId> {
        let channels = self.pick(&[1, 3, 8]);
        let conv = self.convolve(x, channels, [1, 1], 1, Window::default());
        let scaled = if self.flip() {
            let factor = self.uniform([channels, 1, 1], 0.5, 1.5);
            let function = self.pick(&[BinaryFunction::Mul, BinaryFunction::Div]);
            self.add(Binary { function }, &[conv, factor])
        } else {
            conv
        };
        let bias = self.uniform([channels, 1, 1], -0.2, 0.2);
        let function = self.pick(&[BinaryFunction::Add, BinaryFunction::Sub]);
        let sum = self.add(Binary { function }, &[scaled, bias]);
        self.norm_and_activation(sum)
    }

    /// Arithmetic with a parameter or constant that repeats along some axes.
    fn broadcast(&mut self, x: NodeId) -> Option<NodeId> {
        let (_, c, h, w) = self.nchw(x);
        let shape = self.pick(&[[1, c, 1, 1], [1, 1, h, w], [1, c, h, w], [1, 1, 1, w], [1, 1, 1, 1]]);
        let shape = Shape::new(&shape[self.rng.random_range(0..2)..]);
        let other = if self.flip() {
            let value = Tensor::from_fn(shape, |_| self.rng.random_range(0.5..1.5));
            let constant = self.add(Op::Constant(Constant { value }), &[]);
            let function = UnaryFunction::Sqrt;
            if self.flip() { self.add(Unary { function }, &[constant]) } else { constant }
        } else {
            self.uniform(shape, 0.5, 1.5)
        };
        let function = self.pick(&[
            BinaryFunction::Add,
            BinaryFunction::Sub,
            BinaryFunction::Mul,
            BinaryFunction::Div,
            BinaryFunction::Max,
            BinaryFunction::Min,
        ]);
        let operands = if self.flip() && function != BinaryFunction::Div { [other, x] } else { [x, other] };
        Some(self.add(Binary { function }, &operands))
    }

    /// Arithmetic of two images of one shape.
    fn binary(&mut self, x: NodeId) -> Option<NodeId> {
        let same = |&id: &NodeId| self.graph.shape(id) == self.graph.shape(x);
        let fitting: Vec<NodeId> = self.images.iter().copied().filter(same).collect();
        let other = self.pick(&fitting);
        let function =
            self.pick(&[BinaryFunction::Add, BinaryFunction::Sub, BinaryFunction::Max, BinaryFunction::Min]);
        Some(self.add(Binary { function }, &[x, other]))
    }

    fn unary(&mut self, x: NodeId) -> Option<NodeId> {
        let function = self.pick(&[UnaryFunction::Neg, UnaryFunction::Abs, UnaryFunction::Exp]);
        let bounded = if function == UnaryFunction::Exp { self.add(Activation::Tanh, &[x]) } else { x };
        let value = self.add(Unary { function }, &[bounded]);
        if function != UnaryFunction::Exp {
            return Some(value);
        }
        let function = self.pick(&[UnaryFunction::Sqrt, UnaryFunction::Rsqrt]);
        Some(self.add(Unary { function }, &[value]))
    }

    fn softmax(&mut self, x: NodeId) -> Option<NodeId> {
        let axis = self.rng.random_range(1..4);
        Some(self.add(Softmax { axis, log: false }, &[x]))
    }

    fn identity(&mut self, x: NodeId) -> Option<NodeId> {
        let dropout = self.pick(&[None, Some(0.5)]);
        Some(self.add(Identity { dropout }, &[x]))
    }

    fn transpose(&mut self, x: NodeId) -> Option<NodeId> {
        let permutation = self.pick(&[[0, 1, 3, 2], [0, 2, 3, 1], [0, 3, 1, 2], [0, 1, 2, 3]]);
        Some(self.add(Transpose { permutation: permutation.to_vec() }, &[x]))
    }

    fn reshape(&mut self, x: NodeId) -> Option<NodeId> {
        let (n, c, h, w) = self.nchw(x);
        let shape = self.pick(&[[n, c, h * w, 1], [n, c * h, 1, w], [n, w, h, c]]);
        Some(self.add(Reshape { shape: Shape::from(shape) }, &[x]))
    }

    /// Declares the outputs: the last image or a classifier on it, sometimes an earlier value as well.
    fn finish(mut self) -> Graph {
        let last = *self.images.last().expect("there is an input");
        let result = if self.flip() { self.classifier(last) } else { last };
        self.graph.add_output("result", result);
        if self.rng.random_bool(0.25) {
            let other = self.pick(&self.images.clone());
            self.graph.add_output("other", other);
        }
        self.graph
    }

    fn classifier(&mut self, x: NodeId) -> NodeId {
        let (n, c, h, w) = self.nchw(x);
        let (x, features) = if self.flip() {
            (self.add(GlobalPool { reduce: GlobalReduce::Average }, &[x]), c)
        } else {
            (x, c * h * w)
        };
        let flat = self.add(Reshape { shape: Shape::from([n, features]) }, &[x]);
        let weight = self.parameter([10, features], Init::Kaiming { fan_in: features });
        let mut inputs = vec![flat, weight];
        if self.flip() {
            inputs.push(self.uniform([10], -0.2, 0.2));
        }
        let dense = self.add(Dense {}, &inputs);
        if self.flip() { self.add(Softmax { axis: 1, log: false }, &[dense]) } else { dense }
    }
}
