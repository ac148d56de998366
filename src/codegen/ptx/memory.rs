//! Loads, stores, asynchronous copies and the tensor cores' instructions.

use super::builder::Builder;
use super::value::{Address, Class, Value};

/// Which memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Space {
    Global,
    /// Global memory that nobody writes while the kernel runs.
    Constant,
    Shared,
}

impl Space {
    fn name(self) -> &'static str {
        match self {
            Space::Global => "global",
            Space::Constant => "global.nc",
            Space::Shared => "shared",
        }
    }
}

/// How numbers lie in memory; in registers they are `f32`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    F32,
    F16,
}

impl Element {
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 => 2,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
        }
    }
}

fn list(values: &[Value]) -> String {
    let names: Vec<String> = values.iter().map(Value::to_string).collect();
    match &names[..] {
        [one] => one.clone(),
        _ => format!("{{{}}}", names.join(", ")),
    }
}

/// How many elements one instruction moves.
fn vector(count: usize) -> &'static str {
    match count {
        1 => "",
        2 => ".v2",
        4 => ".v4",
        _ => panic!("memory is read in vectors of 1, 2 or 4, not {count}"),
    }
}

impl Builder {
    /// The address `elements · size` bytes behind `base`; `elements` may be negative.
    pub fn offset(&mut self, base: Value, elements: impl Into<Value>, size: usize) -> Address {
        match elements.into() {
            Value::Int(elements) => Address::from(base).plus(elements * size as i64),
            elements => {
                let operands = format_args!("{elements}, {size}, {base}");
                self.result(Class::B64, format_args!("mad.wide.s32"), operands).into()
            }
        }
    }

    /// `address + bytes` for 64-bit addresses.
    pub fn advance(&mut self, address: Value, bytes: impl Into<Value>) -> Value {
        match bytes.into() {
            Value::Int(0) => address,
            bytes => self.result(Class::B64, format_args!("add.s64"), format_args!("{address}, {bytes}")),
        }
    }

    /// `a` as a signed 64-bit number.
    pub fn widen(&mut self, a: Value) -> Value {
        match a {
            Value::Int(a) => Value::Int(a),
            a => self.result(Class::B64, format_args!("cvt.s64.s32"), format_args!("{a}")),
        }
    }

    /// Loads `count` neighbours as `f32`; zeros where `guard` does not hold.
    pub fn load(
        &mut self,
        space: Space,
        element: Element,
        count: usize,
        address: Address,
        guard: Option<Value>,
    ) -> Vec<Value> {
        match element {
            Element::F32 => self.load_words(space, Class::F32, count, address, guard),
            Element::F16 if count.is_multiple_of(2) => {
                let words = self.load_words(space, Class::B32, count / 2, address, guard);
                words.into_iter().flat_map(|word| self.unpack(word)).collect()
            }
            Element::F16 => (0..count)
                .map(|at| {
                    let half = self.halves(space, address.plus(2 * at), guard);
                    self.result(Class::F32, format_args!("cvt.f32.f16"), format_args!("{half}"))
                })
                .collect(),
        }
    }

    fn halves(&mut self, space: Space, address: Address, guard: Option<Value>) -> Value {
        let half = match guard {
            Some(_) => self.variable(Class::B16, 0),
            None => Value::Reg(self.reg(Class::B16)),
        };
        self.guarded(guard, |b| b.line(format_args!("ld.{}.b16 {half}, {address};", space.name())));
        half
    }

    /// Loads `count` neighbouring words of 32 bits; zeros where `guard` does not hold.
    pub fn load_words(
        &mut self,
        space: Space,
        class: Class,
        count: usize,
        address: Address,
        guard: Option<Value>,
    ) -> Vec<Value> {
        let zero = if class == Class::F32 { Value::ZERO } else { Value::Int(0) };
        let words: Vec<Value> = (0..count)
            .map(|_| match guard {
                Some(_) => self.variable(class, zero),
                None => Value::Reg(self.reg(class)),
            })
            .collect();
        let kind = if class == Class::F32 { "f32" } else { "b32" };
        let (space, vector, words_text) = (space.name(), vector(count), list(&words));
        self.guarded(guard, |b| b.line(format_args!("ld.{space}{vector}.{kind} {words_text}, {address};")));
        words
    }

    /// Two `f16` in a word as two `f32`.
    fn unpack(&mut self, word: Value) -> [Value; 2] {
        let halves = [Class::B16; 2].map(|class| Value::Reg(self.reg(class)));
        self.line(format_args!("mov.b32 {}, {word};", list(&halves)));
        halves.map(|half| self.result(Class::F32, format_args!("cvt.f32.f16"), format_args!("{half}")))
    }

    /// Two `f32` as two `f16` in a word, the first in the lower half.
    pub fn pack(&mut self, low: Value, high: Value) -> Value {
        let halves = [low, high].map(|value| self.half(value));
        self.result(Class::B32, format_args!("mov.b32"), format_args!("{}", list(&halves)))
    }

