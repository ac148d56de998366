//! Asynchronous copies: they must be waited for, then made visible to other threads.

use super::{check_fault, launch};
use crate::emulator::FaultKind;

/// Each of 64 threads copies a word to its place `%r1`, from `%rd0`; `%r2` is the place of the other warp's thread.
const COPY: &str = ".shared .align 16 .b8 tile[1024];\nmov.u32 %r9, tile;\nmad.lo.u32 %r1, %tid, 4, %r9;\n\
                    xor.b32 %r8, %tid, 32;\nmad.lo.u32 %r2, %r8, 4, %r9;\nmad.wide.u32 %rd0, %tid, 4, %in;\n";

fn check(body: &str, kind: FaultKind, at: &str) {
    check_fault(&format!("{COPY}{body}"), 64, kind, at);
}

fn run(body: &str) -> Vec<u32> {
    let input: Vec<u32> = (0..256).map(|index| 1000 + index).collect();
    let body = format!("{COPY}{body}\nst.global.b32 [%mine], %r0;");
    launch(&body, (1, 64), &input, 64).map_or_else(|fault| panic!("{fault}"), |result| result.0)
}

#[test]
fn a_copy_that_is_waited_for_arrives() {
    let body = "cp.async.ca.shared.global [%r1], [%rd0], 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\n\
                bar.sync 0;\nld.shared.b32 %r0, [%r2];";
    assert_eq!(run(body), (0..64).map(|thread| 1000 + (thread ^ 32)).collect::<Vec<_>>());
    // A thread sees its own copies without a barrier.
    let body = "cp.async.ca.shared.global [%r1], [%rd0], 4;\ncp.async.wait_all;\nld.shared.b32 %r0, [%r1];";
    assert_eq!(run(body), (0..64).map(|thread| 1000 + thread).collect::<Vec<_>>());
}

#[test]
fn a_missing_wait() {
    let body = "cp.async.ca.shared.global [%r1], [%rd0], 4;\ncp.async.commit_group;\nbar.sync 0;\n\
                ld.shared.b32 %r0, [%r2];";
    check(body, FaultKind::NotWaitedFor, "ld.shared");
}

#[test]
fn a_missing_commit() {
    let body = "cp.async.ca.shared.global [%r1], [%rd0], 4;\ncp.async.wait_group 0;\nbar.sync 0;\n\
                ld.shared.b32 %r0, [%r1];";
    check(body, FaultKind::NotWaitedFor, "ld.shared");
}

#[test]
fn a_missing_barrier() {
    let body = "cp.async.ca.shared.global [%r1], [%rd0], 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\n\
                setp.ge.u32 %p0, %tid, 32;\n@%p0 ld.shared.b32 %r0, [%r2];";
    check(body, FaultKind::Race, "ld.shared");
}

#[test]
fn groups_are_awaited_in_order() {
    let two = "cp.async.ca.shared.global [%r1], [%rd0], 4;\ncp.async.commit_group;\n\
               cp.async.ca.shared.global [%r1+256], [%rd0+256], 4;\ncp.async.commit_group;\n";
    let first = "cp.async.wait_group 1;\nbar.sync 0;\nld.shared.b32 %r0, [%r2];";
    assert_eq!(run(&format!("{two}{first}"))[0], 1032);
    let second = "cp.async.wait_group 1;\nbar.sync 0;\nld.shared.b32 %r0, [%r2+256];";
    check(&format!("{two}{second}"), FaultKind::NotWaitedFor, "ld.shared");
    let both = "cp.async.wait_group 0;\nbar.sync 0;\nld.shared.b32 %r0, [%r2+256];";
    assert_eq!(run(&format!("{two}{both}"))[0], 1096);
}

#[test]
fn a_copy_over_what_others_still_read() {
    let body = "st.shared.b32 [%r1], %tid;\nbar.sync 0;\nsetp.ge.u32 %p0, %tid, 32;\n\
                @!%p0 ld.shared.b32 %r0, [%r2];\n@%p0 cp.async.ca.shared.global [%r1], [%rd0], 4;";
    check(body, FaultKind::Race, "cp.async");
    // The other way round, the copy may have arrived or not.
    let body = body.replace("@!%p0", "@%p1").replace("@%p0", "@!%p0").replace("@%p1", "@%p0");
    check(&body, FaultKind::NotWaitedFor, "ld.shared");
}

#[test]
fn a_store_over_a_copy_under_way() {
    let body = "cp.async.ca.shared.global [%r1], [%rd0], 4;\nst.shared.b32 [%r1], %tid;";
    check(body, FaultKind::NotWaitedFor, "st.shared");
}

#[test]
fn fewer_bytes_are_filled_with_zeros() {
    // Thread t copies t % 5 words of 4 … 16 bytes; of the 16 bytes the last word tells.
    let body = "mad.lo.u32 %r1, %tid, 16, %r9;\nmad.wide.u32 %rd0, %tid, 16, %in;\nand.b32 %r3, %tid, 1;\n\
                mul.lo.u32 %r3, %r3, 16;\ncp.async.cg.shared.global [%r1], [%rd0], 16, %r3;\n\
                cp.async.commit_group;\ncp.async.wait_group 0;\nld.shared.b32 %r0, [%r1+12];";
    let expected: Vec<u32> =
        (0..64).map(|thread| if thread % 2 == 1 { 1003 + 4 * thread } else { 0 }).collect();
    assert_eq!(run(body), expected);
    let body = body.replace("16, %r3", "16, 8").replace("[%r1+12]", "[%r1+4]");
    assert_eq!(run(&body), (0..64).map(|thread| 1001 + 4 * thread).collect::<Vec<_>>());
}

#[test]
fn nothing_is_read_where_nothing_is_copied() {
    let body = "add.u64 %rd0, %rd0, 65536;\ncp.async.ca.shared.global [%r1], [%rd0], 4, 0;\ncp.async.wait_all;\n\
                ld.shared.b32 %r0, [%r1];";
    assert_eq!(run(body), [0; 64]);
    let body = body.replace(", 0;", ", 4;");
    check(&body, FaultKind::OutOfBounds, "cp.async");
}

#[test]
fn sizes_and_alignment() {
    check("cp.async.ca.shared.global [%r1], [%rd0], 4, 8;", FaultKind::Undefined, "cp.async");
    check("cp.async.cg.shared.global [%r9+8], [%in], 16;", FaultKind::Misaligned, "cp.async");
    check("cp.async.cg.shared.global [%r9], [%in+8], 16;", FaultKind::Misaligned, "cp.async");
    check("cp.async.cg.shared.global [%r9], [%in+8], 16, 0;", FaultKind::Misaligned, "cp.async");
    check("cp.async.ca.shared.global [%r9+1024], [%in], 4;", FaultKind::OutOfBounds, "cp.async");
}

#[test]
fn groups_of_some_lanes() {
    let body = "setp.eq.u32 %p0, %lane, 0;\n@%p0 cp.async.commit_group;";
    check(body, FaultKind::Divergence, "commit_group");
}
