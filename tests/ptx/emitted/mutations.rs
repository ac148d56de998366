//! Emitted kernels with one thing wrong: each mistake must be noticed, by a fault or by the answer.
//!
//! A mistake may be without effect on a layer: what a load of padding gets reaches no result, a bound is never met.
//! That is shown, too, for each such mutant by a run of its own. Layers that fill their tiles have no such excuse.

use std::collections::BTreeMap;

use kiln::codegen::ptx::Target;
use kiln::graph::Graph;
use kiln::kernels::gpu::gemm::Precision;
use kiln::runtime::gpu::GpuCompileOptions;
use kiln::tensor::Tensor;
use kiln::{Model, interpreter, weights};

use super::host::Host;
use super::{options, tolerance};
use kiln::weights::random_inputs;

/// A name, the input's dims, and what is done to it.
type Layer = (&'static str, &'static str, &'static str);

/// Small layers of odd extents, and of even ones, for each kind of kernel.
const LAYERS: &[Layer] = &[
    ("convolution", "1, 20, 7, 9", "conv(19, 3, padding = 1) -> relu"),
    ("convolution of few channels", "2, 3, 11, 9", "conv(9, 5, stride = 2, padding = 2)"),
    ("convolution of whole tiles", "1, 32, 16, 8", "conv(32, 3, padding = 1)"),
    ("pointwise convolution", "1, 36, 5, 7", "conv(24, 1)"),
    ("pointwise convolution of whole tiles", "1, 64, 16, 8", "conv(64, 1) -> relu"),
    ("convolution of many channels", "1, 192, 3, 3", "conv(16, 3, padding = 1)"),
    ("two convolutions", "1, 16, 4, 34", "conv(40, 1) -> conv(24, 3, padding = 1)"),
    ("grouped convolution", "1, 12, 6, 5", "conv(15, 3, padding = 1, groups = 3)"),
    ("depthwise convolution", "1, 10, 7, 6", "depthwise_conv(3, padding = 1)"),
    ("separable convolution", "1, 24, 6, 7", "depthwise_conv(3, padding = 1) -> relu -> conv(20, 1)"),
    ("separable convolution of whole tiles", "1, 64, 16, 8", "depthwise_conv(3, padding = 1) -> conv(64, 1)"),
    ("dense layer", "2, 5, 3, 3", "flatten -> dense(11)"),
    ("dense layer of many features", "1, 8, 8, 8", "flatten -> dense(8)"),
    ("pooling", "1, 6, 7, 9", "max_pool(3, stride = 2, padding = 1)"),
    ("average pooling", "1, 8, 6, 8", "avg_pool(3, stride = 2, padding = 1)"),
    ("global pooling", "2, 35, 5, 7", "global_avg_pool"),
    ("global pooling of whole warps", "1, 64, 8, 8", "global_avg_pool"),
    ("response normalisation", "1, 9, 3, 5", "lrn(size = 5, alpha = 1e-1, beta = 0.75)"),
    ("softmax", "2, 37, 1, 1", "flatten -> softmax"),
    ("softmax of whole warps", "4, 64, 1, 1", "flatten -> softmax"),
];

fn ways() -> [GpuCompileOptions; 5] {
    [
        options(Target::Sm70, Precision::F32, true),
        options(Target::Sm75, Precision::F16, true),
        options(Target::Sm80, Precision::F32, true),
        options(Target::Sm80, Precision::Tf32, true),
        options(Target::Sm80, Precision::F16, true),
    ]
}

/// What is done to a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Mutation {
    /// A barrier is left out.
    Barrier,
    /// Asynchronous copies are not waited for, or one group too few.
    Wait,
    /// A group of copies is not closed.
    Commit,
    /// A copy reads what it should fill with zeros, or a load goes without its condition.
    ZeroFill,
    /// A store goes without its condition.
    Condition,
    /// A comparison admits the bound itself, or refuses the last that it should admit.
    Bound,
    /// An access reaches one place too far.
    Address,
}

/// How it is shown that a mutant can have no effect on a layer.
enum Proof {
    /// There is none.
    None,
    /// The line with a trap before it, which is sprung where any thread could tell the two apart.
    Trap(String),
    /// The line, and then other values in what it loads: no result depends on them.
    Overwritten(String),
}

