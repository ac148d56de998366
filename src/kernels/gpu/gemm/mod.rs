//! Convolutions and dense layers as matrix products: pixels × outputs, summed over kernel positions and channels.
//!
//! A block computes a tile of the product. It walks the reduction in steps of 64 bytes of each pixel's row; the rows of
//! a step and the weights that belong to them lie in shared memory, several steps at a time, so that the next ones are
//! on their way while one is multiplied. Nothing is copied out of the image beforehand: which row a tap reads is
//! computed from the step's number (implicit GEMM), and taps in the padding become zeros on their way to shared memory.

mod finish;
mod multiply;
mod rows;
mod stages;

use super::depthwise::window_name;
use super::{Array, GpuEpilogue, GpuFamily, Launch, arrays_name};
use crate::codegen::ptx::{Builder, Element, Entry, Target, Value};
use crate::ops::Window;

/// What products are computed in; sums are `f32` in all of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Multiply-adds as IEEE 754 defines them.
    #[default]
    F32,
    /// Tensor cores, factors rounded to 11 significant bits (TF32).
    Tf32,
    /// Tensor cores, factors and activations stored as half floats.
    F16,
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::F16 => "f16",
        }
    }

    /// What the rows and weights of a step are stored as.
    pub fn element(self) -> Element {
        match self {
            Precision::F32 | Precision::Tf32 => Element::F32,
            Precision::F16 => Element::F16,
        }
    }

    /// How far the reduction goes in one step.
    pub fn depth(self) -> usize {
        STEP_BYTES / self.element().bytes()
    }
}

/// Bytes of a pixel's row, or of an output's weights, in one step.
const STEP_BYTES: usize = 64;
/// The distance of rows in shared memory: eight rows of 16 bytes each then lie in different banks.
const ROW_BYTES: usize = 80;
/// Threads of a multiprocessor among which kernels on tensor cores, with a front or with many sums to a thread share
/// its registers: up to 255 for each.
const RESIDENT_THREADS: usize = 256;
/// Sums of a thread that leave no room in 128 registers.
const MANY_SUMS: usize = 64;
/// Bytes that one instruction copies.
const CHUNK: usize = 16;

/// The part of the product that a block computes, and how its threads share it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct Tile {
    /// Pixels of a block.
    pub pixels: usize,
    /// Outputs of a block.
    pub outputs: usize,
    /// Pixels of a thread, or of a warp on tensor cores.
    pub own_pixels: usize,
    /// Outputs of a thread, or of a warp on tensor cores.
    pub own_outputs: usize,
    /// Steps that shared memory holds.
    pub stages: usize,
}

impl Tile {
    /// Threads of a block.
    pub fn threads(&self, precision: Precision) -> usize {
        let owners = (self.pixels / self.own_pixels) * (self.outputs / self.own_outputs);
        if precision == Precision::F32 { owners } else { owners * 32 }
    }

    /// Sums that a thread keeps in registers.
    pub fn sums_of_thread(&self, precision: Precision) -> usize {
        let own = self.own_pixels * self.own_outputs;
        if precision == Precision::F32 { own } else { own / 32 }
    }

    /// Bytes of shared memory of a block.
    pub fn shared_bytes(&self) -> usize {
        self.stages * (self.pixels * ROW_BYTES + self.outputs * STEP_BYTES)
    }

    fn name(&self) -> String {
        let Tile { pixels, outputs, own_pixels, own_outputs, stages } = self;
        format!("t{pixels}x{outputs}o{own_pixels}x{own_outputs}s{stages}")
    }
}

/// A depthwise convolution whose result is the product's input and never reaches memory.
#[derive(Clone, PartialEq, Debug)]
pub struct DepthwiseFront {
    pub kernel: [usize; 2],
    pub window: Window,
    /// Per channel only.
    pub epilogue: GpuEpilogue,
}

/// A convolution. Arguments: x, the front's weight `[kh][kw][c]` and its epilogue's operands, the packed filter, the
/// epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct Gemm {
    /// `[n, c, h, w]`
    pub x: Array,
    /// `[n, o, h, w]`, or with `splits > 1` the sums of all splits one after the other. Pixels lie at even distances.
    pub y: Array,
    pub kernel: [usize; 2],
    pub window: Window,
    pub groups: usize,
    pub front: Option<DepthwiseFront>,
    /// Its operands' pixels are joined: `[1, o, 1, n · h · w]`.
    pub epilogue: GpuEpilogue,
    pub precision: Precision,
    pub tile: Tile,
    /// Into how many parts the reduction is cut, each summed up by blocks of its own.
    pub splits: usize,
}

