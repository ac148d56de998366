//! Walking a network's nodes in order, each of which adds layers to the graph or is computed at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bindings::Bindings;
use super::call::Call;
use super::fault::{Fault, unsupported};
use super::known::{Ints, Known};
use super::operators;
use super::proto::{ElementType, Extent, GraphProto, ModelProto, NodeProto, TensorType, ValueInfoProto};
use super::report::{Failure, Problem, Report};
use super::{Imported, Port, PortValue, tensor};
use crate::graph::{Graph, NodeId};
use crate::ops::{Constant, Init, Input, Op, Parameter};
use crate::tensor::{Shape, Tensor};
use crate::weights::Weights;

/// The value of a name in the file.
#[derive(Clone, Debug)]
pub enum Value {
    /// Its elements are known; the name becomes a weight's key if a layer reads it.
    Known(Known, Arc<str>),
    /// A layer computes it.
    Node(NodeId),
    /// An input that must be given when the network is imported.
    Unbound(Arc<str>),
    /// kiln does not compute it; why, for the node that reads it.
    Refused(&'static str),
    /// The node that should yield it could not be imported.
    Failed,
}

/// What a parameter is for, which says how random ones are drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Role {
    /// Of a layer whose sums have this many terms.
    Weight {
        fan_in: usize,
    },
    Bias,
    Scale,
    Variance,
    /// Whatever else.
    Other,
}

impl Role {
    fn init(self) -> Init {
        match self {
            Role::Weight { fan_in } => Init::Kaiming { fan_in: fan_in.max(1) },
            Role::Bias => Init::Uniform { low: -0.1, high: 0.1 },
            Role::Scale | Role::Variance => Init::Uniform { low: 0.5, high: 1.5 },
            Role::Other => Init::Uniform { low: -0.2, high: 0.2 },
        }
    }
}

/// The most elements of an array that is computed at once rather than when weights are bound.
pub const FOLDED_ELEMENTS: usize = 1 << 16;

/// The most elements that all arrays computed at once may have together.
const FOLDED_TOTAL: usize = 1 << 24;

/// A network on its way to a graph.
pub struct Importer {
    pub graph: Graph,
    weights: Weights,
    values: HashMap<String, Value>,
    /// The parameter or constant node made for a known value, by its name.
    sources: HashMap<Arc<str>, NodeId>,
    /// Nodes whose values depend on weights alone.
    constants: HashSet<NodeId>,
    names: HashSet<String>,
    /// The next number to try behind a name that is taken.
    numbers: HashMap<String, usize>,
    folded: usize,
    /// The model's.
    folder: PathBuf,
}

impl Importer {
    /// Imports a model whose external data lie in `folder`.
    ///
    /// # Errors
    /// Everything that cannot be imported.
    pub fn import(
        model: &ModelProto,
        name: &str,
        folder: &Path,
        bindings: &Bindings,
    ) -> Result<Imported, Failure> {
        let graph =
            model.graph.as_ref().ok_or("there is no graph in it: this is no ONNX file, or a part of one")?;
        let opsets = opsets(model)?;
        if !graph.sparse_initializer.is_empty() {
            return Err("sparse initializers cannot be read".into());
        }
        let mut importer = Importer {
            graph: Graph::new(name),
            weights: Weights::default(),
            values: HashMap::new(),
            sources: HashMap::new(),
            constants: HashSet::new(),
            names: HashSet::new(),
            numbers: HashMap::new(),
            folded: 0,
            folder: folder.to_owned(),
        };
        // Inputs and outputs go by their own names.
        importer.names.extend(graph.input.iter().map(|input| input.name.clone()));
        for tensor in &graph.initializer {
            let known = tensor::decode(tensor, folder)?;
            importer.define(&tensor.name, Value::Known(known, tensor.name.as_str().into()))?;
        }
        let inputs = importer.inputs(graph, bindings)?;
        importer.nodes(graph, model, &opsets)?;
        let outputs = importer.outputs(graph)?;
        Ok(Imported { graph: importer.graph, weights: importer.weights, inputs, outputs })
    }