struct Mutant {
    kind: Mutation,
    line: String,
    proofs: Vec<Proof>,
    /// Whether an equal number of accesses shows that a round too many does nothing.
    is_loop: bool,
}

/// A statement taken apart.
struct Statement<'a> {
    line: &'a str,
    /// The condition, without its `@`; empty if there is none.
    guard: &'a str,
    operation: &'a str,
    opcode: &'a str,
}

impl<'a> Statement<'a> {
    fn of(line: &'a str) -> Self {
        let statement = line.trim_start();
        let guarded = statement.strip_prefix('@').and_then(|rest| rest.split_once(' '));
        let (guard, operation) = guarded.unwrap_or(("", statement));
        Statement { line, guard, operation, opcode: operation.split([' ', ';']).next().unwrap_or_default() }
    }

    /// Sprung where `condition`, a predicate or its negation, holds.
    fn trap_if(&self, condition: &str) -> Proof {
        let guard = if condition.is_empty() { String::new() } else { format!("@{condition} ") };
        Proof::Trap(format!("{guard}trap;\n{}", self.line))
    }

    /// Sprung where the condition keeps a thread out.
    fn trap_if_kept_out(&self) -> Proof {
        self.trap_if(&self.guard.strip_prefix('!').map_or(format!("!{}", self.guard), str::to_owned))
    }

    /// Sprung where two operands compare so, among threads that get there.
    fn trap_where(&self, comparison: &str, a: &str, b: &str) -> Proof {
        if !self.guard.is_empty() {
            return Proof::None;
        }
        Proof::Trap(format!(
            ".reg .pred %probe;\nsetp.{comparison} %probe, {a}, {b};\n@%probe trap;\n{}",
            self.line
        ))
    }

    /// The line followed by moves of another value into the registers that it loads.
    fn overwritten(&self) -> Proof {
        let Some((_, operands)) = self.operation.split_once(' ') else { return Proof::None };
        let registers = match operands.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => operands.split(',').next().unwrap_or_default(),
        };
        let guard = if self.guard.is_empty() { String::new() } else { format!("@{} ", self.guard) };
        let mut text = self.line.to_owned();
        for register in registers.split(',').map(str::trim) {
            // As numbers these are ordinary ones, whatever type they are taken for.
            let value = match register.get(1..2) {
                Some("f") => format!("mov.b32 {register}, 0x3ff83c78;"),
                Some("r") => format!("mov.b32 {register}, 0x3c783c78;"),
                Some("h") => format!("mov.b16 {register}, 0x3c78;"),
                _ => return Proof::None,
            };
            text += &format!("\n{guard}{value}");
        }
        Proof::Overwritten(text)
    }
}

