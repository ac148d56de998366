//! Reductions over the pixels of each channel: global pooling, and normalisation by a batch's own statistics.

use super::{Array, GpuEpilogue, GpuFamily, Launch, arrays_name};
use crate::codegen::ptx::{Address, Builder, Class, Comparison, Element, Entry, Space, Target, Value};
use crate::ops::{GlobalPool, GlobalReduce};

/// Channels of a block: one for each lane of a warp.
const CHANNELS: usize = 32;
/// Warps of a block, which share the pixels.
const WARPS: usize = 8;
/// Pixels that a warp reads before it adds them up.
const UNROLL: usize = 4;

/// A block's part of the work: warps take turns over `extents`, each lane sums up a channel.
struct ChannelBlock {
    lane: Value,
    warp: Value,
    channel: Value,
    /// Whether there is such a channel.
    exists: Option<Value>,
    shared: Value,
}

impl ChannelBlock {
    fn new(b: &mut Builder, channels: usize) -> Self {
        let (thread, block) = (b.thread(), b.block(0));
        let (warp, lane) = b.div_rem(thread, CHANNELS);
        let channel = b.mad(block, CHANNELS, lane);
        let exists =
            (!channels.is_multiple_of(CHANNELS)).then(|| b.compare(Comparison::Lt, channel, channels));
        let shared = b.shared((WARPS * CHANNELS * Element::F32.bytes()) as u32);
        ChannelBlock { lane, warp, channel, exists, shared }
    }

    fn launch(channels: usize, images: usize) -> Launch {
        Launch { grid: [channels.div_ceil(CHANNELS), images, 1], threads: CHANNELS * WARPS }
    }

    /// Calls `visit` for each number below `count` that is this warp's turn, with the condition under which it is
    /// one.
    fn for_each(
        &self,
        b: &mut Builder,
        count: usize,
        mut visit: impl FnMut(&mut Builder, Value, Option<Value>),
    ) {
        let rounds = count.div_ceil(WARPS * UNROLL);
        let is_whole = count.is_multiple_of(WARPS * UNROLL);
        b.repeat(rounds, |b, round| {
            let first = b.mad(round, WARPS * UNROLL, self.warp);
            for step in 0..UNROLL {
                let at = b.add(first, step * WARPS);
                let within = (!is_whole).then(|| b.compare(Comparison::Lt, at, count));
                let guard = b.both(self.exists, within);
                visit(b, at, guard);
            }
        });
    }

    fn slot(&self, b: &mut Builder, warp: impl Into<Value>) -> Address {
        let line = b.mad(warp.into(), CHANNELS, self.lane);
        let bytes = b.mul(line, Element::F32.bytes());
        b.add(self.shared, bytes).into()
    }

    /// Joins what the warps found for each channel; every warp gets the result. Between two joins there must be a
    /// barrier, so that everybody has read what the next one overwrites.
    fn join(
        &self,
        b: &mut Builder,
        partial: Value,
        join: impl Fn(&mut Builder, Value, Value) -> Value,
    ) -> Value {
        let own = self.slot(b, self.warp);
        b.store(Space::Shared, Element::F32, own, &[partial]);
        b.barrier();
        let first = self.slot(b, 0);
        let parts: Vec<Value> = (0..WARPS)
            .map(|warp| {
                let at = first.plus(warp * CHANNELS * Element::F32.bytes());
                b.load(Space::Shared, Element::F32, 1, at, None)[0]
            })
            .collect();
        parts[1..].iter().fold(parts[0], |total, &part| join(b, total, part))
    }
}

/// Global pooling. Arguments: x, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct GlobalPooling {
    pub pool: GlobalPool,
    pub x: Array,
    pub y: Array,
    pub epilogue: GpuEpilogue,
}

impl GpuFamily for GlobalPooling {
    fn name(&self) -> String {
        let kind = match self.pool.reduce {
            GlobalReduce::Average => "globalavgpool",
            GlobalReduce::Max => "globalmaxpool",
        };
        format!(
            "{kind}_{}_{}{}",
            arrays_name(&self.x.view.dims, &[&self.x]),
            self.y.suffix(),
            self.epilogue.suffix()
        )
    }

