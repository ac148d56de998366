//! The syntax tree. Its depth is bounded by the nesting of brackets in the source, which the parser limits:
//! operators of one precedence, chains and accesses are lists, not nests.

use serde::Serialize;

/// A range of bytes in the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug, Serialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// From the start of this to the end of the other.
    pub fn to(self, end: Span) -> Span {
        Span { start: self.start, end: end.end }
    }
}

/// A name where it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

/// A model file's contents. `Display` prints the tree as an indented outline, without spans.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Model {
    pub name: Name,
    pub parameters: Vec<Parameter>,
    pub body: Vec<Statement>,
}

/// A parameter of a model or block.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Parameter {
    pub name: Name,
    pub default: Option<Expression>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Statement {
    pub kind: StatementKind,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatementKind {
    Block(Block),
    Input {
        name: Name,
        element_type: Name,
        dims: Vec<Expression>,
    },
    Output {
        name: Name,
        /// The variable of that name where absent.
        value: Option<Expression>,
    },
    Assign {
        target: Pattern,
        value: Expression,
    },
    Return(Expression),
    Repeat {
        count: Expression,
        body: Vec<Statement>,
    },
    For {
        target: Pattern,
        items: Expression,
        body: Vec<Statement>,
    },
    If {
        branches: Vec<(Expression, Vec<Statement>)>,
        otherwise: Option<Vec<Statement>>,
    },
    Assert {
        condition: Expression,
        message: Expression,
    },
}

/// A reusable part of a network.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Block {
    pub name: Name,
    pub parameters: Vec<Parameter>,
    pub body: Vec<Statement>,
}

/// What an assignment or a loop binds: a name, or the parts of a list.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pattern {
    Name(Name),
    Tuple { parts: Vec<Pattern>, span: Span },
}

impl Pattern {
    pub fn span(&self) -> Span {
        match self {
            Pattern::Name(name) => name.span,
            Pattern::Tuple { span, .. } => *span,
        }
    }

    /// The names it binds, in order.
    pub fn names(&self) -> Vec<&Name> {
        match self {
            Pattern::Name(name) => vec![name],
            Pattern::Tuple { parts, .. } => parts.iter().flat_map(Pattern::names).collect(),
        }
    }
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Expression {
    pub kind: ExpressionKind,
    pub span: Span,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpressionKind {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Vec<TextPart>),
    Name(String),
    /// `[a, b]` and `(a, b)` alike.
    List(Vec<Expression>),
    Unary {
        operator: UnaryOperator,
        operand: Box<Expression>,
    },
    /// Operators of one precedence, applied from left to right.
    Binary {
        first: Box<Expression>,
        rest: Vec<(BinaryOperator, Span, Expression)>,
    },
    /// `from..to`, without `to`.
    Range {
        from: Box<Expression>,
        to: Box<Expression>,
    },
    /// `base.field[index]…`
    Access {
        base: Box<Expression>,
        path: Vec<Accessor>,
    },
    Call(Call),
    /// `head as label -> stage as label -> …`
    Chain {
        head: Box<Expression>,
        label: Option<Label>,
        stages: Vec<Stage>,
    },
    If {
        branches: Vec<(Expression, Expression)>,
        otherwise: Box<Expression>,
    },
    Match {
        subject: Box<Expression>,
        arms: Vec<Arm>,
    },
}

/// A piece of a string: literal text, or `{expression}`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPart {
    Literal(String),
    Expression(Expression),
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accessor {
    Field(Name),
    Index { index: Expression, span: Span },
}

/// `callee(argument, name = argument)`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Call {
    pub callee: Name,
    pub arguments: Vec<Argument>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Argument {
    pub name: Option<Name>,
    pub value: Expression,
}

/// One step of a chain: a call that takes the value so far as its first argument.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Stage {
    pub call: Call,
    pub label: Option<Label>,
    pub span: Span,
}

/// `as name` or `as "text"`: what a layer, or everything in a block call, is called.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Label {
    pub parts: Vec<TextPart>,
    pub span: Span,
}

/// `pattern, pattern => value`; without patterns, `_ => value`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Arm {
    pub patterns: Vec<Expression>,
    pub value: Expression,
    pub span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnaryOperator {
    Negate,
    Not,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryOperator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

impl BinaryOperator {
    const SYMBOLS: [(BinaryOperator, &str); 14] = [
        (BinaryOperator::Or, "or"),
        (BinaryOperator::And, "and"),
        (BinaryOperator::Equal, "=="),
        (BinaryOperator::NotEqual, "!="),
        (BinaryOperator::Less, "<"),
        (BinaryOperator::LessEqual, "<="),
        (BinaryOperator::Greater, ">"),
        (BinaryOperator::GreaterEqual, ">="),
        (BinaryOperator::Add, "+"),
        (BinaryOperator::Subtract, "-"),
        (BinaryOperator::Multiply, "*"),
        (BinaryOperator::Divide, "/"),
        (BinaryOperator::Remainder, "%"),
        (BinaryOperator::Power, "**"),
    ];

    /// As written in a model file.
    pub fn symbol(self) -> &'static str {
        Self::SYMBOLS.iter().find(|(operator, _)| *operator == self).expect("all operators are listed").1
    }

    pub(super) fn from_symbol(symbol: &str) -> Option<Self> {
        Self::SYMBOLS.iter().find(|(_, text)| *text == symbol).map(|(operator, _)| *operator)
    }
}