/// The mutants of a line; `is_loop` says whether the next one branches back.
fn mutants(line: &str, is_loop: bool) -> Vec<Mutant> {
    let statement = Statement::of(line);
    let Statement { guard, operation, opcode, .. } = statement;
    let mut mutants = Vec::new();
    let mut add = |kind, line: String, proofs| mutants.push(Mutant { kind, line, proofs, is_loop });
    if opcode == "bar.sync" {
        add(Mutation::Barrier, String::new(), Vec::new());
    }
    if let Some(groups) = operation.strip_prefix("cp.async.wait_group ") {
        let groups: u32 = groups.trim_end_matches(';').parse().expect("a number of groups");
        add(Mutation::Wait, String::new(), Vec::new());
        add(Mutation::Wait, format!("cp.async.wait_group {};", groups + 1), Vec::new());
    }
    if opcode == "cp.async.commit_group" {
        add(Mutation::Commit, String::new(), Vec::new());
    }
    if opcode.starts_with("cp.async.cg") && operation.matches(',').count() == 3 {
        let (kept, size) = line.rsplit_once(',').expect("there are commas");
        let size = size.trim_end_matches(';').trim();
        add(Mutation::ZeroFill, format!("{kept};"), vec![statement.trap_where("ne.u32", size, "16")]);
    }
    if !guard.is_empty() && opcode.starts_with("ld.global") {
        let proofs = vec![statement.trap_if_kept_out()];
        add(Mutation::ZeroFill, operation.to_owned(), proofs);
    }
    if !guard.is_empty() && opcode.starts_with("st.") {
        add(Mutation::Condition, operation.to_owned(), vec![statement.trap_if_kept_out()]);
    }
    if let Some(kind) = opcode.strip_prefix("setp.lt.").or(opcode.strip_prefix("setp.ge.")) {
        let operands: Vec<&str> = operation.trim_end_matches(';').split(", ").collect();
        let (a, b) = (operands[1], operands[2]);
        let (_, without_bound) =
            operands.split_last().map(|(_, rest)| ((), rest.join(", "))).expect("operands");
        if let Ok(bound) = b.parse::<i64>() {
            for (bound, met) in [(bound + 1, bound), (bound - 1, bound - 1)] {
                let guarded = line[..line.len() - line.trim_start().len()].to_owned();
                let prefix = if guard.is_empty() { guarded } else { format!("{guarded}@{guard} ") };
                let proof = statement.trap_where(&format!("eq.{kind}"), a, &met.to_string());
                add(Mutation::Bound, format!("{prefix}{without_bound}, {bound};"), vec![proof]);
            }
        }
    }
    let is_load = ["ld.global", "ld.shared", "ldmatrix"].iter().any(|load| opcode.starts_with(load));
    let is_access =
        is_load || ["st.global", "st.shared", "cp.async.cg"].iter().any(|at| opcode.starts_with(at));
    if is_access {
        let element = if opcode.ends_with("16") && !opcode.starts_with("ldmatrix") { 2 } else { 4 };
        let width = match opcode {
            _ if opcode.contains(".v4") => 4 * element,
            _ if opcode.contains(".v2") => 2 * element,
            _ if opcode.starts_with("cp.") || opcode.starts_with("ldmatrix") => 16,
            _ => element,
        };
        let mut proofs = vec![statement.trap_if(guard)];
        if is_load {
            proofs.push(statement.overwritten());
        }
        add(Mutation::Address, line.replacen(']', &format!("+{width}]"), 1), proofs);
    }
    mutants
}

/// Inputs and their answers.
struct Case {
    inputs: Vec<Tensor>,
    reference: Vec<Tensor>,
    /// The elements that are held to the answers.
    held: Vec<Vec<bool>>,
}

/// A layer's kernels, and what they should give.
struct Subject {
    host: Host,
    cases: Vec<Case>,
    tolerance: f64,
    accesses: u64,
}

/// The inputs with infinite elements: one in the middle, and the last row, or the one before it, of the last image.
fn with_infinities(inputs: &[Tensor], from_below: usize) -> Vec<Tensor> {
    let infinite = |input: &Tensor| {
        let (_, channels, height, width) = input.shape().nchw().expect("images");
        let mut input = input.clone();
        let length = input.data().len();
        input.data_mut()[length / 2] = f32::INFINITY;
        if height > 2 {
            let last = &mut input.data_mut()[length - channels * height * width..];
            let planes = last.chunks_mut(height * width);
            planes.for_each(|plane| plane[(height - from_below) * width..][..width].fill(f32::INFINITY));
        }
        input
    };
    inputs.iter().map(infinite).collect()
}

impl Subject {
    fn new(graph: &Graph, way: &GpuCompileOptions, is_softmax: bool) -> Self {
        let weights = weights::random(graph, 1);
        let evaluate =
            |inputs: &[Tensor]| interpreter::evaluate(graph, &weights, inputs).expect("the graph evaluates");
        let inputs = random_inputs(graph, 2);
        let reference = evaluate(&inputs);
        let all: Vec<Vec<bool>> = reference.iter().map(|output| vec![true; output.data().len()]).collect();
        let mut cases =
            vec![Case { inputs: inputs.clone(), reference: reference.clone(), held: all.clone() }];
        for from_below in [1, 2] {
            // What depends on an infinite element may be anything.
            let same =
                |(a, b): (&Tensor, &Tensor)| a.data().iter().zip(b.data()).map(|(a, b)| a == b).collect();
            let infinite = with_infinities(&inputs, from_below);
            let held = reference.iter().zip(&evaluate(&infinite)).map(same).collect();
            cases.push(Case { inputs: infinite, reference: reference.clone(), held });
        }
        if is_softmax {
            // The powers of such a value overflow unless the largest is taken off first.
            let mut inputs = inputs;
            inputs[0].data_mut().last_mut().map(|last| *last = 200.0).expect("there are elements");
            let reference = evaluate(&inputs);
            cases.push(Case { inputs, reference, held: all });
        }
        let mut host = Host::new(graph, &weights, way);
        host.max_instructions = 1_000_000;
        let mut subject = Subject { host, cases, tolerance: tolerance(way.precision), accesses: 0 };
        subject.accesses =
            subject.accesses_if_right(subject.host.ptx.clone()).expect("the kernels are right");
        subject
    }

