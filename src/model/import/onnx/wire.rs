//! Looks through a protobuf before it is decoded: is it whole, and how much memory will it take? A field of
//! two bytes can become a structure of hundreds, so fields are counted by where they are before prost makes
//! anything of them. What the fields mean is for `check.rs`.

/// Far more than a ResNet152 with a quantizer's nodes around each layer has (some 100,000).
const MOST_FIELDS: usize = 2_000_000;
/// Bytes in lists of packed numbers, which may grow eightfold when decoded. Weights are raw bytes.
const MOST_PACKED: usize = 128 << 20;

/// The messages that fields are counted in. All others are strings, bytes or numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    /// Sparse tensors, types, shapes, annotations: few and small, but counted at any depth.
    Other,
}

/// What a length-delimited field holds.
enum Content {
    Message(Message),
    Packed,
    Bytes,
}

impl Message {
    /// Field numbers are those of onnx.proto.
    fn content(self, field: u64) -> Content {
        use Content::{Bytes, Message as M, Packed};
        match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => M(Self::Graph),
            (Self::Graph, 1) => M(Self::Node),
            (Self::Node, 5) => M(Self::Attribute),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) => M(Self::Tensor),
            (Self::Tensor, 1 | 4 | 5 | 7 | 10 | 11) | (Self::Attribute, 7 | 8) => Packed,
            (Self::Model, 8 | 14 | 20 | 25)
            | (Self::Graph, 11..=15)
            | (Self::Attribute, 14 | 15 | 22 | 23)
            | (Self::Tensor, 13) => M(Self::Other),
            _ => Bytes,
        }
    }
}

/// Counts the fields of a model.
///
/// # Errors
/// If the bytes are no whole protobuf, or hold more fields than any ResNet needs.
pub fn scan(bytes: &[u8]) -> Result<(), String> {
    let mut count = Count::default();
    count.message(bytes, Message::Model, 0)?;
    if !count.graph {
        return Err("it holds no graph".into());
    }
    Ok(())
}

#[derive(Default)]
struct Count {
    fields: usize,
    packed: usize,
    graph: bool,
}

impl Count {
    fn message(&mut self, mut rest: &[u8], message: Message, depth: usize) -> Result<(), String> {
        if depth > 16 {
            return Err("its messages are nested too deeply".into());
        }
        while !rest.is_empty() {
            self.fields += 1;
            if self.fields > MOST_FIELDS {
                return Err(format!("more than {MOST_FIELDS} fields"));
            }
            let tag = varint(&mut rest)?;
            match tag & 7 {
                0 => varint(&mut rest).map(|_| ())?,
                1 => take(&mut rest, 8).map(|_| ())?,
                5 => take(&mut rest, 4).map(|_| ())?,
                2 => {
                    let length = varint(&mut rest)?;
                    let content = take(&mut rest, length)?;
                    self.content(content, message, tag >> 3, depth)?;
                }
                other => return Err(format!("wire type {other} is unknown")),
            }
        }
        Ok(())
    }

    fn content(
        &mut self,
        content: &[u8],
        message: Message,
        field: u64,
        depth: usize,
    ) -> Result<(), String> {
        self.graph |= message == Message::Model && field == 7;
        match message.content(field) {
            Content::Message(inner) => self.message(content, inner, depth + 1),
            Content::Packed => {
                self.packed += content.len();
                if self.packed > MOST_PACKED {
                    return Err("too many numbers in lists; store tensors as raw bytes".into());
                }
                Ok(())
            }
            // in small messages what is a message and what a string is not told apart: as many fields as may be
            Content::Bytes if message == Message::Other => {
                self.fields += content.len() / 2;
                Ok(())
            }
            Content::Bytes => Ok(()),
        }
    }
}

const CUT: &str = "the file ends within a field";

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(CUT)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number has more than 64 bits".into())
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let length = usize::try_from(length).map_err(|_| CUT)?;
    let (head, tail) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = content.len();
        while length > 0x7f {
            bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap());
        [&bytes, content].concat()
    }

    #[test]
    fn a_model_needs_a_graph_and_a_graph_may_be_empty() {
        assert!(scan(&[]).unwrap_err().contains("no graph"));
        assert!(scan(&field(7, &[])).is_ok());
        assert_eq!(scan(&field(7, &[0x0a, 5, 1])).unwrap_err(), CUT);
        assert!(scan(&[7, 7, 7]).unwrap_err().contains("wire type 7"));
        assert!(scan(&[0xff; 12]).unwrap_err().contains("64 bits"));
    }

    #[test]
    fn small_fields_that_would_grow_are_counted_before_they_do() {
        // each empty node costs two bytes here and hundreds when decoded
        let nodes = [0x0a, 0].repeat(MOST_FIELDS + 1);
        assert!(scan(&field(7, &nodes)).unwrap_err().contains("fields"));
        let packed = field(7, &field(5, &field(7, &vec![0; MOST_PACKED + 1])));
        assert!(scan(&packed).unwrap_err().contains("raw bytes"));
        let raw = field(7, &field(5, &field(9, &vec![0; MOST_PACKED + 1])));
        assert!(scan(&raw).is_ok());
    }

    #[test]
    fn graphs_within_graphs_have_an_end() {
        let nested = (0..20).fold(Vec::new(), |inner, _| {
            field(1, &field(5, &field(6, &inner)))
        });
        assert!(scan(&field(7, &nested)).unwrap_err().contains("deeply"));
    }
}
