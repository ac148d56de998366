//! What each ONNX operator becomes, by families.

mod elementwise;
mod linear;
mod normalise;
mod rearrange;
mod reduce;
mod resize;
mod shapes;
mod slices;
mod windows;

use super::call::Call;
use super::fault::Fault;
use super::importer::{Importer, Value};

/// Imports a node: the values of its outputs, by position.
pub type Handler = fn(&mut Importer, &Call) -> Result<Vec<Value>, Fault>;

const TABLES: &[&[(&str, Handler)]] = &[
    elementwise::TABLE,
    linear::TABLE,
    normalise::TABLE,
    rearrange::TABLE,
    reduce::TABLE,
    resize::TABLE,
    shapes::TABLE,
    slices::TABLE,
    windows::TABLE,
];

/// The handler of an operator of ONNX's own domain.
pub fn find(op_type: &str) -> Option<Handler> {
    let mut all = TABLES.iter().copied().flatten();
    all.find(|(name, _)| *name == op_type).map(|(_, handler)| *handler)
}
