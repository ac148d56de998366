//! The emulator held to the PTX ISA manual, by small texts.

mod arithmetic;
mod asynchronous;
mod control;
mod gemm;
mod memory;
mod shared;
mod syntax;
mod tensor;
mod warp;

use crate::emulator::{Access, Argument, Counts, Device, Fault, FaultKind, Launch, MAX_INSTRUCTIONS, Module};

/// A kernel of three parameters, pointers `in` (in `%in`) and `out` (in `%out`) and a number (in `%n`), with registers
/// of every kind. `%tid`, `%lane` and `%mine` (the thread's place in `out`) are filled.
fn text(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n\
         .visible .entry test(.param .u64 in, .param .u64 out, .param .u32 n)\n{{\n\
         .reg .pred %p<8>;\n.reg .b16 %h<8>;\n.reg .b32 %r<64>;\n.reg .f32 %f<32>;\n.reg .b64 %rd<16>;\n\
         .reg .b64 %in, %out, %mine;\n.reg .b32 %n, %tid, %lane;\n\
         ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nld.param.u32 %n, [n];\n\
         mov.u32 %tid, %tid.x;\nmov.u32 %lane, %laneid;\nmad.wide.u32 %mine, %tid, 4, %out;\n\
         {body}\nret;\n}}\n"
    )
}

/// Runs a body on blocks of some threads; `input` is read-only, `outputs` words are there to be written.
fn launch(
    body: &str,
    (blocks, threads): (u32, u32),
    input: &[u32],
    outputs: usize,
) -> Result<(Vec<u32>, Counts), Box<Fault>> {
    let module = Module::parse(&text(body)).unwrap_or_else(|error| panic!("{error} in\n{}", text(body)));
    let mut device = Device::new();
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    let [input, output] = [device.constants(&bytes), device.allocate(4 * outputs)];
    let pointer = |buffer, bytes, access| Argument::Pointer { buffer, offset: 0, bytes, access };
    let arguments = [
        pointer(input, bytes.len(), Access::Read),
        pointer(output, 4 * outputs, Access::ReadWrite),
        Argument::Word(outputs as u32),
    ];
    let counts = device.launch(
        &module,
        &Launch {
            kernel: "test",
            grid: [blocks, 1, 1],
            block: [threads, 1, 1],
            shared: 0,
            arguments: &arguments,
            max_instructions: MAX_INSTRUCTIONS.min(100_000),
        },
    )?;
    let words = device.read_floats(output, 0, outputs)?;
    Ok((words.into_iter().map(f32::to_bits).collect(), counts))
}

/// Runs a body on one warp that leaves its result in `%r0`; the result of each lane.
fn warp(body: &str, input: &[u32]) -> Vec<u32> {
    let body = format!("{body}\nst.global.b32 [%mine], %r0;");
    launch(&body, (1, 32), input, 32).unwrap_or_else(|fault| panic!("{fault} in\n{}", text(&body))).0
}

/// The fault of a body that must not run to its end.
fn fault(body: &str, threads: u32) -> Fault {
    match launch(body, (1, threads), &[0x3f80_0000; 256], threads as usize) {
        Ok(_) => panic!("nothing was noticed in\n{}", text(body)),
        Err(fault) => *fault,
    }
}

/// Checks the kind of fault, and that it is found in the line that holds `at`.
fn check_fault(body: &str, threads: u32, kind: FaultKind, at: &str) {
    let fault = fault(body, threads);
    assert_eq!(fault.kind, kind, "{fault}");
    let text = text(body);
    let line = text.lines().nth(fault.line as usize - 1).unwrap_or_default();
    assert!(line.contains(at), "{fault} is not at '{at}' but at '{line}'");
}

/// The fault of a whole module's kernel `test` on one warp.
fn fault_of_text(text: &str) -> Fault {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let mut device = Device::new();
    let [input, output] = [device.allocate(4), device.allocate(4)];
    let pointer = |buffer| Argument::Pointer { buffer, offset: 0, bytes: 4, access: Access::ReadWrite };
    let launch = Launch {
        kernel: "test",
        grid: [1, 1, 1],
        block: [32, 1, 1],
        shared: 0,
        arguments: &[pointer(input), pointer(output), Argument::Word(0)],
        max_instructions: MAX_INSTRUCTIONS,
    };
    *device.launch(&module, &launch).expect_err("the kernel must not run to its end")
}
