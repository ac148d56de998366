//! Which layout each value gets, decided for the whole graph before any kernel is made.
//!
//! Rank-4 values are channels-last, all others row-major. A value that windows with padding read gets a border of
//! zeros as wide as the widest padding. A concat along channels owns one buffer, and its operands are written
//! straight into their channels of it. A model input that only convolutions read stays planar.

use std::collections::{HashMap, HashSet};

use super::concat::Homes;
use super::polyphase::{self, PolyphasePlan};
use super::tiles::WinogradPlan;
use super::winograd;
use super::{LowerError, LowerOptions};
use crate::graph::{Graph, NodeId, NodeSet};
use crate::kernels::View;
use crate::ops::{Conv, MAX_ELEMENTS, Op};

/// The decisions for one graph.
pub struct Layout {
    constants: NodeSet,
    homes: Homes,
    /// `[top, left, bottom, right]` around values that have no home of their own.
    borders: HashMap<NodeId, [usize; 4]>,
    planar: HashSet<NodeId>,
    winograd: HashMap<NodeId, WinogradPlan>,
    polyphase: HashMap<NodeId, PolyphasePlan>,
}

impl Layout {
    pub fn of(graph: &Graph, options: LowerOptions) -> Self {
        let constants = graph.weight_expressions();
        let mut layout = Layout {
            homes: Homes::of(graph, &constants),
            constants,
            borders: HashMap::new(),
            planar: HashSet::new(),
            winograd: HashMap::new(),
            polyphase: HashMap::new(),
        };
        for id in graph.topological_order() {
            if options.winograd
                && !layout.is_constant(id)
                && graph.operands(id).iter().skip(1).take(2).all(|&operand| layout.is_constant(operand))
            {
                layout.winograd.extend(winograd::plan(graph, id, options).map(|plan| (id, plan)));
                layout.polyphase.extend(polyphase::plan(graph, id, options).map(|plan| (id, plan)));
            }
            layout.widen_border(graph, id);
        }
        for &input in graph.inputs() {
            let readers = graph.consumers(input);
            let dense_convolution =
                |reader: &NodeId| matches!(graph.node(*reader).op, Op::Conv(Conv { groups: 1, .. }));
            let is_output = graph.outputs().iter().any(|output| output.node == input);
            let first_operand_only =
                |reader: &NodeId| graph.operands(*reader).iter().skip(1).all(|operand| *operand != input);
            let in_place = layout.home(input).0 != input;
            if !readers.is_empty()
                && !is_output
                && !in_place
                && readers.iter().all(dense_convolution)
                && readers.iter().all(first_operand_only)
                && graph.shape(input).nchw().is_some_and(|(_, c, _, _)| c <= PLANAR_CHANNELS)
            {
                layout.planar.insert(input);
            }
        }
        layout
    }

    /// # Errors
    /// Where a value with its border is larger than kernels can address.
    pub fn check(&self, graph: &Graph) -> Result<(), LowerError> {
        for id in graph.topological_order() {
            let Some((n, c, h, w)) = graph.shape(id).nchw() else { continue };
            let border = self.border(id);
            let [top, left, bottom, right] = border;
            let extent =
                |before: usize, inner: usize, after: usize| inner.checked_add(before)?.checked_add(after);
            // Spreading adds one cache line to pixels of 32 or more.
            let elements = || {
                let pixels = extent(top, h, bottom)?.checked_mul(extent(left, w, right)?)?;
                pixels.checked_mul(n)?.checked_mul(c.checked_add(c / 32)?)
            };
            if elements().is_none_or(|elements| elements > MAX_ELEMENTS) {
                let (layer, shape) = (graph.node(id).name.clone(), graph.shape(id).clone());
                return Err(LowerError::TooLarge { layer, shape, border, limit: MAX_ELEMENTS });
            }
        }
        Ok(())
    }

    /// Whether a value depends on weights and constants only.
    pub fn is_constant(&self, id: NodeId) -> bool {
        self.constants.contains(id)
    }

    /// The value that owns the buffer `id` is written to, and the first channel there.
    pub fn home(&self, id: NodeId) -> (NodeId, usize) {
        self.homes.of_value(id)
    }

    /// The plan of a convolution that is computed by Winograd's method.
    pub fn winograd(&self, id: NodeId) -> Option<WinogradPlan> {
        self.winograd.get(&id).copied()
    }

    /// The plan of a convolution that is computed by minimal filtering along rows.
    pub fn polyphase(&self, id: NodeId) -> Option<PolyphasePlan> {
        self.polyphase.get(&id).copied()
    }

    /// The border around the value that owns a buffer.
    pub fn border(&self, owner: NodeId) -> [usize; 4] {
        self.borders.get(&owner).copied().unwrap_or([0; 4])
    }

    /// Where a value lies in its owner's buffer.
    pub fn view(&self, graph: &Graph, id: NodeId) -> View {
        let (owner, channel) = self.home(id);
        let Some((n, c, h, w)) = graph.shape(owner).nchw() else {
            return View::row_major(graph.shape(id));
        };
        let border = self.border(owner);
        if self.planar.contains(&owner) {
            return View::planar([n, c, h, w], border);
        }
        let mut view = View::channels_last([n, c, h, w], border).spread();
        view.dims[1] = graph.shape(id).dims()[1];
        view.offset += channel;
        view
    }

    /// Elements of the buffer that a value owns, border included.
    pub fn buffer_elements(&self, graph: &Graph, owner: NodeId) -> usize {
        let Some((n, c, h, w)) = graph.shape(owner).nchw() else {
            return graph.shape(owner).elements();
        };
        let [top, left, bottom, right] = self.border(owner);
        if self.planar.contains(&owner) {
            return n * c * (top + h + bottom) * (left + w + right);
        }
        let view = View::channels_last([n, c, h, w], [top, left, bottom, right]).spread();
        n * view.strides[0]
    }

    /// Makes room around what `id` reads for its padding.
    fn widen_border(&mut self, graph: &Graph, id: NodeId) {
        let padding = match &graph.node(id).op {
            Op::Conv(conv) => {
                let padding = conv.window.padding;
                if let Some(plan) = self.winograd(id) {
                    winograd::border(graph, id, plan.method, padding)
                } else if let Some(plan) = self.polyphase(id) {
                    polyphase::border(graph, id, plan.filtering, padding)
                } else {
                    padding
                }
            }
            Op::ConvChain(chain) => chain.stages[0].conv.window.padding,
            _ => return,
        };
        if self.is_constant(id) {
            return;
        }
        let (owner, _) = self.home(graph.operands(id)[0]);
        let border = self.borders.entry(owner).or_insert([0; 4]);
        for (side, padding) in border.iter_mut().zip(padding) {
            *side = (*side).max(padding);
        }
    }
}

/// Model inputs of up to this many channels are read as planes by the convolutions after them.
pub const PLANAR_CHANNELS: usize = 4;