    fn half(&mut self, value: Value) -> Value {
        self.result(Class::B16, format_args!("cvt.rn.f16.f32"), format_args!("{value}"))
    }

    /// Stores neighbours in global memory, given as `f32`, where `guard` holds.
    pub fn store_guarded(
        &mut self,
        element: Element,
        address: Address,
        values: &[Value],
        guard: Option<Value>,
    ) {
        self.guarded(guard, |b| b.store(Space::Global, element, address, values));
    }

    /// Stores neighbours, given as `f32`.
    pub fn store(&mut self, space: Space, element: Element, address: Address, values: &[Value]) {
        let space_name = space.name();
        match element {
            Element::F32 => {
                let vector = vector(values.len());
                self.line(format_args!("st.{space_name}{vector}.f32 {address}, {};", list(values)));
            }
            Element::F16 if values.len().is_multiple_of(2) => {
                let words: Vec<Value> = values.chunks(2).map(|pair| self.pack(pair[0], pair[1])).collect();
                self.store_words(space, address, &words);
            }
            Element::F16 => {
                for (at, &value) in values.iter().enumerate() {
                    let half = self.half(value);
                    self.line(format_args!("st.{space_name}.b16 {}, {half};", address.plus(2 * at)));
                }
            }
        }
    }

    /// Stores neighbouring words of 32 bits.
    pub fn store_words(&mut self, space: Space, address: Address, words: &[Value]) {
        let (space, vector) = (space.name(), vector(words.len()));
        self.line(format_args!("st.{space}{vector}.b32 {address}, {};", list(words)));
    }

    /// Begins to copy 16 bytes from global to shared memory; zeros where `guard` does not hold.
    pub fn copy_async(&mut self, to: Address, from: Address, guard: Option<Value>) {
        match guard {
            Some(guard) => {
                let bytes = self.select(guard, 16, 0);
                self.line(format_args!("cp.async.cg.shared.global {to}, {from}, 16, {bytes};"));
            }
            None => self.line(format_args!("cp.async.cg.shared.global {to}, {from}, 16;")),
        }
    }

    /// Ends a group of this thread's copies.
    pub fn commit_copies(&mut self) {
        self.line(format_args!("cp.async.commit_group;"));
    }

    /// Waits until at most `pending` groups of this thread's copies are under way.
    pub fn wait_copies(&mut self, pending: u32) {
        self.line(format_args!("cp.async.wait_group {pending};"));
    }

    /// Loads four 8×8 matrices of 16-bit elements (or 8×4 of 32-bit ones), each lane giving the address of a row.
    pub fn load_matrices(&mut self, address: Address) -> [Value; 4] {
        let words = [Class::B32; 4].map(|class| Value::Reg(self.reg(class)));
        self.line(format_args!("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {}, {address};", list(&words)));
        words
    }

    /// `value`, the bits of an `f32`, rounded to what tensor cores take as `tf32`.
    pub fn round_to_tf32(&mut self, value: Value) -> Value {
        let float = self.result(Class::F32, format_args!("mov.b32"), format_args!("{value}"));
        self.result(Class::B32, format_args!("cvt.rna.tf32.f32"), format_args!("{float}"))
    }

    /// `sums += a · b` of 16×8 sums by the whole warp: `k` deep in all, of the kind that `shape` names.
    pub fn multiply_matrices(&mut self, shape: Matrices, sums: &[Value], a: &[Value], b: &[Value]) {
        // Fragments are written as vectors, also those of one register.
        let fragment = |values: &[Value]| format!("{{{}}}", list(values).trim_matches(['{', '}']));
        let (sums, a, b) = (fragment(sums), fragment(a), fragment(b));
        let shape = match shape {
            Matrices::Tf32K8 => "m16n8k8.row.col.f32.tf32.tf32.f32",
            Matrices::F16K8 => "m16n8k8.row.col.f32.f16.f16.f32",
            Matrices::F16K16 => "m16n8k16.row.col.f32.f16.f16.f32",
        };
        self.line(format_args!("mma.sync.aligned.{shape} {sums}, {a}, {b}, {sums};"));
    }
}

/// The shapes of matrix products that tensor cores compute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matrices {
    Tf32K8,
    F16K8,
    F16K16,
}

/// Pointers that move.
impl Builder {
    /// An address as a pointer in a register of its own.
    pub fn materialise(&mut self, address: Address) -> Value {
        let operands = format_args!("{}, {}", address.base, address.bytes);
        self.result(Class::B64, format_args!("add.s64"), operands)
    }

    /// Moves a pointer on.
    pub fn step_pointer(&mut self, pointer: Value, bytes: impl Into<Value>) {
        let bytes = bytes.into();
        self.line(format_args!("add.s64 {pointer}, {pointer}, {bytes};"));
    }
}
