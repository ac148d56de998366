//! What `grammar/README.md` says of the language is so.

use kiln::dsl::{self, Source};

const GUIDE: &str = include_str!("../grammar/README.md");

fn examples() -> Vec<Source> {
    let blocks = GUIDE.split("```kiln\n").skip(1);
    let texts = blocks.map(|block| block.split("```").next().expect("closed").to_owned());
    texts.enumerate().map(|(i, text)| Source { name: format!("example {i}"), text }).collect()
}

#[test]
fn examples_are_models() {
    let examples = examples();
    assert!(examples.len() >= 5);
    for source in examples {
        let model = dsl::parse(&source).unwrap_or_else(|errors| panic!("{errors}"));
        let elaborated = dsl::elaborate_with_warnings(&source, &model, &Vec::new());
        let (_, warnings) = elaborated.unwrap_or_else(|errors| panic!("{errors}"));
        assert!(warnings.is_empty(), "{warnings}");
        assert_eq!(dsl::format(&source).expect("parsed"), source.text);
    }
}

#[test]
fn every_operator_is_listed() {
    for signature in dsl::signatures() {
        assert!(GUIDE.contains(&format!("`{signature}`")), "`{signature}` is not in grammar/README.md");
    }
}

#[test]
fn labels_give_the_names_that_it_says() {
    let source = examples().pop().expect("the last is about labels");
    let model = dsl::parse(&source).expect("a model");
    let graph = dsl::elaborate(&source, &model, &Vec::new()).expect("sound");
    let names: Vec<&str> = graph.topological_order().into_iter().map(|id| &*graph.node(id).name).collect();
    for name in ["layer1.0.conv1.weight", "layer1.0.bn1.running_mean", "layer1.1.conv1"] {
        assert!(names.contains(&name), "{names:?}");
    }
}