    fn launch(&self) -> Launch {
        ChannelBlock::launch(self.x.view.dims[1], self.x.view.dims[0])
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let [_, c, h, w] = self.x.view.dims[..] else { unreachable!("rank 4") };
        let mut b = Builder::new(entry, self.launch().threads as u32);
        let x = b.pointer();
        let epilogue = self.epilogue.declare(&mut b);
        let y = b.pointer();
        let image = b.block(1);
        let block = ChannelBlock::new(&mut b, c);
        let is_max = self.pool.reduce == GlobalReduce::Max;
        let total = b.variable(Class::F32, if is_max { f32::NEG_INFINITY } else { 0.0 });
        block.for_each(&mut b, h * w, |b, pixel, guard| {
            let [row, column] = b.coordinates(pixel, &[h, w])[..] else { unreachable!("two extents") };
            let value = self.x.load(b, x, &[image, block.channel, row, column], 1, 1, guard)[0];
            match is_max {
                true => b.guarded(guard, |b| b.accumulate_max(total, value)),
                false => b.accumulate_sum(total, value),
            }
        });
        let total = block.join(&mut b, total, |b, x, y| if is_max { b.fmax(x, y) } else { b.fadd(x, y) });
        let result = if is_max { total } else { b.fdiv(total, (h * w) as f32) };
        let is_first = b.compare(Comparison::Eq, block.warp, 0);
        let guard = b.both(Some(is_first), block.exists);
        let coordinates = [image, block.channel, Value::Int(0), Value::Int(0)];
        let results = epilogue.apply(&mut b, vec![result], &coordinates, 1, [block.exists; 2]);
        self.y.store(&mut b, y, &coordinates, 1, &results, guard);
        b.finish()
    }
}

/// `(x - mean) / sqrt(variance + epsilon) · scale + shift` per channel of `x [n, c, …]`, with the batch's own mean
/// and biased variance. Arguments: x, `scale [c]`, `shift [c]`, the epilogue's operands, y.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchStatistics {
    pub epsilon: f32,
    pub x: Array,
    pub y: Array,
    pub epilogue: GpuEpilogue,
}

impl GpuFamily for BatchStatistics {
    fn name(&self) -> String {
        let places = arrays_name(&self.y.view.dims, &[&self.x, &self.y]);
        format!("batchnorm_{places}_eps{:?}{}", self.epsilon, self.epilogue.suffix())
    }

    fn launch(&self) -> Launch {
        ChannelBlock::launch(self.x.view.dims[1], 1)
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let dims = &self.x.view.dims;
        let mut b = Builder::new(entry, self.launch().threads as u32);
        let (x, scale, shift) = (b.pointer(), b.pointer(), b.pointer());
        let epilogue = self.epilogue.declare(&mut b);
        let y = b.pointer();
        let block = ChannelBlock::new(&mut b, dims[1]);
        let others: Vec<usize> = (0..dims.len()).filter(|&axis| axis != 1).collect();
        let extents: Vec<usize> = others.iter().map(|&axis| dims[axis]).collect();
        let count: usize = extents.iter().product();
        let place = |b: &mut Builder, at: Value| {
            let ordered = b.coordinates(at, &extents);
            let mut coordinates = vec![block.channel; dims.len()];
            for (&axis, value) in others.iter().zip(ordered) {
                coordinates[axis] = value;
            }
            coordinates
        };
        let mean = b.variable(Class::F32, 0.0);
        block.for_each(&mut b, count, |b, at, guard| {
            let coordinates = place(b, at);
            let value = self.x.load(b, x, &coordinates, 1, 1, guard)[0];
            b.accumulate_sum(mean, value);
        });
        let total = block.join(&mut b, mean, |b, x, y| b.fadd(x, y));
        let mean = b.fdiv(total, count as f32);
        let squares = b.variable(Class::F32, 0.0);
        block.for_each(&mut b, count, |b, at, guard| {
            let coordinates = place(b, at);
            let value = self.x.load(b, x, &coordinates, 1, 1, guard)[0];
            let deviation = b.fsub(value, mean);
            b.guarded(guard, |b| b.accumulate(squares, deviation, deviation));
        });
        b.barrier();
        let total = block.join(&mut b, squares, |b, x, y| b.fadd(x, y));
        let variance = b.fdiv(total, count as f32);
        let spread = b.fadd(variance, self.epsilon);
        let root = b.sqrt(spread);
        let per_channel = |b: &mut Builder, pointer: Value| {
            let at = b.offset(pointer, block.channel, Element::F32.bytes());
            b.load(Space::Constant, Element::F32, 1, at, block.exists)[0]
        };
        let (scale, shift) = (per_channel(&mut b, scale), per_channel(&mut b, shift));
        let factor = b.fdiv(scale, root);
        block.for_each(&mut b, count, |b, at, guard| {
            let coordinates = place(b, at);
            let value = self.x.load(b, x, &coordinates, 1, 1, guard)[0];
            let deviation = b.fsub(value, mean);
            let value = b.fma(deviation, factor, shift);
            let values = epilogue.apply(b, vec![value], &coordinates, 1, [guard, block.exists]);
            self.y.store(b, y, &coordinates, 1, &values, guard);
        });
        b.finish()
    }
}
