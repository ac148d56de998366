//! Device memory: what an access must not do.

use super::{check_fault, fault, launch, warp};
use crate::emulator::{Buffer, Device, FaultKind};

#[test]
fn bytes_from_the_host() {
    let mut device = Device::new();
    let buffer: Buffer = device.allocate(16);
    device.write_bytes(buffer, 0, &[0; 12]);
    device.write_bytes(buffer, 3, &1.0f32.to_le_bytes());
    device.write_bytes(buffer, 8, &2.0f32.to_le_bytes());
    let words = device.read_floats(buffer, 0, 3).unwrap();
    assert_eq!(words.iter().map(|word| word.to_bits()).collect::<Vec<_>>(), [0, 0x003f_8000, 0x4000_0000]);
    assert_eq!(device.read_floats(buffer, 0, 4).unwrap_err().kind, FaultKind::Uninitialised);
    device.free(buffer);
}

#[test]
fn vectors_and_halves() {
    let input: Vec<u32> = (0..128).collect();
    let body = "mul.wide.u32 %rd0, %lane, 16;\nadd.u64 %rd0, %rd0, %in;\nld.global.nc.v4.b32 {%r1, %r2, %r3, %r4}, \
                [%rd0];\nadd.u32 %r0, %r1, %r2;\nadd.u32 %r0, %r0, %r3;\nadd.u32 %r0, %r0, %r4;";
    assert_eq!(warp(body, &input), (0..32).map(|lane| 16 * lane + 6).collect::<Vec<_>>());
    let body = "mul.wide.u32 %rd0, %lane, 8;\nadd.u64 %rd0, %rd0, %in;\nld.global.b64 %rd1, [%rd0+8];\n\
                mov.b64 {_, %r0}, %rd1;";
    assert_eq!(warp(body, &input), (0..32).map(|lane| 2 * lane + 3).collect::<Vec<_>>());
    let body = "mul.wide.u32 %rd0, %lane, 2;\nadd.u64 %rd0, %rd0, %in;\nld.global.s16 %r0, [%rd0];";
    let expected: Vec<u32> = (0..32).map(|lane| if lane % 2 == 0 { 0xffff_8000 } else { lane / 2 }).collect();
    let input: Vec<u32> = (0..16).map(|index| index << 16 | 0x8000).collect();
    assert_eq!(warp(body, &input), expected);
}

#[test]
fn neighbouring_halves_of_different_blocks() {
    // Block b writes half b: two blocks share each word, and no byte.
    let body = "mov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd0, %r1, 2;\nadd.u64 %rd0, %rd0, %out;\n\
                cvt.u16.u32 %h0, %r1;\nst.global.b16 [%rd0], %h0;";
    let (output, _) = launch(body, (64, 1), &[], 32).unwrap();
    assert_eq!(output, (0..32).map(|word| 0x10000 * (2 * word + 1) + 2 * word).collect::<Vec<u32>>());
}

#[test]
fn out_of_bounds() {
    check_fault("ld.global.b32 %r0, [%in+1024];", 1, FaultKind::OutOfBounds, "ld.global");
    check_fault("ld.global.b32 %r0, [%in+-4];", 1, FaultKind::OutOfBounds, "ld.global");
    check_fault("st.global.b32 [%mine+4], %tid;", 32, FaultKind::OutOfBounds, "st.global");
    check_fault("st.global.v2.b32 [%out+128], {%tid, %tid};", 32, FaultKind::OutOfBounds, "st.global");
    check_fault("mov.b64 %rd0, 64;\nld.global.b32 %r0, [%rd0];", 1, FaultKind::OutOfBounds, "ld.global");
    assert!(fault("st.global.b32 [%mine+4], %tid;", 32).problem.starts_with("lane 31:"));
}

#[test]
fn misaligned() {
    check_fault("ld.global.b32 %r0, [%in+2];", 1, FaultKind::Misaligned, "ld.global");
    check_fault("ld.global.v2.b32 {%r0, %r1}, [%in+4];", 1, FaultKind::Misaligned, "ld.global");
    check_fault("ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%in+8];", 1, FaultKind::Misaligned, "ld.global");
    check_fault("st.global.b64 [%out+4], %out;", 32, FaultKind::Misaligned, "st.global");
}

