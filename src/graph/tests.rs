use super::{DrawOptions, Endpoint, Graph, LayerRow, Output, Summary, to_dot, to_svg, verify};
use crate::tensor::Shape;

const SMALL: &str = r#"
    model "small <net>"
    %image = input : [1, 2, 4, 4]
    %w = parameter : [8, 2, 3, 3]
    %conv = conv(%image, %w) {padding=[1, 1, 1, 1], stride=[2, 2]}
    %scale = parameter : [8]
    %shift = parameter : [8]
    %mean = parameter : [8]
    %variance = parameter : [8]
    %bn "block.bn" = batch_norm(%conv, %scale, %shift, %mean, %variance) + relu : [1, 8, 2, 2]
        fuses ["block.pad"]
    %dw = parameter : [8, 1, 3, 3]
    %pw = parameter : [4, 8, 1, 1]
    %half = constant {data=[0.5]} : [1]
    %halved = mul(%pw, %half)
    %chain = conv_chain(%bn) ["dw" conv(%dw) {groups=8, padding=[1, 1, 1, 1]} + relu "pw" conv(%halved)]
    %again = conv(%bn, %pw)
    %sum = add(%chain, %again)
    output "y" = %sum
"#;

fn parse(text: &str) -> Graph {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn summary_counts_what_papers_count() {
    let row = |name: &str, op, dims: [usize; 4], parameters, multiply_adds| LayerRow {
        name: name.to_owned(),
        op,
        shape: Shape::from(dims),
        parameters,
        multiply_adds,
    };
    let endpoint =
        |name: &str, dims: [usize; 4]| vec![Endpoint { name: name.to_owned(), shape: Shape::from(dims) }];
    let expected = Summary {
        name: "small <net>".to_owned(),
        inputs: endpoint("image", [1, 2, 4, 4]),
        outputs: endpoint("y", [1, 4, 2, 2]),
        layers: vec![
            row("conv", "conv", [1, 8, 2, 2], 8 * 2 * 9, 8 * 4 * 2 * 9),
            // Mean and variance are not trained.
            row("block.bn", "batch_norm", [1, 8, 2, 2], 16, 0),
            row("chain", "conv_chain", [1, 4, 2, 2], 8 * 9 + 4 * 8, 8 * 4 * 9 + 4 * 4 * 8),
            // Shares its weight with the chain.
            row("again", "conv", [1, 4, 2, 2], 0, 4 * 4 * 8),
            row("sum", "add", [1, 4, 2, 2], 0, 0),
        ],
        parameters: 144 + 16 + 104,
        multiply_adds: 576 + 288 + 128 + 128,
    };
    assert_eq!(Summary::of(&parse(SMALL)), expected);
}

#[test]
fn dot_shows_activations_and_what_they_read() {
    let dot = to_dot(&parse(SMALL), &DrawOptions::default());
    assert!(dot.starts_with("digraph \"small <net>\" {\n"), "{dot}");
    for line in [
        r##"n1 [label="conv 3×3 /2\nconv\n[1, 8, 2, 2]", fillcolor="#fde3d0", color="#d65a18"];"##,
        r##"n3 [label="depthwise 3×3 + relu → conv 1×1\nchain\n[1, 4, 2, 2]", fillcolor="#fde3d0", color="#d65a18"];"##,
        "n2 -> n4;",
        "n3 -> n5;",
        "n4 -> n5;",
        "n5 -> n6;",
    ] {
        assert!(dot.contains(&format!("  {line}\n")), "{line} is missing in\n{dot}");
    }
    assert_eq!(dot.matches(" -> ").count(), 7);
    let with_parameters = to_dot(&parse(SMALL), &DrawOptions { parameters: true });
    assert_eq!(with_parameters.matches(" -> ").count(), 7 + 10);
}

#[test]
fn svg_draws_a_box_for_each_value_and_a_path_for_each_operand() {
    let svg = to_svg(&parse(SMALL), &DrawOptions::default());
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\"") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("rx=\"6\"").count(), 7);
    assert_eq!(svg.matches("marker-end").count(), 7);
    assert!(svg.contains(">small &lt;net&gt;</text>"), "{svg}");
    assert!(svg.contains(">batch norm + relu</text>"), "{svg}");
    assert!(svg.contains(">block.pad … bn</text>"), "{svg}");
    assert!(!svg.contains("NaN"), "{svg}");
}

