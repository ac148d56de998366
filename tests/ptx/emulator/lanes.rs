//! Arithmetic on the 32 lanes of a warp: pure functions, each the meaning of an operation.

use half::f16;

use super::instruction::{Comparison, Convert, FloatOp, IntOp, Rounding, TernaryOp, UnaryOp};

/// One value of 32 bits in each lane.
pub type Lanes = [u32; 32];

/// One value of 64 bits in each lane.
pub type Lanes64 = [u64; 32];

fn map(a: &Lanes, f: impl Fn(u32) -> u32) -> Lanes {
    std::array::from_fn(|lane| f(a[lane]))
}

fn zip(a: &Lanes, b: &Lanes, f: impl Fn(u32, u32) -> u32) -> Lanes {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

fn zip3(a: &Lanes, b: &Lanes, c: &Lanes, f: impl Fn(u32, u32, u32) -> u32) -> Lanes {
    std::array::from_fn(|lane| f(a[lane], b[lane], c[lane]))
}

fn float(bits: u32) -> f32 {
    f32::from_bits(bits)
}

fn zip_floats(a: &Lanes, b: &Lanes, f: impl Fn(f32, f32) -> f32) -> Lanes {
    zip(a, b, |a, b| f(float(a), float(b)).to_bits())
}

/// `.ftz`: subnormals become zeros of their sign.
fn flush(value: u32) -> u32 {
    if value & 0x7f80_0000 == 0 { value & 0x8000_0000 } else { value }
}

pub fn int(op: IntOp, a: &Lanes, b: &Lanes) -> Lanes {
    match op {
        IntOp::Add => zip(a, b, u32::wrapping_add),
        IntOp::Sub => zip(a, b, u32::wrapping_sub),
        IntOp::Mul => zip(a, b, u32::wrapping_mul),
        IntOp::MulHi { signed: false } => zip(a, b, |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        IntOp::MulHi { signed: true } => {
            zip(a, b, |a, b| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32)
        }
        // Dividing by zero is undefined; lanes that take no part may hold anything.
        IntOp::Div { signed: false } => zip(a, b, |a, b| a.checked_div(b).unwrap_or(u32::MAX)),
        IntOp::Div { signed: true } => {
            zip(a, b, |a, b| if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 })
        }
        IntOp::Rem { signed: false } => zip(a, b, |a, b| a.checked_rem(b).unwrap_or(a)),
        IntOp::Rem { signed: true } => {
            zip(a, b, |a, b| if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 })
        }
        IntOp::Min { signed: false } => zip(a, b, u32::min),
        IntOp::Min { signed: true } => zip(a, b, |a, b| (a as i32).min(b as i32) as u32),
        IntOp::Max { signed: false } => zip(a, b, u32::max),
        IntOp::Max { signed: true } => zip(a, b, |a, b| (a as i32).max(b as i32) as u32),
        IntOp::And => zip(a, b, |a, b| a & b),
        IntOp::Or => zip(a, b, |a, b| a | b),
        IntOp::Xor => zip(a, b, |a, b| a ^ b),
        // Shifts by more than the width shift everything out.
        IntOp::Shl => zip(a, b, |a, b| a.checked_shl(b).unwrap_or(0)),
        IntOp::Shr { signed: false } => zip(a, b, |a, b| a.checked_shr(b).unwrap_or(0)),
        IntOp::Shr { signed: true } => zip(a, b, |a, b| ((a as i32) >> b.min(31)) as u32),
    }
}

/// The 64-bit operations that decoding lets through.
pub fn int64(op: IntOp, a: &Lanes64, b: &Lanes64) -> Lanes64 {
    let zip = |f: fn(u64, u64) -> u64| -> Lanes64 { std::array::from_fn(|lane| f(a[lane], b[lane])) };
    match op {
        IntOp::Add => zip(u64::wrapping_add),
        IntOp::Sub => zip(u64::wrapping_sub),
        IntOp::Mul | IntOp::MulHi { .. } => zip(u64::wrapping_mul),
        IntOp::Div { signed: false } => zip(|a, b| a.checked_div(b).unwrap_or(u64::MAX)),
        IntOp::Div { signed: true } => {
            zip(|a, b| if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 })
        }
        IntOp::Rem { signed: false } => zip(|a, b| a.checked_rem(b).unwrap_or(a)),
        IntOp::Rem { signed: true } => {
            zip(|a, b| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 })
        }
        IntOp::Min { signed: false } => zip(u64::min),
        IntOp::Min { signed: true } => zip(|a, b| (a as i64).min(b as i64) as u64),
        IntOp::Max { signed: false } => zip(u64::max),
        IntOp::Max { signed: true } => zip(|a, b| (a as i64).max(b as i64) as u64),
        IntOp::And => zip(|a, b| a & b),
        IntOp::Or => zip(|a, b| a | b),
        IntOp::Xor => zip(|a, b| a ^ b),
        IntOp::Shl => zip(|a, b| u32::try_from(b).ok().and_then(|b| a.checked_shl(b)).unwrap_or(0)),
        IntOp::Shr { signed: false } => {
            zip(|a, b| u32::try_from(b).ok().and_then(|b| a.checked_shr(b)).unwrap_or(0))
        }
        IntOp::Shr { signed: true } => zip(|a, b| ((a as i64) >> b.min(63)) as u64),
    }
}

