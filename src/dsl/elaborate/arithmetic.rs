//! Arithmetic on numbers known while the model is built. Nothing is rounded unless asked for, and nothing
//! overflows silently.

use super::value::Value;
use crate::dsl::ast::BinaryOperator;

/// Why an operation has no result, and what to write instead.
pub(super) struct ArithmeticError {
    pub problem: String,
    pub help: Option<&'static str>,
}

impl ArithmeticError {
    fn new(problem: impl Into<String>) -> Self {
        ArithmeticError { problem: problem.into(), help: None }
    }
}

type Computed<'a> = Result<Value<'a>, ArithmeticError>;

/// `a operator b`, short-circuiting `and` and `or` excepted.
pub(super) fn binary<'a>(operator: BinaryOperator, a: &Value<'a>, b: &Value<'a>) -> Computed<'a> {
    use BinaryOperator as Operator;
    match operator {
        Operator::Equal => equal(a, b).map(Value::Bool),
        Operator::NotEqual => equal(a, b).map(|same| Value::Bool(!same)),
        Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
            let (x, y) = numbers(operator, a, b)?;
            Ok(Value::Bool(match operator {
                Operator::Less => x < y,
                Operator::LessEqual => x <= y,
                Operator::Greater => x > y,
                _ => x >= y,
            }))
        }
        _ => match (a, b) {
            (Value::Int(a), Value::Int(b)) => integers(operator, *a, *b),
            _ => {
                let (a, b) = numbers(operator, a, b)?;
                floats(operator, a, b)
            }
        },
    }
}

fn equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<bool, ArithmeticError> {
    a.equals(b).ok_or_else(|| ArithmeticError {
        problem: format!("{} and {} are never equal: they cannot be compared", a.kind(), b.kind()),
        help: matches!((a, b), (Value::Tensor(_), _) | (_, Value::Tensor(_)))
            .then_some("what is known of a layer's value is its `.shape`, `.channels`, `.height`, `.width`"),
    })
}

fn numbers(operator: BinaryOperator, a: &Value<'_>, b: &Value<'_>) -> Result<(f64, f64), ArithmeticError> {
    a.as_number().zip(b.as_number()).ok_or_else(|| {
        let texts = matches!(
            (operator, a, b),
            (BinaryOperator::Add, Value::Text(_), _) | (BinaryOperator::Add, _, Value::Text(_))
        );
        ArithmeticError {
            problem: format!("`{}` does not take {} and {}", operator.symbol(), a.kind(), b.kind()),
            help: texts.then_some("strings are put together as \"layer{i}\""),
        }
    })
}

fn integers<'a>(operator: BinaryOperator, a: i64, b: i64) -> Computed<'a> {
    let result = match operator {
        BinaryOperator::Add => a.checked_add(b),
        BinaryOperator::Subtract => a.checked_sub(b),
        BinaryOperator::Multiply => a.checked_mul(b),
        BinaryOperator::Remainder if b == 0 => return Err(by_zero(&a.to_string(), operator)),
        BinaryOperator::Remainder => a.checked_rem_euclid(b),
        BinaryOperator::Power if b >= 0 => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        _ => return floats(operator, a as f64, b as f64),
    };
    result.map(Value::Int).ok_or_else(|| {
        ArithmeticError::new(format!("{a} {} {b} does not fit a 64-bit integer", operator.symbol()))
    })
}

fn floats<'a>(operator: BinaryOperator, a: f64, b: f64) -> Computed<'a> {
    let result = match operator {
        BinaryOperator::Divide | BinaryOperator::Remainder if b == 0.0 => {
            return Err(by_zero(&a.to_string(), operator));
        }
        BinaryOperator::Add => a + b,
        BinaryOperator::Subtract => a - b,
        BinaryOperator::Multiply => a * b,
        BinaryOperator::Divide => a / b,
        BinaryOperator::Remainder => a.rem_euclid(b),
        BinaryOperator::Power => a.powf(b),
        _ => unreachable!("comparisons and logic are handled before"),
    };
    finite(result)
        .ok_or_else(|| ArithmeticError::new(format!("{a} {} {b} is no finite number", operator.symbol())))
}

fn by_zero(a: &str, operator: BinaryOperator) -> ArithmeticError {
    ArithmeticError::new(format!("{a} {} 0 divides by zero", operator.symbol()))
}

pub(super) fn finite<'a>(value: f64) -> Option<Value<'a>> {
    value.is_finite().then_some(Value::Float(value))
}

/// An integer of that value, where it is whole and fits.
pub(super) fn whole(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9.0e18;
    (value.fract() == 0.0 && value.abs() < LIMIT).then_some(value as i64)
}
