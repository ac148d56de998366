//! Arithmetic: integers of 32 bits, which hold positions and numbers of elements, and `f32`.

use super::builder::Builder;
use super::value::{Class, Comparison, Value};

/// Integers.
impl Builder {
    fn integer(&mut self, operation: &str, a: Value, b: Value) -> Value {
        self.result(Class::B32, format_args!("{operation}"), format_args!("{a}, {b}"))
    }

    pub fn add(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        match (a.into(), b.into()) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a + b),
            (a, Value::Int(0)) | (Value::Int(0), a) => a,
            (a @ Value::Int(_), b) | (b, a) => self.integer("add.s32", b, a),
        }
    }

    pub fn sub(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        match (a.into(), b.into()) {
            (a, Value::Int(b)) => self.add(a, -b),
            (a, b) => self.integer("sub.s32", a, b),
        }
    }

    pub fn mul(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        match (a.into(), b.into()) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a * b),
            (_, Value::Int(0)) | (Value::Int(0), _) => Value::Int(0),
            (a, Value::Int(1)) | (Value::Int(1), a) => a,
            (a, Value::Int(b)) | (Value::Int(b), a) if b > 0 && b.count_ones() == 1 => {
                self.integer("shl.b32", a, Value::Int(b.trailing_zeros().into()))
            }
            (a @ Value::Int(_), b) | (b, a) => self.integer("mul.lo.s32", b, a),
        }
    }

    /// `a · b + c`
    pub fn mad(&mut self, a: impl Into<Value>, b: impl Into<Value>, c: impl Into<Value>) -> Value {
        match (a.into(), b.into(), c.into()) {
            (a @ Value::Reg(_), b, c) if b.known().is_none_or(|b| b > 1) && c != Value::Int(0) => {
                self.result(Class::B32, format_args!("mad.lo.s32"), format_args!("{a}, {b}, {c}"))
            }
            (a, b, c) => {
                let product = self.mul(a, b);
                self.add(product, c)
            }
        }
    }

    /// `a / divisor` for `a < 2³¹`: a multiplication (Granlund and Montgomery, 1994) instead of a division.
    ///
    /// # Panics
    /// If the divisor is 0 or not below 2³¹.
    pub fn div(&mut self, a: impl Into<Value>, divisor: usize) -> Value {
        assert!(divisor > 0 && divisor < 1 << 31, "{divisor} is no divisor");
        match a.into() {
            Value::Int(a) => Value::Int(a / divisor as i64),
            a if divisor == 1 => a,
            a if divisor.is_power_of_two() => self.integer("shr.u32", a, divisor.trailing_zeros().into()),
            a => {
                let (factor, shift) = reciprocal(divisor);
                let high = self.integer("mul.hi.u32", a, factor.into());
                self.integer("shr.u32", high, shift.into())
            }
        }
    }

    /// `a` as quotient and remainder.
    pub fn div_rem(&mut self, a: impl Into<Value>, divisor: usize) -> (Value, Value) {
        let a = a.into();
        let quotient = self.div(a, divisor);
        let remainder = match a {
            Value::Int(a) => Value::Int(a % divisor as i64),
            _ if divisor == 1 => Value::Int(0),
            a if divisor.is_power_of_two() => self.and(a, divisor - 1),
            a => self.mad(quotient, -(divisor as i64), a),
        };
        (quotient, remainder)
    }

    /// Coordinates of the element `a` of a row-major array of these extents; the first is not reduced.
    pub fn coordinates(&mut self, a: impl Into<Value>, extents: &[usize]) -> Vec<Value> {
        let mut rest = a.into();
        let mut coordinates: Vec<Value> = Vec::with_capacity(extents.len());
        for &extent in extents.iter().skip(1).rev() {
            let (quotient, remainder) = self.div_rem(rest, extent);
            coordinates.push(remainder);
            rest = quotient;
        }
        coordinates.push(rest);
        coordinates.reverse();
        coordinates.truncate(extents.len());
        coordinates
    }

    pub fn and(&mut self, a: impl Into<Value>, mask: impl Into<Value>) -> Value {
        self.integer("and.b32", a.into(), mask.into())
    }

    pub fn xor(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        self.integer("xor.b32", a.into(), b.into())
    }

    pub fn min(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        match (a.into(), b.into()) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a.min(b)),
            (a @ Value::Int(_), b) | (b, a) => self.integer("min.s32", b, a),
        }
    }

    pub fn max(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        match (a.into(), b.into()) {
            (Value::Int(a), Value::Int(b)) => Value::Int(a.max(b)),
            (a @ Value::Int(_), b) | (b, a) => self.integer("max.s32", b, a),
        }
    }

    /// `Σ coordinates[i] · strides[i] + offset`
    pub fn dot(&mut self, coordinates: &[Value], strides: &[usize], offset: impl Into<Value>) -> Value {
        let terms = coordinates.iter().zip(strides).filter(|(_, stride)| **stride != 0);
        terms.fold(offset.into(), |sum, (&coordinate, &stride)| self.mad(coordinate, stride, sum))
    }
}

