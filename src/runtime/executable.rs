//! A compiled model: code, weights and arena, ready to be called.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use super::memory::Memory;
use super::threads::{Steps, Threads};
use super::{CompileError, CompileOptions, CompileTimings, RunError};
use crate::codegen::jit::{JitKernels, KernelFunction};
use crate::codegen::module::CodegenFailure;
use crate::codegen::vector::Kernel;
use crate::graph::{Graph, NodeId};
use crate::kernels::{Family, View};
use crate::lower::{self, Binding, Border, Plan, Step, Work};
use crate::passes::{self, Explanation};
use crate::tensor::{Shape, Tensor};

/// An input or output of an executable.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    pub name: String,
    pub shape: Shape,
}

/// One kernel launch of an executable.
#[derive(Clone, Debug, Serialize)]
pub struct StepInfo {
    /// The layers it computes, such as `layer1.0.conv1`.
    pub layers: Vec<String>,
    /// The kernel's problem string.
    pub kernel: String,
    #[serde(flatten)]
    pub work: Work,
}

/// A graph compiled to code, without the values of its weights.
pub struct Compiled {
    graph: Graph,
    plan: Plan,
    /// The kernels of the plan, as they were compiled.
    kernels: Vec<Kernel>,
    code: JitKernels,
    explanation: Explanation,
    timings: CompileTimings,
    threads: usize,
}

/// Rewrites, lowers and compiles a graph for this CPU.
pub fn compile(graph: &Graph, options: &CompileOptions) -> Result<Compiled, CompileError> {
    let target = options.isa.resolve()?;
    let mut timings = CompileTimings::default();
    let mut clock = Instant::now();
    let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
    let pass_options = passes::Options {
        fuse: options.fuse,
        disabled: options.disabled.clone(),
        stop_after: options.stop_after,
    };
    let (graph, explanation) = passes::run(graph.clone(), &pass_options)?;
    timings.passes = lap();
    let plan = lower::lower(&graph, options.lowering(target))?;
    timings.lower = lap();
    let kernels: Vec<Kernel> = plan.kernels.iter().map(|spec| spec.build(target.lanes())).collect();
    let code = JitKernels::compile(&kernels, target, options.threads).map_err(|error| blame(&plan, error))?;
    timings.codegen = lap();
    Ok(Compiled { graph, plan, kernels, code, explanation, timings, threads: options.threads })
}

/// Names the layer whose kernel could not be compiled.
fn blame(plan: &Plan, source: CodegenFailure) -> CompileError {
    let at_fault = |step: &&Step| source.kernel() == Some(plan.kernels[step.kernel].name().as_str());
    match plan.steps.iter().find(at_fault).and_then(|step| step.layers.first()) {
        Some(layer) => CompileError::Kernel { layer: layer.clone(), source },
        None => source.into(),
    }
}

impl Compiled {
    /// The graph after all rewrites.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Which rewrites were taken, which were not, and why.
    pub fn explanation(&self) -> &Explanation {
        &self.explanation
    }

    pub fn timings(&self) -> CompileTimings {
        self.timings
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }
}

/// A compiled model with its weights, ready to run.
pub struct Executable {
    pub(super) compiled: Compiled,
    timings: CompileTimings,
    weights: Memory,
    pub(super) arena: Memory,
    /// Each thread's scratch memory, which `tables` points into.
    scratch: Vec<Memory>,
    state: State,
    launches: Vec<Launch>,
    /// For each thread the buffer pointers of all launches, one after the other.
    tables: Vec<Vec<*mut f32>>,
    /// Where in a table the pointers to the caller's arrays go.
    ports: Vec<(usize, Binding)>,
    threads: Threads,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    steps: Vec<StepInfo>,
}

/// What becomes of an executable's memory as it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Has not given its first answer, which nothing should delay.
    New,
    /// Moves some memory to large pages after each run.
    Settling,
    Settled,
}

// SAFETY: the raw pointers in `launches` and `tables` point into memory that the executable owns, or are set for one call.
unsafe impl Send for Executable {}

/// One step as the threads run it.
pub(super) struct Launch {
    pub function: KernelFunction,
    pub grid: [usize; 3],
    /// Where its buffer pointers start in a table.
    pub table: usize,
    /// Buffers whose borders are set to zero beside the grid's points: the interior, where the buffer starts, and its
    /// elements.
    pub borders: Vec<(View, *mut f32, usize)>,
}

impl Launch {
    fn grid_points(&self) -> usize {
        self.grid.iter().product()
    }
}

