//! Activations, arithmetic between values, and normalisation without weights.

use super::Place;
use crate::dsl::ast::{Label, Span};
use crate::dsl::diagnostics::Diagnostic;
use crate::dsl::elaborate::arguments::Arguments;
use crate::dsl::elaborate::value::Value;
use crate::dsl::elaborate::{Elaborator, Eval};
use crate::graph::NodeId;
use crate::ops::{
    Activation, Binary, BinaryFunction, Constant, Identity, Lrn, Op, Softmax, Unary, UnaryFunction,
};
use crate::tensor::Tensor;

macro_rules! activations {
    ($($name:ident => $activation:expr;)*) => {
        $(pub fn $name<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
            activate(e, arguments, $activation)
        })*
    };
}

activations! {
    relu => Activation::Relu;
    relu6 => Activation::Relu6;
    sigmoid => Activation::Sigmoid;
    silu => Activation::Silu;
    hard_swish => Activation::HardSwish;
    tanh => Activation::Tanh;
    softplus => Activation::Softplus;
    mish => Activation::Mish;
}

pub fn elu<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let alpha = arguments.float(e, "alpha")?;
    activate(e, arguments, Activation::Elu { alpha })
}

pub fn selu<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let (alpha, gamma) = (arguments.float(e, "alpha")?, arguments.float(e, "gamma")?);
    activate(e, arguments, Activation::Selu { alpha, gamma })
}

pub fn leaky_relu<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let slope = arguments.float(e, "slope")?;
    activate(e, arguments, Activation::LeakyRelu { slope })
}

pub fn clip<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let (min, max) = (arguments.float(e, "min")?, arguments.float(e, "max")?);
    if min > max {
        return Err(e.fault(Diagnostic::error(
            format!("`clip` goes from the lesser bound to the greater, not from {min} to {max}"),
            arguments.span,
            "here",
        )));
    }
    activate(e, arguments, Activation::Clip { min, max })
}

pub fn hard_sigmoid<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let (alpha, beta) = (arguments.float(e, "alpha")?, arguments.float(e, "beta")?);
    activate(e, arguments, Activation::HardSigmoid { alpha, beta })
}

fn activate<'a>(
    e: &mut Elaborator<'a>,
    arguments: &Arguments<'a>,
    activation: Activation,
) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    e.add_plain(arguments, activation, &[x])
}

macro_rules! functions {
    ($($name:ident => $function:ident;)*) => {
        $(pub fn $name<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
            let x = arguments.tensor(e, "x")?;
            e.add_plain(arguments, Unary { function: UnaryFunction::$function }, &[x])
        })*
    };
}

functions! {
    exp => Exp;
    rsqrt => Rsqrt;
    log => Log;
    erf => Erf;
}

pub fn identity<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    e.add_plain(arguments, Identity { dropout: None }, &[x])
}

pub fn dropout<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let rate = arguments.float(e, "rate")?;
    if !(0.0..1.0).contains(&rate) {
        let (_, span) = arguments.get("rate");
        return Err(e.fault(Diagnostic::error(
            "a dropout's `rate` is at least 0 and less than 1",
            span,
            format!("this is {rate}"),
        )));
    }
    e.add_plain(arguments, Identity { dropout: Some(rate) }, &[x])
}

pub fn softmax<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    normalise(e, arguments, false)
}

pub fn log_softmax<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    normalise(e, arguments, true)
}

fn normalise<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>, log: bool) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let rank = e.graph.shape(x).rank();
    let axis = arguments.axis(e, "axis", rank)?;
    e.add_plain(arguments, Softmax { axis, log }, &[x])
}

pub fn lrn<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    let x = arguments.tensor(e, "x")?;
    let size = arguments.extent(e, "size", 1)?;
    let (alpha, beta) = (arguments.float(e, "alpha")?, arguments.float(e, "beta")?);
    let bias = arguments.float(e, "k")?;
    e.add_plain(arguments, Lrn { size, alpha, beta, bias }, &[x])
}

pub fn add<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    combine(e, arguments, BinaryFunction::Add)
}

pub fn sub<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    combine(e, arguments, BinaryFunction::Sub)
}

pub fn mul<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    combine(e, arguments, BinaryFunction::Mul)
}

pub fn div<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    combine(e, arguments, BinaryFunction::Div)
}

pub fn pow<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    combine(e, arguments, BinaryFunction::Pow)
}

pub fn prelu<'a>(e: &mut Elaborator<'a>, arguments: &Arguments<'a>) -> Eval<Value<'a>> {
    combine(e, arguments, BinaryFunction::Prelu)
}

fn combine<'a>(
    e: &mut Elaborator<'a>,
    arguments: &Arguments<'a>,
    function: BinaryFunction,
) -> Eval<Value<'a>> {
    let (a, b) = (arguments.get("a"), arguments.get("b"));
    let place = Place { span: arguments.span, symbol: arguments.callee };
    e.elementwise(function, (&a.0, a.1), (&b.0, b.1), arguments.label, place)
}

impl<'a> Elaborator<'a> {
    /// `function(a, b)`, of which one may be a number.
    pub(in crate::dsl::elaborate) fn elementwise(
        &mut self,
        function: BinaryFunction,
        a: (&Value<'a>, Span),
        b: (&Value<'a>, Span),
        label: Option<&'a Label>,
        place: Place,
    ) -> Eval<Value<'a>> {
        let inputs = [self.operand(a.0, a.1)?, self.operand(b.0, b.1)?];
        let name = self.layer_name(label, function.name(), place.symbol)?;
        let operands = [(inputs[0], a.1), (inputs[1], b.1)];
        self.add_node(name, Binary { function }, &inputs, place, &operands).map(Value::Tensor)
    }

    fn operand(&mut self, value: &Value<'a>, span: Span) -> Eval<NodeId> {
        if let Value::Tensor(node) = value {
            return Ok(*node);
        }
        let number = value.as_number().map(|number| number as f32).filter(|number| number.is_finite());
        let Some(number) = number else {
            return Err(self.fault(Diagnostic::error(
                format!("a layer's value cannot be combined with {}", value.kind()),
                span,
                format!("this is {value}"),
            )));
        };
        let place = Place { span, symbol: span };
        let name = self.layer_name(None, "constant", span)?;
        self.add_node(name, Op::Constant(Constant { value: Tensor::scalar(number) }), &[], place, &[])
    }

    pub(in crate::dsl::elaborate) fn unary_layer(
        &mut self,
        function: UnaryFunction,
        x: NodeId,
        label: Option<&'a Label>,
        span: Span,
    ) -> Eval<Value<'a>> {
        let op = Unary { function };
        let name = self.layer_name(label, function.name(), span)?;
        self.add_node(name, op, &[x], Place { span, symbol: span }, &[]).map(Value::Tensor)
    }
}
