//! Matrix fragments: which lane holds which element, and the products.

use half::f16;

use super::instruction::MmaShape;
use super::lanes::Lanes;

/// The value that a tensor core takes a register for: it ignores the low 13 bits.
fn tf32(bits: u32) -> f32 {
    f32::from_bits(bits & !0x1fff)
}

fn halves(bits: u32) -> [f32; 2] {
    [bits as u16, (bits >> 16) as u16].map(|bits| f16::from_bits(bits).to_f32())
}

/// `c + a · b` in f32 of a whole warp; each operand is a list of registers.
pub fn multiply_add(shape: MmaShape, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> Vec<Lanes> {
    match shape {
        MmaShape::HalfQuads { a_by_column, b_by_column } => quads(a_by_column, b_by_column, a, b, c),
        _ => tile(shape, a, b, c),
    }
}

/// The shapes of 16 rows and 8 columns. A lane is `4 * group + member`.
fn tile(shape: MmaShape, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> Vec<Lanes> {
    let mut rows = [[0.0f32; 16]; 16];
    let mut columns = [[0.0f32; 8]; 16];
    let depth = match shape {
        MmaShape::Tf32K4 => 4,
        MmaShape::HalfK16 => 16,
        _ => 8,
    };
    for lane in 0..32 {
        let (group, member) = (lane / 4, lane % 4);
        for (index, register) in a.iter().enumerate() {
            let (row, block) = (group + 8 * (index % 2), index / 2);
            if matches!(shape, MmaShape::Tf32K4 | MmaShape::Tf32K8) {
                rows[row][member + 4 * block] = tf32(register[lane]);
            } else {
                rows[row][2 * member + 8 * block..][..2].copy_from_slice(&halves(register[lane]));
            }
        }
        for (block, register) in b.iter().enumerate() {
            if matches!(shape, MmaShape::Tf32K4 | MmaShape::Tf32K8) {
                columns[member + 4 * block][group] = tf32(register[lane]);
            } else {
                let [first, second] = halves(register[lane]);
                columns[2 * member + 8 * block][group] = first;
                columns[2 * member + 8 * block + 1][group] = second;
            }
        }
    }
    let place = |lane: usize, index: usize| (lane / 4 + 8 * (index / 2), 2 * (lane % 4) + index % 2);
    let mut sums = [[0.0f32; 8]; 16];
    for lane in 0..32 {
        for (index, register) in c.iter().enumerate() {
            let (row, column) = place(lane, index);
            sums[row][column] = f32::from_bits(register[lane]);
        }
    }
    for (sums, row) in sums.iter_mut().zip(&rows) {
        for (factor, column) in row.iter().zip(&columns).take(depth) {
            for (sum, other) in sums.iter_mut().zip(column) {
                *sum += factor * other;
            }
        }
    }
    let register = |index| {
        std::array::from_fn(|lane| {
            let (row, column) = place(lane, index);
            sums[row][column].to_bits()
        })
    };
    (0..4).map(register).collect()
}

/// `m8n8k4`: four products, each by four lanes of the lower and four of the upper half-warp.
fn quads(a_by_column: bool, b_by_column: bool, a: &[&Lanes], b: &[&Lanes], c: &[&Lanes]) -> Vec<Lanes> {
    let element =
        |registers: &[&Lanes], lane: usize, index: usize| halves(registers[index / 2][lane])[index % 2];
    let mut d = vec![[0; 32]; 8];
    for quad in 0..4 {
        let lanes: Vec<usize> =
            (0..4).flat_map(|member| [4 * quad + member, 4 * quad + member + 16]).collect();
        let mut rows = [[0.0f32; 4]; 8];
        let mut columns = [[0.0f32; 8]; 4];
        for &lane in &lanes {
            let (member, half) = (lane % 4, 4 * (lane / 16));
            for index in 0..4 {
                let (row, k) = if a_by_column { (index + half, member) } else { (member + half, index) };
                rows[row][k] = element(a, lane, index);
                let (k, column) = if b_by_column { (index, member + half) } else { (member, index + half) };
                columns[k][column] = element(b, lane, index);
            }
        }
        for &lane in &lanes {
            for index in 0..8 {
                let row = (lane & 1) + (index & 2) + 4 * (lane / 16);
                let column = (index & 4) + (lane & 2) + (index & 1);
                let start = f32::from_bits(c[index][lane]);
                let sum = (0..4).fold(start, |sum, k| sum + rows[row][k] * columns[k][column]);
                d[index][lane] = sum.to_bits();
            }
        }
    }
    d
}

/// One 8×8 matrix of halves, given by its rows, as `ldmatrix` hands it to the lanes.
pub fn distribute(rows: &[[u16; 8]; 8], transposed: bool) -> Lanes {
    std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, 2 * (lane % 4));
        let element = |column: usize| if transposed { rows[column][row] } else { rows[row][column] };
        u32::from(element(column)) | u32::from(element(column + 1)) << 16
    })
}
