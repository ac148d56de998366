//! `f32` in JSON, with the values that JSON numbers lack as the strings `"inf"`, `"-inf"` and `"nan"`.
//!
//! For `#[serde(with = "json_float")]` on an `f32`, and `#[serde(with = "json_float::list")]` on a `Vec<f32>`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f32),
    Named(Named),
}

#[derive(Serialize, Deserialize)]
enum Named {
    #[serde(rename = "inf")]
    Infinity,
    #[serde(rename = "-inf")]
    NegativeInfinity,
    #[serde(rename = "nan")]
    NotANumber,
}

impl From<f32> for Number {
    fn from(value: f32) -> Self {
        match value {
            f32::INFINITY => Number::Named(Named::Infinity),
            f32::NEG_INFINITY => Number::Named(Named::NegativeInfinity),
            _ if value.is_nan() => Number::Named(Named::NotANumber),
            _ => Number::Finite(value),
        }
    }
}

impl From<Number> for f32 {
    fn from(number: Number) -> Self {
        match number {
            Number::Finite(value) => value,
            Number::Named(Named::Infinity) => f32::INFINITY,
            Number::Named(Named::NegativeInfinity) => f32::NEG_INFINITY,
            Number::Named(Named::NotANumber) => f32::NAN,
        }
    }
}

pub fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    Number::from(*value).serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Number::deserialize(deserializer).map(f32::from)
}

pub mod list {
    use super::{Deserialize, Deserializer, Number, Serializer};

    pub fn serialize<S: Serializer>(values: &[f32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|&value| Number::from(value)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
        let numbers = Vec::<Number>::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(f32::from).collect())
    }
}