pub fn multiply_wide(signed: bool, a: &Lanes, b: &Lanes) -> Lanes64 {
    std::array::from_fn(|lane| {
        if signed {
            (i64::from(a[lane] as i32) * i64::from(b[lane] as i32)) as u64
        } else {
            u64::from(a[lane]) * u64::from(b[lane])
        }
    })
}

fn float_op(op: FloatOp, a: f32, b: f32) -> f32 {
    match op {
        FloatOp::Add => a + b,
        FloatOp::Sub => a - b,
        FloatOp::Mul => a * b,
        FloatOp::Div => a / b,
        FloatOp::Min { propagate: true } | FloatOp::Max { propagate: true } if a.is_nan() || b.is_nan() => {
            f32::NAN
        }
        // -0 counts as less than +0.
        FloatOp::Min { .. } if a == 0.0 && b == 0.0 => f32::from_bits(a.to_bits() | b.to_bits()),
        FloatOp::Max { .. } if a == 0.0 && b == 0.0 => f32::from_bits(a.to_bits() & b.to_bits()),
        FloatOp::Min { .. } => a.min(b),
        FloatOp::Max { .. } => a.max(b),
    }
}

pub fn floats(op: FloatOp, flushes: bool, a: &Lanes, b: &Lanes) -> Lanes {
    if flushes {
        let result = floats(op, false, &map(a, flush), &map(b, flush));
        return map(&result, flush);
    }
    // One loop for each operation, so that each becomes vector code.
    match op {
        FloatOp::Add => zip_floats(a, b, |a, b| a + b),
        FloatOp::Sub => zip_floats(a, b, |a, b| a - b),
        FloatOp::Mul => zip_floats(a, b, |a, b| a * b),
        _ => zip_floats(a, b, |a, b| float_op(op, a, b)),
    }
}

/// Fused multiply-add with one rounding.
///
/// In double precision the product is exact and the sum is rounded once; rounding it to single precision again errs
/// only where it lies half-way between two floats, or is subnormal. Those lanes are rare and computed again.
fn fused_multiply_add(a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
    let sums: [f64; 32] = std::array::from_fn(|lane| {
        f64::from(float(a[lane])) * f64::from(float(b[lane])) + f64::from(float(c[lane]))
    });
    let is_doubtful = |sum: f64| {
        let bits = sum.to_bits();
        let is_half_way = bits & 0x1fff_ffff == 0x1000_0000;
        let is_subnormal =
            bits << 1 != 0 && bits & 0x7fff_ffff_ffff_ffff < f64::from(f32::MIN_POSITIVE).to_bits();
        is_half_way | is_subnormal
    };
    if sums.iter().fold(false, |doubtful, &sum| doubtful | is_doubtful(sum)) {
        return zip3(a, b, c, |a, b, c| float(a).mul_add(float(b), float(c)).to_bits());
    }
    std::array::from_fn(|lane| (sums[lane] as f32).to_bits())
}

/// Applies a function to the halves of a register, or to the lower one alone.
fn by_halves(packed: bool, f: impl Fn(u32) -> f16) -> u32 {
    let low = u32::from(f(0).to_bits());
    if packed { low | u32::from(f(16).to_bits()) << 16 } else { low }
}

fn half(bits: u32, shift: u32) -> f32 {
    f16::from_bits((bits >> shift) as u16).to_f32()
}

