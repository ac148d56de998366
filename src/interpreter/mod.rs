//! The reference interpreter: the oracle that everything compiled is compared with.
//!
//! It calls each operator's own reference evaluation, in topological order; nothing is fused or reordered.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::graph::{Graph, NodeId};
use crate::ops::{Op, Parameter};
use crate::parallel::for_each_chunk;
use crate::tensor::{Shape, Tensor};
use crate::weights::Weights;

/// Why a graph cannot be evaluated on what it was given.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error("the weights have no '{key}', which must have shape {shape}")]
    MissingParameter { key: String, shape: Shape },
    #[error("parameter '{key}' must have shape {expected}, but in the weights it has {found}")]
    MisshapenParameter { key: String, expected: Shape, found: Shape },
    #[error("the model takes {expected} input{}, not {given}", if *.expected == 1 { "" } else { "s" })]
    InputCount { expected: usize, given: usize },
    #[error("input '{name}' must have shape {expected}, not {found}")]
    InputShape { name: String, expected: Shape, found: Shape },
    #[error("a value that is asked for as a constant depends on the model input '{input}'")]
    NotConstant { input: String },
}

/// The value of every node of an evaluated graph.
#[derive(Clone, Debug)]
pub struct Trace {
    /// By node index.
    values: Vec<Option<Arc<Tensor>>>,
}

impl Trace {
    /// The value of a node of the graph that was evaluated.
    pub fn get(&self, id: NodeId) -> Option<&Arc<Tensor>> {
        self.values.get(id.index())?.as_ref()
    }
}

/// Evaluates a graph; `inputs` and results are in the order of [`Graph::inputs`] and [`Graph::outputs`].
///
/// A value is dropped after its last reader; nodes that no output depends on are not evaluated.
///
/// # Errors
/// Where inputs or parameters are missing or have another shape than the graph says.
pub fn evaluate(graph: &Graph, weights: &Weights, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvaluateError> {
    let outputs: Vec<NodeId> = graph.outputs().iter().map(|output| output.node).collect();
    let mut evaluation = Evaluation::new(graph);
    evaluation.bind(weights, Some(inputs), &needed(graph, &outputs))?;
    let mut reads = vec![0; graph.slots()];
    for &id in &evaluation.order {
        for operand in graph.operands(id) {
            reads[operand.index()] += 1;
        }
    }
    for id in &outputs {
        reads[id.index()] += 1;
    }
    for id in evaluation.order.clone() {
        evaluation.values.insert(id, Arc::new(evaluation.compute(id)));
        for operand in graph.operands(id) {
            reads[operand.index()] -= 1;
            if reads[operand.index()] == 0 {
                evaluation.values.remove(&operand);
            }
        }
    }
    Ok(outputs.iter().map(|&id| evaluation.value(id).as_ref().clone()).collect())
}

/// [`evaluate`] that keeps the value of every node, those that no output depends on too.
///
/// # Errors
/// As [`evaluate`].
pub fn trace(graph: &Graph, weights: &Weights, inputs: &[Tensor]) -> Result<Trace, EvaluateError> {
    let mut evaluation = Evaluation::new(graph);
    evaluation.bind(weights, Some(inputs), &graph.topological_order())?;
    for id in evaluation.order.clone() {
        evaluation.values.insert(id, Arc::new(evaluation.compute(id)));
    }
    let mut values = vec![None; graph.slots()];
    for (id, value) in evaluation.values {
        values[id.index()] = Some(value);
    }
    Ok(Trace { values })
}

/// Results of fewer elements than this are computed before another thread has started.
const WORTH_THREADS: usize = 1 << 18;

/// The values of nodes that depend on parameters and constants alone, such as folded weights, in the order of `ids`.
/// A parameter's array is shared, not copied; large independent nodes are evaluated on all the machine's cores.
///
/// # Errors
/// Where a parameter is missing or misshapen, or a node depends on a model input.
pub fn evaluate_constants(
    graph: &Graph,
    weights: &Weights,
    ids: &[NodeId],
) -> Result<Vec<Arc<Tensor>>, EvaluateError> {
    let mut evaluation = Evaluation::new(graph);
    evaluation.bind(weights, None, &needed(graph, ids))?;
    for level in evaluation.levels() {
        let elements: usize = level.iter().map(|&id| graph.shape(id).elements()).sum();
        let together = if elements < WORTH_THREADS { level.len() } else { 1 };
        let mut results: Vec<(NodeId, Option<Tensor>)> = level.into_iter().map(|id| (id, None)).collect();
        for_each_chunk(&mut results, together, |_, slot| {
            for (id, result) in slot {
                *result = Some(evaluation.compute(*id));
            }
        });
        for (id, result) in results {
            evaluation.values.extend(result.map(|result| (id, Arc::new(result))));
        }
    }
    Ok(ids.iter().map(|&id| Arc::clone(evaluation.value(id))).collect())
}

/// The keys of the parameters that nodes depend on, each once.
pub fn parameters<'a>(graph: &'a Graph, ids: &[NodeId]) -> BTreeSet<&'a str> {
    let keys = needed(graph, ids).into_iter().filter_map(|id| match &graph.node(id).op {
        Op::Parameter(parameter) => Some(parameter.key.as_str()),
        _ => None,
    });
    keys.collect()
}

