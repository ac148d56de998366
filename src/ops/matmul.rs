//! Products of matrices, in batches (ONNX MatMul, `torch.matmul`).

use serde::{Deserialize, Serialize};

use super::{Cost, Operator, ShapeError};
use crate::parallel::for_each_chunk;
use crate::tensor::{Shape, Tensor};

/// Inputs: `a […, m, k]`, `b […, k, n]`, the axes before broadcast. Output `[…, m, n]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct MatMul {}

/// The axes before the last two, and these.
fn split_matrix(shape: &Shape) -> Option<(Shape, [usize; 2])> {
    let (batch, &[rows, columns]) = shape.dims().split_last_chunk::<2>()?;
    Some((Shape::new(batch), [rows, columns]))
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn input_names(&self) -> &'static [&'static str] {
        &["a", "b"]
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (a, b) = (inputs[0], inputs[1]);
        let (Some((outer_a, [m, k])), Some((outer_b, [rows, n]))) = (split_matrix(a), split_matrix(b)) else {
            return Err(ShapeError::new(format!(
                "matmul takes matrices […, m, k] and […, k, n], not {a} and {b}"
            )));
        };
        if k != rows {
            return Err(ShapeError::with_formula(
                format!("matmul of {a} and {b}"),
                format!("the rows of the first have {k} elements, the columns of the second {rows}"),
            ));
        }
        let batch = outer_a.broadcast(&outer_b).ok_or_else(|| {
            ShapeError::new(format!("matmul of {a} and {b}: the axes before the matrices do not broadcast"))
        })?;
        Ok(Shape::new(batch.dims().iter().copied().chain([m, n]).collect::<Vec<_>>()))
    }

    fn evaluate(&self, inputs: &[&Tensor]) -> Tensor {
        let (a, b) = (inputs[0], inputs[1]);
        let output = self.infer(&[a.shape(), b.shape()]).expect("inferred");
        let (batch, [m, n]) = split_matrix(&output).expect("inferred");
        let k = a.shape().dims()[a.shape().rank() - 1];
        // Which matrix of an operand the output's matrix of this number reads.
        let matrix = |tensor: &Tensor, number: usize| {
            let (own, _) = split_matrix(tensor.shape()).expect("inferred");
            let missing = batch.rank() - own.rank();
            let (all, strides) = (batch.strides(), own.strides());
            (0..own.rank())
                .filter(|&axis| own.dims()[axis] > 1)
                .map(|axis| number / all[missing + axis] % batch.dims()[missing + axis] * strides[axis])
                .sum::<usize>()
        };
        let mut result = Tensor::zeros(output);
        for_each_chunk(result.data_mut(), m * n, |number, values| {
            let a = &a.data()[matrix(a, number) * m * k..][..m * k];
            let b = &b.data()[matrix(b, number) * k * n..][..k * n];
            for (row, values) in a.chunks_exact(k).zip(values.chunks_exact_mut(n)) {
                let mut sums = vec![0.0; n];
                for (&factor, line) in row.iter().zip(b.chunks_exact(n)) {
                    let products = line.iter().map(|&value| f64::from(factor) * f64::from(value));
                    sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
                }
                values.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum as f32);
            }
        });
        result
    }

    fn cost(&self, inputs: &[&Shape], output: &Shape) -> Cost {
        let k = inputs[0].dims().last().copied().unwrap_or(1) as u64;
        Cost { multiply_adds: k.saturating_mul(output.elements() as u64), other: 0 }
    }
}
