//! Random graphs over every operator.

use proptest::prelude::*;

use super::{all_options, check};
use crate::common::random_graph::{graphs, seed};

proptest! {
    // The rounding of tf32 and f16, too, adds up over layers.
    #![proptest_config(ProptestConfig { cases: 60, rng_seed: seed(), ..ProptestConfig::default() })]

    #[test]
    fn random_graphs(graph in graphs(), ways in prop::collection::vec(any::<prop::sample::Index>(), 4)) {
        let all = all_options();
        let options: Vec<_> = ways.iter().map(|way| way.get(&all).clone()).collect();
        check(&graph, &options);
    }
}