/// What `targets` depend on, themselves included, operands first.
fn needed(graph: &Graph, targets: &[NodeId]) -> Vec<NodeId> {
    let mut order = Vec::new();
    let mut is_found = HashSet::new();
    // Nodes on the way, each with the operands that have not been followed yet.
    let mut way: Vec<(NodeId, Vec<NodeId>)> = Vec::new();
    for &target in targets {
        let mut next = Some(target);
        loop {
            if let Some(id) = next.filter(|id| is_found.insert(*id)) {
                way.push((id, graph.operands(id)));
            }
            let Some((id, operands)) = way.last_mut() else { break };
            next = operands.pop();
            if next.is_none() {
                order.push(*id);
                way.pop();
            }
        }
    }
    order
}

struct Evaluation<'a> {
    graph: &'a Graph,
    values: HashMap<NodeId, Arc<Tensor>>,
    /// The operators to evaluate, operands first.
    order: Vec<NodeId>,
}

impl<'a> Evaluation<'a> {
    fn new(graph: &'a Graph) -> Self {
        Evaluation { graph, values: HashMap::new(), order: Vec::new() }
    }

    /// Sets the values of the sources among `order` and keeps the operators; without `inputs`, a model input is an
    /// error.
    fn bind(
        &mut self,
        weights: &Weights,
        inputs: Option<&[Tensor]>,
        order: &[NodeId],
    ) -> Result<(), EvaluateError> {
        if let Some(inputs) = inputs {
            self.bind_inputs(inputs)?;
        }
        for &id in order {
            let node = self.graph.node(id);
            match &node.op {
                Op::Input(_) if inputs.is_none() => {
                    return Err(EvaluateError::NotConstant { input: node.name.clone() });
                }
                Op::Input(_) => {}
                Op::Parameter(parameter) => {
                    self.values.insert(id, find_parameter(weights, parameter)?);
                }
                Op::Constant(constant) => {
                    self.values.insert(id, Arc::new(constant.value.clone()));
                }
                _ => self.order.push(id),
            }
        }
        Ok(())
    }

    fn bind_inputs(&mut self, inputs: &[Tensor]) -> Result<(), EvaluateError> {
        let expected = self.graph.inputs();
        if inputs.len() != expected.len() {
            return Err(EvaluateError::InputCount { expected: expected.len(), given: inputs.len() });
        }
        for (&id, input) in expected.iter().zip(inputs) {
            let node = self.graph.node(id);
            if *input.shape() != node.shape {
                return Err(EvaluateError::InputShape {
                    name: node.name.clone(),
                    expected: node.shape.clone(),
                    found: input.shape().clone(),
                });
            }
            self.values.insert(id, Arc::new(input.clone()));
        }
        Ok(())
    }

    fn value(&self, id: NodeId) -> &Arc<Tensor> {
        self.values.get(&id).expect("operands are evaluated before their readers")
    }

    /// Evaluates an operator whose operands have values.
    fn compute(&self, id: NodeId) -> Tensor {
        let node = self.graph.node(id);
        let (own, epilogue) = self.graph.split_operands(id);
        let tensors = |ids: &[NodeId]| -> Vec<&Tensor> { ids.iter().map(|&id| &**self.value(id)).collect() };
        let operator = node.op.operator().expect("sources are bound");
        let mut value = operator.evaluate(&tensors(&own));
        node.epilogue.apply(&mut value, &tensors(&epilogue));
        value
    }

    /// The operators grouped such that each group depends only on those before it.
    fn levels(&self) -> Vec<Vec<NodeId>> {
        let mut depth: HashMap<NodeId, usize> = HashMap::new();
        let mut levels: Vec<Vec<NodeId>> = Vec::new();
        for &id in &self.order {
            let operands = self.graph.operands(id);
            // Sources have depth 0.
            let depths = operands.iter().filter_map(|operand| depth.get(operand));
            let own = depths.max().unwrap_or(&0) + 1;
            depth.insert(id, own);
            if levels.len() < own {
                levels.push(Vec::new());
            }
            levels[own - 1].push(id);
        }
        levels
    }
}

fn find_parameter(weights: &Weights, parameter: &Parameter) -> Result<Arc<Tensor>, EvaluateError> {
    let Parameter { key, shape, .. } = parameter;
    match weights.get(key) {
        None => Err(EvaluateError::MissingParameter { key: key.clone(), shape: shape.clone() }),
        Some(array) if array.shape() != shape => Err(EvaluateError::MisshapenParameter {
            key: key.clone(),
            expected: shape.clone(),
            found: array.shape().clone(),
        }),
        Some(array) => Ok(Arc::clone(array)),
    }
}