impl Executable {
    pub(super) fn new(
        compiled: Compiled,
        mut weights: Memory,
        timings: CompileTimings,
    ) -> Result<Self, CompileError> {
        let (plan, graph) = (&compiled.plan, &compiled.graph);
        let mut arena = Memory::zeroed(plan.arena.elements)?;
        let scratch: Result<Vec<Memory>, _> =
            (0..compiled.threads.max(1)).map(|_| Memory::zeroed(plan.scratch_elements)).collect();
        let mut scratch = scratch?;
        let kernels = &compiled.kernels;
        let mut launches = Vec::new();
        let mut ports = Vec::new();
        let mut tables = vec![Vec::new(); scratch.len()];
        for step in &plan.steps {
            let function = compiled.code.function(step.kernel);
            let borders = step.borders.iter().map(|Border { view, offset, elements }| {
                (view.clone(), arena.part(*offset, *elements), *elements)
            });
            let (grid, table) = (kernels[step.kernel].grid(), tables[0].len());
            launches.push(Launch { function, grid, table, borders: borders.collect() });
            assert_eq!(kernels[step.kernel].buffers.len(), step.bindings.len(), "{:?}", step.layers);
            for (&binding, buffer) in step.bindings.iter().zip(&kernels[step.kernel].buffers) {
                // What `execute` relies on where a kernel works on the caller's arrays.
                let given = match binding {
                    Binding::Input(position) => graph.shape(plan.inputs[position]).elements(),
                    Binding::Output(position) => graph.shape(plan.outputs[position]).elements(),
                    Binding::Arena(_) | Binding::Weights(_) | Binding::Scratch => usize::MAX,
                };
                assert!(buffer.elements <= given, "{:?} reaches beyond the caller's array", step.layers);
                if matches!(binding, Binding::Input(_) | Binding::Output(_)) {
                    ports.push((tables[0].len(), binding));
                }
                for (table, scratch) in tables.iter_mut().zip(&mut scratch) {
                    table.push(match binding {
                        Binding::Arena(id) => arena.part(plan.arena.offsets[id], buffer.elements),
                        Binding::Weights(id) => weights.part(plan.packed[id].offset, buffer.elements),
                        Binding::Scratch => scratch.part(0, buffer.elements),
                        Binding::Input(_) | Binding::Output(_) => std::ptr::null_mut(),
                    });
                }
            }
        }
        let port =
            |name: &str, id: NodeId| Port { name: name.to_owned(), shape: compiled.graph.shape(id).clone() };
        let inputs = graph.inputs().iter().map(|&id| port(&graph.node(id).name, id)).collect();
        let outputs = graph.outputs().iter().map(|output| port(&output.name, output.node)).collect();
        let steps = plan
            .steps
            .iter()
            .map(|step| StepInfo {
                layers: step.layers.clone(),
                kernel: plan.kernels[step.kernel].name(),
                work: step.work,
            })
            .collect();
        let threads = Threads::new(scratch.len(), launches.len())?;
        Ok(Executable {
            timings,
            weights,
            arena,
            scratch,
            state: State::New,
            launches,
            tables,
            ports,
            threads,
            inputs,
            outputs,
            steps,
            compiled,
        })
    }

    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The kernel launches of a run, in order.
    pub fn steps(&self) -> &[StepInfo] {
        &self.steps
    }

    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Seconds that each stage of the compilation took.
    pub fn timings(&self) -> CompileTimings {
        self.timings
    }

    pub fn threads(&self) -> usize {
        self.threads.threads()
    }

    /// Bytes of memory that activations take.
    pub fn arena_bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// What the arena would take if no buffer were reused.
    pub fn arena_bytes_without_reuse(&self) -> usize {
        self.compiled.plan.arena.elements_without_reuse * size_of::<f32>()
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Finishes now what the runs after the first do by and by: puts memory on large pages. To be called before runs are
    /// measured.
    pub fn settle(&mut self) {
        self.settle_until(None);
    }

    fn settle_until(&mut self, until: Option<Instant>) {
        let mut memory = [&mut self.weights, &mut self.arena].into_iter().chain(&mut self.scratch);
        let is_settled = memory.all(|memory| memory.move_to_large_pages(until));
        self.state = if is_settled { State::Settled } else { State::Settling };
    }

    /// Runs on `inputs` in the order of [`Executable::inputs`].
    ///
    /// # Errors
    /// Where the inputs' number or shapes are not the model's.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.run_tensors(inputs, None)
    }

    /// One run, with the seconds that each step took.
    pub fn run_timed(&mut self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Vec<f64>), RunError> {
        let clock = Clock::new(self.launches.len());
        let outputs = self.run_tensors(inputs, Some(&clock))?;
        let completed = clock.completed.iter().map(|at| at.load(Ordering::Relaxed));
        let mut last = 0;
        let seconds = completed.map(|at| (at - std::mem::replace(&mut last, at)) as f64 * 1e-9).collect();
        Ok((outputs, seconds))
    }

    fn run_tensors(&mut self, inputs: &[Tensor], clock: Option<&Clock>) -> Result<Vec<Tensor>, RunError> {
        self.check_inputs(inputs)?;
        let mut outputs = self.empty_outputs();
        let inputs: Vec<&[f32]> = inputs.iter().map(Tensor::data).collect();
        let mut targets: Vec<&mut [f32]> = outputs.iter_mut().map(Tensor::data_mut).collect();
        self.execute(&inputs, &mut targets, clock)?;
        Ok(outputs)
    }

