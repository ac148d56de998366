//! Machine code as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, Mnemonic, SymbolResolver, SymbolResult,
};

/// The text of what [`emit`](super::emit()) returned: Intel syntax, jump targets as `L0`, `L1` and so on,
/// constants as `C0`, `C1` and so on, with their values below the code.
pub fn disassemble(bytes: &[u8]) -> String {
    let mut instructions = Vec::new();
    for instruction in &mut Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE) {
        instructions.push(instruction);
        // One return ends the code; what follows are constants.
        if instruction.mnemonic() == Mnemonic::Ret {
            break;
        }
    }
    let symbols = Symbols::of(&instructions);
    let (labels, constants) = (symbols.labels.clone(), symbols.constants.clone());
    let mut formatter = IntelFormatter::with_options(Some(Box::new(symbols)), None);
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_signed_immediate_operands(true);
    formatter.options_mut().set_rip_relative_addresses(true);
    formatter.options_mut().set_show_branch_size(false);
    let mut text = String::new();
    for instruction in &instructions {
        if let Some(number) = labels.get(&instruction.ip()) {
            writeln!(text, "L{number}:").expect("strings take all");
        }
        text += "  ";
        formatter.format(instruction, &mut text);
        text.push('\n');
    }
    for (address, (number, size)) in constants {
        let words = bytes[address as usize..][..size].chunks_exact(4);
        let values: Vec<u32> = words.map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        writeln!(text, "C{number}: {}", describe(&values)).expect("strings take all");
    }
    text
}

/// The values of a constant: as a float where that is what it looks like, and once if all are the same.
fn describe(values: &[u32]) -> String {
    let one = |bits: u32| match f32::from_bits(bits) {
        value if value.is_subnormal() || value.is_nan() => format!("0x{bits:08x}"),
        value => format!("{value:?}"),
    };
    match values {
        [first, rest @ ..] if !rest.is_empty() && rest.iter().all(|value| value == first) => {
            format!("{} × {}", values.len(), one(*first))
        }
        _ => values.iter().map(|&bits| one(bits)).collect::<Vec<_>>().join(", "),
    }
}

/// The names of addresses.
struct Symbols {
    labels: BTreeMap<u64, usize>,
    /// With their sizes in bytes.
    constants: BTreeMap<u64, (usize, usize)>,
}

impl Symbols {
    fn of(instructions: &[Instruction]) -> Self {
        let mut labels = BTreeMap::new();
        let mut constants = BTreeMap::new();
        for instruction in instructions {
            let target = instruction.near_branch_target();
            if target != 0 {
                labels.insert(target, 0);
            }
            if instruction.is_ip_rel_memory_operand() {
                let size = if instruction.is_broadcast() { 4 } else { instruction.memory_size().size() };
                let known = constants.entry(instruction.ip_rel_memory_address()).or_insert((0, 0));
                known.1 = known.1.max(size);
            }
        }
        for (number, label) in labels.values_mut().enumerate() {
            *label = number;
        }
        for (number, constant) in constants.values_mut().enumerate() {
            constant.0 = number;
        }
        Symbols { labels, constants }
    }
}

impl SymbolResolver for Symbols {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        let name = if instruction.is_ip_rel_memory_operand() {
            self.constants.get(&address).map(|(number, _)| format!("C{number}"))
        } else if instruction.near_branch_target() == address {
            self.labels.get(&address).map(|number| format!("L{number}"))
        } else {
            None
        };
        name.map(|name| SymbolResult::with_string(address, name))
    }
}