/// Computed in single precision and rounded: exact for sums, products and quotients of halves.
pub fn halves(op: FloatOp, packed: bool, a: &Lanes, b: &Lanes) -> Lanes {
    zip(a, b, |a, b| by_halves(packed, |shift| f16::from_f32(float_op(op, half(a, shift), half(b, shift)))))
}

pub fn ternary(op: TernaryOp, a: &Lanes, b: &Lanes, c: &Lanes) -> Lanes {
    match op {
        TernaryOp::Mad => zip3(a, b, c, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        TernaryOp::Fma { flush: false } => fused_multiply_add(a, b, c),
        TernaryOp::Fma { flush: true } => {
            map(&fused_multiply_add(&map(a, flush), &map(b, flush), &map(c, flush)), flush)
        }
        // The product of two halves has 22 bits, so the sum in double precision is exact.
        TernaryOp::HalfFma { packed } => zip3(a, b, c, |a, b, c| {
            by_halves(packed, |shift| {
                let [a, b, c] = [a, b, c].map(|bits| f64::from(half(bits, shift)));
                f16::from_f64(a * b + c)
            })
        }),
        TernaryOp::Extract { signed } => zip3(a, b, c, |a, b, c| extract(signed, a, b & 0xff, c & 0xff)),
        TernaryOp::Permute => zip3(a, b, c, permute),
        TernaryOp::Logic { table } => zip3(a, b, c, |a, b, c| {
            let term = |index: u32| {
                let pick = |bit: u32, value: u32| if index & bit != 0 { value } else { !value };
                if table >> index & 1 == 1 { pick(4, a) & pick(2, b) & pick(1, c) } else { 0 }
            };
            (0..8).fold(0, |result, index| result | term(index))
        }),
        TernaryOp::FunnelLeft { clamp } => zip3(a, b, c, |a, b, c| {
            let pair = u64::from(b) << 32 | u64::from(a);
            ((pair << funnel(c, clamp)) >> 32) as u32
        }),
        TernaryOp::FunnelRight { clamp } => zip3(a, b, c, |a, b, c| {
            let pair = u64::from(b) << 32 | u64::from(a);
            (pair >> funnel(c, clamp)) as u32
        }),
    }
}

fn funnel(amount: u32, clamp: bool) -> u32 {
    if clamp { amount.min(32) } else { amount & 31 }
}

fn extract(signed: bool, a: u32, position: u32, length: u32) -> u32 {
    if length == 0 {
        return 0;
    }
    let sign = if signed { a >> (position + length - 1).min(31) & 1 } else { 0 };
    let fill = if sign == 1 { u64::MAX << 32 } else { 0 };
    let extended = (fill | u64::from(a)) >> position.min(32);
    let mask = if length >= 32 { u32::MAX } else { (1 << length) - 1 };
    extended as u32 & mask | if sign == 1 { !mask } else { 0 }
}

fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let pick = |index: u32| {
        let nibble = selector >> (4 * index) & 15;
        let byte = bytes[(nibble & 7) as usize];
        if nibble & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte }
    };
    u32::from_le_bytes([pick(0), pick(1), pick(2), pick(3)])
}

pub fn insert(a: &Lanes, b: &Lanes, position: &Lanes, length: &Lanes) -> Lanes {
    std::array::from_fn(|lane| {
        let (position, length) = (position[lane] & 0xff, length[lane] & 0xff);
        let mask = if length >= 32 { u32::MAX } else { (1u32 << length) - 1 };
        let mask = mask.checked_shl(position).unwrap_or(0);
        b[lane] & !mask | a[lane].checked_shl(position).unwrap_or(0) & mask
    })
}

pub fn unary(op: UnaryOp, flushes: bool, a: &Lanes) -> Lanes {
    if flushes {
        return map(&unary(op, false, &map(a, flush)), flush);
    }
    // Approximate instructions are computed in double precision: their error is not modelled.
    let wide = |f: fn(f64) -> f64| map(a, |a| (f(f64::from(float(a))) as f32).to_bits());
    match op {
        UnaryOp::Not => map(a, |a| !a),
        UnaryOp::NegInt => map(a, u32::wrapping_neg),
        UnaryOp::AbsInt => map(a, |a| (a as i32).wrapping_abs() as u32),
        UnaryOp::PopCount => map(a, u32::count_ones),
        UnaryOp::LeadingZeros => map(a, u32::leading_zeros),
        UnaryOp::ReverseBits => map(a, u32::reverse_bits),
        UnaryOp::Neg => map(a, |a| a ^ 0x8000_0000),
        UnaryOp::Abs => map(a, |a| a & 0x7fff_ffff),
        UnaryOp::Reciprocal => map(a, |a| (1.0 / float(a)).to_bits()),
        UnaryOp::Sqrt => map(a, |a| float(a).sqrt().to_bits()),
        UnaryOp::ReciprocalSqrt => wide(|a| 1.0 / a.sqrt()),
        UnaryOp::Exp2 => wide(f64::exp2),
        UnaryOp::Log2 => wide(f64::log2),
        UnaryOp::Sine => wide(f64::sin),
        UnaryOp::Cosine => wide(f64::cos),
        UnaryOp::Tanh => wide(f64::tanh),
    }
}

