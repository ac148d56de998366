//! Arithmetic, by values that are known from the manual or from the number formats.

use super::warp;

/// Evaluates an instruction that reads `%r1`, `%r2`, `%r3` and writes `%r0`.
fn evaluate(instruction: &str, operands: &[u32]) -> u32 {
    let mut body = String::new();
    for (index, operand) in operands.iter().enumerate() {
        body += &format!("mov.b32 %r{}, {operand:#x};\n", index + 1);
    }
    let lanes = warp(&format!("{body}{instruction}"), &[]);
    assert!(lanes.iter().all(|&lane| lane == lanes[0]), "{instruction}: lanes differ: {lanes:x?}");
    lanes[0]
}

fn float(instruction: &str, operands: &[f32]) -> f32 {
    let operands: Vec<u32> = operands.iter().map(|operand| operand.to_bits()).collect();
    f32::from_bits(evaluate(instruction, &operands))
}

#[test]
fn integers() {
    for (instruction, operands, expected) in [
        ("add.u32 %r0, %r1, %r2;", &[u32::MAX, 2][..], 1),
        ("sub.s32 %r0, %r1, %r2;", &[3, 5], -2i32 as u32),
        ("add.s32 %r0, %r1, -7;", &[3], -4i32 as u32),
        ("mul.lo.u32 %r0, %r1, %r2;", &[0x1_0001, 0x1_0001], 0x2_0001),
        ("mul.hi.u32 %r0, %r1, %r2;", &[0x8000_0000, 6], 3),
        ("mul.hi.s32 %r0, %r1, %r2;", &[-1i32 as u32, 6], u32::MAX),
        ("mad.lo.s32 %r0, %r1, %r2, %r3;", &[-3i32 as u32, 7, 1], -20i32 as u32),
        ("div.s32 %r0, %r1, %r2;", &[-7i32 as u32, 2], -3i32 as u32),
        ("div.u32 %r0, %r1, %r2;", &[-7i32 as u32, 2], 0x7fff_fffc),
        ("rem.s32 %r0, %r1, %r2;", &[-7i32 as u32, 2], -1i32 as u32),
        ("rem.u32 %r0, %r1, 10;", &[127], 7),
        ("min.s32 %r0, %r1, %r2;", &[-1i32 as u32, 1], u32::MAX),
        ("min.u32 %r0, %r1, %r2;", &[-1i32 as u32, 1], 1),
        ("max.s32 %r0, %r1, %r2;", &[-1i32 as u32, 1], 1),
        ("max.u32 %r0, %r1, %r2;", &[-1i32 as u32, 1], u32::MAX),
        ("and.b32 %r0, %r1, %r2;", &[0b1100, 0b1010], 0b1000),
        ("or.b32 %r0, %r1, %r2;", &[0b1100, 0b1010], 0b1110),
        ("xor.b32 %r0, %r1, %r2;", &[0b1100, 0b1010], 0b0110),
        ("not.b32 %r0, %r1;", &[0xff], 0xffff_ff00),
        ("neg.s32 %r0, %r1;", &[5], -5i32 as u32),
        ("abs.s32 %r0, %r1;", &[-5i32 as u32], 5),
        ("popc.b32 %r0, %r1;", &[0xf0f0], 8),
        ("clz.b32 %r0, %r1;", &[0x0001_0000], 15),
        ("brev.b32 %r0, %r1;", &[1], 0x8000_0000),
        // Shifts by 32 or more leave nothing, or the sign.
        ("shl.b32 %r0, %r1, %r2;", &[1, 31], 0x8000_0000),
        ("shl.b32 %r0, %r1, %r2;", &[1, 32], 0),
        ("shr.u32 %r0, %r1, 4;", &[0x8000_0000], 0x0800_0000),
        ("shr.s32 %r0, %r1, 40;", &[0x8000_0000], u32::MAX),
        ("selp.b32 %r0, 1, 2, %p0;", &[], 2),
    ] {
        let instruction = if instruction.starts_with("selp") {
            format!("setp.ne.u32 %p0, %lane, %lane;\n{instruction}")
        } else {
            instruction.to_owned()
        };
        assert_eq!(evaluate(&instruction, operands), expected, "{instruction} of {operands:x?}");
    }
}

