//! A PTX module: directives, declarations, and its kernels decoded.

use std::collections::HashMap;

use super::decode;
use super::fault::ParseError;
use super::instruction::{Pred, R32, R64};
use super::kernel::{Initial, Kernel, Parameter, Special};
use super::syntax::{Reader, Statement};

type Result<T> = std::result::Result<T, ParseError>;

/// A module of kernels.
#[derive(Clone, PartialEq, Debug)]
pub struct Module {
    /// Of the PTX ISA, as `8.0`.
    pub version: String,
    pub target: String,
    pub kernels: Vec<Kernel>,
}

impl Module {
    /// Reads the subset of PTX that the emulator runs.
    ///
    /// # Errors
    /// Where the text is malformed or uses anything outside the subset.
    pub fn parse(text: &str) -> Result<Module> {
        let mut reader = Reader::new(text)?;
        let mut module = Module { version: String::new(), target: String::new(), kernels: Vec::new() };
        let mut shared = Vec::new();
        while !reader.is_at_end() {
            let word = reader.word()?;
            match word.as_str() {
                ".version" => module.version = reader.word()?,
                ".target" => module.target = reader.word()?,
                ".address_size" => {
                    if reader.word()? != "64" {
                        return reader.error("only 64-bit addresses are known");
                    }
                }
                ".visible" | ".weak" => {}
                ".extern" => {
                    let line = reader.line();
                    shared.push((reader.declaration()?, line));
                }
                ".entry" => module.kernels.push(kernel(&mut reader, &shared)?),
                _ => return reader.error(format!("unknown directive {word}")),
            }
        }
        if module.version.is_empty() || module.target.is_empty() {
            return Err(ParseError::new(1, "a module begins with .version and .target"));
        }
        Ok(module)
    }

    /// A kernel by name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }
}

fn kernel(reader: &mut Reader, module_shared: &[(Vec<String>, u32)]) -> Result<Kernel> {
    let name = reader.word()?;
    let parameters = parameters(reader)?;
    let mut names = Names::new(Kernel {
        name,
        parameters,
        max_threads: None,
        min_blocks: None,
        instructions: Vec::new(),
        words: 0,
        doubles: 0,
        predicates: 0,
        declared_words: 0,
        declared_doubles: 0,
        initial_words: Vec::new(),
        initial_doubles: Vec::new(),
        static_shared: 0,
    });
    while let Some(directive) = reader.peek_word().map(str::to_owned) {
        reader.word()?;
        let mut values = vec![integer(reader)?];
        while reader.take(',') {
            values.push(integer(reader)?);
        }
        match directive.as_str() {
            ".maxntid" | ".reqntid" => names.kernel.max_threads = Some(values.iter().product()),
            ".minnctapersm" => names.kernel.min_blocks = Some(values[0]),
            ".maxnreg" => {}
            _ => return reader.error(format!("unknown directive {directive}")),
        }
    }
    reader.expect('{')?;
    let statements = reader.body()?;
    for (words, line) in module_shared {
        names.declare_shared(&words.iter().map(String::as_str).collect::<Vec<_>>(), *line)?;
    }
    names.declare_all(&statements)?;
    names.kernel.declared_words = names.kernel.words;
    names.kernel.declared_doubles = names.kernel.doubles;
    for (statement, line) in &statements {
        if let Statement::Instruction { guard, opcode, operands } = statement {
            let instruction = decode::instruction(&mut names, guard.as_ref(), opcode, operands, *line)
                .map_err(|problem| ParseError::new(*line, format!("{opcode}: {problem}")))?;
            names.kernel.instructions.push(instruction);
        }
    }
    Ok(names.kernel)
}

fn integer(reader: &mut Reader) -> Result<u32> {
    let word = reader.word()?;
    word.parse().or_else(|_| reader.error(format!("'{word}' is no number")))
}

fn parameters(reader: &mut Reader) -> Result<Vec<Parameter>> {
    let mut parameters: Vec<Parameter> = Vec::new();
    if !reader.take('(') || reader.take(')') {
        return Ok(parameters);
    }
    loop {
        if reader.word()? != ".param" {
            return reader.error("expected .param");
        }
        let kind = reader.word()?;
        let bytes = match kind.trim_start_matches(".b").trim_start_matches(['.', 'u', 's', 'f']) {
            "64" => 8,
            "32" => 4,
            _ => return reader.error(format!("parameters of type {kind} are not known")),
        };
        while reader.peek_word().is_some_and(|word| word.starts_with('.')) {
            // `.ptr .global .align 16`: promises about where a pointer leads.
            if reader.word()? == ".align" {
                integer(reader)?;
            }
        }
        let end = parameters.last().map_or(0, |last| last.offset + last.bytes);
        parameters.push(Parameter { name: reader.word()?, bytes, offset: end.next_multiple_of(bytes) });
        if reader.take(')') {
            return Ok(parameters);
        }
        reader.expect(',')?;
    }
}

/// A declared register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declared {
    Word(R32),
    Double(R64),
    Pred(Pred),
}

/// What names mean inside a kernel, and the kernel as far as it is decoded.
pub struct Names {
    pub kernel: Kernel,
    registers: HashMap<String, Declared>,
    shared: HashMap<String, Initial>,
    labels: HashMap<String, u32>,
    words: HashMap<Initial, R32>,
    doubles: HashMap<Initial, R64>,
}

impl Names {
    fn new(kernel: Kernel) -> Self {
        Names {
            kernel,
            registers: HashMap::new(),
            shared: HashMap::new(),
            labels: HashMap::new(),
            words: HashMap::new(),
            doubles: HashMap::new(),
        }
    }

