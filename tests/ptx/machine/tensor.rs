//! Matrix fragments, as the manual's section on each shape lays them out.
//!
//! The tables below are the manual's formulas for the row and column of the fragment's element `i` in a lane; each
//! product is formed from matrices that they scatter over the lanes, and compared with the sum written out.

use half::f16;

use super::{check_fault, launch, warp};
use crate::emulator::FaultKind;

/// The row and column of element `i` in a lane.
type Layout = fn(lane: usize, i: usize) -> (usize, usize);

struct Shape {
    instruction: &'static str,
    /// Rows, columns, depth.
    extent: [usize; 3],
    /// Elements of a, b and c in a lane; of halves two share a register.
    elements: [usize; 3],
    halves: bool,
    a: Layout,
    b: Layout,
    c: Layout,
}

fn group(lane: usize) -> usize {
    lane >> 2
}

fn member(lane: usize) -> usize {
    lane % 4
}

fn accumulator(lane: usize, i: usize) -> (usize, usize) {
    (if i < 2 { group(lane) } else { group(lane) + 8 }, member(lane) * 2 + (i & 1))
}

const SHAPES: [Shape; 4] = [
    Shape {
        instruction: "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
        extent: [16, 8, 8],
        elements: [4, 2, 4],
        halves: false,
        a: |lane, i| {
            (
                if i == 0 || i == 2 { group(lane) } else { group(lane) + 8 },
                if i < 2 { member(lane) } else { member(lane) + 4 },
            )
        },
        b: |lane, i| (if i == 0 { member(lane) } else { member(lane) + 4 }, group(lane)),
        c: accumulator,
    },
    Shape {
        instruction: "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32",
        extent: [16, 8, 4],
        elements: [2, 1, 4],
        halves: false,
        a: |lane, i| (if i == 0 { group(lane) } else { group(lane) + 8 }, member(lane)),
        b: |lane, _| (member(lane), group(lane)),
        c: accumulator,
    },
    Shape {
        instruction: "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
        extent: [16, 8, 16],
        elements: [8, 4, 4],
        halves: true,
        a: |lane, i| {
            (
                if i < 2 || (4..6).contains(&i) { group(lane) } else { group(lane) + 8 },
                if i < 4 { member(lane) * 2 + (i & 1) } else { member(lane) * 2 + (i & 1) + 8 },
            )
        },
        b: |lane, i| {
            (if i < 2 { member(lane) * 2 + (i & 1) } else { member(lane) * 2 + (i & 1) + 8 }, group(lane))
        },
        c: accumulator,
    },
    Shape {
        instruction: "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32",
        extent: [16, 8, 8],
        elements: [4, 2, 4],
        halves: true,
        a: |lane, i| (if i < 2 { group(lane) } else { group(lane) + 8 }, member(lane) * 2 + (i & 1)),
        b: |lane, i| (member(lane) * 2 + i, group(lane)),
        c: accumulator,
    },
];

/// Small whole numbers, different everywhere.
fn element(seed: usize, row: usize, column: usize) -> f32 {
    ((row * 37 + column * 11 + seed * 5) % 17) as f32 - 8.0
}

/// The registers of each lane, one after the other, as words in memory.
fn scatter(layout: Layout, elements: usize, halves: bool, seed: usize) -> Vec<u32> {
    let mut words = Vec::new();
    for lane in 0..32 {
        let values: Vec<f32> = (0..elements)
            .map(|i| {
                let (row, column) = layout(lane, i);
                element(seed, row, column)
            })
            .collect();
        if halves {
            let bits = |value: f32| u32::from(f16::from_f32(value).to_bits());
            words.extend(values.chunks(2).map(|pair| bits(pair[0]) | bits(pair[1]) << 16));
        } else {
            words.extend(values.iter().map(|value| value.to_bits()));
        }
    }
    words
}

/// Text that loads a fragment from `%in` plus an offset, and the braces that name its registers.
fn load(prefix: &str, first: usize, count: usize, offset: usize) -> (String, String) {
    let names: Vec<String> = (first..first + count).map(|index| format!("%{prefix}{index}")).collect();
    let mut text = format!("mad.wide.u32 %rd0, %lane, {}, %in;\n", 4 * count);
    for (index, name) in names.iter().enumerate() {
        text += &format!("ld.global.b32 {name}, [%rd0+{}];\n", 4 * (offset + index));
    }
    (text, format!("{{{}}}", names.join(", ")))
}

