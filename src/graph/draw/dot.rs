//! A graph as Graphviz DOT.

use std::fmt::Write;

use super::{DrawOptions, Picture};
use crate::graph::Graph;

/// The graph in the DOT language, for `dot -Tsvg` and its like.
pub fn to_dot(graph: &Graph, options: &DrawOptions) -> String {
    let picture = Picture::of(graph, options);
    let mut dot = format!("digraph {} {{\n", quoted(&graph.name));
    dot.push_str("  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontsize=11];\n");
    for (place, label) in picture.boxes.iter().enumerate() {
        let (fill, outline) = label.kind.colours();
        let text = quoted(&format!("{}\n{}\n{}", label.title, label.name, label.shape));
        let _ = writeln!(dot, "  n{place} [label={text}, fillcolor=\"{fill}\", color=\"{outline}\"];");
    }
    for (from, to) in &picture.arrows {
        let _ = writeln!(dot, "  n{from} -> n{to};");
    }
    dot.push_str("}\n");
    dot
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
