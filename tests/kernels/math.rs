//! The accuracy of vector functions, against `f64`.

use kiln::codegen::vector::{Access, Builder, Reg, interpret, verify};
use kiln::kernels::math;
use kiln::ops::Activation;

/// The largest error of `function` on `inputs`, relative to `|reference| + floor`.
fn error(
    inputs: &[f32],
    floor: f64,
    function: impl Fn(&mut Builder, Reg) -> Reg,
    reference: impl Fn(f64) -> f64,
) -> f64 {
    let mut k = Builder::new("function", 4);
    let x = k.buffer("x", Access::Read, inputs.len());
    let y = k.buffer("y", Access::Write, inputs.len());
    k.vectors(inputs.len(), |k, step| {
        let value = k.load_lanes(step.at(&x), step.lanes);
        let value = function(k, value);
        k.store_lanes(value, step.at(&y), step.lanes);
    });
    let kernel = k.finish();
    verify(&kernel).unwrap();
    let mut buffers = [inputs.to_vec(), vec![f32::NAN; inputs.len()]];
    interpret(&kernel, &mut buffers);
    let errors = inputs.iter().zip(&buffers[1]).map(|(&x, &y)| {
        let exact = reference(f64::from(x));
        match (f64::from(y) - exact).abs() / (exact.abs() + floor) {
            _ if f64::from(y) == exact => 0.0,
            error if error.is_nan() => f64::INFINITY,
            error => error,
        }
    });
    errors.fold(0.0, f64::max)
}

fn range(from: f32, to: f32) -> Vec<f32> {
    const STEPS: usize = 20_001;
    (0..STEPS).map(|i| from + (to - from) * (i as f32 / (STEPS - 1) as f32)).collect()
}

/// Positive numbers over many magnitudes.
fn magnitudes() -> Vec<f32> {
    range(-36.0, 36.0).into_iter().map(f32::exp2).collect()
}

/// Two units in the last place.
const TIGHT: f64 = 2.4e-7;

#[test]
fn exponentials_and_logarithms() {
    assert!(error(&range(-86.9, 87.9), 0.0, math::exp, f64::exp) < TIGHT);
    assert!(error(&range(-1.0, 1.0), 0.0, math::exp, f64::exp) < TIGHT);
    // Near one the logarithm vanishes: its error there is absolute.
    assert!(error(&magnitudes(), 1e-1, math::log, f64::ln) < TIGHT);
    assert!(error(&range(0.5, 2.0), 1e-1, math::log, f64::ln) < TIGHT);
}

#[test]
fn exponentials_saturate() {
    let extremes = [-1e30, -1000.0, f32::NEG_INFINITY];
    assert!(error(&extremes, 1.0, math::exp, |_| 0.0) < 1e-30);
    assert!(error(&[1000.0, f32::INFINITY], 0.0, math::exp, |_| 88f64.exp()) < TIGHT);
}

#[test]
fn powers() {
    for exponent in [0.75, -0.75, 0.5, -0.5, 1.0, -1.0] {
        let power = |k: &mut Builder, x| math::power(k, x, exponent);
        assert!(error(&magnitudes(), 0.0, power, |x| x.powf(exponent.into())) < TIGHT, "{exponent}");
    }
    // The logarithm's rounding error grows with the exponent's and the result's magnitude.
    for exponent in [0.6, -0.4, 1.5, -2.0] {
        let power = |k: &mut Builder, x| math::power(k, x, exponent);
        assert!(error(&magnitudes(), 0.0, power, |x| x.powf(exponent.into())) < 8e-6, "{exponent}");
        assert!(error(&range(1.0, 20.0), 0.0, power, |x| x.powf(exponent.into())) < 1e-6, "{exponent}");
    }
}

#[test]
fn activations() {
    let functions = [
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Tanh,
        Activation::HardSwish,
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::LeakyRelu { slope: 0.01 },
        Activation::Relu,
        Activation::Relu6,
        Activation::Clip { min: -1.5, max: 2.5 },
    ];
    for function in functions {
        for inputs in [range(-80.0, 100.0), range(-4.0, 4.0), vec![0.0, -0.0, 1e-6, -1e-20, 1e30]] {
            let vector = |k: &mut Builder, x| math::activation(k, function, x);
            // The hard functions round where they are cut off.
            let floor = if function.name().starts_with("hard") { 1.0 } else { 0.0 };
            let error = error(&inputs, floor, vector, |x| function.apply(x));
            assert!(error < 5e-7, "{function:?}: {error:e}");
        }
        // Far out, what should be nothing may be a very small number.
        let vector = |k: &mut Builder, x| math::activation(k, function, x);
        let error = error(&[-100.0, -1e4, -1e20], 1.0, vector, |x| function.apply(x));
        assert!(error < 5e-7, "{function:?}: {error:e}");
    }
}
