//! A reader of Python pickles that executes nothing.
//!
//! It understands the opcodes that checkpoints are made of, looks names up in a short list, and stops with an error
//! at any other. Values lie in one [`Heap`] and name each other by index, so that neither nesting nor cycles need a
//! stack. Source: `pickletools.py` of CPython, which documents every opcode.

use std::collections::HashMap;
use std::io::Read;

use super::globals::{self, Global, Storage, StoredTensor};

/// The most bytes of one pickle; a network of a thousand arrays takes 200 KB.
const MAX_BYTES: u64 = 32 << 20;
/// The most opcodes of one pickle, which bounds the values that it can make.
const MAX_OPCODES: usize = 1 << 20;

/// A Python value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Which of the heap's texts.
    Text(usize),
    /// Which of the heap's lists.
    Tuple(usize),
    List(usize),
    /// Which of the heap's dictionaries.
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
    /// A value that checkpoints hold beside their arrays and that means nothing here, such as a float.
    Inert,
}

/// What the values of a pickle refer to.
#[derive(Default)]
pub struct Heap {
    texts: Vec<String>,
    lists: Vec<Vec<Value>>,
    dicts: Vec<Vec<(Value, Value)>>,
    storages: Vec<Storage>,
    tensors: Vec<StoredTensor>,
}

impl Heap {
    pub fn text(&self, value: Value) -> Option<&str> {
        match value {
            Value::Text(id) => Some(&self.texts[id]),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub fn items(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Tuple(id) | Value::List(id) => Some(&self.lists[id]),
            _ => None,
        }
    }

    pub fn entries(&self, value: Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(id) => Some(&self.dicts[id]),
            _ => None,
        }
    }

    pub fn storages(&self) -> &[Storage] {
        &self.storages
    }

    pub fn tensor(&self, value: Value) -> Option<&StoredTensor> {
        match value {
            Value::Tensor(id) => Some(&self.tensors[id]),
            _ => None,
        }
    }

    pub fn add_dict(&mut self, entries: Vec<(Value, Value)>) -> Value {
        self.dicts.push(entries);
        Value::Dict(self.dicts.len() - 1)
    }

    pub fn add_tensor(&mut self, tensor: StoredTensor) -> Value {
        self.tensors.push(tensor);
        Value::Tensor(self.tensors.len() - 1)
    }

    fn add_text(&mut self, bytes: Vec<u8>) -> Result<Value, String> {
        let text = String::from_utf8(bytes).map_err(|_| "its pickle holds text that is not UTF-8")?;
        self.texts.push(text);
        Ok(Value::Text(self.texts.len() - 1))
    }

    fn add_list(&mut self, items: Vec<Value>) -> usize {
        self.lists.push(items);
        self.lists.len() - 1
    }
}

/// Reads one pickle, up to its STOP.
///
/// # Errors
/// Where it ends early, uses an opcode or a name that is not on the lists, or is larger than any list of arrays.
pub fn read(data: &mut dyn Read) -> Result<(Heap, Value), String> {
    let mut machine = Machine {
        data: data.take(MAX_BYTES),
        heap: Heap::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    for _ in 0..MAX_OPCODES {
        let [opcode] = machine.bytes()?;
        if opcode == b'.' {
            let value = machine.pop()?;
            return Ok((machine.heap, value));
        }
        machine.step(opcode)?;
    }
    Err(format!("its pickle has more than {MAX_OPCODES} opcodes, which no list of arrays needs"))
}

struct Machine<'a> {
    data: std::io::Take<&'a mut dyn Read>,
    heap: Heap,
    stack: Vec<Value>,
    /// How high the stack was at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// How many entries calls have copied.
    copied: usize,
}

