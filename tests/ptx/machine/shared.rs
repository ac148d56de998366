//! Shared memory: races, bounds, alignment, and what was never written.

use super::{check_fault, launch};
use crate::emulator::FaultKind;

/// A tile of 64 words, `%r1` this thread's place in it and `%r2` that of the thread of the other half.
const TILE: &str = ".shared .align 16 .b8 tile[256];\nmov.u32 %r9, tile;\nmad.lo.u32 %r1, %tid, 4, %r9;\n\
                    xor.b32 %r8, %tid, 32;\nmad.lo.u32 %r2, %r8, 4, %r9;\nxor.b32 %r8, %tid, 1;\n\
                    mad.lo.u32 %r3, %r8, 4, %r9;\n";

fn check(body: &str, kind: FaultKind, at: &str) {
    check_fault(&format!("{TILE}{body}"), 64, kind, at);
}

#[test]
fn threads_hand_on_values_behind_a_barrier() {
    let body = format!(
        "{TILE}st.shared.b32 [%r1], %tid;\nbar.sync 0;\nld.shared.b32 %r0, [%r2];\n\
                        st.global.b32 [%mine], %r0;"
    );
    let (output, counts) = launch(&body, (1, 64), &[], 64).unwrap();
    assert_eq!(output, (0..64).map(|thread| thread ^ 32).collect::<Vec<_>>());
    assert_eq!(counts.barriers, 1);
}

#[test]
fn blocks_do_not_see_each_others_shared_memory() {
    // Block 0 writes; all others find their memory uninitialised.
    let body = format!(
        "{TILE}mov.u32 %r4, %ctaid.x;\nsetp.eq.u32 %p0, %r4, 0;\n@%p0 st.shared.b32 [%r1], %tid;\n\
                        ld.shared.b32 %r0, [%r1];"
    );
    let fault = launch(&body, (2, 64), &[], 64).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Uninitialised);
    assert!(fault.place.contains("block [1, 0, 0]"), "{fault}");
}

#[test]
fn a_missing_barrier_between_write_and_read() {
    check("st.shared.b32 [%r1], %tid;\nld.shared.b32 %r0, [%r2];", FaultKind::Uninitialised, "ld.shared");
    // Warp 1 runs behind warp 0 here, on a GPU perhaps before it.
    let body = "st.shared.b32 [%r1], %tid;\nsetp.ge.u32 %p0, %tid, 32;\n@%p0 ld.shared.b32 %r0, [%r2];";
    check(body, FaultKind::Race, "ld.shared");
}

#[test]
fn a_missing_barrier_between_read_and_write() {
    let body = "st.shared.b32 [%r1], %tid;\nbar.sync 0;\nsetp.ge.u32 %p0, %tid, 32;\n\
                @!%p0 ld.shared.b32 %r0, [%r2];\n@%p0 st.shared.b32 [%r1], 0;";
    check(body, FaultKind::Race, "st.shared.b32 [%r1], 0");
}

#[test]
fn two_writes() {
    check("st.shared.b32 [%r9], %tid;", FaultKind::Race, "st.shared");
    // One barrier is enough, also for the same address.
    let body = "setp.eq.u32 %p0, %tid, 3;\nsetp.eq.u32 %p1, %tid, 40;\n@%p0 st.shared.b32 [%r9], 3;\nbar.sync 0;\n\
                @%p1 st.shared.b32 [%r9], 40;\nbar.sync 0;\nld.shared.b32 %r0, [%r9];";
    let body = format!("{TILE}{body}\nst.global.b32 [%mine], %r0;");
    assert_eq!(launch(&body, (1, 64), &[], 64).unwrap().0, [40; 64]);
}

#[test]
fn lanes_of_a_warp_are_not_in_step() {
    check("st.shared.b32 [%r1], %tid;\nld.shared.b32 %r0, [%r3];", FaultKind::Race, "ld.shared");
    let body = format!(
        "{TILE}st.shared.b32 [%r1], %tid;\nbar.warp.sync -1;\nld.shared.b32 %r0, [%r3];\n\
                        st.global.b32 [%mine], %r0;"
    );
    let output = launch(&body, (1, 64), &[], 64).unwrap().0;
    assert_eq!(output, (0..64).map(|thread| thread ^ 1).collect::<Vec<_>>());
}

#[test]
fn a_barrier_of_a_warp_orders_no_other() {
    let body = "st.shared.b32 [%r1], %tid;\nbar.warp.sync -1;\nsetp.ge.u32 %p0, %tid, 32;\n\
                @%p0 ld.shared.b32 %r0, [%r2];";
    check(body, FaultKind::Race, "ld.shared");
}

#[test]
fn many_readers_and_a_writer() {
    // Both warps read word 0, then thread 0, which wrote it, writes it again.
    let body = "setp.eq.u32 %p0, %tid, 0;\n@%p0 st.shared.b32 [%r9], 1;\nbar.sync 0;\nld.shared.b32 %r0, [%r9];\n\
                @%p0 st.shared.b32 [%r9], 2;";
    // Warp 0 writes before warp 1 reads: which of them is late depends on the turns.
    check(body, FaultKind::Race, "shared.b32");
}

#[test]
fn bounds_alignment_and_uninitialised_bytes() {
    check("ld.shared.b32 %r0, [%r9+256];", FaultKind::OutOfBounds, "ld.shared");
    check("ld.shared.b32 %r0, [%r9+-4];", FaultKind::OutOfBounds, "ld.shared");
    check("st.shared.v4.b32 [%r9+8], {%tid, %tid, %tid, %tid};", FaultKind::Misaligned, "st.shared");
    check("ld.shared.b32 %r0, [%r1];", FaultKind::Uninitialised, "ld.shared");
    check("st.shared.b16 [%r1], %h0;", FaultKind::UndefinedRegister, "st.shared");
    // A half of the word is not enough.
    let body = "cvt.u16.u32 %h0, %tid;\nst.shared.b16 [%r1], %h0;\nld.shared.b32 %r0, [%r1];";
    check(body, FaultKind::Uninitialised, "ld.shared");
}

#[test]
fn halves_of_a_word_belong_to_different_threads() {
    let body = "mad.lo.u32 %r4, %tid, 2, %r9;\ncvt.u16.u32 %h0, %tid;\nst.shared.b16 [%r4], %h0;\nbar.sync 0;\n\
                shr.u32 %r5, %tid, 1;\nmad.lo.u32 %r5, %r5, 4, %r9;\nld.shared.b32 %r0, [%r5];";
    let body = format!("{TILE}{body}\nst.global.b32 [%mine], %r0;");
    let output = launch(&body, (1, 64), &[], 64).unwrap().0;
    assert_eq!(output[6], 7 << 16 | 6);
}