#[test]
fn bit_fields() {
    for (instruction, operands, expected) in [
        ("bfe.u32 %r0, %r1, %r2, %r3;", &[0xabcd_1234, 8, 8][..], 0x12),
        ("bfe.s32 %r0, %r1, %r2, %r3;", &[0xabcd_f234, 8, 8], 0xffff_fff2),
        ("bfe.u32 %r0, %r1, 28, 8;", &[0xabcd_1234], 0xa),
        ("bfi.b32 %r0, %r1, %r2, 8, 4;", &[0xf, 0xffff_0000], 0xffff_0f00),
        // The manual's tables: 0xF0, 0xCC and 0xAA are a, b and c.
        ("lop3.b32 %r0, %r1, %r2, %r3, 0x80;", &[0xf, 0x3c, 0xaa], 0xf & 0x3c & 0xaa),
        ("lop3.b32 %r0, %r1, %r2, %r3, 0xFE;", &[1, 2, 4], 7),
        ("lop3.b32 %r0, %r1, %r2, %r3, 0x40;", &[0xff, 0x3c, 0x0f], 0x30),
        ("lop3.b32 %r0, %r1, %r2, %r3, 0x1A;", &[0xf0, 0xcc, 0xaa], ((0xf0 & 0xcc) | 0xaa) ^ 0xf0),
        // Bytes are numbered from the lowest of a to the highest of b; 8 repeats a sign.
        ("prmt.b32 %r0, %r1, %r2, 0x5410;", &[0x3322_1100, 0x7766_5544], 0x5544_1100),
        ("prmt.b32 %r0, %r1, %r2, 0x7632;", &[0x3322_1100, 0x7766_5544], 0x7766_3322),
        ("prmt.b32 %r0, %r1, %r2, 0x000b;", &[0x8022_1101, 0], 0x0101_01ff),
        ("shf.l.wrap.b32 %r0, %r1, %r2, 8;", &[0x1122_3344, 0x5566_7788], 0x6677_8811),
        ("shf.r.wrap.b32 %r0, %r1, %r2, 8;", &[0x1122_3344, 0x5566_7788], 0x8811_2233),
        ("shf.r.clamp.b32 %r0, %r1, %r2, 99;", &[0x1122_3344, 0x5566_7788], 0x5566_7788),
    ] {
        assert_eq!(evaluate(instruction, operands), expected, "{instruction} of {operands:x?}");
    }
}

#[test]
fn double_words() {
    let low_of = |body: &str, shift: u32| {
        warp(&format!("{body}\nshr.u64 %rd9, %rd0, {shift};\ncvt.u32.u64 %r0, %rd9;"), &[])[0]
    };
    for (body, shift, expected) in [
        ("mov.b32 %r1, 0xFFFFFFFF; mul.wide.u32 %rd0, %r1, %r1;", 32, 0xffff_fffe),
        ("mov.b32 %r1, -3; mul.wide.s32 %rd0, %r1, 5;", 0, -15i32 as u32),
        ("mov.b32 %r1, -3; mov.b64 %rd1, 20; mad.wide.s32 %rd0, %r1, 5, %rd1;", 0, 5),
        ("mov.b64 %rd1, 0xFFFFFFFF; add.u64 %rd0, %rd1, 1;", 32, 1),
        ("mov.b64 %rd1, 5; sub.s64 %rd0, %rd1, 6;", 32, u32::MAX),
        ("mov.b64 %rd1, 1; shl.b64 %rd0, %rd1, 40;", 36, 16),
        ("mov.b64 %rd1, 7; mov.b64 %rd2, 6; mov.b64 %rd3, 1; mad.lo.u64 %rd0, %rd1, %rd2, %rd3;", 0, 43),
        ("mov.b32 %r1, -1; cvt.s64.s32 %rd0, %r1;", 32, u32::MAX),
        ("mov.b32 %r1, -1; cvt.u64.u32 %rd0, %r1;", 32, 0),
        ("mov.b32 %r1, 1; mov.b32 %r2, 2; mov.b64 %rd0, {%r1, %r2};", 32, 2),
        ("mov.b64 %rd1, 9; neg.s64 %rd2, %rd1; not.b64 %rd0, %rd2;", 0, 8),
        ("setp.eq.u32 %p0, %lane, %lane; mov.b64 %rd1, 4; selp.b64 %rd0, %rd1, 3, %p0;", 0, 4),
    ] {
        assert_eq!(low_of(body, shift), expected, "{body}");
    }
    assert_eq!(warp("mov.b64 %rd1, 0x500000004; mov.b64 {%r1, %r0}, %rd1;", &[])[0], 5);
    assert_eq!(warp("mov.b64 %rd1, 0x500000004; mov.b64 {%r0, _}, %rd1;", &[])[0], 4);
    assert_eq!(evaluate("mov.b32 {%h0, %h1}, %r1; mov.b32 %r0, {%h1, %h0};", &[0x1234_5678]), 0x5678_1234);
}

