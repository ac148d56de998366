//! Why a node cannot be imported.

use std::fmt;

use crate::ops::ShapeError;

/// Why a node has no values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// kiln lacks something; what, and what would be needed.
    Unsupported(String),
    /// The file says something that has no meaning.
    Invalid(String),
    /// An input of the graph must be known when the network is imported.
    Unbound { input: String, purpose: String },
    /// It depends on a node that has no values either, which is reported.
    Dependent,
}

/// kiln lacks something.
pub fn unsupported(what: impl Into<String>) -> Fault {
    Fault::Unsupported(what.into())
}

/// The file says something that has no meaning.
pub fn invalid(what: impl Into<String>) -> Fault {
    Fault::Invalid(what.into())
}

impl From<ShapeError> for Fault {
    fn from(error: ShapeError) -> Fault {
        Fault::Invalid(match error.formula {
            Some(formula) => format!("{} ({formula})", error.problem),
            None => error.problem,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unsupported(what) | Fault::Invalid(what) => f.write_str(what),
            Fault::Unbound { input, purpose } => write!(
                f,
                "{purpose} comes from the input '{input}', but must be known when the network is compiled; \
                 give its value with -D '{input}=…' (a number or a list such as [1, 2])"
            ),
            Fault::Dependent => f.write_str("it depends on a node that cannot be imported"),
        }
    }
}