#[test]
fn an_empty_graph_can_be_drawn() {
    let svg = to_svg(&Graph::new("nothing"), &DrawOptions::default());
    assert!(svg.contains(">nothing</text>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

/// Breaks a valid graph and checks what the verifier says.
fn check_broken(breaks: impl FnOnce(&mut Graph), message: &str) {
    let text = "model \"m\" %x = input : [1, 4] %k = constant {data=[1]} : [1] %a = relu(%x) %b = add(%a, %k)
        %p = parameter : [4] %q = parameter {key=\"p\"} : [4] output \"y\" = %b";
    let mut graph = parse(text);
    assert_eq!(verify(&graph), Ok(()));
    breaks(&mut graph);
    assert_eq!(verify(&graph).map_err(|error| error.to_string()), Err(message.to_owned()));
}

#[test]
fn the_verifier_names_what_is_broken() {
    let id = |graph: &Graph, name: &str| graph.find(name).unwrap();
    check_broken(
        |g| {
            let (a, b) = (id(g, "a"), id(g, "b"));
            g.nodes.add_edge(b, a, 1);
        },
        "node 3 \"b\": its value depends on itself",
    );
    check_broken(|g| g.rename(id(g, "b"), "a"), "node 3 \"a\": node 2 has the same name");
    check_broken(|g| g.rename(id(g, "b"), ""), "node 3 \"\": the name is empty");
    check_broken(
        |g| {
            let (a, b) = (id(g, "a"), id(g, "b"));
            g.nodes.add_edge(a, b, 1);
        },
        "node 3 \"b\": its operands have positions [0, 1, 1], not 0..3",
    );
    check_broken(
        |g| {
            let (a, b) = (id(g, "a"), id(g, "b"));
            g.nodes.add_edge(a, b, 2);
        },
        "node 3 \"b\": binary takes 2 inputs (a, b), not 3",
    );
    check_broken(
        |g| {
            let (x, k) = (id(g, "x"), id(g, "k"));
            g.nodes.add_edge(x, k, 0);
        },
        "node 1 \"k\": constant takes no operands and no epilogue",
    );
    check_broken(
        |g| {
            let a = id(g, "a");
            g.nodes[a].shape = Shape::from([4, 1]);
        },
        "node 2 \"a\": it has shape [4, 1], but activation yields [1, 4]",
    );
    check_broken(|g| g.inputs.clear(), "node 0 \"x\": it is missing in the list of inputs");
    check_broken(|g| g.inputs.push(g.inputs[0]), "node 0 \"x\": it is listed as an input twice");
    check_broken(
        |g| g.inputs.push(id(g, "a")),
        "node 2 \"a\": it is listed as an input but is of kind activation",
    );
    check_broken(|g| g.outputs.clear(), "the graph has no output");
    check_broken(|g| g.outputs.push(g.outputs[0].clone()), "two outputs are called 'y'");
    check_broken(
        |g| g.outputs.push(Output { name: "z".into(), node: 77.into() }),
        "output 'z' is node 77, which does not exist",
    );
    check_broken(
        |g| {
            let text = "model \"m\" %p = parameter : [5]";
            let other = parse(text);
            g.nodes.add_node(other.node(other.find("p").unwrap()).clone());
            g.rename(6.into(), "r");
        },
        "node 6 \"r\": parameter 'p' has shape [5] here and [4] elsewhere",
    );
}