    fn define(&mut self, name: &str, value: Value) -> Result<(), String> {
        match self.values.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(format!("'{name}' is defined twice")),
        }
    }

    fn inputs(&mut self, graph: &GraphProto, bindings: &Bindings) -> Result<Vec<Port>, String> {
        let mut ports = Vec::new();
        let mut dimensions = bindings.dimensions();
        for input in &graph.input {
            // Old files list their initializers among the inputs.
            if self.values.contains_key(&input.name) {
                continue;
            }
            let tensor = tensor_type(input)?;
            let kind = ElementType::from_number(tensor.elem_type);
            if let Some(known) = bindings.value(&input.name) {
                let known = known.convert(kind.is_some_and(ElementType::is_float));
                self.define(&input.name, Value::Known(known, input.name.as_str().into()))?;
                continue;
            }
            match kind {
                Some(ElementType::Float) => {}
                Some(kind) if !kind.is_float() => {
                    self.define(&input.name, Value::Unbound(input.name.as_str().into()))?;
                    continue;
                }
                _ => {
                    return Err(format!(
                        "input '{}' holds elements of type {}; kiln computes in 32-bit floating point",
                        input.name, tensor.elem_type
                    ));
                }
            }
            let Some(shape) = dimensions.shape(&input.name, tensor) else { continue };
            ports.push(self.input(&input.name, shape)?);
        }
        dimensions.check(bindings, &graph.input)?;
        Ok(ports)
    }

    fn input(&mut self, name: &str, shape: Shape) -> Result<Port, String> {
        if shape.dims().contains(&0) {
            // An array without elements is known without being given.
            let empty = Known::from(Tensor::new(shape.clone(), Vec::new()));
            self.define(name, Value::Known(empty, name.into()))?;
            return Ok(Port { name: name.to_owned(), shape, value: PortValue::Empty });
        }
        let position = self.graph.inputs().len();
        let node = self
            .graph
            .add(name, Op::Input(Input { shape: shape.clone() }), &[])
            .map_err(|error| format!("input '{name}': {error}"))?;
        self.define(name, Value::Node(node))?;
        Ok(Port { name: name.to_owned(), shape, value: PortValue::Graph(position) })
    }

    fn nodes(
        &mut self,
        graph: &GraphProto,
        model: &ModelProto,
        opsets: &BTreeMap<&str, i64>,
    ) -> Result<(), Failure> {
        let mut report = Report::default();
        for node in &graph.node {
            let results = self.node(node, model, opsets)?;
            let results = match results {
                Ok(results) => results,
                Err(problem) => {
                    report.add(problem);
                    vec![Value::Failed; node.output.len()]
                }
            };
            for (at, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let value = match results.get(at) {
                    // The key of a weight is the name under which the file knows it first.
                    Some(Value::Known(known, key)) if key.is_empty() => {
                        Value::Known(known.clone(), name.as_str().into())
                    }
                    Some(value) => value.clone(),
                    None => Value::Failed,
                };
                self.define(name, value)?;
            }
        }
        report.finish()
    }

    /// The values of a node's outputs; the inner error is the node's own, the outer one the file's.
    fn node<'m>(
        &mut self,
        node: &'m NodeProto,
        model: &ModelProto,
        opsets: &BTreeMap<&str, i64>,
    ) -> Result<Result<Vec<Value>, Problem<'m>>, String> {
        let domain = domain(&node.domain);
        let opset = opsets.get(domain).copied().unwrap_or(0);
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match (name.as_str(), self.values.get(name)) {
                ("", _) => None,
                (_, Some(value)) => Some(value.clone()),
                (_, None) => {
                    return Err(format!(
                        "node '{}' ({}) reads '{name}', which nothing before it yields: the nodes are out of order \
                         or run in a circle",
                        label(node),
                        node.op_type
                    ));
                }
            });
        }
        let problem = |faults: Vec<Fault>| Problem { node, domain: node.domain.as_str(), opset, faults };
        if inputs.iter().flatten().any(|value| matches!(value, Value::Failed)) {
            return Ok(Err(problem(vec![Fault::Dependent])));
        }
        let refused = inputs.iter().flatten().find_map(|value| match value {
            Value::Refused(why) => Some(*why),
            _ => None,
        });
        if let Some(why) = refused {
            return Ok(Err(problem(vec![unsupported(why)])));
        }
        let Some(handler) = (domain == ONNX).then(|| operators::find(&node.op_type)).flatten() else {
            let own = model.functions.iter().any(|f| f.name == node.op_type && f.domain == node.domain);
            let what = match own {
                true => "functions that a model defines for itself are not imported; inline them first",
                false => "the operator is not supported",
            };
            return Ok(Err(problem(vec![unsupported(what)])));
        };
        let call = Call::new(node, opset, label(node).to_owned(), inputs);
        let mut faults = Vec::new();
        let results = handler(self, &call).unwrap_or_else(|fault| {
            faults.push(fault);
            Vec::new()
        });
        if faults.is_empty() {
            let unknown = call.unknown_attributes().into_iter();
            faults.extend(unknown.map(|name| {
                unsupported(format!("the attribute '{name}' is not one that kiln knows of this operator"))
            }));
        }
        Ok(if faults.is_empty() { Ok(results) } else { Err(problem(faults)) })
    }

    fn outputs(&mut self, graph: &GraphProto) -> Result<Vec<Port>, String> {
        let mut ports = Vec::new();
        for output in &graph.output {
            let name = &output.name;
            let value = self.values.get(name).cloned();
            let value = value.ok_or_else(|| format!("no node yields the output '{name}'"))?;
            let shape = self.shape(&value).map_err(|fault| format!("output '{name}': {fault}"))?;
            if shape.dims().contains(&0) {
                ports.push(Port { name: name.clone(), shape, value: PortValue::Empty });
                continue;
            }
            if let Value::Known(Known::Int(_), _) = value {
                return Err(format!(
                    "the output '{name}' holds integers; kiln computes floating-point numbers"
                ));
            }
            let node =
                self.operand(&value, Role::Other).map_err(|fault| format!("output '{name}': {fault}"))?;
            if ports.iter().any(|port: &Port| port.name == *name) {
                return Err(format!("two outputs are called '{name}'"));
            }
            let position = self.graph.outputs().len();
            self.graph.add_output(name.as_str(), node);
            ports.push(Port { name: name.clone(), shape, value: PortValue::Graph(position) });
        }
        match ports.is_empty() {
            true => Err("the graph has no output".to_owned()),
            false => Ok(ports),
        }
    }

    /// Where external data lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn shape(&self, value: &Value) -> Result<Shape, Fault> {
        match value {
            Value::Known(known, _) => Ok(known.shape().clone()),
            Value::Node(node) => Ok(self.graph.shape(*node).clone()),
            Value::Unbound(input) => {
                Err(Fault::Unbound { input: input.to_string(), purpose: "a value".to_owned() })
            }
            Value::Refused(why) => Err(unsupported(*why)),
            Value::Failed => Err(Fault::Dependent),
        }
    }

    /// A value whose elements must be known now.
    ///
    /// # Errors
    /// Where they are not; `purpose` says what they are needed for.
    pub fn known<'v>(&self, value: &'v Value, purpose: &str) -> Result<&'v Known, Fault> {
        match value {
            Value::Known(known, _) => Ok(known),
            Value::Unbound(input) => {
                Err(Fault::Unbound { input: input.to_string(), purpose: purpose.to_owned() })
            }
            Value::Node(node) if matches!(self.graph.node(*node).op, Op::Input(_)) => Err(Fault::Unbound {
                input: self.graph.node(*node).name.clone(),
                purpose: purpose.to_owned(),
            }),
            Value::Node(_) => Err(unsupported(format!(
                "{purpose} is computed when the network runs, but must be known when it is compiled"
            ))),
            Value::Refused(why) => Err(unsupported(*why)),
            Value::Failed => Err(Fault::Dependent),
        }
    }

    /// Whether a value depends on weights alone.
    pub fn is_constant(&self, value: &Value) -> bool {
        match value {
            Value::Known(..) => true,
            Value::Node(node) => self.constants.contains(node),
            Value::Unbound(_) | Value::Refused(_) | Value::Failed => false,
        }
    }

    /// A value as a node of the graph. What is known becomes a parameter, or a constant where it is one number.
    pub fn operand(&mut self, value: &Value, role: Role) -> Result<NodeId, Fault> {
        match value {
            Value::Node(node) => Ok(*node),
            Value::Known(known, key) => self.source(known, key, role),
            Value::Unbound(input) => {
                Err(Fault::Unbound { input: input.to_string(), purpose: "a value".to_owned() })
            }
            Value::Refused(why) => Err(unsupported(*why)),
            Value::Failed => Err(Fault::Dependent),
        }
    }

    fn source(&mut self, known: &Known, key: &Arc<str>, role: Role) -> Result<NodeId, Fault> {
        if let (false, Some(&node)) = (key.is_empty(), self.sources.get(key)) {
            return Ok(node);
        }
        let tensor = known.to_tensor();
        let base = if key.is_empty() { "constant" } else { key };
        let name = self.unique(base);
        let op = if tensor.data().len() == 1 {
            Op::Constant(Constant { value: Tensor::clone(&tensor) })
        } else {
            Op::Parameter(Parameter { key: name.clone(), shape: tensor.shape().clone(), init: role.init() })
        };
        if matches!(op, Op::Parameter(_)) {
            self.weights.insert(name.as_str(), tensor);
        }
        let node = self.graph.add(name, op, &[])?;
        self.constants.insert(node);
        if !key.is_empty() {
            self.sources.insert(Arc::clone(key), node);
        }
        Ok(node)
    }

    /// A name that no node has, `base` itself if it can be.
    fn unique(&mut self, base: &str) -> String {
        if !base.is_empty() && self.names.insert(base.to_owned()) {
            return base.to_owned();
        }
        loop {
            let number = self.numbers.entry(base.to_owned()).or_default();
            *number += 1;
            let name = format!("{base}_{number}");
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    /// Adds a layer, or computes its value at once where all that it reads is known and small.
    pub fn emit(&mut self, name: &str, op: impl Into<Op>, inputs: &[Value]) -> Result<Value, Fault> {
        let roles = vec![Role::Other; inputs.len()];
        self.emit_with(name, op, inputs, &roles)
    }

    /// [`Importer::emit`], with what each input is for.
    pub fn emit_with(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[Value],
        roles: &[Role],
    ) -> Result<Value, Fault> {
        let op = op.into();
        if let Some(value) = self.fold(&op, inputs)? {
            return Ok(value);
        }
        let mut nodes = Vec::with_capacity(inputs.len());
        for (input, &role) in inputs.iter().zip(roles) {
            nodes.push(self.operand(input, role)?);
        }
        let name = self.unique(name);
        let node = self.graph.add(name, op, &nodes)?;
        if nodes.iter().all(|node| self.constants.contains(node)) {
            self.constants.insert(node);
        }
        Ok(Value::Node(node))
    }

    /// The value of an operator whose inputs are known and small, or without elements.
    fn fold(&mut self, op: &Op, inputs: &[Value]) -> Result<Option<Value>, Fault> {
        let known: Option<Vec<&Known>> = inputs
            .iter()
            .map(|input| match input {
                Value::Known(known, _) => Some(known),
                _ => None,
            })
            .collect();
        let (Some(known), Some(operator)) = (known, op.operator()) else { return Ok(None) };
        if known.iter().any(|known| known.elements() > FOLDED_ELEMENTS) {
            return Ok(None);
        }
        let shapes: Vec<&Shape> = known.iter().map(|known| known.shape()).collect();
        let shape = operator.infer(&shapes)?;
        let elements = shape.checked_elements().unwrap_or(usize::MAX);
        let work = operator.cost(&shapes, &shape);
        let total = self.folded.saturating_add(elements);
        if elements > FOLDED_ELEMENTS
            || work.multiply_adds.saturating_add(work.other) > 16 * FOLDED_ELEMENTS as u64
            || total > FOLDED_TOTAL
        {
            return Ok(None);
        }
        self.folded = total;
        let result = if elements == 0 {
            Tensor::new(shape, Vec::new())
        } else {
            let tensors: Vec<Arc<Tensor>> = known.iter().map(|known| known.to_tensor()).collect();
            operator.evaluate(&tensors.iter().map(|tensor| &**tensor).collect::<Vec<_>>())
        };
        Ok(Some(computed(result)))
    }

    /// Checks that an array of integers may be computed at once.
    ///
    /// # Errors
    /// Where it, or all such arrays together, would be too large.
    pub fn charge(&mut self, shape: &Shape) -> Result<usize, Fault> {
        let elements = shape.checked_elements().filter(|&elements| elements <= FOLDED_ELEMENTS);
        let total = elements.map(|elements| self.folded.saturating_add(elements));
        match (elements, total) {
            (Some(elements), Some(total)) if total <= FOLDED_TOTAL => {
                self.folded = total;
                Ok(elements)
            }
            _ => Err(unsupported(format!(
                "an array of shape {shape} is too large to be computed when the network is imported"
            ))),
        }
    }
}

/// A value that was computed at once; it gets its name from the node's output.
pub fn computed(value: impl Into<Known>) -> Value {
    Value::Known(value.into(), "".into())
}

/// A list of integers that was computed at once.
pub fn computed_list(data: Vec<i64>) -> Value {
    computed(Ints::list(data))
}

/// The name of ONNX's own domain, which files may leave out.
const ONNX: &str = "";

fn domain(name: &str) -> &str {
    if name == "ai.onnx" { ONNX } else { name }
}

/// What a node is called in messages and in the graph.
fn label(node: &NodeProto) -> &str {
    match node.output.iter().find(|name| !name.is_empty()) {
        _ if !node.name.is_empty() => &node.name,
        Some(output) => output,
        None => &node.op_type,
    }
}

fn opsets(model: &ModelProto) -> Result<BTreeMap<&str, i64>, String> {
    let mut opsets = BTreeMap::new();
    for set in &model.opset_import {
        opsets.insert(domain(&set.domain), set.version);
    }
    // The first version of the format had one operator set and did not say so.
    let version = *opsets.entry(ONNX).or_insert(1);
    if !(1..=NEWEST_OPSET).contains(&version) {
        return Err(format!("it uses operator set {version}; those from 1 to {NEWEST_OPSET} are known"));
    }
    Ok(opsets)
}

/// The newest operator set whose changes were read.
const NEWEST_OPSET: i64 = 27;

fn tensor_type(input: &ValueInfoProto) -> Result<&TensorType, String> {
    let tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    tensor.ok_or_else(|| format!("input '{}' is no array", input.name))
}

/// A dimension as the file gives it.
pub fn extent(value: &Option<Extent>) -> Result<Option<usize>, ()> {
    match value {
        Some(Extent::Value(value)) if *value >= 0 => usize::try_from(*value).map(Some).map_err(|_| ()),
        Some(Extent::Value(_)) => Err(()),
        Some(Extent::Name(_)) | None => Ok(None),
    }
}
