//! Problem strings read back: the kernel that a name says.
//!
//! A name is a family's word, what is computed (extents, window, epilogue), how (tile, blocks), and the arrays'
//! layouts; parts that are the usual are left out. `src/kernels/` writes each part beside the family that it names.

mod cursor;
mod families;
mod parts;

pub use cursor::ProblemError;

use cursor::Cursor;

use super::KernelSpec;

impl KernelSpec {
    /// The kernel of a problem string.
    ///
    /// # Errors
    /// Where the string makes no sense, with the place and what was expected there.
    pub fn parse(name: &str) -> Result<KernelSpec, ProblemError> {
        let mut cursor = Cursor::new(name);
        let spec = families::kernel(&mut cursor)?;
        cursor.end()?;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Family;

    #[test]
    fn names_come_back_as_they_were() {
        for name in [
            "conv_ic3ih224iw224oc64oh112ow112kh7kw7sh2sw2ph3pw3_relu_t1x14x2_b12x32_px_nchwc52900h230+693_nhwc",
            "conv_g2mb4ic48ih27iw27oc256oh23ow23kh5kw5ph2pw2dh2dw2_t1x4x2_b4x128",
            "conv_ic8ih9iw9oc8oh5ow5kh3kw3sh2sw2ph0pw0pb2pr2_t1x1x1_b1x8_nhwch88_nhwc",
            "conv_ic9216ih1iw1oc4096oh1ow1kh1kw1_f16_relu_t1x1x8_b1x128",
            "conv_ic64ih1iw3136oc256oh1ow3136kh1kw1_scaleshift_add.nhwch14848+16_relu_t1x14x2_b56x256_px",
            "winograd2x2_g2ic96ih27iw27oc256oh27ow27kh5kw5ph2pw2_relu_t14x2_b2x64_nhwch2976+5952_nhwc",
            "winograd2x2_ic16ih8iw8oc16oh8ow8kh3kw3ph1pw1_t4x1_b2x16",
            "winograd4x4_ic512ih7iw7oc512oh7ow7kh3kw3ph1pw1_relu_t4x1_b2x128_d32_nhwch5280w528+5808_nhwc",
            "winograd4x4_ic64ih56iw56oc64oh56ow56kh3kw3ph1pw1_add_clip-inf:6.5_t8x4_b2x64_px_nhwch3776+3840_nhwc",
            "polyphase5_ic3ih224iw224oc64oh112ow112kh7kw7sh2sw2ph3pw3_relu_t1x14x2_b1x64_px_nchwc54050h230+693_nhwc",
            "polyphase4_g2mb3ic10ih13iw14oc12oh6ow4kh5kw4sh2sw3ph2pw1pb1pr0_t2x4x1_b2x16",
            "depthwise_g32ic32ih112iw112oc32oh112ow112kh3kw3ph1pw1_relu6_t8_b16_nhwch3648+3680_nhwc",
            "depthwise_pointwise_ic32ih8iw8oc64oh8ow8kh3kw3ph1pw1_relu6_pw_leaky_relu0.1_t8_t1x8x2_b2_px",
            "depthwise_pointwise_ic32ih5iw5oc64oh5ow5kh3kw3ph1pw1_pw_t5_t1x5x2_b5x32",
            "maxpool_n1c64h112w112_kh3kw3_sh2sw2_pt1pl1pb1pr1_ceil_nhwch7296+64_nhwc_relu",
            "avgpadpool_n2c8h9w9_kh3kw2_sh1sw1_pt1pl1pb1pr1_dh2dw1",
            "globalavgpool_n1c1024h7w7_nhwch7280w1040_nhwc",
            "lrn5_n1c96h55w55_alpha0.0001_beta0.75_bias1.0_relu",
            "softmax_a1b1000_axis1",
            "batchnorm_n8c16h4w4_epsilon1e-5_relu",
            "logsoftmax_n1c3h4w5_axis1",
            "batchnorm1e-5_a2b3_dense_denseb0_denseb0_denseb0_denseb0_dense_elu1.0",
            "fill0.0_n1c3h4w4_nhwch18",
            "copy_n1c3h224w224_nchw_nchwc51076h226+227",
            "add_a2b3_denseb0_dense_dense_hard_sigmoid0.2:0.5",
            "relu6_scalar",
            "scaleshift_n1c8h2w2_nhwc_nhwch0w0_nhwch0w0_nhwc",
        ] {
            match KernelSpec::parse(name) {
                Ok(spec) => assert_eq!(spec.name(), name),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_bad_name_is_pointed_at() {
        for (name, place, expected) in [
            ("", "", "a kernel family"),
            ("gemm_ic3", "gemm_ic3", "a kernel family"),
            ("conv_ic3ih224xx", "xx", "'iw' (input width)"),
            ("conv_ic0ih1iw1oc1oh1ow1kh1kw1_t1x1x1_b1x1", "0ih1", "a number from 1"),
            ("conv_ic3ih8iw8oc4oh9ow8kh1kw1_t1x1x1_b1x4", "9ow8", "8, the output height"),
            ("conv_g3ic8ih8iw8oc6oh8ow8kh1kw1_t1x1x1_b1x2", "g3", "groups that divide"),
            ("conv_ic3ih8iw8oc4oh8ow8kh1kw1_gelu_t1x1x1_b1x4", "gelu", "an epilogue step"),
            ("conv_ic3ih8iw8oc4oh8ow8kh1kw1_t1x1_b1x4", "_b1x4", "'x' (vectors"),
            ("conv_ic3ih8iw8oc4oh8ow8kh1kw1_t9x9x9_b1x4", "9x9x9", "a tile"),
            ("conv_ic3ih8iw8oc4oh8ow8kh1kw1_t1x1x1_b1x4_nhwc", "", "'_' (the next array's layout)"),
            ("conv_ic3ih8iw8oc4oh8ow8kh1kw1_t1x1x1_b1x4_px!", "!", "the end"),
            ("conv_ic99999999999999999999ih1", "99999999999999999999", "a number from 1"),
            ("conv_ic2147483647ih2147483647iw2147483647oc1oh1ow1kh1kw1", "ic2147483647", "arrays of at most"),
            ("fillx_n1c1h1w1_nhwc", "x_n1", "a number"),
            ("maxpool_n1c1h1w1_kh3kw3_sh1sw1_pt0pl0pb0pr0", "kh3kw3", "a window that fits"),
            ("softmax_a1b2_axis2", "2", "an axis below 2"),
            ("copy_n1c1h2w2_nhwch99999999999999999999", "99999999999999999999", "a number"),
            ("winograd3x4_ic8ih8iw8oc8oh6ow6kh3kw3_t1x1", "ic8", "tiles of 3×4 outputs"),
            ("winograd4x4_ic8ih8iw8oc8oh4ow4kh5kw5_t1x1", "ic8", "tiles of 4×4 outputs"),
            ("polyphase9_ic8ih8iw8oc8oh3ow3kh3kw3sh2sw2", "9_ic8", "a number from 2 to 8"),
            ("polyphase4_ic8ih8iw8oc8oh6ow6kh3kw3_t1x1x1", "ic8", "a strided convolution"),
            ("polyphase7_ic8ih9iw9oc8oh2ow2kh7kw7sh2sw2_t1", "ic8", "for 7 rows of outputs"),
            ("matmul_a2b3_k4", "matmul", "a kernel family"),
            ("lrn0_n1c1h1w1_alpha1.0_beta1.0_bias1.0", "0_n1", "a number from 1"),
        ] {
            let error = KernelSpec::parse(name).expect_err(name);
            let rest = &name[error.at..];
            assert!(rest.starts_with(place), "{name}: at '{rest}', not at '{place}': {error}");
            assert!(error.to_string().contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn no_prefix_and_no_change_of_a_name_panics() {
        let name = "depthwise_pointwise_ic32ih8iw8oc64oh8ow8kh3kw3ph1pw1_relu6_pw_clip0.0:1.5_t8_t1x8x2_b2_px_nhwch320+352_nhwc";
        for end in 0..name.len() {
            let _ = KernelSpec::parse(&name[..end]);
            for replaced in ["0", "9", "_", "é", "18446744073709551615", "-1", "x"] {
                let _ = KernelSpec::parse(&format!("{}{replaced}{}", &name[..end], &name[end + 1..]));
            }
        }
    }
}