impl Machine<'_> {
    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            0x80 => {
                let [version] = self.bytes()?;
                if version > 5 {
                    return Err(format!("its pickle is of protocol {version}, which is not known"));
                }
            }
            // FRAME: only says how much follows.
            0x95 => {
                self.bytes::<8>()?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.take_marked()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            // A float.
            b'G' => {
                self.bytes::<8>()?;
                self.stack.push(Value::Inert);
            }
            b'K' => {
                let [value] = self.bytes()?;
                self.stack.push(Value::Int(i64::from(value)));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.bytes()?);
                self.stack.push(Value::Int(i64::from(value)));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.bytes()?);
                self.stack.push(Value::Int(i64::from(value)));
            }
            0x8a => {
                let [length] = self.bytes()?;
                self.long(usize::from(length))?;
            }
            0x8b => {
                let length = self.length()?;
                self.long(length)?;
            }
            // Texts and bytes, with their lengths in one, four or eight bytes.
            0x8c => {
                let [length] = self.bytes()?;
                self.text(usize::from(length))?;
            }
            b'X' => {
                let length = self.length()?;
                self.text(length)?;
            }
            0x8d => {
                let length = self.wide_length()?;
                self.text(length)?;
            }
            b'U' | b'C' => {
                let [length] = self.bytes()?;
                self.byte_string(usize::from(length))?;
            }
            b'T' | b'B' => {
                let length = self.length()?;
                self.byte_string(length)?;
            }
            0x8e | 0x96 => {
                let length = self.wide_length()?;
                self.byte_string(length)?;
            }
            b')' => self.tuple_of(0)?,
            0x85 => self.tuple_of(1)?,
            0x86 => self.tuple_of(2)?,
            0x87 => self.tuple_of(3)?,
            b't' => {
                let items = self.take_marked()?;
                let id = self.heap.add_list(items);
                self.stack.push(Value::Tuple(id));
            }
            b']' | 0x8f => {
                let id = self.heap.add_list(Vec::new());
                self.stack.push(Value::List(id));
            }
            b'l' | 0x91 => {
                let items = self.take_marked()?;
                let id = self.heap.add_list(items);
                self.stack.push(Value::List(id));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.take_marked()?;
                self.append(items)?;
            }
            b'}' => {
                let dict = self.heap.add_dict(Vec::new());
                self.stack.push(dict);
            }
            b'd' => {
                let items = self.take_marked()?;
                let dict = self.heap.add_dict(Vec::new());
                self.stack.push(dict);
                self.set_items(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.take_marked()?;
                self.set_items(&items)?;
            }
            b'q' => {
                let [slot] = self.bytes()?;
                self.memoize(u32::from(slot))?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.bytes()?);
                self.memoize(slot)?;
            }
            0x94 => self.memoize(self.memo.len() as u32)?,
            b'h' => {
                let [slot] = self.bytes()?;
                self.recall(u32::from(slot))?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.bytes()?);
                self.recall(slot)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(globals::find(&module, &name)?));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let names = self.heap.text(module).zip(self.heap.text(name));
                let (module, name) = names.ok_or("its pickle looks up a name that is no text")?;
                let global = globals::find(module, name)?;
                self.stack.push(Value::Global(global));
            }
            // REDUCE and NEWOBJ: a call of an object that the lists allow.
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?);
                let Value::Global(callee) = callee else {
                    return Err("its pickle calls something that is no known function".to_owned());
                };
                let result = globals::call(&mut self.heap, callee, arguments)?;
                // A dictionary made of a list copies it, and pickles can recall one list many times.
                self.copied += self.heap.entries(result).map_or(0, <[_]>::len);
                if self.copied > MAX_OPCODES {
                    return Err("its pickle copies one list over and over".to_owned());
                }
                self.stack.push(result);
            }
            // BUILD gives an object attributes, which no array has.
            b'b' => {
                self.pop()?;
                match self.top()? {
                    Value::Dict(_) | Value::Tensor(_) | Value::Inert => {}
                    other => return Err(format!("its pickle sets attributes of {}", kind(other))),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = globals::storage(&self.heap, id)?;
                self.heap.storages.push(storage);
                self.stack.push(Value::Storage(self.heap.storages.len() - 1));
            }
            other => {
                let name = forbidden(other).map_or_else(String::new, |name| format!(" ({name})"));
                let problem = "which no list of arrays needs; nothing of the file was executed";
                return Err(format!("its pickle has the opcode 0x{other:02x}{name}, {problem}"));
            }
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.data.read_exact(&mut bytes).map_err(|error| self.ended(&error))?;
        Ok(bytes)
    }

    fn ended(&self, error: &std::io::Error) -> String {
        match (self.data.limit(), error.kind()) {
            (0, _) => {
                format!("its pickle is longer than {} MiB, which no list of arrays needs", MAX_BYTES >> 20)
            }
            (_, std::io::ErrorKind::UnexpectedEof) => "ends inside its pickle".to_owned(),
            _ => format!("cannot read its pickle: {error}"),
        }
    }

    fn length(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.bytes()?) as usize)
    }

    fn wide_length(&mut self) -> Result<usize, String> {
        let length = u64::from_le_bytes(self.bytes()?);
        usize::try_from(length).map_err(|_| "its pickle holds a text that is larger than memory".to_owned())
    }

    /// The next `length` bytes, for which memory is taken only as they arrive.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let read = (&mut self.data).take(length as u64).read_to_end(&mut bytes);
        match read {
            Ok(read) if read == length => Ok(bytes),
            Ok(_) => Err(self.ended(&std::io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.ended(&error)),
        }
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        let text = self.heap.add_text(bytes)?;
        self.stack.push(text);
        Ok(())
    }

    /// Python 2 wrote text as bytes.
    fn byte_string(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        let value = if bytes.is_ascii() { self.heap.add_text(bytes)? } else { Value::Inert };
        self.stack.push(value);
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        const LONGEST: usize = 256;
        let mut line = Vec::new();
        loop {
            match self.bytes()? {
                [b'\n'] => break,
                [byte] => line.push(byte),
            }
            if line.len() > LONGEST {
                return Err("its pickle looks up a name that does not end".to_owned());
            }
        }
        String::from_utf8(line).map_err(|_| "its pickle looks up a name that is not UTF-8".to_owned())
    }

    fn long(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        let value = match bytes.len() {
            0 => Value::Int(0),
            1..=8 => {
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut wide = [if negative { 0xff } else { 0 }; 8];
                wide[..bytes.len()].copy_from_slice(&bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            _ => Value::Inert,
        };
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, String> {
        // What lies below the last mark belongs to whoever set it.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("its pickle takes a value that is not there".to_owned());
        }
        self.stack.pop().ok_or_else(|| unreachable!("the stack is higher than its floor"))
    }

    fn top(&self) -> Result<Value, String> {
        self.stack.last().copied().ok_or_else(|| "its pickle takes a value that is not there".to_owned())
    }

    fn take_marked(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("its pickle goes back to a mark that is not there")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple_of(&mut self, length: usize) -> Result<(), String> {
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(self.pop()?);
        }
        items.reverse();
        let id = self.heap.add_list(items);
        self.stack.push(Value::Tuple(id));
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), String> {
        match self.top()? {
            Value::List(id) => self.heap.lists[id].extend(items),
            Value::Inert => {}
            other => return Err(format!("its pickle appends to {}", kind(other))),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value]) -> Result<(), String> {
        if !items.len().is_multiple_of(2) {
            return Err("its pickle sets a key without a value".to_owned());
        }
        match self.top()? {
            Value::Dict(id) => {
                self.heap.dicts[id].extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            Value::Inert => {}
            other => return Err(format!("its pickle sets a key of {}", kind(other))),
        }
        Ok(())
    }

    fn memoize(&mut self, slot: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<(), String> {
        let value = self.memo.get(&slot).ok_or("its pickle recalls a value that it never kept")?;
        self.stack.push(*value);
        Ok(())
    }
}

/// What a value is, for messages.
pub fn kind(value: Value) -> &'static str {
    match value {
        Value::None => "None",
        Value::Bool(_) => "a truth value",
        Value::Int(_) => "a number",
        Value::Text(_) => "a text",
        Value::Tuple(_) => "a tuple",
        Value::List(_) => "a list",
        Value::Dict(_) => "a dictionary",
        Value::Global(_) => "a function",
        Value::Storage(_) => "a storage",
        Value::Tensor(_) => "an array",
        Value::Inert => "a value of no array",
    }
}

/// The names of opcodes that make objects in ways that checkpoints do not.
fn forbidden(opcode: u8) -> Option<&'static str> {
    Some(match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        b'P' => "PERSID",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x92 => "NEWOBJ_EX",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return None,
    })
}