/// `(factor, shift)` such that `a / divisor = (a · factor >> 32) >> shift` for all `a < 2³¹`; the divisor is no power of
/// two and below 2³¹.
fn reciprocal(divisor: usize) -> (u32, u32) {
    let bits = usize::BITS - (divisor - 1).leading_zeros();
    let factor = (1u64 << (31 + bits)).div_ceil(divisor as u64);
    (u32::try_from(factor).expect("the divisor exceeds half of 2^bits"), bits - 1)
}

/// Conditions.
impl Builder {
    pub fn compare(&mut self, how: Comparison, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        let how = match how {
            Comparison::Eq => "eq.u32",
            Comparison::Lt => "lt.u32",
            Comparison::Ge => "ge.u32",
            Comparison::Gt => "gt.u32",
            Comparison::SignedLt => "lt.s32",
            Comparison::SignedGe => "ge.s32",
        };
        let (a, b) = (a.into(), b.into());
        self.result(Class::Pred, format_args!("setp.{how}"), format_args!("{a}, {b}"))
    }

    /// Whether `f32`s compare so; not where one is no number.
    pub fn compare_float(&mut self, how: Comparison, a: Value, b: impl Into<Value>) -> Value {
        let how = match how {
            Comparison::Eq => "eq",
            Comparison::Lt | Comparison::SignedLt => "lt",
            Comparison::Ge | Comparison::SignedGe => "ge",
            Comparison::Gt => "gt",
        };
        let b = b.into();
        self.result(Class::Pred, format_args!("setp.{how}.f32"), format_args!("{a}, {b}"))
    }

    /// Whether both hold; a condition that is not there holds.
    pub fn both(&mut self, a: Option<Value>, b: Option<Value>) -> Option<Value> {
        match (a, b) {
            (Some(a), Some(b)) => {
                Some(self.result(Class::Pred, format_args!("and.pred"), format_args!("{a}, {b}")))
            }
            (a, b) => a.or(b),
        }
    }

    /// `a` where `condition` holds, else `b`.
    pub fn select(&mut self, condition: Value, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        let (a, b) = (a.into(), b.into());
        self.result(Class::B32, format_args!("selp.b32"), format_args!("{a}, {b}, {condition}"))
    }

    pub fn select_float(&mut self, condition: Value, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        let (a, b) = (a.into(), b.into());
        self.result(Class::F32, format_args!("selp.f32"), format_args!("{a}, {b}, {condition}"))
    }
}

/// `f32`, each operation rounded to nearest unless it says otherwise.
impl Builder {
    fn float(&mut self, operation: &str, operands: &[Value]) -> Value {
        let operands: Vec<String> = operands.iter().map(Value::to_string).collect();
        self.result(Class::F32, format_args!("{operation}"), format_args!("{}", operands.join(", ")))
    }

    pub fn fadd(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        self.float("add.f32", &[a.into(), b.into()])
    }

    pub fn fsub(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        self.float("sub.f32", &[a.into(), b.into()])
    }

