use crate::graph::Graph;

/// Checks that a text parses, and what it prints as.
fn check(text: &str, printed: &str) {
    let graph: Graph = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(graph.to_string(), printed);
    let again: Graph = printed.parse().unwrap_or_else(|error| panic!("{error}\n{printed}"));
    assert_eq!(again.to_string(), printed);
}

fn check_error(text: &str, message: &str) {
    let error = text.parse::<Graph>().expect_err("must not parse");
    assert_eq!(error.to_string(), message);
}

#[test]
fn prints_and_parses_back() {
    let text = r#"model "every \"thing\""

%0 "image" = input : [1, 4, 6, 6]
%1 "half" = constant {data=[0.5]} : []
%2 "dw" = parameter {distribution="kaiming", fan_in=9} : [4, 1, 3, 3]
%3 "pw" = parameter {distribution="uniform", high=0.25, key="a.b", low=0.0} : [4, 4, 1, 1]
%4 "bias" = parameter : [4]
%5 "chain" = conv_chain(%0) [
  "dw" conv(%2, %4) {groups=4, padding=[1, 1, 1, 1]} + scale_shift(%4, %4) + relu6
  "pw" conv(%3) + leaky_relu {slope=0.1}
] + add(%0) : [1, 4, 6, 6] fuses ["dw", "bn"]
%6 "scaled" = mul(%5, %1) : [1, 4, 6, 6]
%7 "clipped" = clip(%6) {max=6.0, min="-inf"} : [1, 4, 6, 6]
%8 "pool" = average_pool(%7) {ceil_mode=true, count_include_pad=true, kernel=[3, 3], stride=[2, 2]} : [1, 4, 3, 3]
%9 "norm" = batch_norm(%8, %4, %4) {statistics="batch"} : [1, 4, 3, 3]
%10 "flat" = reshape(%9) {shape=[1, 36]} : [1, 36]

output "y" = %10
"#;
    check(text, text);
}

#[test]
fn accepts_graphs_written_by_hand() {
    check(
        r#"
        model "hand" // labels are words, names and shapes left out
        %x = input : [1, 2, 4, 4]
        %w = parameter : [3, 2, 1, 1]
        %conv = conv(%x, %w)
            + relu
        %y "layer.sum" = add(%conv, %conv) output "y" = %y"#,
        r#"model "hand"

%0 "x" = input : [1, 2, 4, 4]
%1 "w" = parameter : [3, 2, 1, 1]
%2 "conv" = conv(%0, %1) + relu : [1, 3, 4, 4]
%3 "layer.sum" = add(%2, %2) : [1, 3, 4, 4]

output "y" = %3
"#,
    );
}

#[test]
fn renumbers_in_topological_order() {
    let text = "model \"m\" %x = input : [1, 4] %a = relu(%x) %b = tanh(%a) %c = exp(%x) output \"y\" = %b";
    let mut graph: Graph = text.parse().unwrap();
    let [a, c] = ["a", "c"]
        .map(|name| graph.topological_order().into_iter().find(|&id| graph.node(id).name == name).unwrap());
    graph.replace_uses(a, c);
    graph.remove(a);
    assert_eq!(
        graph.to_string(),
        r#"model "m"

%0 "x" = input : [1, 4]
%1 "c" = exp(%0) : [1, 4]
%2 "b" = tanh(%1) : [1, 4]

output "y" = %2
"#
    );
}

#[test]
fn errors_say_where_and_what() {
    check_error("graph", "line 1: expected 'model', found 'graph'");
    check_error(
        "model \"m\"\n\n%x = input",
        "line 3: %x = input: its shape must be given, as in ': [1, 3, 8, 8]'",
    );
    let x = "model \"m\"\n%x = input : [1, 2, 4, 4]\n";
    let check = |statement: &str, message: &str| check_error(&format!("{x}{statement}"), message);
    check("%y = relu(%z)", "line 3: %z is not defined above");
    check("%y = relu(%x", "line 3: expected ')', found the end of the text");
    check("%x = relu(%x)", "line 3: %x = relu: the label is taken");
    check("%y = relu(%x) : [1, 2, 4]", "line 3: %y = relu: the shape is [1, 2, 4, 4], not [1, 2, 4]");
    check("%y = relu(%x) : 4", "line 3: expected a shape such as [1, 3, 8, 8], found '4'");
    check("%y = max_pool(%x)", "line 3: %y = max_pool: missing field `kernel`");
    check(
        "%y = max_pool(%x) {kernel=[2, 2], strid=[2, 2]}",
        "line 3: %y = max_pool: there is no attribute 'strid'; is 'stride' meant?",
    );
    check("%y = reluu(%x)", "line 3: %y = reluu: there is no such operator; is 'relu' meant?");
    check("%y = relu(%x) + add", "line 3: epilogue step add takes 1 operands, not 0");
    check("%y = relu(%x) + conv", "line 3: there is no epilogue step 'conv'");
    check(
        "\n%y = conv(%x, %x) {groups=2}",
        "line 4: %y = conv: 2 groups do not divide 2 input and 1 output channels (2 mod 2 = 0 and 1 mod 2 = 0)",
    );
    check("output \"y\"", "line 3: expected '=', found the end of the text");
    check("y", "line 3: expected a value such as %0, or 'output', found 'y'");
}
