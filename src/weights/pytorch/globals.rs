//! The names that a checkpoint may look up, and what they stand for here. Nothing else is called.

use super::pickle::{Heap, Value, kind};
use crate::tensor::Shape;
use crate::weights::file::Element;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`, and `_rebuild_tensor` before it
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`
    RebuildParameter,
    /// `torch.Size`
    Size,
    /// A storage type such as `torch.FloatStorage`.
    Storage(Element),
    /// What else training state is made of; it means nothing here.
    Inert,
}

/// An array of elements of one type, as a file stores them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Storage {
    /// The text that names the storage in the file.
    pub key: Value,
    pub element: Element,
    pub elements: usize,
    /// Where the view of the storage begins, in elements.
    pub offset: usize,
}

/// A strided view of a storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredTensor {
    /// Which of the heap's storages.
    pub storage: usize,
    /// In elements, from the start of the storage.
    pub offset: usize,
    pub shape: Shape,
    /// In elements.
    pub strides: Vec<usize>,
}

/// # Errors
/// Where the name is not on the list.
pub fn find(module: &str, name: &str) -> Result<Global, String> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Global::RebuildParameter,
        ("torch", "Size") => Global::Size,
        ("torch" | "torch.cuda", "FloatStorage") => Global::Storage(Element::F32),
        ("torch" | "torch.cuda", "HalfStorage") => Global::Storage(Element::F16),
        ("torch" | "torch.cuda", "BFloat16Storage") => Global::Storage(Element::BF16),
        ("torch" | "torch.cuda", "DoubleStorage") => Global::Storage(Element::F64),
        ("torch" | "torch.cuda", "LongStorage") => Global::Storage(Element::Other { name: "I64", bytes: 8 }),
        ("torch" | "torch.cuda", "IntStorage") => Global::Storage(Element::Other { name: "I32", bytes: 4 }),
        ("torch" | "torch.cuda", "ShortStorage") => Global::Storage(Element::Other { name: "I16", bytes: 2 }),
        ("torch" | "torch.cuda", "CharStorage") => Global::Storage(Element::Other { name: "I8", bytes: 1 }),
        ("torch" | "torch.cuda", "ByteStorage") => Global::Storage(Element::Other { name: "U8", bytes: 1 }),
        ("torch" | "torch.cuda", "BoolStorage") => Global::Storage(Element::Other { name: "BOOL", bytes: 1 }),
        ("torch", "device" | "float32" | "float64" | "float16" | "bfloat16" | "int64")
        | ("collections", "Counter" | "defaultdict")
        | ("numpy" | "numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "dtype")
        | ("_codecs", "encode")
        | ("__builtin__" | "builtins", "set" | "frozenset" | "int" | "float" | "dict" | "list") => {
            Global::Inert
        }
        _ => {
            return Err(format!(
                "its pickle asks for '{module}.{name}', which no list of arrays needs; nothing of the file was \
                 executed (a checkpoint that loads holds a state_dict)"
            ));
        }
    })
}

/// What a call of a global yields; `arguments` is a tuple.
///
/// # Errors
/// Where the arguments are not those that PyTorch writes.
pub fn call(heap: &mut Heap, global: Global, arguments: Value) -> Result<Value, String> {
    let given = heap.items(arguments).ok_or("its pickle calls a function without a tuple of arguments")?;
    match global {
        Global::OrderedDict => {
            let entries = pairs(heap, given)?;
            Ok(heap.add_dict(entries))
        }
        Global::RebuildTensor => {
            let tensor = stored_tensor(heap, given)?;
            Ok(heap.add_tensor(tensor))
        }
        Global::RebuildParameter => match given.first() {
            Some(&tensor @ Value::Tensor(_)) => Ok(tensor),
            _ => Err("its pickle makes a parameter of something that is no array".to_owned()),
        },
        Global::Size => given.first().copied().ok_or_else(|| "its pickle makes a size of nothing".to_owned()),
        Global::Inert => Ok(Value::Inert),
        Global::Storage(_) => Err("its pickle makes a storage out of nothing".to_owned()),
    }
}

/// The entries of `OrderedDict()`, or as Python 2 wrote it: `OrderedDict([[key, value], …])`.
fn pairs(heap: &Heap, arguments: &[Value]) -> Result<Vec<(Value, Value)>, String> {
    let pairs = arguments.first().map_or(Some(&[][..]), |&list| heap.items(list));
    let entry = |&pair: &Value| match heap.items(pair) {
        Some(&[key, value]) => Some((key, value)),
        _ => None,
    };
    let entries = pairs.and_then(|pairs| pairs.iter().map(entry).collect::<Option<Vec<_>>>());
    entries.ok_or_else(|| "its pickle makes a dictionary of something that is no list of pairs".to_owned())
}

/// `(storage, offset, shape, strides, …)`
fn stored_tensor(heap: &Heap, arguments: &[Value]) -> Result<StoredTensor, String> {
    let malformed = || "its pickle describes an array in a way that PyTorch does not".to_owned();
    let &[storage, offset, shape, strides, ..] = arguments else { return Err(malformed()) };
    let Value::Storage(storage) = storage else { return Err(malformed()) };
    let extent = |value: &Value| match *value {
        Value::Int(extent) => usize::try_from(extent).ok(),
        _ => None,
    };
    let extents = |value: Value| heap.items(value)?.iter().map(extent).collect::<Option<Vec<usize>>>();
    let (offset, shape, strides) = (extent(&offset), extents(shape), extents(strides));
    let (Some(offset), Some(shape), Some(strides)) = (offset, shape, strides) else {
        return Err(malformed());
    };
    if shape.len() != strides.len() || shape.len() > MAX_RANK {
        return Err(malformed());
    }
    let offset = heap.storages()[storage].offset.checked_add(offset).ok_or_else(malformed)?;
    Ok(StoredTensor { storage, offset, shape: Shape::new(shape), strides })
}

/// More axes than the array of any layer has.
const MAX_RANK: usize = 8;

/// The storage that a persistent id names: `('storage', type, key, device, elements)`, in legacy files with a last
/// item `None` or `(key, offset, elements)` of a view.
///
/// # Errors
/// Where it is none.
pub fn storage(heap: &Heap, id: Value) -> Result<Storage, String> {
    let malformed = || format!("its pickle refers to a storage by {}", kind(id));
    let items = heap.items(id).ok_or_else(malformed)?;
    let (&[word, element, key, _, elements], rest) = items.split_first_chunk::<5>().ok_or_else(malformed)?;
    let (Value::Global(Global::Storage(element)), Value::Int(elements)) = (element, elements) else {
        return Err(malformed());
    };
    if heap.text(word) != Some("storage") {
        return Err(malformed());
    }
    heap.text(key).ok_or_else(malformed)?;
    let elements = usize::try_from(elements).map_err(|_| malformed())?;
    let offset = match rest.first().and_then(|&view| heap.items(view)) {
        Some(&[_, Value::Int(offset), _]) => usize::try_from(offset).map_err(|_| malformed())?,
        _ => 0,
    };
    Ok(Storage { key, element, elements, offset })
}