#[test]
fn fragments_lie_as_the_manual_says() {
    for shape in &SHAPES {
        let registers = |elements: usize| if shape.halves { elements / 2 } else { elements };
        let [a, b, c] = [
            scatter(shape.a, shape.elements[0], shape.halves, 1),
            scatter(shape.b, shape.elements[1], shape.halves, 2),
            scatter(shape.c, shape.elements[2], false, 3),
        ];
        let counts = [registers(shape.elements[0]), registers(shape.elements[1]), shape.elements[2]];
        let (load_a, name_a) = load("r", 0, counts[0], 0);
        let (load_b, name_b) = load("r", 8, counts[1], a.len());
        let (load_c, name_c) = load("f", 0, counts[2], a.len() + b.len());
        let mut body = format!(
            "{load_a}{load_b}{load_c}{} {name_c}, {name_a}, {name_b}, {name_c};\n",
            shape.instruction
        );
        body += "mad.wide.u32 %rd1, %lane, 16, %out;\nst.global.v4.f32 [%rd1], {%f0, %f1, %f2, %f3};";
        let (output, _) = launch(&body, (1, 32), &[a, b, c].concat(), 128).unwrap();
        for lane in 0..32 {
            for i in 0..4 {
                let (row, column) = (shape.c)(lane, i);
                let product = |k| element(1, row, k) * element(2, k, column);
                let expected = element(3, row, column) + (0..shape.extent[2]).map(product).sum::<f32>();
                let actual = f32::from_bits(output[4 * lane + i]);
                assert_eq!(actual, expected, "{} at row {row}, column {column}", shape.instruction);
            }
        }
    }
}

/// `m8n8k4`: lanes 4 q … 4 q + 3 and 16 more form one product.
#[test]
fn quads_lie_as_the_manual_says() {
    let upper = |lane: usize| if lane < 16 { 0 } else { 4 };
    for (a_layout, b_layout) in [("row", "col"), ("row", "row"), ("col", "col"), ("col", "row")] {
        let a = |lane: usize, i: usize| match a_layout {
            "row" => (lane % 4 + upper(lane), i),
            _ => (i % 4 + upper(lane), lane % 4),
        };
        let b = |lane: usize, i: usize| match b_layout {
            "row" => (lane % 4, i + upper(lane)),
            _ => (i, lane % 4 + upper(lane)),
        };
        let c = |lane: usize, i: usize| ((lane & 1) + (i & 2) + upper(lane), (i & 4) + (lane & 2) + (i & 1));
        // Each of the four products has matrices of its own.
        let quad = |lane: usize| lane % 16 / 4;
        let mut input = Vec::new();
        for (seed, layout) in [(1, &a as &dyn Fn(usize, usize) -> (usize, usize)), (2, &b)] {
            for lane in 0..32 {
                for i in [0, 2] {
                    let value = |i| {
                        let (row, column) = layout(lane, i);
                        u32::from(f16::from_f32(element(seed + 10 * quad(lane), row, column)).to_bits())
                    };
                    input.push(value(i) | value(i + 1) << 16);
                }
            }
        }
        let (load_a, name_a) = load("r", 0, 2, 0);
        let (load_b, name_b) = load("r", 8, 2, 64);
        let zeros: String = (0..8).map(|index| format!("mov.f32 %f{index}, 0f3F800000;\n")).collect();
        let name_c = "{%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}";
        let body = format!(
            "{load_a}{load_b}{zeros}mma.sync.aligned.m8n8k4.{a_layout}.{b_layout}.f32.f16.f16.f32 \
             {name_c}, {name_a}, {name_b}, {name_c};\nmad.wide.u32 %rd1, %lane, 32, %out;\n\
             st.global.v4.f32 [%rd1], {{%f0, %f1, %f2, %f3}};\nst.global.v4.f32 [%rd1+16], {{%f4, %f5, %f6, %f7}};"
        );
        let (output, _) = launch(&body, (1, 32), &input, 256).unwrap();
        for lane in 0..32 {
            for i in 0..8 {
                let (row, column) = c(lane, i);
                let seed = 10 * quad(lane);
                let product = |k| element(1 + seed, row, k) * element(2 + seed, k, column);
                let expected = 1.0 + (0..4).map(product).sum::<f32>();
                let actual = f32::from_bits(output[8 * lane + i]);
                assert_eq!(actual, expected, "{a_layout}.{b_layout}, lane {lane}, element {i}");
            }
        }
    }
}

