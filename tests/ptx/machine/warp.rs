//! Instructions of a whole warp.

use super::{check_fault, warp};
use crate::emulator::FaultKind;

#[test]
fn shuffles() {
    let lanes = |f: fn(u32) -> u32| (0..32).map(f).collect::<Vec<_>>();
    for (instruction, expected) in [
        ("shfl.sync.bfly.b32 %r0, %lane, 16, 31, -1;", lanes(|lane| lane ^ 16)),
        ("shfl.sync.down.b32 %r0, %lane, 4, 31, -1;", lanes(|lane| if lane < 28 { lane + 4 } else { lane })),
        ("shfl.sync.up.b32 %r0, %lane, 4, 0, -1;", lanes(|lane| if lane >= 4 { lane - 4 } else { lane })),
        ("shfl.sync.idx.b32 %r0, %lane, 7, 31, -1;", lanes(|_| 7)),
        // Segments of 8 lanes: the mask of the upper bits is 24.
        ("shfl.sync.idx.b32 %r0, %lane, 2, 0x181F, -1;", lanes(|lane| lane / 8 * 8 + 2)),
        (
            "shfl.sync.down.b32 %r0, %lane, 3, 0x181F, -1;",
            lanes(|lane| if lane % 8 < 5 { lane + 3 } else { lane }),
        ),
    ] {
        assert_eq!(warp(instruction, &[]), expected, "{instruction}");
    }
    let body = "shfl.sync.down.b32 %r1|%p0, %lane, 4, 31, -1;\nselp.b32 %r0, 1, 0, %p0;";
    assert_eq!(warp(body, &[]), (0..32).map(|lane| u32::from(lane < 28)).collect::<Vec<_>>());
}

#[test]
fn a_sum_over_a_warp() {
    let step =
        |offset: u32| format!("shfl.sync.bfly.b32 %r1, %r0, {offset}, 31, -1;\nadd.u32 %r0, %r0, %r1;\n");
    let body: String = [16, 8, 4, 2, 1].map(step).concat();
    assert_eq!(warp(&format!("mov.u32 %r0, %lane;\n{body}"), &[]), [31 * 16; 32]);
}

#[test]
fn votes() {
    let body = "setp.lt.u32 %p0, %lane, 5;\nvote.sync.ballot.b32 %r0, %p0, -1;";
    assert_eq!(warp(body, &[]), [31; 32]);
    for (mode, expected) in [("any", 1), ("all", 0)] {
        let body = format!(
            "setp.eq.u32 %p0, %lane, 9;\nvote.sync.{mode}.pred %p1, %p0, -1;\nselp.b32 %r0, 1, 0, %p1;"
        );
        assert_eq!(warp(&body, &[]), [expected; 32]);
    }
}

#[test]
fn members_that_do_not_come() {
    let body = "setp.lt.u32 %p0, %lane, 16;\n@%p0 shfl.sync.bfly.b32 %r0, %lane, 1, 31, -1;";
    check_fault(body, 32, FaultKind::Divergence, "shfl");
    check_fault("bar.warp.sync 0xffff;", 32, FaultKind::Divergence, "bar.warp");
    // Half a warp among itself is well; reading from the other half is not.
    let body =
        "setp.lt.u32 %p0, %lane, 16;\nmov.u32 %r0, 99;\n@%p0 shfl.sync.bfly.b32 %r0, %lane, 1, 31, 0xffff;";
    assert_eq!(warp(body, &[])[..18], [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14, 99, 99]);
    check_fault(&body.replace(", 1, 31", ", 16, 31"), 32, FaultKind::Divergence, "shfl");
}