    pub(super) fn check_inputs(&self, inputs: &[Tensor]) -> Result<(), RunError> {
        for (port, input) in self.inputs.iter().zip(inputs) {
            if port.shape != *input.shape() {
                let (name, expected, given) = (port.name.clone(), port.shape.clone(), input.shape().clone());
                return Err(RunError::InputShape { name, expected, given });
            }
        }
        Ok(())
    }

    pub(super) fn empty_outputs(&self) -> Vec<Tensor> {
        self.outputs.iter().map(|port| Tensor::zeros(port.shape.clone())).collect()
    }

    /// Runs on row-major arrays, without allocating: `inputs` and `outputs` as [`Executable::inputs`] and
    /// [`Executable::outputs`] list them.
    ///
    /// # Errors
    /// Where the arrays' number or lengths are not the model's.
    pub fn run_into(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), RunError> {
        self.execute(inputs, outputs, None)
    }

    fn execute(
        &mut self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        clock: Option<&Clock>,
    ) -> Result<(), RunError> {
        let start = Instant::now();
        self.execute_steps(0..self.launches.len(), inputs, outputs, clock)?;
        match self.state {
            State::New => self.state = State::Settling,
            // So that no run takes much more than twice its time, and few do.
            State::Settling => self.settle_until(Some(Instant::now() + start.elapsed())),
            State::Settled => {}
        }
        Ok(())
    }

    /// Some of the steps of a run, after all those before them.
    pub(super) fn execute_steps(
        &mut self,
        steps: Range<usize>,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        clock: Option<&Clock>,
    ) -> Result<(), RunError> {
        check_arrays("input", &self.inputs, inputs.iter().map(|array| array.len()))?;
        check_arrays("output", &self.outputs, outputs.iter().map(|array| array.len()))?;
        for &(at, binding) in &self.ports {
            let pointer = match binding {
                // Kernels only read the buffers they declare as read; the verifier has proven it.
                Binding::Input(position) => inputs[position].as_ptr().cast_mut(),
                Binding::Output(position) => outputs[position].as_mut_ptr(),
                Binding::Arena(_) | Binding::Weights(_) | Binding::Scratch => continue,
            };
            for table in &mut self.tables {
                table[at] = pointer;
            }
        }
        self.threads.run(&Program { launches: &self.launches[steps], tables: &self.tables, clock });
        Ok(())
    }
}

fn check_arrays(
    what: &'static str,
    ports: &[Port],
    lengths: impl ExactSizeIterator<Item = usize>,
) -> Result<(), RunError> {
    if lengths.len() != ports.len() {
        return Err(RunError::Count { what, expected: ports.len(), given: lengths.len() });
    }
    for (port, given) in ports.iter().zip(lengths) {
        let expected = port.shape.elements();
        if given != expected {
            return Err(RunError::Length { what, name: port.name.clone(), expected, given });
        }
    }
    Ok(())
}

/// When each step was completed, in nanoseconds since the run began.
pub(super) struct Clock {
    start: Instant,
    completed: Vec<AtomicU64>,
}

impl Clock {
    fn new(steps: usize) -> Self {
        Clock { start: Instant::now(), completed: (0..steps).map(|_| AtomicU64::new(0)).collect() }
    }
}

/// The launches of one run.
pub(super) struct Program<'a> {
    pub launches: &'a [Launch],
    pub tables: &'a [Vec<*mut f32>],
    pub clock: Option<&'a Clock>,
}

// SAFETY: threads share the pointers, and the kernels behind them write disjoint elements at different points of a
// grid; a step starts when all points of the step before are done.
unsafe impl Sync for Program<'_> {}

impl Steps for Program<'_> {
    fn steps(&self) -> usize {
        self.launches.len()
    }

    fn points(&self, step: usize) -> usize {
        let launch = &self.launches[step];
        launch.grid_points() + usize::from(!launch.borders.is_empty())
    }

    fn run(&self, thread: usize, step: usize, point: usize) {
        let launch = &self.launches[step];
        if point == launch.grid_points() {
            for (view, start, elements) in &launch.borders {
                for range in view.border(*elements) {
                    // SAFETY: the range lies in the buffer, and the buffer in the arena. No other buffer that lives in
                    // this step shares its place (`ArenaPlan`); this step is the first to write it, its kernel writes
                    // interiors only, and whoever reads it runs in a later step.
                    unsafe { start.add(range.start).write_bytes(0, range.len()) };
                }
            }
            return;
        }
        let [_, g1, g2] = launch.grid;
        let table = &self.tables[thread][launch.table..];
        // SAFETY: the table holds a pointer for each of the kernel's buffers, to at least as many elements as the
        // kernel declares: the plan sized arena, weights and scratch by the same views, and `check_arrays` the
        // caller's arrays. The kernel verifier has proven that every access stays within the declared elements for
        // every point of the grid. Scratch memory belongs to `thread` alone.
        unsafe { (launch.function)(table.as_ptr(), point / (g1 * g2), point / g2 % g1, point % g2) }
    }

    fn completed(&self, step: usize) {
        if let Some(clock) = self.clock {
            let elapsed = u64::try_from(clock.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            clock.completed[step].store(elapsed, Ordering::Relaxed);
        }
    }
}
