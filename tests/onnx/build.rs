//! Small ONNX files, written field by field.

/// A model under construction.
pub struct Model {
    opset: u64,
    graph: Vec<u8>,
}

/// A node under construction.
pub struct Node(Vec<u8>);

pub enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, tag: u64, value: u64) {
    varint(out, tag << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, tag: u64, value: &[u8]) {
    varint(out, tag << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

/// The start of a `TensorProto`: dims, type and name.
fn tensor_head(name: &str, dims: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    dims.iter().for_each(|&dim| number(&mut out, 1, dim as u64));
    number(&mut out, 2, 1);
    bytes(&mut out, 8, name.as_bytes());
    out
}

/// A `TensorProto` of floats, raw.
pub fn tensor(name: &str, dims: &[i64], values: &[f32]) -> Vec<u8> {
    let mut out = tensor_head(name, dims);
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    bytes(&mut out, 9, &raw);
    out
}

impl Node {
    pub fn new(operator: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        let mut out = Vec::new();
        inputs.iter().for_each(|name| bytes(&mut out, 1, name.as_bytes()));
        outputs.iter().for_each(|name| bytes(&mut out, 2, name.as_bytes()));
        bytes(&mut out, 4, operator.as_bytes());
        Node(out)
    }

    pub fn attribute(mut self, name: &str, value: Attribute) -> Self {
        let mut out = Vec::new();
        bytes(&mut out, 1, name.as_bytes());
        match value {
            Attribute::Int(value) => {
                number(&mut out, 3, value as u64);
                number(&mut out, 20, 2);
            }
            Attribute::Ints(values) => {
                values.iter().for_each(|&value| number(&mut out, 8, value as u64));
                number(&mut out, 20, 7);
            }
        }
        bytes(&mut self.0, 5, &out);
        self
    }
}

impl Model {
    pub fn new(opset: u64) -> Self {
        Model { opset, graph: Vec::new() }
    }

    /// An input of floats; a negative extent is written as it is.
    pub fn input(mut self, name: &str, dims: &[i64]) -> Self {
        let dims = dims.iter().map(|&dim| {
            let mut out = Vec::new();
            number(&mut out, 1, dim as u64);
            out
        });
        let value = value(name, dims);
        bytes(&mut self.graph, 11, &value);
        self
    }

    /// An input of floats whose extents are numbers or names.
    pub fn named_input(mut self, name: &str, dims: &[&str]) -> Self {
        let dims = dims.iter().map(|dim| {
            let mut out = Vec::new();
            match dim.parse() {
                Ok(extent) => number(&mut out, 1, extent),
                Err(_) => bytes(&mut out, 2, dim.as_bytes()),
            }
            out
        });
        let value = value(name, dims);
        bytes(&mut self.graph, 11, &value);
        self
    }

    pub fn output(mut self, name: &str) -> Self {
        let mut out = Vec::new();
        bytes(&mut out, 1, name.as_bytes());
        bytes(&mut self.graph, 12, &out);
        self
    }

    pub fn initializer(mut self, tensor: Vec<u8>) -> Self {
        bytes(&mut self.graph, 5, &tensor);
        self
    }

    /// An initializer whose elements lie in another file.
    pub fn external(self, name: &str, dims: &[i64], location: &str) -> Self {
        let mut out = tensor_head(name, dims);
        let mut entry = Vec::new();
        bytes(&mut entry, 1, b"location");
        bytes(&mut entry, 2, location.as_bytes());
        bytes(&mut out, 13, &entry);
        number(&mut out, 14, 1);
        self.initializer(out)
    }

    pub fn node(mut self, node: Node) -> Self {
        bytes(&mut self.graph, 1, &node.0);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        number(&mut out, 1, 8);
        bytes(&mut out, 7, &self.graph);
        let mut set = Vec::new();
        number(&mut set, 2, self.opset);
        bytes(&mut out, 8, &set);
        out
    }
}

/// A `ValueInfoProto` of floats.
fn value(name: &str, dims: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut shape = Vec::new();
    dims.for_each(|dim| bytes(&mut shape, 1, &dim));
    let mut tensor = Vec::new();
    number(&mut tensor, 1, 1);
    bytes(&mut tensor, 2, &shape);
    let mut kind = Vec::new();
    bytes(&mut kind, 1, &tensor);
    let mut out = Vec::new();
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, &kind);
    out
}
