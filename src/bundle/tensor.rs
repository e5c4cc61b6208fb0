//! One tensor of a bundle: its header, checked against its entry, before anybody makes something of its values.

use super::check::Reason;

/// Largest dimension of a tensor; the largest of a ResNet is 2048.
const MAX_DIM: u32 = 1 << 15;
/// tract's tensor header.
pub const HEADER: usize = 128;

/// What a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    F32,
    I8,
    I32,
    I64,
}

impl Kind {
    fn of(header: &[u8; HEADER]) -> Option<Self> {
        // 0 is float, 3 and 4 are signed integers; the rest is a vendor's
        match (word(header, 48), word(header, 44)) {
            (0, 32) => Some(Self::F32),
            (3 | 4, 8) => Some(Self::I8),
            (3 | 4, 32) => Some(Self::I32),
            (3 | 4, 64) => Some(Self::I64),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

/// A tensor's name and type. Its shape's product is the number of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub kind: Kind,
    pub shape: Vec<usize>,
}

/// Takes a bundle's tensors while it is read.
pub trait Sink {
    /// `values`: little endian, as many as the shape says, finite. Whether the file is sound is not known
    /// before all of it has been read.
    ///
    /// # Errors
    /// If no network can use the tensor: why.
    fn tensor(&mut self, info: &TensorInfo, values: &[u8]) -> Result<(), String>;
}

/// For who only wants to know whether a bundle is sound.
impl Sink for () {
    fn tensor(&mut self, _: &TensorInfo, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn word(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// A tensor's header against the `size` of what follows it.
pub fn info(name: &str, header: &[u8; HEADER], size: usize) -> Result<TensorInfo, Reason> {
    let refuse = |what: &str| Err(Reason::Refused(format!("{name}.dat: {what}")));
    if header[..4] != [0x4e, 0xef, 1, 0] {
        return refuse("no NNEF tensor of version 1.0");
    }
    let rank = word(header, 8) as usize;
    if rank > 8 {
        return refuse("more than 8 dimensions");
    }
    let dims = (0..rank).map(|i| word(header, 12 + 4 * i));
    if !dims.clone().all(|d| (1..=MAX_DIM).contains(&d)) {
        return refuse("a dimension of 0 or beyond 32768");
    }
    let Some(kind) = Kind::of(header) else {
        return refuse("values of neither 8, 32 nor 64 signed bits nor 32-bit floats");
    };
    let values = dims
        .clone()
        .fold(1u128, |product, d| product.saturating_mul(u128::from(d)));
    let stated = values.saturating_mul(kind.bytes() as u128);
    if stated != size as u128 || u128::from(word(header, 4)) != stated {
        return refuse("its shape, its stated size and its size in the archive disagree");
    }
    Ok(TensorInfo {
        name: name.to_owned(),
        kind,
        shape: dims.map(|d| d as usize).collect(),
    })
}

/// That floats are finite.
pub fn finite(info: &TensorInfo, values: &[u8]) -> Result<(), Reason> {
    let finite = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite();
    if info.kind == Kind::F32 && !values.chunks_exact(4).all(finite) {
        let why = format!("{}.dat: it holds a value that is not finite", info.name);
        return Err(Reason::Refused(why));
    }
    Ok(())
}
