//! The rows of pixels that a step reads: where they lie, and how they come to shared memory.

use super::{CHUNK, Gemm, ROW_BYTES, STEP_BYTES};
use crate::codegen::ptx::{Address, Builder, Class, Comparison, Element, Space, Value};
use crate::kernels::gpu::epilogue::BoundEpilogue;

/// A thread's share of a block's rows.
pub struct Rows<'a> {
    gemm: &'a Gemm,
    pieces: Vec<Piece>,
    /// The part of a step that this thread copies, in elements, where it is the same for all its pieces.
    depth: Value,
    front: Option<(Value, BoundEpilogue<'a>)>,
    first_step: Value,
}

/// What a thread copies of one row in one step: a chunk, or one element.
struct Piece {
    /// Where it goes in a stage.
    place: Value,
    /// Whether the thread has such a piece.
    exists: Option<Value>,
    /// What the row's first tap reads, the group's channels included.
    base: Value,
    /// The position of the first tap; negative in the padding.
    origin: [Value; 2],
    /// Where the piece is in the step, in elements, if pieces differ in that.
    depth: Option<Value>,
}

/// Pieces of a step in registers, on their way to shared memory.
pub struct Staged(Vec<Vec<Value>>);

impl<'a> Rows<'a> {
    #[expect(clippy::too_many_arguments, reason = "the parts of a kernel under way")]
    pub fn new(
        gemm: &'a Gemm,
        b: &mut Builder,
        x: Value,
        front: Option<(Value, BoundEpilogue<'a>)>,
        thread: Value,
        group: Value,
        first_pixel: Value,
        first_step: Value,
    ) -> Self {
        let threads = gemm.tile.threads(gemm.precision);
        let by_chunk = gemm.copies_chunks();
        let element = gemm.precision.element().bytes();
        let per_row = if by_chunk { STEP_BYTES / CHUNK } else { gemm.precision.depth() };
        let pieces = per_row * gemm.tile.pixels;
        let mut depth = Value::Int(0);
        if by_chunk {
            let (_, chunk) = b.div_rem(thread, per_row);
            depth = b.mul(chunk, CHUNK / element);
        }
        let pieces = (0..pieces.div_ceil(threads)).map(|at| {
            let number = b.add(thread, at * threads);
            let exists = ((at + 1) * threads > pieces).then(|| b.compare(Comparison::Lt, number, pieces));
            // Element by element, neighbouring threads read neighbouring pixels, as planes ask for.
            let (row, place, own_depth) = match by_chunk {
                true => {
                    let (row, chunk) = b.div_rem(number, per_row);
                    let bytes = b.mul(chunk, CHUNK);
                    (row, b.mad(row, ROW_BYTES, bytes), None)
                }
                false => {
                    let (at, row) = b.div_rem(number, gemm.tile.pixels);
                    let bytes = b.mul(at, element);
                    (row, b.mad(row, ROW_BYTES, bytes), Some(at))
                }
            };
            let pixel = b.add(first_pixel, row);
            // Rows beyond the last pixel repeat it; their sums are not stored.
            let last = gemm.pixels() - 1;
            let pixel = if (last + 1).is_multiple_of(gemm.tile.pixels) { pixel } else { b.min(pixel, last) };
            let (base, origin) = locate(gemm, b, x, group, pixel);
            Piece { place, exists, base, origin, depth: own_depth }
        });
        let pieces = pieces.collect();
        Rows { gemm, pieces, depth, front, first_step }
    }

    /// The number of the step's first element of this piece in the whole reduction.
    fn reduction_index(&self, b: &mut Builder, step: Value, piece: &Piece) -> Value {
        let step = b.add(self.first_step, step);
        let depth = piece.depth.unwrap_or(self.depth);
        b.mad(step, self.gemm.precision.depth(), depth)
    }

    /// Where a piece reads in a step, and the condition under which that is in the image.
    fn source(&self, b: &mut Builder, step: Value, piece: &Piece) -> (Address, Option<Value>) {
        let gemm = self.gemm;
        let index = self.reduction_index(b, step, piece);
        let strides = &gemm.x.view.strides;
        let size = gemm.x.element.bytes();
        let window = &gemm.window;
        let ragged = !gemm.reduction().is_multiple_of(gemm.precision.depth());
        let mut guard = piece.exists;
        if gemm.kernel == [1, 1] {
            if ragged {
                let within = b.compare(Comparison::Lt, index, gemm.reduction());
                guard = b.both(guard, Some(within));
            }
            if window.padding != [0; 4] {
                let inside = self.inside(b, piece.origin);
                guard = b.both(guard, Some(inside));
            }
            let elements = b.mul(index, strides[1]);
            return (b.offset(piece.base, elements, size), guard);
        }
        let (tap, channel) = b.div_rem(index, gemm.channels());
        let (ky, kx) = b.div_rem(tap, gemm.kernel[1]);
        if ragged {
            let within = b.compare(Comparison::Lt, ky, gemm.kernel[0]);
            guard = b.both(guard, Some(within));
        }
        if window.padding != [0; 4] {
            let row = b.mad(ky, window.dilation[0], piece.origin[0]);
            let column = b.mad(kx, window.dilation[1], piece.origin[1]);
            let inside = self.inside(b, [row, column]);
            guard = b.both(guard, Some(inside));
        }
        let down = b.mul(ky, window.dilation[0] * strides[2]);
        let across = b.mad(kx, window.dilation[1] * strides[3], down);
        let elements = b.mad(channel, strides[1], across);
        (b.offset(piece.base, elements, size), guard)
    }

    fn inside(&self, b: &mut Builder, [row, column]: [Value; 2]) -> Value {
        let dims = &self.gemm.x.view.dims;
        let row = b.compare(Comparison::Lt, row, dims[2]);
        let column = b.compare(Comparison::Lt, column, dims[3]);
        b.both(Some(row), Some(column)).expect("two conditions")
    }

    /// Begins to copy a step to the stage at `stage`.
    pub fn copy_async(&self, b: &mut Builder, step: Value, stage: Value) {
        for piece in &self.pieces {
            let (from, guard) = self.source(b, step, piece);
            // A piece that is not the thread's must not be written, one outside the image must be zeros.
            let to = Address::from(b.add(stage, piece.place));
            match piece.exists {
                Some(exists) => b.when(exists, |b| b.copy_async(to, from, guard)),
                None => b.copy_async(to, from, guard),
            }
        }
    }

    /// Loads a step into registers.
    pub fn load(&self, b: &mut Builder, step: Value) -> Staged {
        let gemm = self.gemm;
        let load = |piece| {
            if self.front.is_some() {
                return self.depthwise(b, step, piece);
            }
            let (from, guard) = self.source(b, step, piece);
            match gemm.copies_chunks() {
                true => b.load_words(Space::Constant, Class::B32, CHUNK / 4, from, guard),
                false => b.load(Space::Constant, gemm.x.element, 1, from, guard),
            }
        };
        Staged(self.pieces.iter().map(load).collect())
    }

    /// Stores what was loaded in the stage at `stage`.
    pub fn store(&self, b: &mut Builder, staged: Staged, stage: Value) {
        for (piece, values) in self.pieces.iter().zip(staged.0) {
            let to = Address::from(b.add(stage, piece.place));
            let element = self.gemm.precision.element();
            b.guarded(piece.exists, |b| match self.gemm.copies_chunks() && self.front.is_none() {
                true => b.store_words(Space::Shared, to, &values),
                false => store_elements(b, element, to, &values),
            });
        }
    }

    /// A chunk of the front's result: up to eight channels of a pixel.
    fn depthwise(&self, b: &mut Builder, step: Value, piece: &Piece) -> Vec<Value> {
        let gemm = self.gemm;
        let (front, (weight, epilogue)) =
            (gemm.front.as_ref().expect("a front"), self.front.as_ref().expect("a front"));
        let size = gemm.x.element.bytes();
        let lanes = CHUNK / size;
        let channels = gemm.channels();
        let channel = self.reduction_index(b, step, piece);
        let exists = match channels % gemm.precision.depth() {
            0 => piece.exists,
            _ => {
                let within = b.compare(Comparison::Lt, channel, channels);
                b.both(piece.exists, Some(within))
            }
        };
        let window = &front.window;
        let strides = &gemm.x.view.strides;
        let from = b.offset(piece.base, channel, size);
        let from = b.materialise(from);
        let weights = b.offset(*weight, channel, Element::F32.bytes());
        let weights = b.materialise(weights);
        let sums: Vec<Value> = (0..lanes).map(|_| b.variable(Class::F32, 0.0)).collect();
        let [kh, kw] = front.kernel;
        let dims = &gemm.x.view.dims;
        for ky in 0..kh {
            let row = b.add(piece.origin[0], ky * window.dilation[0]);
            let row_inside = (window.padding != [0; 4]).then(|| b.compare(Comparison::Lt, row, dims[2]));
            for kx in 0..kw {
                let column = b.add(piece.origin[1], kx * window.dilation[1]);
                let column_inside =
                    (window.padding != [0; 4]).then(|| b.compare(Comparison::Lt, column, dims[3]));
                let inside = b.both(row_inside, column_inside);
                let guard = b.both(exists, inside);
                let elements = ky * window.dilation[0] * strides[2] + kx * window.dilation[1] * strides[3];
                let at = Address::from(from).plus(elements * size);
                let values = load_lanes(b, gemm.x.element, lanes, at, guard);
                let at = Address::from(weights).plus((ky * kw + kx) * channels * Element::F32.bytes());
                let factors = load_lanes(b, Element::F32, lanes, at, exists);
                for ((&sum, value), factor) in sums.iter().zip(values).zip(factors) {
                    b.accumulate(sum, value, factor);
                }
            }
        }
        let zero = Value::Int(0);
        sums.chunks(4)
            .enumerate()
            .flat_map(|(at, sums)| {
                let channel = b.add(channel, 4 * at);
                epilogue.apply(b, sums.to_vec(), &[zero, channel, zero, zero], 1, [exists; 2])
            })
            .collect()
    }
}

/// Loads in vectors of at most 16 bytes.
fn load_lanes(
    b: &mut Builder,
    element: Element,
    lanes: usize,
    at: Address,
    guard: Option<Value>,
) -> Vec<Value> {
    let step = lanes.min(4);
    (0..lanes)
        .step_by(step)
        .flat_map(|lane| b.load(Space::Constant, element, step, at.plus(lane * element.bytes()), guard))
        .collect()
}

/// Stores up to eight neighbours, given as `f32`, in shared memory.
fn store_elements(b: &mut Builder, element: Element, to: Address, values: &[Value]) {
    for (at, part) in values.chunks(4).enumerate() {
        b.store(Space::Shared, element, to.plus(at * 4 * element.bytes()), part);
    }
}

/// What the first tap of an output pixel reads, and where that is in the image.
fn locate(gemm: &Gemm, b: &mut Builder, x: Value, group: Value, pixel: Value) -> (Value, [Value; 2]) {
    let view = &gemm.x.view;
    let size = gemm.x.element.bytes();
    let first = {
        let channel = b.mul(group, gemm.channels());
        b.mul(channel, view.strides[1])
    };
    if gemm.front.is_none() && gemm.is_pointwise() {
        let joined = view.joined_pixels().expect("pointwise");
        let position = b.mad(pixel, joined.strides[3], view.offset);
        let position = b.add(position, first);
        let address = b.offset(x, position, size);
        return (b.materialise(address), [Value::Int(0); 2]);
    }
    let window = gemm.front.as_ref().map_or(&gemm.window, |front| &front.window);
    let [_, _, oh, ow] = gemm.y.view.dims[..] else { unreachable!("rank 4") };
    let [image, oy, ox] = b.coordinates(pixel, &[gemm.y.view.dims[0], oh, ow])[..] else {
        unreachable!("three extents")
    };
    let row = b.mad(oy, window.stride[0], -(window.padding[0] as i64));
    let column = b.mad(ox, window.stride[1], -(window.padding[1] as i64));
    let origin = b.mad(image, view.strides[0], view.offset);
    let origin = b.add(origin, first);
    let origin = b.mad(row, view.strides[2], origin);
    let position = b.mad(column, view.strides[3], origin);
    let address = b.offset(x, position, size);
    (b.materialise(address), [row, column])
}
