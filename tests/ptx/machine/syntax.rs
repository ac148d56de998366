//! What the parser takes and what it refuses, with the place.

use super::text;
use crate::emulator::{Argument, Device, FaultKind, Launch, MAX_INSTRUCTIONS, Module};

/// The message for a body that cannot be read.
fn error(body: &str) -> String {
    match Module::parse(&text(body)) {
        Ok(_) => panic!("nothing is wrong with\n{body}"),
        Err(error) => {
            let text = text(body);
            let line = text.lines().nth(error.line as usize - 1).unwrap_or_default();
            format!("{} | {line}", error.problem)
        }
    }
}

#[test]
fn unknown_things_are_named_with_their_line() {
    for (body, expected) in [
        ("mov.u32 %r0, 1;\nfrobnicate.u32 %r0, %r1;", "frobnicate.u32: the emulator does not know"),
        ("add.u8 %r0, %r1, %r2;", "type .u8 is not known"),
        ("add.sat.s32 %r0, %r1, %r2;", "modifier .sat is not known"),
        ("add.u32 %r0, %r99, %r2;", "%r99 is not declared"),
        ("add.u32 %r0, %r1;", "2 operands where there should be 3"),
        ("add.u64 %r0, %rd1, %rd2;", "must be a 64-bit register"),
        ("add.u32 %r0, %rd1, %r2;", "is not a 32-bit register"),
        ("bra NOWHERE;", "label NOWHERE is not there"),
        ("LOOP:\nLOOP:", "label LOOP stands twice"),
        (".reg .f64 %d<2>;", "malformed declaration"),
        (".reg .b32 %r1;", "declared twice"),
        ("ld.global.v4.b32 {%r0, %r1}, [%in];", "2 destinations of 4 bytes"),
        ("ld.global.v4.b64 {%rd0, %rd1, %rd2, %rd3}, [%in];", "4 destinations of 8 bytes"),
        ("ld.b32 %r0, [%in];", "generic addresses are not known"),
        ("ld.param.u32 %r0, [missing];", "there is no parameter missing"),
        ("cp.async.cg.shared.global [%r0], [%in], 8;", ".cg copies no 8 bytes"),
        ("bar.sync 1;", "only barrier 0"),
        ("mov.u32 %r0, 4294967296;", "does not fit 32 bits"),
        ("mul.u32 %r0, %r1, %r2;", "one of .lo, .hi and .wide is missing"),
        ("cvt.s32.f32 %r0, %r1;", "the rounding is missing"),
        ("setp.ltu.u32 %p0, %r1, %r2;", ".ltu is for floats"),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0}, {%r0}, {%r1}, {%f0};", "registers where"),
        ("mov.u32 %r0, 1", "expected"),
        ("mov.u32 %r0, 12abc;", "is no number"),
        ("mov.u32 %r0, §;", "unexpected character"),
    ] {
        let message = error(body);
        assert!(message.contains(expected), "{body}: {message}");
    }
}

#[test]
fn text_of_many_forms() {
    let module = Module::parse(
        "// a comment\n.version 8.0\n.target sm_90a /* another\none */\n.address_size 64\n\
         .extern .shared .align 16 .b8 dynamic[];\n\
         .visible .entry first(\n  .param .u64 .ptr .global .align 16 x,\n  .param .u32 n\n)\n\
         .maxntid 128, 1, 1\n.minnctapersm 2\n{ .pragma \"nounroll\";\n.loc 1 2 3\n\
         .reg .b32 %a, %b<2>; .shared .f32 one; .shared .align 64 .b8 two[20];\n\
         L: mov.u32 %a, two; ld.param.u32 %b0, [n]; { ld.shared.f32 %b1, [one]; } $exit_1: ret; }\n\
         .entry second() { ret; }",
    )
    .unwrap();
    assert_eq!((module.version.as_str(), module.target.as_str()), ("8.0", "sm_90a"));
    let [first, second] = &module.kernels[..] else { panic!("two kernels") };
    assert_eq!((first.name.as_str(), second.name.as_str()), ("first", "second"));
    assert_eq!((first.max_threads, first.min_blocks), (Some(128), Some(2)));
    assert_eq!((first.static_shared, first.instructions.len()), (84, 4));
    let offsets: Vec<_> =
        first.parameters.iter().map(|parameter| (parameter.offset, parameter.bytes)).collect();
    assert_eq!(offsets, [(0, 8), (8, 4)]);
    assert!(Module::parse(".entry lonely() { ret; }").is_err());
}

#[test]
fn launches_that_do_not_fit() {
    let text = ".version 7.0\n.target sm_80\n.extern .shared .align 16 .b8 dynamic[];\n\
                .visible .entry test(.param .u32 n) .maxntid 64 { ret; }";
    let module = Module::parse(text).unwrap();
    let good = Launch {
        kernel: "test",
        grid: [1, 1, 1],
        block: [64, 1, 1],
        shared: 1024,
        arguments: &[Argument::Word(3)],
        max_instructions: MAX_INSTRUCTIONS,
    };
    assert!(Device::new().launch(&module, &good).is_ok());
    for bad in [
        Launch { kernel: "missing", ..good.clone() },
        Launch { block: [65, 1, 1], ..good.clone() },
        Launch { block: [0, 1, 1], ..good.clone() },
        Launch { grid: [1, 70000, 1], ..good.clone() },
        Launch { grid: [0, 1, 1], ..good.clone() },
        Launch { shared: 300 << 10, ..good.clone() },
        Launch { arguments: &[], ..good.clone() },
        Launch { arguments: &[Argument::Double(3)], ..good.clone() },
    ] {
        let fault = Device::new().launch(&module, &bad).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Launch, "{fault}");
    }
}

#[test]
fn dynamic_shared_memory() {
    let text = ".version 7.0\n.target sm_80\n.extern .shared .align 16 .b8 dynamic[];\n\
                .visible .entry test() { .reg .b32 %r<4>; .shared .b32 fixed; mov.u32 %r0, dynamic; \
                st.shared.b32 [%r0], %r0; st.shared.b32 [fixed], 1; ld.shared.b32 %r1, [dynamic+60]; ret; }";
    let module = Module::parse(text).unwrap();
    let mut launch = Launch {
        kernel: "test",
        grid: [1, 1, 1],
        block: [1, 1, 1],
        shared: 64,
        arguments: &[],
        max_instructions: MAX_INSTRUCTIONS,
    };
    assert_eq!(Device::new().launch(&module, &launch).unwrap_err().kind, FaultKind::Uninitialised);
    launch.shared = 60;
    assert_eq!(Device::new().launch(&module, &launch).unwrap_err().kind, FaultKind::OutOfBounds);
}
