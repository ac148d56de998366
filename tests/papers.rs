//! The shipped models have the parameters and multiply-adds that their papers, and the libraries whose weights they
//! load, state.

mod common;

use kiln::graph::Summary;

fn summary(model: &str, defines: &[(&str, &str)]) -> Summary {
    Summary::of(&common::models::graph(model, defines))
}

/// Checks a count against one that is rounded, up or down, to a multiple of `unit`.
fn assert_rounds_to(count: u64, stated: f64, unit: f64) {
    assert!((count as f64 - stated).abs() < unit, "{count} is not {stated} within {unit}");
}

#[test]
fn mobilenet_v1_has_the_numbers_of_its_tables_6_and_7() {
    let cases = [
        ("1.0", "224", 569e6, 4.2e6),
        ("0.75", "224", 325e6, 2.6e6),
        ("0.5", "224", 149e6, 1.3e6),
        ("0.25", "224", 41e6, 0.5e6),
        ("1.0", "192", 418e6, 4.2e6),
        ("1.0", "160", 290e6, 4.2e6),
        ("1.0", "128", 186e6, 4.2e6),
    ];
    for (alpha, resolution, multiply_adds, parameters) in cases {
        let summary = summary("mobilenet_v1", &[("alpha", alpha), ("resolution", resolution)]);
        assert_rounds_to(summary.multiply_adds, multiply_adds, 1e6);
        assert_rounds_to(summary.parameters, parameters, 0.1e6);
    }
}

#[test]
fn mobilenet_v2_has_the_numbers_of_its_table_4_and_of_torchvision() {
    // Parameters as torchvision counts them; multiply-adds as the paper states them, where it does.
    let cases = [
        ("1.0", 3_504_872, Some(300e6)),
        ("1.4", 6_108_776, Some(585e6)),
        ("0.75", 2_636_424, None),
        ("0.35", 1_677_128, None),
    ];
    for (alpha, parameters, multiply_adds) in cases {
        let summary = summary("mobilenet_v2", &[("alpha", alpha)]);
        assert_eq!(summary.parameters, parameters, "alpha {alpha}");
        if let Some(multiply_adds) = multiply_adds {
            assert_rounds_to(summary.multiply_adds, multiply_adds, 0.01 * multiply_adds);
        }
    }
}

#[test]
fn resnets_have_the_numbers_of_their_table_1_and_of_torchvision() {
    // Parameters as torchvision counts them. The paper's FLOPs leave out some of the shortcuts and the classifier, so
    // its figures are met within 3 %.
    let cases = [
        ("18", 11_689_512, 1.8e9),
        ("34", 21_797_672, 3.6e9),
        ("50", 25_557_032, 3.8e9),
        ("101", 44_549_160, 7.6e9),
        ("152", 60_192_808, 11.3e9),
    ];
    for (depth, parameters, multiply_adds) in cases {
        let summary = summary("resnet", &[("depth", depth), ("stride_in_1x1", "true")]);
        assert_eq!(summary.parameters, parameters, "depth {depth}");
        assert_rounds_to(summary.multiply_adds, multiply_adds, 0.03 * multiply_adds);
    }
    // With the stride in the 3×3 convolution, where torchvision's weights have it.
    for (depth, multiply_adds) in [("50", 4.09e9), ("101", 7.80e9), ("152", 11.51e9)] {
        let summary = summary("resnet", &[("depth", depth)]);
        assert_rounds_to(summary.multiply_adds, multiply_adds, 0.01e9);
    }
}

#[test]
fn alexnets_have_sixty_million_parameters() {
    let original = summary("alexnet", &[]);
    assert_rounds_to(original.parameters, 60e6, 1.5e6);
    assert_rounds_to(original.multiply_adds, 724e6, 1e6);
    let torchvision = summary("alexnet_torchvision", &[]);
    assert_eq!(torchvision.parameters, 61_100_840);
}

#[test]
fn a_layer_has_the_numbers_of_its_shape() {
    let summary = summary("resnet", &[("depth", "18")]);
    let conv1 = &summary.layers[0];
    assert_eq!((conv1.name.as_str(), conv1.op), ("conv1", "conv"));
    assert_eq!(conv1.shape.dims(), [1, 64, 112, 112]);
    assert_eq!(conv1.parameters, 64 * 3 * 7 * 7);
    assert_eq!(conv1.multiply_adds, 112 * 112 * 64 * 3 * 7 * 7);
    let (fc, batch_norm) = (summary.layers.last().unwrap(), &summary.layers[1]);
    assert_eq!((fc.name.as_str(), fc.parameters, fc.multiply_adds), ("fc", 513_000, 512_000));
    assert_eq!((batch_norm.parameters, batch_norm.multiply_adds), (128, 0));
}
