//! Parsing a graph's text form.

use std::collections::HashMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Attributes, DEFAULT_INIT, OPERATORS, SHORTHANDS, attributes_of, from_attributes, nearest};
use crate::graph::{Graph, NodeId};
use crate::ops::{ConvChain, ConvStage, Epilogue, EpilogueStep, Op};
use crate::tensor::Shape;

/// What is wrong with a graph's text, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    pub problem: String,
}

impl FromStr for Graph {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Graph, ParseError> {
        let mut parser = Parser { text, at: 0, graph: Graph::default(), values: HashMap::new() };
        parser.expect("model")?;
        parser.graph.name = parser.string("the model's name in quotes")?;
        while !parser.rest().is_empty() {
            parser.statement()?;
        }
        Ok(parser.graph)
    }
}

/// The epilogue steps that are no activations.
const STEPS: [&str; 3] = ["scale_shift", "add", "mul"];

struct Parser<'a> {
    text: &'a str,
    /// The byte that is read next.
    at: usize,
    graph: Graph,
    /// By label.
    values: HashMap<&'a str, NodeId>,
}

type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn statement(&mut self) -> Parsed<()> {
        if self.eat("output") {
            let name = self.string("the output's name in quotes")?;
            self.expect("=")?;
            let node = self.operand()?;
            self.graph.add_output(name, node);
            return Ok(());
        }
        if !self.peek("%") {
            return Err(self.expected("a value such as %0, or 'output'"));
        }
        self.value()
    }

    fn value(&mut self) -> Parsed<()> {
        self.rest();
        let start = self.at;
        let label = self.label()?;
        let name = if self.peek("\"") { self.string("a name")? } else { label.to_owned() };
        self.expect("=")?;
        let word = self.word("an operator")?;
        let mut operands = self.operands()?;
        let attributes = self.attributes()?;
        let stages = if self.peek("[") { Some(self.stages(&mut operands)?) } else { None };
        let epilogue = self.epilogue(&mut operands)?;
        let shape: Option<Shape> =
            if self.eat(":") { Some(self.json("a shape such as [1, 3, 8, 8]")?) } else { None };

        let fused: Vec<String> =
            if self.eat("fuses") { self.json("the names of layers, as in [\"bn1\"]")? } else { Vec::new() };

        // What does not fit together is reported where the value begins.
        let fail = |problem: String| self.error_at(start, format!("%{label} = {word}: {problem}"));
        let op = match stages {
            Some(stages) if word == "conv_chain" => Op::from(ConvChain { stages }),
            Some(_) => return Err(fail("only a conv_chain has stages in brackets".into())),
            None => operation(word, &name, attributes, shape.as_ref()).map_err(fail)?,
        };
        if self.values.contains_key(label) {
            return Err(fail("the label is taken".into()));
        }
        let id = self.graph.add_fused(name, op, epilogue, &operands).map_err(|error| {
            let formula = error.formula.map_or(String::new(), |formula| format!(" ({formula})"));
            self.error_at(start, format!("%{label} = {word}: {}{formula}", error.problem))
        })?;
        let inferred = self.graph.shape(id);
        if let Some(shape) = shape
            && shape != *inferred
        {
            let problem = format!("%{label} = {word}: the shape is {inferred}, not {shape}");
            return Err(self.error_at(start, problem));
        }
        self.graph.nodes[id].fused = fused;
        self.values.insert(label, id);
        Ok(())
    }

    fn stages(&mut self, operands: &mut Vec<NodeId>) -> Parsed<Vec<ConvStage>> {
        let mut stages = Vec::new();
        self.expect("[")?;
        while !self.eat("]") {
            let name = self.string("a stage's name in quotes, or ']'")?;
            self.expect("conv")?;
            let own = self.operands()?;
            if !(1..=2).contains(&own.len()) {
                return Err(self.error(format!("stage '{name}' takes a weight and maybe a bias")));
            }
            let has_bias = own.len() == 2;
            operands.extend(own);
            let mut attributes = self.attributes()?;
            attributes.insert("op".into(), "conv".into());
            let conv = match from_attributes(attributes) {
                Ok(Op::Conv(conv)) => conv,
                Ok(_) => return Err(self.error(format!("stage '{name}' must be a conv"))),
                Err(problem) => return Err(self.error(format!("stage '{name}': {problem}"))),
            };
            let epilogue = self.epilogue(operands)?;
            stages.push(ConvStage { name, conv, has_bias, epilogue });
        }
        Ok(stages)
    }

    /// The steps after `+`; their operands are appended.
    fn epilogue(&mut self, operands: &mut Vec<NodeId>) -> Parsed<Epilogue> {
        let mut steps = Vec::new();
        while self.eat("+") {
            let word = self.word("an epilogue step")?;
            let own = self.operands()?;
            let mut attributes = self.attributes()?;
            let activations =
                || SHORTHANDS.iter().filter(|short| short.1 == "activation").map(|short| short.0);
            if STEPS.contains(&word) {
                attributes.insert("step".into(), word.into());
            } else if activations().any(|known| known == word) {
                attributes.insert("step".into(), "activation".into());
                attributes.insert("function".into(), word.into());
            } else {
                let hint = nearest(word, STEPS.into_iter().chain(activations()));
                return Err(self.error(format!("there is no epilogue step '{word}'{hint}")));
            }
            let step: EpilogueStep = from_attributes(attributes)
                .map_err(|problem| self.error(format!("epilogue step {word}: {problem}")))?;
            if own.len() != step.operands() {
                return Err(self.error(format!(
                    "epilogue step {word} takes {} operands, not {}",
                    step.operands(),
                    own.len()
                )));
            }
            operands.extend(own);
            steps.push(step);
        }
        Ok(Epilogue(steps))
    }

    fn operands(&mut self) -> Parsed<Vec<NodeId>> {
        let mut operands = Vec::new();
        if self.eat("(") && !self.eat(")") {
            operands.push(self.operand()?);
            while self.eat(",") {
                operands.push(self.operand()?);
            }
            self.expect(")")?;
        }
        Ok(operands)
    }

    fn operand(&mut self) -> Parsed<NodeId> {
        let label = self.label()?;
        let known = self.values.get(label).copied();
        known.ok_or_else(|| self.error(format!("%{label} is not defined above")))
    }

    fn attributes(&mut self) -> Parsed<Attributes> {
        let mut attributes = Attributes::new();
        if self.eat("{") && !self.eat("}") {
            loop {
                let key = self.word("an attribute's name")?;
                self.expect("=")?;
                let value = self.json("a JSON value")?;
                if attributes.insert(key.into(), value).is_some() {
                    return Err(self.error(format!("attribute '{key}' is given twice")));
                }
                if !self.eat(",") {
                    break;
                }
            }
            self.expect("}")?;
        }
        Ok(attributes)
    }

    fn label(&mut self) -> Parsed<&'a str> {
        self.expect("%")?;
        self.word("a label after '%'")
    }

    fn word(&mut self, what: &str) -> Parsed<&'a str> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        if end == 0 {
            return Err(self.expected(what));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn string(&mut self, what: &str) -> Parsed<String> {
        if self.peek("\"") { self.json(what) } else { Err(self.expected(what)) }
    }

    fn json<T: DeserializeOwned>(&mut self, what: &str) -> Parsed<T> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<T>();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(_)) | None => Err(self.expected(what)),
        }
    }

    fn peek(&mut self, token: &str) -> bool {
        self.rest().starts_with(token)
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.peek(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(&format!("'{token}'"))) }
    }

    /// What follows the space and comments that come next, which are skipped.
    fn rest(&mut self) -> &'a str {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return trimmed;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn expected(&mut self, what: &str) -> ParseError {
        let line = self.rest().lines().next().unwrap_or_default();
        let found: String = line.chars().take(24).collect();
        let found = if found.is_empty() { "the end of the text".into() } else { format!("'{found}'") };
        self.error(format!("expected {what}, found {found}"))
    }

    fn error(&self, problem: String) -> ParseError {
        self.error_at(self.at, problem)
    }

    fn error_at(&self, at: usize, problem: String) -> ParseError {
        ParseError { line: self.text[..at].matches('\n').count() + 1, problem }
    }
}

