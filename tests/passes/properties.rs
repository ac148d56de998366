//! Random graphs over every operator.

use std::collections::BTreeSet;

use kiln::passes::{self, Options};
use proptest::prelude::*;

use crate::answers::assert_same_answers;
use crate::common::random_graph::{graphs, random_graph};

proptest! {
    #[test]
    fn rewrites_keep_the_answers(graph in graphs()) {
        assert_same_answers(&graph, &Options::default(), true, "all passes");
        let unfused = Options { fuse: false, ..Options::default() };
        assert_same_answers(&graph, &unfused, false, "without fusion");
    }

    #[test]
    fn so_they_do_whichever_passes_are_disabled(graph in graphs(), disabled in any_passes()) {
        let what = format!("without {disabled:?}");
        assert_same_answers(&graph, &Options { disabled, ..Options::default() }, false, &what);
    }

    #[test]
    fn rewriting_twice_changes_nothing_more(graph in graphs()) {
        let (once, _) = passes::run(graph, &Options::default()).unwrap();
        let (twice, explanation) = passes::run(once.clone(), &Options::default()).unwrap();
        prop_assert_eq!(explanation.taken(), 0, "{}\n{}", once, explanation);
        prop_assert_eq!(twice.to_string(), once.to_string());
    }
}

fn any_passes() -> impl Strategy<Value = Vec<String>> {
    let names: Vec<String> = passes::names().map(|(name, _)| name.to_owned()).collect();
    let most = names.len();
    prop::sample::subsequence(names, 1..=most)
}

#[test]
fn a_chain_of_thousands_of_layers_becomes_many_nodes_of_bounded_size() {
    let length = 10_000;
    let mut text = "model \"m\" %v0 = input : [1, 2] ".to_owned();
    for layer in 1..=length {
        let operator = if layer == 1 { "neg" } else { "relu" };
        text += &format!("%v{layer} = {operator}(%v{}) ", layer - 1);
    }
    text += &format!("output \"y\" = %v{length}");
    let (graph, _) = passes::run(text.parse().unwrap(), &Options::default()).unwrap();
    let order = graph.topological_order();
    let layers: Vec<usize> = order.into_iter().map(|id| graph.node(id).layers().count()).collect();
    assert_eq!(layers.iter().sum::<usize>(), length + 1);
    assert!(layers.iter().all(|&layers| layers <= 64) && layers.len() < length / 32, "{layers:?}");
}

#[test]
fn random_graphs_give_every_pass_something_to_do() {
    let mut taken = BTreeSet::new();
    for seed in 0..300 {
        let (_, explanation) = passes::run(random_graph(seed), &Options::default()).unwrap();
        let decisions = explanation.decisions.into_iter();
        taken.extend(decisions.filter(|d| d.verdict == passes::Verdict::Taken).map(|d| d.pass));
    }
    let all: BTreeSet<_> = passes::names().map(|(name, _)| name).collect();
    assert_eq!(taken, all);
}