#[test]
fn stores_to_constants() {
    check_fault("st.global.b32 [%in], %tid;", 1, FaultKind::Forbidden, "st.global");
}

#[test]
fn reads_of_what_was_never_written() {
    check_fault("ld.global.b32 %r0, [%mine];", 1, FaultKind::Uninitialised, "ld.global");
    check_fault(
        "st.global.b32 [%mine], %tid;\nld.global.v2.b32 {%r0, %r1}, [%out];",
        1,
        FaultKind::OutOfBounds,
        "ld",
    );
    // The host notices as well.
    assert_eq!(fault("", 32).kind, FaultKind::Uninitialised);
}

#[test]
fn blocks_that_reach_the_same_bytes() {
    let run = |body: &str| launch(body, (2, 1), &[0; 4], 4).map(|_| ()).map_err(|fault| fault.kind);
    assert_eq!(run("st.global.b32 [%out], %tid;"), Err(FaultKind::Race));
    // Each block writes its own word, then reads the other's.
    let body = "mov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd0, %r1, 4;\nadd.u64 %rd0, %rd0, %out;\n\
                st.global.b32 [%rd0], %tid;\nxor.b32 %r1, %r1, 1;\nmul.wide.u32 %rd1, %r1, 4;\n\
                add.u64 %rd1, %rd1, %out;\nld.global.b32 %r2, [%rd1];";
    assert!(matches!(run(body), Err(FaultKind::Race | FaultKind::Uninitialised)));
}

#[test]
fn threads_that_reach_the_same_bytes() {
    check_fault("st.global.b32 [%out], %tid;", 32, FaultKind::Race, "st.global");
    let exchange = "st.global.b32 [%mine], %tid;\nbar.sync 0;\nxor.b32 %r1, %tid, 33;\n\
                    mad.wide.u32 %rd0, %r1, 4, %out;\nld.global.b32 %r0, [%rd0];\nbar.sync 0;\n\
                    st.global.b32 [%mine], %r0;";
    let (output, _) = launch(exchange, (1, 64), &[], 64).unwrap();
    assert_eq!(output, (0..64).map(|thread| thread ^ 33).collect::<Vec<_>>());
    let without = |barrier: usize| {
        let mut parts: Vec<&str> = exchange.split("bar.sync 0;").collect();
        let joined = parts[barrier..barrier + 2].concat();
        parts.splice(barrier..barrier + 2, [joined.as_str()]);
        fault(&parts.join("bar.sync 0;"), 64).kind
    };
    assert!(matches!(without(0), FaultKind::Race | FaultKind::Uninitialised));
    assert_eq!(without(1), FaultKind::Race);
}

#[test]
fn constant_loads_of_what_the_kernel_writes() {
    let body = "st.global.b32 [%mine], %tid;\nld.global.nc.b32 %r0, [%mine];";
    check_fault(body, 1, FaultKind::Race, "ld.global.nc");
}

#[test]
fn atomics() {
    let body = "setp.eq.u32 %p0, %tid, 0;\n@%p0 st.global.b32 [%out], 5;\n\
                @%p0 st.global.b32 [%out+4], 0;\nbar.sync 0;\nred.global.add.u32 [%out], 2;\n\
                atom.global.inc.u32 %r0, [%out+4], 9;\natom.global.max.u32 %r1, [%out], %r0;";
    let (output, _) = launch(body, (1, 64), &[], 2).unwrap();
    assert_eq!(output, [5 + 2 * 64, 64 % 10]);
    let body = "st.global.b32 [%out], 5;\natom.global.cas.b32 %r0, [%out], 5, 8;\n\
                atom.global.exch.b32 %r1, [%out], 0f3F800000;\nred.global.add.f32 [%out], 0f40000000;\n\
                add.u32 %r1, %r1, %r0;\nst.global.b32 [%out+4], %r1;";
    assert_eq!(launch(body, (1, 1), &[], 2).unwrap().0, [3.0f32.to_bits(), 13]);
    check_fault("red.global.add.u32 [%out], 1;", 1, FaultKind::Uninitialised, "red");
}