#[test]
fn floats() {
    let tiny = f32::from_bits(1);
    for (instruction, operands, expected) in [
        ("add.f32 %r0, %r1, %r2;", &[1.5f32, 2.25][..], 3.75f32),
        ("sub.f32 %r0, %r1, %r2;", &[1.5, 2.25], -0.75),
        ("mul.rn.f32 %r0, %r1, %r2;", &[1.5, -2.0], -3.0),
        ("div.rn.f32 %r0, %r1, %r2;", &[1.0, 3.0], 1.0 / 3.0),
        ("div.approx.f32 %r0, %r1, %r2;", &[1.0, 4.0], 0.25),
        ("min.f32 %r0, %r1, %r2;", &[f32::NAN, 2.0], 2.0),
        ("max.f32 %r0, %r1, %r2;", &[2.0, f32::NAN], 2.0),
        ("min.f32 %r0, %r1, %r2;", &[0.0, -0.0], -0.0),
        ("max.f32 %r0, %r1, %r2;", &[-0.0, 0.0], 0.0),
        ("neg.f32 %r0, %r1;", &[0.0], -0.0),
        ("abs.f32 %r0, %r1;", &[-2.5], 2.5),
        ("rcp.approx.f32 %r0, %r1;", &[4.0], 0.25),
        ("rcp.rn.f32 %r0, %r1;", &[0.0], f32::INFINITY),
        ("sqrt.rn.f32 %r0, %r1;", &[2.0], std::f32::consts::SQRT_2),
        ("rsqrt.approx.f32 %r0, %r1;", &[4.0], 0.5),
        ("ex2.approx.f32 %r0, %r1;", &[-3.0], 0.125),
        ("lg2.approx.f32 %r0, %r1;", &[32.0], 5.0),
        ("tanh.approx.f32 %r0, %r1;", &[0.0], 0.0),
        ("mul.ftz.f32 %r0, %r1, %r2;", &[tiny, 1.0], 0.0),
        ("mul.f32 %r0, %r1, %r2;", &[tiny, 1.0], tiny),
        // Below the half-way point to the next float: the product's last bits decide.
        (
            "fma.rn.f32 %r0, %r1, %r2, %r3;",
            &[1.0 + f32::EPSILON, 1.0 - f32::EPSILON, -1.0],
            -(2f32.powi(-46)),
        ),
        // Rounding the double-precision sum again would go up, to even.
        ("fma.rn.f32 %r0, %r1, %r2, %r3;", &[2f32.powi(-60), -1.0, 1.0 + f32::EPSILON], 1.0 + f32::EPSILON),
    ] {
        let actual = float(instruction, operands);
        assert_eq!(actual.to_bits(), expected.to_bits(), "{instruction} of {operands:?} gives {actual}");
    }
    assert!(float("max.NaN.f32 %r0, %r1, %r2;", &[2.0, f32::NAN]).is_nan());
}

#[test]
fn fused_multiply_add_rounds_once() {
    // 1 + 2⁻²³ + 2⁻²⁴ + 2⁻⁶⁰ lies just above half-way between two floats; in double precision it is half-way.
    let operands = [2f32.powi(-30), 2f32.powi(-30), 1.0 + 2f32.powi(-23)];
    let half_way = float("fma.rn.f32 %r0, %r1, %r2, %r3;", &operands);
    assert_eq!(half_way, 1.0 + 2f32.powi(-23));
    let [a, b, c] = [1.0 + 2f32.powi(-12), 1.0 + 2f32.powi(-12), 2f32.powi(-60)];
    // (1 + 2⁻¹²)² = 1 + 2⁻¹¹ + 2⁻²⁴: half-way, and the addend tips it.
    assert_eq!(float("fma.rn.f32 %r0, %r1, %r2, %r3;", &[a, b, c]), 1.0 + 2f32.powi(-11) + 2f32.powi(-23));
    assert_eq!(float("fma.rn.f32 %r0, %r1, %r2, %r3;", &[a, b, -c]), 1.0 + 2f32.powi(-11));
}

#[test]
fn halves() {
    // 1.5, 2 and their sums in half precision; the lower half is the second operand of a packing conversion.
    let pair = evaluate("cvt.rn.f16x2.f32 %r0, %r1, %r2;", &[1.5f32.to_bits(), 2.0f32.to_bits()]);
    assert_eq!(pair, 0x3e00_4000);
    assert_eq!(evaluate("add.rn.f16x2 %r0, %r1, %r2;", &[pair, pair]), 0x4200_4400);
    assert_eq!(evaluate("mul.f16x2 %r0, %r1, %r2;", &[pair, pair]), 0x4080_4400);
    assert_eq!(evaluate("fma.rn.f16x2 %r0, %r1, %r2, %r3;", &[pair, pair, pair]), 0x4380_4600);
    assert_eq!(evaluate("max.f16x2 %r0, %r1, 0;", &[0xc000_3c00]), 0x0000_3c00);
    // The largest half is 65504; what rounds to more is infinite. 2⁻²⁴ is the least.
    for (value, expected) in [(65504.0f32, 0x7bff), (65520.0, 0x7c00), (2f32.powi(-24), 1), (-0.0, 0x8000)] {
        let body = "cvt.rn.f16.f32 %h0, %r1; cvt.u32.u16 %r0, %h0;";
        assert_eq!(evaluate(body, &[value.to_bits()]), expected, "{value}");
    }
    assert_eq!(float("cvt.rn.f16.f32 %h0, %r1; cvt.f32.f16 %r0, %h0;", &[0.1]), 0.099_975_586);
}