    pub fn fmul(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        self.float("mul.f32", &[a.into(), b.into()])
    }

    /// `a · b + c`, rounded once
    pub fn fma(&mut self, a: impl Into<Value>, b: impl Into<Value>, c: impl Into<Value>) -> Value {
        self.float("fma.rn.f32", &[a.into(), b.into(), c.into()])
    }

    /// `sum += a · b`, rounded once
    pub fn accumulate(&mut self, sum: Value, a: Value, b: Value) {
        self.line(format_args!("fma.rn.f32 {sum}, {a}, {b}, {sum};"));
    }

    pub fn fdiv(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        self.float("div.rn.f32", &[a.into(), b.into()])
    }

    pub fn fmax(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        self.float("max.f32", &[a.into(), b.into()])
    }

    pub fn fmin(&mut self, a: impl Into<Value>, b: impl Into<Value>) -> Value {
        self.float("min.f32", &[a.into(), b.into()])
    }

    pub fn fneg(&mut self, a: Value) -> Value {
        self.float("neg.f32", &[a])
    }

    pub fn fabs(&mut self, a: Value) -> Value {
        self.float("abs.f32", &[a])
    }

    pub fn sqrt(&mut self, a: Value) -> Value {
        self.float("sqrt.rn.f32", &[a])
    }

    /// `2^a` to two units in the last place
    pub fn exp2(&mut self, a: Value) -> Value {
        self.float("ex2.approx.f32", &[a])
    }

    /// The nearest whole number.
    pub fn round(&mut self, a: Value) -> Value {
        self.float("cvt.rni.f32.f32", &[a])
    }

    /// The binary logarithm to 2⁻²²
    pub fn log2(&mut self, a: Value) -> Value {
        self.float("lg2.approx.f32", &[a])
    }

    /// The value of the lane whose number differs from this one's in the bits of `mask`. All lanes of the warp take
    /// part.
    pub fn shuffle_xor(&mut self, a: Value, mask: u32) -> Value {
        let bits = self.result(Class::B32, format_args!("mov.b32"), format_args!("{a}"));
        let other = self.result(
            Class::B32,
            format_args!("shfl.sync.bfly.b32"),
            format_args!("{bits}, {mask}, 31, -1"),
        );
        self.result(Class::F32, format_args!("mov.b32"), format_args!("{other}"))
    }
}

/// Sums and maxima kept in variables.
impl Builder {
    /// `sum += a`
    pub fn accumulate_sum(&mut self, sum: Value, a: impl Into<Value>) {
        let a = a.into();
        self.line(format_args!("add.f32 {sum}, {sum}, {a};"));
    }

    /// `max = max(max, a)`
    pub fn accumulate_max(&mut self, max: Value, a: Value) {
        self.line(format_args!("max.f32 {max}, {max}, {a};"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reciprocals_divide_exactly() {
        for divisor in (3usize..5000).chain([55_555, (1 << 20) + 1, (1 << 30) + 1, (1 << 31) - 1]) {
            if divisor.is_power_of_two() {
                continue;
            }
            let (factor, shift) = reciprocal(divisor);
            let d = divisor as u64;
            let last = (1u64 << 31) - 1;
            for a in [0, 1, d - 1, d, d + 1, 2 * d - 1, last / d * d - 1, last / d * d, last] {
                let a = a.min(last);
                assert_eq!(((a * u64::from(factor)) >> 32) >> shift, a / d, "{a} / {d}");
            }
        }
    }

    #[test]
    fn known_numbers_are_computed_at_once() {
        let mut b = Builder::new("k", 32);
        let sum = b.mad(3, 4, 5);
        assert_eq!(sum, Value::Int(17));
        assert_eq!(b.div_rem(17, 5), (Value::Int(3), Value::Int(2)));
        let x = b.thread();
        assert_eq!(b.mul(x, 1), x);
        assert_eq!(b.add(x, 0), x);
        assert_eq!(b.mul(x, 0), Value::Int(0));
        assert_eq!(b.coordinates(x, &[1, 1]), [x, Value::Int(0)]);
    }
}