    fn declare_all(&mut self, statements: &[(Statement, u32)]) -> Result<()> {
        let mut position = 0;
        for (statement, line) in statements {
            match statement {
                Statement::Label(label) => {
                    if self.labels.insert(label.clone(), position).is_some() {
                        return Err(ParseError::new(*line, format!("label {label} stands twice")));
                    }
                }
                Statement::Declaration(words) => {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    match words[0] {
                        ".reg" => self.declare_registers(&words, *line)?,
                        _ => self.declare_shared(&words, *line)?,
                    }
                }
                Statement::Instruction { .. } => position += 1,
            }
        }
        Ok(())
    }

    /// `.reg .f32 %f<20>, %sum;`
    fn declare_registers(&mut self, words: &[&str], line: u32) -> Result<()> {
        let malformed = || ParseError::new(line, format!("malformed declaration '{}'", words.join(" ")));
        let [_, kind, rest @ ..] = words else { return Err(malformed()) };
        for group in rest.split(|&word| word == ",") {
            let names: Vec<String> = match group {
                [name] => vec![(*name).to_owned()],
                [prefix, "<", count, ">"] => {
                    let count: u32 = count.parse().map_err(|_| malformed())?;
                    (0..count).map(|index| format!("{prefix}{index}")).collect()
                }
                _ => return Err(malformed()),
            };
            for name in names {
                let register = self.new_register(kind).ok_or_else(malformed)?;
                if self.registers.insert(name.clone(), register).is_some() {
                    return Err(ParseError::new(line, format!("register {name} is declared twice")));
                }
            }
        }
        Ok(())
    }

    fn new_register(&mut self, kind: &str) -> Option<Declared> {
        match kind {
            ".pred" => {
                self.kernel.predicates += 1;
                Some(Declared::Pred(Pred(u16::try_from(self.kernel.predicates - 1).ok()?)))
            }
            ".b64" | ".u64" | ".s64" => self.new_double().map(Declared::Double),
            ".b16" | ".u16" | ".s16" | ".f16" | ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" => {
                self.new_word().map(Declared::Word)
            }
            _ => None,
        }
    }

    fn new_word(&mut self) -> Option<R32> {
        self.kernel.words += 1;
        u16::try_from(self.kernel.words - 1).ok().map(R32)
    }

    fn new_double(&mut self) -> Option<R64> {
        self.kernel.doubles += 1;
        u16::try_from(self.kernel.doubles - 1).ok().map(R64)
    }

    /// `.shared .align 16 .b8 tile[512];`, or without an extent at module scope: dynamic shared memory.
    fn declare_shared(&mut self, words: &[&str], line: u32) -> Result<()> {
        let malformed = || ParseError::new(line, format!("malformed declaration '{}'", words.join(" ")));
        let words = words.strip_prefix(&[".shared"]).ok_or_else(malformed)?;
        let (align, words) = match words {
            [".align", align, rest @ ..] => (align.parse().map_err(|_| malformed())?, rest),
            _ => (0, words),
        };
        let [kind, name, rest @ ..] = words else { return Err(malformed()) };
        let bits: u32 =
            kind.trim_start_matches(['.', 'b', 'u', 's', 'f']).parse().map_err(|_| malformed())?;
        let place = match rest {
            ["[", "]"] => Initial::DynamicShared,
            [] | ["[", _, "]"] => {
                let count: u32 = rest.get(1).map_or(Ok(1), |count| count.parse()).map_err(|_| malformed())?;
                let start = self.kernel.static_shared.next_multiple_of(align.max(bits / 8));
                let bytes = count.checked_mul(bits / 8).ok_or_else(malformed)?;
                self.kernel.static_shared = start.checked_add(bytes).ok_or_else(malformed)?;
                Initial::Shared(start)
            }
            _ => return Err(malformed()),
        };
        if self.shared.insert((*name).to_owned(), place).is_some() {
            return Err(ParseError::new(line, format!("{name} is declared twice")));
        }
        Ok(())
    }

    /// The declared register of a name.
    pub fn register(&self, name: &str) -> Option<Declared> {
        self.registers.get(name).copied()
    }

    /// The place of a label.
    pub fn label(&self, name: &str) -> Option<u32> {
        self.labels.get(name).copied()
    }

    /// The address of a shared variable.
    pub fn shared(&self, name: &str) -> Option<Initial> {
        self.shared.get(name).copied()
    }

    /// A 32-bit register that holds a constant.
    pub fn constant(&mut self, value: Initial) -> std::result::Result<R32, String> {
        if let Some(&register) = self.words.get(&value) {
            return Ok(register);
        }
        let register = self.new_word().ok_or("too many registers")?;
        self.words.insert(value, register);
        self.kernel.initial_words.push((register, value));
        Ok(register)
    }

    /// A 64-bit register that holds a constant.
    pub fn constant64(&mut self, value: Initial) -> std::result::Result<R64, String> {
        if let Some(&register) = self.doubles.get(&value) {
            return Ok(register);
        }
        let register = self.new_double().ok_or("too many registers")?;
        self.doubles.insert(value, register);
        self.kernel.initial_doubles.push((register, value));
        Ok(register)
    }
}

/// The special register of a name.
pub fn special(name: &str) -> Option<Special> {
    if let Some((family, axis)) = name.rsplit_once('.') {
        let axis = ["x", "y", "z"].iter().position(|&letter| letter == axis)? as u8;
        return match family {
            "%tid" => Some(Special::ThreadIndex(axis)),
            "%ntid" => Some(Special::BlockExtent(axis)),
            "%ctaid" => Some(Special::BlockIndex(axis)),
            "%nctaid" => Some(Special::GridExtent(axis)),
            _ => None,
        };
    }
    match name {
        "%laneid" => Some(Special::Lane),
        "%warpid" => Some(Special::Warp),
        "%lanemask_lt" => Some(Special::LanesBelow),
        _ => None,
    }
}
