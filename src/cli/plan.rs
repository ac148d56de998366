//! A plan, its kernels and their code as text.

use std::fmt::Write;

use serde_json::{Value, json};

use super::failure::Failure;
use super::layers::name;
use super::text::{bytes, rows_only, table};
use crate::codegen::module::{clif_function, compile, host_isa};
use crate::codegen::x64::disassemble;
use crate::graph::Graph;
use crate::kernels::Family;
use crate::lower::{Binding, Plan};

/// The launches in order, with what each of a kernel's buffers is bound to.
pub fn to_text(plan: &Plan, graph: &Graph) -> String {
    let bytes = |elements: usize| bytes(4 * elements as u64);
    let mut text = format!(
        "{} for {}: {} launches of {} kernels\n",
        graph.name,
        plan.target,
        plan.steps.len(),
        plan.kernels.len()
    );
    text += &rows_only([
        ["  arena".to_owned(), bytes(plan.arena.elements)],
        ["  … without reuse".to_owned(), bytes(plan.arena.elements_without_reuse)],
        ["  … borders zeroed in a run".to_owned(), bytes(zeroed(plan))],
        ["  packed weights".to_owned(), bytes(plan.weight_elements)],
        ["  scratch per thread".to_owned(), bytes(plan.scratch_elements)],
    ]);
    let rows = plan.steps.iter().enumerate().map(|(index, step)| {
        let buffers: Vec<String> = step.bindings.iter().map(|&binding| place(plan, graph, binding)).collect();
        [index.to_string(), name(&step.layers), plan.kernels[step.kernel].name(), buffers.join(" ")]
    });
    text.push('\n');
    text + &table([">step", "layers", "kernel", "buffers"], rows)
}

/// Elements of borders that a run sets to zero.
fn zeroed(plan: &Plan) -> usize {
    let borders = plan.steps.iter().flat_map(|step| &step.borders);
    borders.flat_map(|border| border.view.border(border.elements)).map(|range| range.len()).sum()
}

/// Where a buffer lies: `arena@` and `weights@` with the byte at which it starts, `scratch`, or the name of an
/// input or output.
fn place(plan: &Plan, graph: &Graph, binding: Binding) -> String {
    match binding {
        Binding::Arena(buffer) => format!("arena@{}", 4 * plan.arena.offsets[buffer]),
        Binding::Weights(array) => format!("weights@{}", 4 * plan.packed[array].offset),
        Binding::Input(input) => graph.node(plan.inputs[input]).name.clone(),
        Binding::Output(output) => graph.outputs()[output].name.clone(),
        Binding::Scratch => "scratch".to_owned(),
    }
}

pub fn to_json(plan: &Plan, graph: &Graph) -> Value {
    let steps: Vec<Value> = plan
        .steps
        .iter()
        .map(|step| {
            let buffers: Vec<String> =
                step.bindings.iter().map(|&binding| place(plan, graph, binding)).collect();
            json!({
                "layers": step.layers,
                "kernel": plan.kernels[step.kernel].name(),
                "buffers": buffers,
                "work": step.work,
            })
        })
        .collect();
    json!({
        "model": graph.name,
        "target": plan.target,
        "arena_bytes": 4 * plan.arena.elements,
        "arena_bytes_without_reuse": 4 * plan.arena.elements_without_reuse,
        "weight_bytes": 4 * plan.weight_elements,
        "scratch_bytes_per_thread": 4 * plan.scratch_elements,
        "steps": steps,
    })
}

/// Each distinct kernel in the vector loop language.
pub fn kernels(plan: &Plan) -> String {
    let lanes = plan.target.lanes();
    plan.kernels.iter().map(|spec| format!("{}\n", spec.build(lanes))).collect()
}

/// Each distinct kernel of a plan for the baseline instruction set as a Cranelift function.
pub fn clif(plan: &Plan) -> Result<String, Failure> {
    let isa = host_isa()?;
    let lanes = plan.target.lanes();
    Ok(plan.kernels.iter().map(|spec| format!("{}\n", clif_function(&spec.build(lanes), &isa))).collect())
}

/// The machine code of each distinct kernel.
pub fn assembly(plan: &Plan) -> Result<String, Failure> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Failure::Usage("machine code is shown as text on x86-64 only".to_owned()));
    }
    let isa = host_isa()?;
    let mut text = String::new();
    for spec in &plan.kernels {
        let code = compile(&spec.build(plan.target.lanes()), plan.target, &isa)?;
        let listing = disassemble(&code.bytes);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {} bytes\n{listing}", spec.name(), code.bytes.len());
    }
    Ok(text)
}