/// The operation that `word` and its attributes stand for, in a value of this name and shape.
fn operation(
    word: &str,
    name: &str,
    mut attributes: Attributes,
    shape: Option<&Shape>,
) -> Result<Op, String> {
    let mut operator = word;
    if let Some((_, full, attribute, value)) = SHORTHANDS.iter().find(|(short, ..)| *short == word) {
        operator = full;
        attributes.insert((*attribute).into(), (*value).into());
    } else if !OPERATORS.contains(&word) {
        let words = SHORTHANDS.iter().map(|short| short.0).chain(OPERATORS.iter().copied());
        return Err(format!("there is no such operator{}", nearest(word, words)));
    }
    if ["input", "parameter", "constant"].contains(&operator) {
        let shape = shape.ok_or("its shape must be given, as in ': [1, 3, 8, 8]'")?;
        if operator == "constant" {
            let data = attributes.remove("data").ok_or("its data must be given, as in '{data=[0.5]}'")?;
            attributes.insert("value".into(), json!({ "shape": shape, "data": data }));
        } else {
            attributes.insert("shape".into(), json!(shape));
        }
    }
    if operator == "parameter" {
        attributes.entry("key").or_insert_with(|| name.into());
        if !attributes.contains_key("distribution") {
            attributes.extend(attributes_of(&DEFAULT_INIT));
        }
    }
    attributes.insert("op".into(), Value::from(operator));
    from_attributes(attributes)
}