fn integral(rounding: Rounding, value: f32) -> f32 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// `b` is the second operand of conversions that take two.
pub fn convert(op: Convert, a: &Lanes, b: &Lanes) -> Lanes {
    match op {
        Convert::Extend { bits, signed: false } => map(a, |a| a & ((1 << bits) - 1)),
        Convert::Extend { bits, signed: true } => {
            map(a, |a| ((a << (32 - bits)) as i32 >> (32 - bits)) as u32)
        }
        Convert::FloatFromInt { signed: false } => map(a, |a| (a as f32).to_bits()),
        Convert::FloatFromInt { signed: true } => map(a, |a| (a as i32 as f32).to_bits()),
        // Both PTX and Rust clamp to the integer's range and turn NaN to zero.
        Convert::IntFromFloat { signed: false, rounding } => map(a, |a| integral(rounding, float(a)) as u32),
        Convert::IntFromFloat { signed: true, rounding } => {
            map(a, |a| integral(rounding, float(a)) as i32 as u32)
        }
        Convert::Integral { rounding } => map(a, |a| integral(rounding, float(a)).to_bits()),
        Convert::HalfFromFloat => map(a, |a| u32::from(f16::from_f32(float(a)).to_bits())),
        Convert::HalvesFromFloats => zip(a, b, |upper, lower| {
            let [upper, lower] = [upper, lower].map(|bits| u32::from(f16::from_f32(float(bits)).to_bits()));
            upper << 16 | lower
        }),
        Convert::FloatFromHalf => map(a, |a| half(a, 0).to_bits()),
        // To nearest, halves away from zero: carries into the exponent as they should.
        Convert::Tf32FromFloat => map(a, |a| {
            if float(a).is_nan() || float(a).is_infinite() { a } else { a.wrapping_add(0x1000) & !0x1fff }
        }),
        // NaN becomes zero.
        Convert::Saturate => zip_floats(a, b, |a, _| if a.is_nan() { 0.0 } else { a.clamp(0.0, 1.0) }),
        Convert::Identity => *a,
    }
}

/// One bit for each lane where the comparison holds.
pub fn compare<T: PartialOrd + Copy>(comparison: Comparison, a: &[T; 32], b: &[T; 32]) -> u32 {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let (wanted, or_nan): (&[std::cmp::Ordering], bool) = match comparison {
        Comparison::Eq => (&[Equal], false),
        Comparison::Ne => (&[Less, Greater], false),
        Comparison::Lt => (&[Less], false),
        Comparison::Le => (&[Less, Equal], false),
        Comparison::Gt => (&[Greater], false),
        Comparison::Ge => (&[Greater, Equal], false),
        Comparison::EqOrNan => (&[Equal], true),
        Comparison::NeOrNan => (&[Less, Greater], true),
        Comparison::LtOrNan => (&[Less], true),
        Comparison::LeOrNan => (&[Less, Equal], true),
        Comparison::GtOrNan => (&[Greater], true),
        Comparison::GeOrNan => (&[Greater, Equal], true),
        Comparison::Number => (&[Less, Equal, Greater], false),
        Comparison::Nan => (&[], true),
    };
    (0..32).fold(0, |mask, lane| {
        let holds = a[lane].partial_cmp(&b[lane]).map_or(or_nan, |ordering| wanted.contains(&ordering));
        mask | u32::from(holds) << lane
    })
}

/// Lanes as floats, of halves or of singles.
pub fn as_floats(a: &Lanes, are_halves: bool) -> [f32; 32] {
    std::array::from_fn(|lane| if are_halves { half(a[lane], 0) } else { float(a[lane]) })
}

pub fn as_signed(a: &Lanes) -> [i32; 32] {
    a.map(|a| a as i32)
}