impl Gemm {
    /// Output pixels of all images.
    pub fn pixels(&self) -> usize {
        let dims = &self.y.view.dims;
        dims[0] * dims[2] * dims[3]
    }

    /// Output channels of a group.
    pub fn outputs(&self) -> usize {
        self.y.view.dims[1] / self.groups
    }

    /// Input channels of a group.
    pub fn channels(&self) -> usize {
        self.x.view.dims[1] / self.groups
    }

    pub fn reduction(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels()
    }

    /// Steps of the whole reduction.
    pub fn steps(&self) -> usize {
        self.reduction().div_ceil(self.precision.depth())
    }

    /// Steps that a block walks.
    fn own_steps(&self) -> usize {
        self.steps() / self.splits
    }

    fn panels(&self) -> usize {
        self.outputs().div_ceil(self.tile.outputs)
    }

    /// Whether rows are copied in chunks of 16 bytes, and not element by element.
    pub fn copies_chunks(&self) -> bool {
        let lanes = CHUNK / self.x.element.bytes();
        self.x.element == self.precision.element()
            && self.channels().is_multiple_of(lanes)
            && self.x.is_vector(1, lanes)
    }

    /// Whether each output pixel reads the one input pixel with its own number.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.window == Window::default() && self.x.view.joined_pixels().is_some()
    }
}

impl GpuFamily for Gemm {
    fn name(&self) -> String {
        let channels = self.x.view.dims[1];
        let places = arrays_name(&self.y.view.dims, &[&self.x, &self.y]);
        let groups = if self.groups > 1 { format!("g{}", self.groups) } else { String::new() };
        let front = self.front.as_ref().map_or(String::new(), |front| {
            format!("dw{}{}_", window_name(&self.x, front.kernel, &front.window), front.epilogue.suffix())
        });
        let splits = if self.splits > 1 { format!("k{}", self.splits) } else { String::new() };
        let precision = if self.precision == Precision::F32 { "" } else { self.precision.name() };
        format!(
            "conv{precision}_{front}{groups}ic{channels}_{places}_{}{}_{}{splits}",
            window_name(&self.x, self.kernel, &self.window),
            self.epilogue.suffix(),
            self.tile.name()
        )
    }

    fn launch(&self) -> Launch {
        let grid = [self.pixels().div_ceil(self.tile.pixels), self.panels(), self.groups * self.splits];
        Launch { grid, threads: self.tile.threads(self.precision) }
    }

    fn emit(&self, entry: &str, target: Target) -> Entry {
        let mut b = Builder::new(entry, self.launch().threads as u32);
        let many_sums = self.tile.sums_of_thread(self.precision) >= MANY_SUMS;
        if self.front.is_some() || self.precision != Precision::F32 || many_sums {
            // The assembler counts too little for fragments, sums and taps on their way, and would spill.
            b.keep_resident((RESIDENT_THREADS / self.launch().threads).max(1) as u32);
        }
        let x = b.pointer();
        let front = self.front.as_ref().map(|front| (b.pointer(), front.epilogue.declare(&mut b)));
        let filter = b.pointer();
        let epilogue = self.epilogue.declare(&mut b);
        let y = b.pointer();

        let thread = b.thread();
        let (tile, panel, part) =
            (b.block(0), b.block(1), if self.groups * self.splits > 1 { b.block(2) } else { Value::Int(0) });
        let (group, split) = b.div_rem(part, self.splits);
        let first_step = b.mul(split, self.own_steps());
        let first_pixel = b.mul(tile, self.tile.pixels);

        let rows = rows::Rows::new(self, &mut b, x, front, thread, group, first_pixel, first_step);
        let panel_steps = {
            let panels = b.mad(group, self.panels(), panel);
            b.mad(panels, self.steps(), first_step)
        };
        let weights = stages::Weights::new(self, &mut b, filter, thread, panel_steps);
        let sums = multiply::Sums::new(self, &mut b, thread);
        stages::walk(self, &mut b, target, rows, weights, &sums);
        finish::store(self, &mut b, &epilogue, y, &sums, [first_pixel, panel, group, split]);
        b.finish()
    }
}