#[test]
fn conversions() {
    for (instruction, operand, expected) in [
        ("cvt.rn.f32.s32 %r0, %r1;", -3i32 as u32, (-3.0f32).to_bits()),
        ("cvt.rn.f32.u32 %r0, %r1;", 0x0100_0001, 16_777_216f32.to_bits()),
        ("cvt.rzi.s32.f32 %r0, %r1;", (-2.7f32).to_bits(), -2i32 as u32),
        ("cvt.rni.s32.f32 %r0, %r1;", 2.5f32.to_bits(), 2),
        ("cvt.rmi.s32.f32 %r0, %r1;", (-2.1f32).to_bits(), -3i32 as u32),
        ("cvt.rpi.f32.f32 %r0, %r1;", 2.1f32.to_bits(), 3f32.to_bits()),
        ("cvt.rzi.u32.f32 %r0, %r1;", (-5.0f32).to_bits(), 0),
        ("cvt.rzi.s32.f32 %r0, %r1;", 1e20f32.to_bits(), i32::MAX as u32),
        ("cvt.sat.f32.f32 %r0, %r1;", 1.5f32.to_bits(), 1f32.to_bits()),
        ("cvt.s32.s16 %r0, %r1;", 0x1_8000, 0xffff_8000),
        ("cvt.u32.u16 %r0, %r1;", 0x1_8000, 0x8000),
        // tf32 keeps 10 bits of fraction; ties go away from zero.
        ("cvt.rna.tf32.f32 %r0, %r1;", 0x3f80_1000, 0x3f80_2000),
        ("cvt.rna.tf32.f32 %r0, %r1;", 0xbf80_0fff, 0xbf80_0000),
    ] {
        assert_eq!(evaluate(instruction, &[operand]), expected, "{instruction} of {operand:#x}");
    }
}

#[test]
fn comparisons() {
    let nan = f32::NAN.to_bits();
    let [one, two] = [1.0f32, 2.0].map(f32::to_bits);
    for (comparison, a, b, expected) in [
        ("lt.s32", -1i32 as u32, 1, true),
        ("lt.u32", -1i32 as u32, 1, false),
        ("lo.u32", 1, 2, true),
        ("hs.u32", 2, 2, true),
        ("ge.s32", 1, 2, false),
        ("ne.b32", 1, 2, true),
        ("gt.f32", two, one, true),
        ("lt.f32", one, nan, false),
        ("ltu.f32", one, nan, true),
        ("ne.f32", nan, nan, false),
        ("neu.f32", nan, nan, true),
        ("num.f32", one, nan, false),
        ("nan.f32", one, nan, true),
        ("eq.f32", 0, 0x8000_0000, true),
    ] {
        let body = format!("setp.{comparison} %p0, %r1, %r2; selp.b32 %r0, 1, 0, %p0;");
        assert_eq!(evaluate(&body, &[a, b]) == 1, expected, "{comparison}");
    }
    // The second destination combines the negated comparison with the same predicate.
    let body = "setp.eq.u32 %p2, %r1, 1; setp.lt.and.u32 %p0|%p1, %r1, %r2, %p2;\n\
                selp.b32 %r4, 1, 0, %p0; selp.b32 %r5, 2, 0, %p1; or.b32 %r0, %r4, %r5;";
    assert_eq!([evaluate(body, &[1, 5]), evaluate(body, &[1, 0]), evaluate(body, &[2, 5])], [1, 2, 0]);
    let body = "setp.eq.u32 %p1, %r1, 1; setp.eq.u32 %p2, %r2, 1; xor.pred %p0, %p1, %p2; not.pred %p3, %p0;\n\
                or.pred %p4, %p3, %p1; mov.pred %p5, %p4; selp.b32 %r0, 1, 0, %p5;";
    assert_eq!([evaluate(body, &[1, 1]), evaluate(body, &[1, 2]), evaluate(body, &[2, 1])], [1, 1, 0]);
}

#[test]
fn signed_zero_and_type_errors() {
    assert_eq!(evaluate("mov.f32 %r0, 0f80000000;", &[]), 0x8000_0000);
    assert_eq!(evaluate("cvta.to.global.u64 %rd0, %in; mov.u32 %r0, 1;", &[]), 1);
}
