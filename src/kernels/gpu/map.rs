//! Element-wise functions of arrays with any strides: activations, sums, broadcasts, copies, layout changes.

use super::epilogue::GpuStep;
use super::rows::Rows;
use super::{Array, GpuEpilogue, GpuFamily, Launch, arrays_name, math};
use crate::codegen::ptx::{Builder, Element, Entry, Space, Target, Value};
use crate::kernels::View;
use crate::kernels::math::activation_name;
use crate::ops::{Activation, BinaryFunction, UnaryFunction};

/// `output = function(inputs …)`, then the epilogue, for each element; a thread works on up to four.
///
/// Arguments: the inputs, the epilogue's operands, the output.
#[derive(Clone, PartialEq, Debug)]
pub struct Map {
    pub function: MapFunction,
    /// As many as the function takes, all of the output's dims: along a broadcast axis the stride is 0.
    pub inputs: Vec<Array>,
    pub output: Array,
    pub epilogue: GpuEpilogue,
}

/// What a [`Map`] computes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MapFunction {
    /// The number everywhere; no inputs.
    Fill(f32),
    Copy,
    Unary(UnaryFunction),
    Binary(BinaryFunction),
    Activation(Activation),
    /// `x · scale + shift` of three inputs
    ScaleShift,
    /// The sum of all inputs.
    Sum,
}

impl MapFunction {
    fn name(&self) -> String {
        match self {
            MapFunction::Fill(value) => format!("fill{value:?}"),
            MapFunction::Copy => "copy".to_owned(),
            MapFunction::Unary(function) => function.name().to_owned(),
            MapFunction::Binary(function) => function.name().to_owned(),
            MapFunction::Activation(activation) => activation_name(activation),
            MapFunction::ScaleShift => "scaleshift".to_owned(),
            MapFunction::Sum => "sum".to_owned(),
        }
    }

    fn apply(&self, b: &mut Builder, x: &[Value]) -> Value {
        match self {
            MapFunction::Fill(value) => {
                let zero = Value::Float(*value);
                b.variable(crate::codegen::ptx::Class::F32, zero)
            }
            MapFunction::Copy => x[0],
            MapFunction::Unary(function) => math::unary(b, *function, x[0]),
            MapFunction::Binary(function) => math::binary(b, *function, x[0], x[1]),
            MapFunction::Activation(activation) => math::activation(b, *activation, x[0]),
            MapFunction::ScaleShift => b.fma(x[0], x[1], x[2]),
            MapFunction::Sum => {
                let (first, rest) = x.split_first().expect("a sum has terms");
                rest.iter().fold(*first, |sum, &term| b.fadd(sum, term))
            }
        }
    }
}

impl Map {
    /// All arrays, the output last; the epilogue's per-channel operands as arrays that repeat.
    fn arrays(&self) -> Vec<Array> {
        let dims = &self.output.view.dims;
        let per_channel = || {
            let mut strides = vec![0; dims.len()];
            strides[1] = 1;
            Array::f32(View { dims: dims.clone(), strides, offset: 0 })
        };
        let mut arrays = self.inputs.clone();
        for step in &self.epilogue.0 {
            match step {
                GpuStep::Activation(_) => {}
                GpuStep::Bias => arrays.push(per_channel()),
                GpuStep::ScaleShift => arrays.extend([per_channel(), per_channel()]),
                GpuStep::Add(array) | GpuStep::Mul(array) => arrays.push(array.clone()),
            }
        }
        arrays.push(self.output.clone());
        arrays
    }

    fn rows(&self) -> Rows {
        Rows::of(&self.arrays().iter().collect::<Vec<_>>())
    }
}

impl GpuFamily for Map {
    fn name(&self) -> String {
        let arrays: Vec<Array> = self.inputs.iter().chain([&self.output]).cloned().collect();
        let dims = &self.output.view.dims;
        let places = arrays_name(dims, &arrays.iter().collect::<Vec<_>>());
        // Functions of any number of inputs say of how many.
        let terms = match self.function {
            MapFunction::Sum => self.inputs.len().to_string(),
            _ => String::new(),
        };
        format!("{}{terms}_{places}{}", self.function.name(), self.epilogue.suffix())
    }

    fn launch(&self) -> Launch {
        self.rows().launch()
    }

    fn emit(&self, entry: &str, _target: Target) -> Entry {
        let arrays = self.arrays();
        let rows = self.rows();
        let mut b = Builder::new(entry, self.launch().threads as u32);
        let pointers: Vec<Value> = arrays.iter().map(|_| b.pointer()).collect();
        let positions = rows.positions(&mut b);
        let addresses: Vec<_> = (0..arrays.len())
            .map(|at| b.offset(pointers[at], positions[at], arrays[at].element.bytes()))
            .collect();
        let last = arrays.len() - 1;
        let operands: Vec<Vec<Value>> = (0..last)
            .map(|at| {
                let element: Element = arrays[at].element;
                match rows.is_contiguous(at) {
                    true => b.load(Space::Constant, element, rows.lanes, addresses[at], None),
                    false => vec![b.load(Space::Constant, element, 1, addresses[at], None)[0]; rows.lanes],
                }
            })
            .collect();
        let results: Vec<Value> = (0..rows.lanes)
            .map(|lane| {
                let lanes: Vec<Value> = operands.iter().map(|operand| operand[lane]).collect();
                let (own, mut extra) = lanes.split_at(self.inputs.len());
                let mut value = self.function.apply(&mut b, own);
                for step in &self.epilogue.0 {
                    let count = if matches!(step, GpuStep::ScaleShift) { 2 } else { 1 };
                    value = match step {
                        GpuStep::Activation(activation) => {
                            value = math::activation(&mut b, *activation, value);
                            continue;
                        }
                        GpuStep::Bias | GpuStep::Add(_) => b.fadd(value, extra[0]),
                        GpuStep::ScaleShift => b.fma(value, extra[0], extra[1]),
                        GpuStep::Mul(_) => b.fmul(value, extra[0]),
                    };
                    extra = &extra[count..];
                }
                value
            })
            .collect();
        b.store(Space::Global, self.output.element, addresses[last], &results);
        b.finish()
    }
}