    /// How often threads reach memory, if it runs to its end with the right answers.
    fn accesses_if_right(&self, ptx: String) -> Option<u64> {
        let host = self.host.with_ptx(ptx);
        let mut accesses = 0;
        for Case { inputs, reference, held } in &self.cases {
            let (outputs, count) = host.run_counting(inputs).ok()?;
            accesses += count;
            for ((output, reference), held) in outputs.iter().zip(reference).zip(held) {
                let largest = reference.data().iter().fold(0.0, |max: f32, value| max.max(value.abs()));
                let most = self.tolerance * f64::from(largest);
                let is_near = |(a, b): (&f32, &f32)| f64::from((a - b).abs()) <= most;
                let mut pairs = output.data().iter().zip(reference.data()).zip(held);
                if !pairs.all(|(pair, held)| !held || is_near(pair)) {
                    return None;
                }
            }
        }
        Some(accesses)
    }

    /// The module with one line replaced.
    fn with_line(&self, lines: &[&str], at: usize, line: &str) -> String {
        let mut text = lines.to_vec();
        text[at] = line;
        text.join("\n") + "\n"
    }

    /// Whether it is shown that a mutant, which gives the right answers, does nothing else than the kernel.
    fn is_without_effect(&self, mutant: &Mutant, accesses: u64, lines: &[&str], at: usize) -> bool {
        // A round too many that reaches no memory.
        let is_idle = mutant.is_loop && accesses == self.accesses;
        is_idle
            || mutant.proofs.iter().any(|proof| match proof {
                Proof::None => false,
                Proof::Trap(text) | Proof::Overwritten(text) => {
                    self.accesses_if_right(self.with_line(lines, at, text)).is_some()
                }
            })
    }
}

/// How many mutants of a kind are tried of one module.
const SAMPLE: usize = 12;

#[test]
fn mutations_are_caught() {
    let mut caught: BTreeMap<Mutation, usize> = BTreeMap::new();
    let mut without_effect: BTreeMap<Mutation, usize> = BTreeMap::new();
    let mut survivors = Vec::new();
    for (name, shape, layers) in LAYERS {
        let text = format!("model test() {{\n  input x: f32[{shape}]\n  output y = x -> {layers}\n}}\n");
        let graph = Model::parse(&text).and_then(|model| model.graph()).expect("the layers are valid");
        for way in ways() {
            let subject = Subject::new(&graph, &way, layers.contains("softmax"));
            let lines: Vec<&str> = subject.host.ptx.lines().collect();
            let mut kinds: BTreeMap<Mutation, Vec<(usize, Mutant)>> = BTreeMap::new();
            for (at, line) in lines.iter().enumerate() {
                let is_loop = lines.get(at + 1).is_some_and(|next| next.contains(" bra "));
                for mutant in mutants(line, is_loop) {
                    kinds.entry(mutant.kind).or_default().push((at, mutant));
                }
            }
            for (kind, sites) in kinds {
                for (at, mutant) in sites.iter().step_by(sites.len().div_ceil(SAMPLE)) {
                    let Some(accesses) =
                        subject.accesses_if_right(subject.with_line(&lines, *at, &mutant.line))
                    else {
                        *caught.entry(kind).or_default() += 1;
                        continue;
                    };
                    let is_excused = subject.is_without_effect(mutant, accesses, &lines, *at);
                    if is_excused && !(name.contains("whole") && kind == Mutation::Address) {
                        *without_effect.entry(kind).or_default() += 1;
                        continue;
                    }
                    let GpuCompileOptions { target, precision, .. } = way;
                    let (line, mutant) = (lines[*at].trim(), mutant.line.trim());
                    let precision = precision.name();
                    survivors.push(format!(
                        "{kind:?}, {name}, {target} {precision}: line {} {line} → {mutant}",
                        at + 1
                    ));
                }
            }
        }
    }
    println!("caught {caught:?}, without effect {without_effect:?}");
    assert!(survivors.is_empty(), "{} not caught:\n{}", survivors.len(), survivors.join("\n"));
}