#[test]
fn tf32_inputs_lose_their_low_bits() {
    // 1 + 2⁻¹⁰ is a tf32 number; what lies below its last bit does not count, in either operand.
    let low = 0x1fff;
    let value = 1.0f32.to_bits() + 0x2000;
    let body = format!(
        "mov.b32 %r1, {:#x};\nmov.f32 %f0, 0f00000000;\n\
         mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {{%f0, %f1, %f2, %f3}}, {{%r1, %r1, %r1, %r1}}, \
         {{%r1, %r1}}, {{%f0, %f0, %f0, %f0}};\nmov.b32 %r0, %f0;",
        value | low
    );
    let expected = 8.0 * f32::from_bits(value) * f32::from_bits(value);
    assert_eq!(warp(&body, &[]), [expected.to_bits(); 32]);
}

/// Matrices of 16 × 16 halves in shared memory, element `16 row + column` in each place.
const MATRIX: &str = ".shared .align 16 .b8 tile[512];\nmov.u32 %r9, tile;\nmad.lo.u32 %r1, %lane, 16, %r9;\n\
                      mul.lo.u32 %r2, %lane, 8;\nadd.u32 %r3, %r2, 1;\nmad.lo.u32 %r4, %r3, 65536, %r2;\n\
                      add.u32 %r5, %r4, 0x20002;\nadd.u32 %r6, %r4, 0x40004;\nadd.u32 %r7, %r4, 0x60006;\n\
                      st.shared.v4.b32 [%r1], {%r4, %r5, %r6, %r7};\nbar.sync 0;\n";

#[test]
fn ldmatrix_hands_out_rows() {
    // Lane l gives the address of row l % 8 of matrix l / 8; matrices side by side, then below.
    let address = "and.b32 %r10, %lane, 15;\nshr.u32 %r11, %lane, 4;\nmul.lo.u32 %r10, %r10, 32;\n\
                   mad.lo.u32 %r10, %r11, 16, %r10;\nadd.u32 %r10, %r10, %r9;\n";
    for transposed in [false, true] {
        for (count, names) in [(1, "%r20"), (2, "%r20, %r21"), (4, "%r20, %r21, %r22, %r23")] {
            let suffix = if transposed { ".trans" } else { "" };
            let mut body = format!(
                "{MATRIX}{address}ldmatrix.sync.aligned.m8n8.x{count}{suffix}.shared.b16 {{{names}}}, [%r10];\n\
                 mad.wide.u32 %rd1, %lane, {}, %out;\n",
                4 * count
            );
            for matrix in 0..count {
                body += &format!("st.global.b32 [%rd1+{}], %r{};\n", 4 * matrix, 20 + matrix);
            }
            let (output, _) = launch(&body, (1, 32), &[], 32 * count).unwrap();
            for lane in 0..32 {
                for matrix in 0..count {
                    // Matrices 0 and 1 are the left rows 0 … 7 and 8 … 15; 2 and 3 the right ones.
                    let (top, left) = (8 * (matrix % 2), 8 * (matrix / 2));
                    let place = |i: usize| match (lane / 4, 2 * (lane % 4) + i) {
                        (column, row) if transposed => (top + row, left + column),
                        (row, column) => (top + row, left + column),
                    };
                    let value = |i| {
                        let (row, column) = place(i);
                        (16 * row + column) as u32
                    };
                    let expected = value(0) | value(1) << 16;
                    assert_eq!(
                        output[count * lane + matrix],
                        expected,
                        "x{count}{suffix}, lane {lane}, {matrix}"
                    );
                }
            }
        }
    }
}

#[test]
fn ldmatrix_faults() {
    let load = "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r20}, [%r10];";
    let check = |body: String, kind| check_fault(&body, 32, kind, "ldmatrix");
    check(format!("{MATRIX}mad.lo.u32 %r10, %lane, 8, %r9;\n{load}"), FaultKind::Misaligned);
    check(format!("{MATRIX}mad.lo.u32 %r10, %lane, 80, %r9;\n{load}"), FaultKind::OutOfBounds);
    check(
        format!("{}mad.lo.u32 %r10, %lane, 16, %r9;\n{load}", MATRIX.replace("bar.sync 0;\n", "")),
        FaultKind::Race,
    );
    check(
        format!("{MATRIX}mov.u32 %r10, %r9;\nsetp.lt.u32 %p0, %lane, 8;\n@%p0 {load}"),
        FaultKind::Divergence,
    );
}

#[test]
fn products_of_part_of_a_warp() {
    let body = "setp.lt.u32 %p0, %lane, 31;\nmov.b32 %r1, 0;\nmov.f32 %f0, 0f00000000;\n\
                @%p0 mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r1, %r1}, {%r1}, \
                {%f0, %f0, %f0, %f0};";
    check_fault(body, 32, FaultKind::Divergence, "mma");
}
