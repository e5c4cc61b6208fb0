//! The names that a pickle may use, and what each is here: [`super::pickle`] calls none of them.

/// Types whose objects are plain data, or lie in checkpoints beside the weights: what torchvision's, timm's and
/// Lightning's programs save.
const PLAIN: [(&[&str], &[&str]); 11] = [
    (
        &["builtins", "__builtin__"],
        &[
            "int",
            "float",
            "bool",
            "str",
            "complex",
            "bytearray",
            "frozenset",
        ],
    ),
    (&["argparse"], &["Namespace"]),
    (&["types"], &["SimpleNamespace"]),
    (
        &["pathlib", "pathlib._local"],
        &["Path", "PosixPath", "WindowsPath", "PurePosixPath"],
    ),
    (&["datetime"], &["datetime", "timedelta", "date"]),
    (&["collections"], &["deque", "Counter"]),
    (&["_codecs"], &["encode"]),
    (&["numpy"], &["dtype", "ndarray"]),
    (
        &["numpy.core.multiarray", "numpy._core.multiarray"],
        &["scalar", "_reconstruct"],
    ),
    (
        &["torch"],
        &[
            "device",
            "float64",
            "float32",
            "float16",
            "bfloat16",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint8",
            "bool",
            "channels_last",
            "contiguous_format",
            "preserve_format",
        ],
    ),
    (&["lightning_fabric.utilities.data"], &["AttributeDict"]),
];

/// A name that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    /// `dict`, `OrderedDict`, `defaultdict`.
    Dict,
    /// A list, a tuple, or `torch.Size`, which is one.
    List,
    /// Another plain type, or an object that training programs keep: it is nothing here.
    Plain,
    /// Makes a tensor of a storage, an offset, sizes and strides.
    Tensor,
    /// A tensor that was trained.
    Parameter,
    Storage(Kind),
}

/// What a storage's numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F64,
    F32,
    F16,
    Bf16,
    /// No weights: called so, with so many bytes each.
    Other(&'static str, usize),
}

impl Kind {
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Other(_, bytes) => bytes,
        }
    }
}

/// The global that `module.name` means.
///
/// # Errors
/// If nothing may use it.
pub fn global(module: &str, name: &str) -> Result<Global, String> {
    let storage = |kind| Ok(Global::Storage(kind));
    match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") | ("builtins" | "__builtin__", "dict") => {
            Ok(Global::Dict)
        }
        ("builtins" | "__builtin__", "list" | "tuple" | "set") | ("torch", "Size") => {
            Ok(Global::List)
        }
        _ if PLAIN
            .iter()
            .any(|(modules, names)| modules.contains(&module) && names.contains(&name)) =>
        {
            Ok(Global::Plain)
        }
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Ok(Global::Tensor),
        ("torch._utils", "_rebuild_parameter") => Ok(Global::Parameter),
        ("torch", "DoubleStorage") => storage(Kind::F64),
        ("torch", "FloatStorage") => storage(Kind::F32),
        ("torch", "HalfStorage") => storage(Kind::F16),
        ("torch", "BFloat16Storage") => storage(Kind::Bf16),
        ("torch", "LongStorage") => storage(Kind::Other("int64", 8)),
        ("torch", "IntStorage") => storage(Kind::Other("int32", 4)),
        ("torch", "ShortStorage") => storage(Kind::Other("int16", 2)),
        ("torch", "CharStorage") => storage(Kind::Other("int8", 1)),
        ("torch", "ByteStorage") => storage(Kind::Other("uint8", 1)),
        ("torch", "BoolStorage") => storage(Kind::Other("bool", 1)),
        _ => Err(format!(
            "it calls {}.{}: only tensors are read; save the network's state_dict() alone",
            module.escape_debug(),
            name.escape_debug()
        )),
    }
}
