//! Random graphs over every operator.

use proptest::prelude::*;

use super::{all_options, check};
use crate::common::random_graph::graphs;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn random_graphs(graph in graphs(), ways in prop::collection::vec(any::<prop::sample::Index>(), 4)) {
        let all = all_options();
        let options: Vec<_> = ways.iter().map(|way| way.get(&all).clone()).collect();
        check(&graph, &options);
    }
}
