//! Branches, divergence, barriers, and programs that do not end.

use super::{check_fault, launch, text, warp};
use crate::emulator::{FaultKind, Module};

#[test]
fn diverged_lanes_run_their_own_ways_and_meet_again() {
    // Even lanes take one way, odd ones the other; behind it a shuffle needs them all.
    let body = "and.b32 %r1, %lane, 1;\nsetp.eq.u32 %p0, %r1, 0;\n@%p0 bra EVEN;\nmov.u32 %r2, 100;\nbra DONE;\n\
                EVEN:\nmov.u32 %r2, 200;\nDONE:\nshfl.sync.bfly.b32 %r0, %r2, 1, 31, -1;";
    let expected: Vec<u32> = (0..32).map(|lane| if lane % 2 == 0 { 100 } else { 200 }).collect();
    assert_eq!(warp(body, &[]), expected);
}

#[test]
fn loops_of_different_length() {
    // Lane n adds 1 … n, with a nested branch that skips multiples of three.
    let body = "mov.u32 %r0, 0;\nmov.u32 %r1, 0;\nLOOP:\nsetp.ge.u32 %p0, %r1, %lane;\n@%p0 bra END;\n\
                add.u32 %r1, %r1, 1;\nrem.u32 %r2, %r1, 3;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 bra LOOP;\n\
                add.u32 %r0, %r0, %r1;\nbra LOOP;\nEND:\nvote.sync.all.pred %p2, %p0, 0xffffffff;";
    let expected: Vec<u32> = (0..32).map(|lane| (1..=lane).filter(|n| n % 3 != 0).sum()).collect();
    assert_eq!(warp(body, &[]), expected);
}

#[test]
fn guards_leave_other_lanes_alone() {
    let body =
        "setp.lt.u32 %p0, %lane, 5;\nmov.u32 %r0, 7;\n@%p0 mov.u32 %r0, 1;\n@!%p0 add.u32 %r0, %r0, 1;";
    let expected: Vec<u32> = (0..32).map(|lane| if lane < 5 { 1 } else { 8 }).collect();
    assert_eq!(warp(body, &[]), expected);
}

#[test]
fn lanes_that_exit_do_nothing_more() {
    let body = "setp.ge.u32 %p0, %lane, 8;\nmov.u32 %r0, 3;\nst.global.b32 [%mine], %r0;\n@%p0 exit;\n\
                st.global.b32 [%mine], %lane;";
    let (output, _) = launch(body, (1, 32), &[], 32).unwrap();
    let expected: Vec<u32> = (0..32).map(|lane| if lane < 8 { lane } else { 3 }).collect();
    assert_eq!(output, expected);
}

#[test]
fn coordinates() {
    // Blocks of 40 threads: the last warp has eight.
    let body = "mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %ntid.x;\nmad.lo.u32 %r0, %r1, %r2, %tid;\n\
                mad.wide.u32 %rd0, %r0, 4, %out;\nmov.u32 %r3, %nctaid.x;\nshl.b32 %r3, %r3, 16;\n\
                mov.u32 %r4, %warpid;\nmad.lo.u32 %r3, %r4, 256, %r3;\nadd.u32 %r3, %r3, %lane;\n\
                st.global.b32 [%rd0], %r3;";
    let (output, counts) = launch(body, (3, 40), &[], 120).unwrap();
    for (index, &word) in output.iter().enumerate() {
        let thread = index as u32 % 40;
        assert_eq!(word, 0x30000 + 0x100 * (thread / 32) + thread % 32, "thread {index}");
    }
    assert!(counts.warp_instructions > 6 * 10 && counts.barriers == 0, "{counts:?}");
}

#[test]
fn a_barrier_that_some_lanes_miss() {
    let body = "setp.lt.u32 %p0, %lane, 16;\n@%p0 bra SKIP;\nbar.sync 0;\nSKIP:";
    check_fault(body, 32, FaultKind::Divergence, "bar.sync");
    let body = "setp.lt.u32 %p0, %lane, 16;\n@%p0 bar.sync 0;";
    check_fault(body, 32, FaultKind::Divergence, "bar.sync");
}

#[test]
fn a_barrier_that_a_warp_misses() {
    let body = "setp.ge.u32 %p0, %tid, 32;\n@%p0 ret;\nbar.sync 0;";
    check_fault(body, 64, FaultKind::Divergence, "bar.sync");
}

#[test]
fn a_barrier_behind_an_exit_of_some_lanes() {
    check_fault("setp.eq.u32 %p0, %lane, 9;\n@%p0 ret;\nbar.sync 0;", 32, FaultKind::Divergence, "bar.sync");
}

#[test]
fn a_uniform_branch_that_is_not() {
    let body = "setp.lt.u32 %p0, %lane, 16;\n@%p0 bra.uni NEXT;\nNEXT:\nmov.u32 %r0, 1;";
    check_fault(body, 32, FaultKind::Divergence, "bra.uni");
}

#[test]
fn an_endless_loop() {
    check_fault("LOOP:\nadd.u32 %n, %n, 1;\nbra LOOP;", 32, FaultKind::Endless, "");
}

#[test]
fn a_trap() {
    check_fault("setp.eq.u32 %p0, %lane, 31;\n@%p0 trap;", 32, FaultKind::Undefined, "trap");
}

#[test]
fn a_register_that_holds_nothing() {
    check_fault("add.u32 %r0, %r1, 1;", 32, FaultKind::UndefinedRegister, "add.u32");
    let body = "setp.lt.u32 %p0, %lane, 31;\n@%p0 mov.u32 %r1, 1;\nadd.u32 %r0, %r1, 1;";
    check_fault(body, 32, FaultKind::UndefinedRegister, "add.u32 %r0");
    check_fault("@%p0 mov.u32 %r1, 1;", 32, FaultKind::UndefinedRegister, "@%p0");
    check_fault("cvt.u32.u64 %r0, %rd0;", 32, FaultKind::UndefinedRegister, "cvt");
}

#[test]
fn a_kernel_without_end() {
    let text = text("").replace("ret;", "");
    assert!(Module::parse(&text).is_ok());
    let fault = super::fault_of_text(&text);
    assert_eq!(fault.kind, FaultKind::Undefined, "{fault}");
}
