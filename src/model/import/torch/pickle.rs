//! Reads a pickle as plain data. Python's pickles are programs that may call anything; this interpreter knows the
//! instructions that state dicts consist of and a handful of names, of which it makes dictionaries and descriptions
//! of tensors itself. Of what training programs put beside the weights (arguments, numbers of NumPy, paths) nothing is
//! made at all. Anything else is refused by its name, and nothing is ever called.
//!
//! Values are small and own nothing: containers lie in an arena and are named by their number. So a pickle that
//! nests, repeats itself or leads in circles costs what its bytes cost, and no recursion. What tensors hold is
//! [`super`]'s business.

use std::collections::HashMap;

use super::globals::{Global, Kind, global};

/// Instructions in one pickle; the state dict of a ResNet152 takes some 40,000.
const MAX_STEPS: usize = 1 << 20;
/// Entries of dictionaries that are made of lists, which may be the same one each time.
const MAX_COPIED: usize = 1 << 20;
/// Dimensions of a tensor.
const MAX_RANK: usize = 8;

/// A plain value. `'a` is the pickle's bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// None, and whatever is read and not used.
    None,
    Int(i128),
    Text(&'a str),
    /// Numbers in [`Pickle`]'s arena.
    List(usize),
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
    /// Between what an instruction takes and what lies below it.
    Mark,
}

/// Numbers of one kind behind each other, under the name that the file gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage<'a> {
    pub key: &'a str,
    pub kind: Kind,
    pub count: usize,
}

/// A view of a storage, within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub storage: usize,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a pickle holds.
#[derive(Debug)]
pub struct Pickle<'a> {
    pub value: Value<'a>,
    pub lists: Vec<Vec<Value<'a>>>,
    pub dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    pub storages: Vec<Storage<'a>>,
    pub tensors: Vec<Tensor>,
    /// How many bytes it took.
    pub length: usize,
}

impl Tensor {
    #[must_use]
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Reads one pickle from the front of `bytes`; the error says what is wrong with it.
///
/// # Errors
/// If it ends too early, uses what is not known or calls what is not allowed.
pub fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
        found: Pickle {
            value: Value::None,
            lists: Vec::new(),
            dicts: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
            length: 0,
        },
    };
    for _ in 0..MAX_STEPS {
        if let Some(value) = machine.step()? {
            machine.found.value = value;
            machine.found.length = machine.at;
            return Ok(machine.found);
        }
    }
    Err(format!("it has more than {MAX_STEPS} instructions"))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    memo: HashMap<u32, Value<'a>>,
    /// See [`MAX_COPIED`].
    copied: usize,
    found: Pickle<'a>,
}

impl<'a> Machine<'a> {
    /// One instruction; the value, if it was the last.
    fn step(&mut self) -> Result<Option<Value<'a>>, String> {
        let opcode = self.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => self.take(1).map(|_| ())?,
            0x95 => self.take(8).map(|_| ())?, // the length of a frame, which only a stream needs
            b'(' => self.stack.push(Value::Mark),
            b'0' => self.pop().map(|_| ())?,
            b'1' => self.above_mark().map(|_| ())?,
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'q' | b'r' | 0x94 => self.remember(opcode)?,
            b'h' | b'j' => self.recall(opcode)?,
            b']' | b')' | b't' | b'l' | 0x85..=0x87 => self.make_list(opcode)?,
            b'}' | b'd' => self.make_dict(opcode)?,
            b'a' | b'e' => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            b'c' | 0x93 => self.find_global(opcode)?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            b'Q' => self.find_storage()?,
            _ => {
                let value = self.literal(opcode)?;
                self.stack.push(value);
            }
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..count).ok_or("it ends too early")?;
        self.at += count;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of up to 8 bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, String> {
        let taken = self.take(bytes)?.iter().rev();
        Ok(taken.fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, String> {
        usize::try_from(self.number(bytes)?).map_err(|_| "it ends too early".to_owned())
    }

    fn text(&mut self, length: usize) -> Result<&'a str, String> {
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| format!("no text at byte {at}"))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n');
        let line = self.text(length.ok_or("it ends too early")?)?;
        self.at += 1;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        self.stack.pop().ok_or_else(nothing)
    }

    fn top(&self) -> Result<Value<'a>, String> {
        self.stack.last().copied().ok_or_else(nothing)
    }

    /// What lies above the last mark, which goes.
    fn above_mark(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.stack.iter().rposition(|v| *v == Value::Mark);
        let mark = mark.ok_or_else(nothing)?;
        let above = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(above)
    }

    /// What a literal's instruction stands for.
    fn literal(&mut self, opcode: u8) -> Result<Value<'a>, String> {
        Ok(match opcode {
            b'N' | 0x88 | 0x89 => Value::None,
            b'G' => {
                self.take(8)?;
                Value::None
            }
            b'K' => Value::Int(self.number(1)?.into()),
            b'M' => Value::Int(self.number(2)?.into()),
            b'J' => {
                let taken = self.take(4)?;
                integer(taken).ok_or("a number of more than 16 bytes")?
            }
            0x8a | 0x8b => {
                let length = self.length(if opcode == 0x8a { 1 } else { 4 })?;
                let taken = self.take(length)?;
                integer(taken).ok_or("a number of more than 16 bytes")?
            }
            b'X' | b'T' => {
                let length = self.length(4)?;
                Value::Text(self.text(length)?)
            }
            0x8c | b'U' => {
                let length = self.length(1)?;
                Value::Text(self.text(length)?)
            }
            0x8d => {
                let length = self.length(8)?;
                Value::Text(self.text(length)?)
            }
            b'B' | b'C' => {
                let length = self.length(if opcode == b'B' { 4 } else { 1 })?;
                self.take(length)?;
                Value::None
            }
            other => {
                return Err(format!(
                    "instruction {other:#04x} is not one of a state dict's"
                ));
            }
        })
    }

    fn remember(&mut self, opcode: u8) -> Result<(), String> {
        let key = match opcode {
            b'q' => self.number(1)?,
            b'r' => self.number(4)?,
            _ => self.memo.len() as u64,
        };
        let top = self.top()?;
        if top == Value::Mark {
            return Err("it remembers what is no value".into());
        }
        let key = u32::try_from(key).map_err(|_| "it remembers too much")?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<(), String> {
        let key = self.number(if opcode == b'h' { 1 } else { 4 })?;
        let value = u32::try_from(key).ok().and_then(|key| self.memo.get(&key));
        self.stack
            .push(*value.ok_or_else(|| format!("it recalls {key}, which it never had"))?);
        Ok(())
    }

    fn push_list(&mut self, values: Vec<Value<'a>>) {
        self.stack.push(Value::List(self.found.lists.len()));
        self.found.lists.push(values);
    }

    fn make_list(&mut self, opcode: u8) -> Result<(), String> {
        let values = match opcode {
            b']' | b')' => Vec::new(),
            b't' | b'l' => self.above_mark()?,
            count => {
                let count = usize::from(count - 0x84);
                let below = self.stack.len().checked_sub(count).ok_or_else(nothing)?;
                self.stack.split_off(below)
            }
        };
        self.push_list(values);
        Ok(())
    }

    fn make_dict(&mut self, opcode: u8) -> Result<(), String> {
        let items = if opcode == b'd' {
            pairs(&self.above_mark()?)?
        } else {
            Vec::new()
        };
        self.stack.push(Value::Dict(self.found.dicts.len()));
        self.found.dicts.push(items);
        Ok(())
    }

    fn append(&mut self, opcode: u8) -> Result<(), String> {
        let values = if opcode == b'a' {
            vec![self.pop()?]
        } else {
            self.above_mark()?
        };
        match self.top()? {
            Value::List(list) => self.found.lists[list].extend(values),
            Value::None => {}
            _ => return Err("it appends to what is no list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<(), String> {
        let items = if opcode == b's' {
            let (value, key) = (self.pop()?, self.pop()?);
            vec![(key, value)]
        } else {
            pairs(&self.above_mark()?)?
        };
        match self.top()? {
            Value::Dict(dict) => self.found.dicts[dict].extend(items),
            Value::None => {}
            _ => return Err("it sets items of what is no dictionary".into()),
        }
        Ok(())
    }

    fn find_global(&mut self, opcode: u8) -> Result<(), String> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => (module, name),
                _ => return Err("it calls what has no name".into()),
            }
        };
        self.stack.push(Value::Global(global(module, name)?));
        Ok(())
    }

    /// What a call of a known global makes, without calling anything.
    fn call(&mut self) -> Result<(), String> {
        let Value::List(arguments) = self.pop()? else {
            return Err("it calls something with what are no arguments".into());
        };
        let Value::Global(global) = self.pop()? else {
            return Err("it calls what is no known name".into());
        };
        let arguments = &self.found.lists[arguments];
        let first = arguments.first().copied();
        match global {
            Global::Dict => {
                let items = match first {
                    Some(Value::List(list)) => self.items(list)?,
                    _ => Vec::new(),
                };
                self.copied += items.len();
                self.stack.push(Value::Dict(self.found.dicts.len()));
                self.found.dicts.push(items);
            }
            Global::List => match first {
                Some(list @ Value::List(_)) => self.stack.push(list),
                _ => self.push_list(Vec::new()),
            },
            Global::Plain => self.stack.push(Value::None),
            Global::Tensor => {
                let tensor = self.tensor(arguments)?;
                self.stack.push(Value::Tensor(self.found.tensors.len()));
                self.found.tensors.push(tensor);
            }
            Global::Parameter => match first {
                Some(tensor @ Value::Tensor(_)) => self.stack.push(tensor),
                _ => return Err("it makes a parameter of what is no tensor".into()),
            },
            Global::Storage(_) => return Err("it makes a storage of its own".into()),
        }
        Ok(())
    }

    /// The pairs of a list of pairs.
    fn items(&self, list: usize) -> Result<Vec<(Value<'a>, Value<'a>)>, String> {
        if self.found.lists[list].len() > MAX_COPIED - self.copied {
            return Err("it copies too much".into());
        }
        let pair = |value: &Value<'a>| match value {
            Value::List(pair) => match self.found.lists[*pair][..] {
                [key, value] => Ok((key, value)),
                _ => Err("it makes a dictionary of what are no pairs".to_owned()),
            },
            _ => Err("it makes a dictionary of what are no pairs".to_owned()),
        };
        self.found.lists[list].iter().map(pair).collect()
    }

    /// `(storage, offset, sizes, strides, ...)`, within the storage's bounds.
    fn tensor(&self, arguments: &[Value<'a>]) -> Result<Tensor, String> {
        let [
            Value::Storage(storage),
            Value::Int(offset),
            Value::List(shape),
            Value::List(strides),
            ..,
        ] = arguments
        else {
            return Err("it makes a tensor of what is no storage".into());
        };
        let sizes = |list: &usize| {
            // one more than allowed is enough to be refused
            let values = self.found.lists[*list].iter().take(MAX_RANK + 1);
            values.map(size).collect::<Result<Vec<usize>, String>>()
        };
        let tensor = Tensor {
            storage: *storage,
            offset: size(&Value::Int(*offset))?,
            shape: sizes(shape)?,
            strides: sizes(strides)?,
        };
        let within = self.found.storages[*storage].count;
        if fits(&tensor, within) {
            return Ok(tensor);
        }
        Err(format!(
            "a tensor of shape {:?} and strides {:?} from {} on does not lie in its storage of {within}",
            tensor.shape.iter().take(MAX_RANK).collect::<Vec<_>>(),
            tensor.strides.iter().take(MAX_RANK).collect::<Vec<_>>(),
            tensor.offset
        ))
    }

    /// What an object's attributes would be set to; none of them are needed.
    fn build(&mut self) -> Result<(), String> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) | Value::None => Ok(()),
            _ => Err("it sets attributes of what has none".into()),
        }
    }

    /// `('storage', type, key, location, count)`, and `None` in the older format.
    fn find_storage(&mut self) -> Result<(), String> {
        let id = match self.pop()? {
            Value::List(list) => &self.found.lists[list][..],
            _ => &[],
        };
        let [
            Value::Text("storage"),
            Value::Global(Global::Storage(kind)),
            Value::Text(key),
            _,
            Value::Int(count),
            rest @ ..,
        ] = id
        else {
            return Err("it refers to something that is no storage".into());
        };
        if !matches!(rest, [] | [Value::None]) {
            return Err("it refers to a part of a storage".into());
        }
        let storage = Storage {
            key,
            kind: *kind,
            count: size(&Value::Int(*count))?,
        };
        self.stack.push(Value::Storage(self.found.storages.len()));
        self.found.storages.push(storage);
        Ok(())
    }
}

fn nothing() -> String {
    "it takes what is not there".into()
}

/// A signed little-endian number; [`None`] if it is longer than 16 bytes.
fn integer(bytes: &[u8]) -> Option<Value<'static>> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 16];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(Value::Int(i128::from_le_bytes(whole)))
}

fn pairs<'a>(values: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, String> {
    let (pairs, odd) = values.as_chunks::<2>();
    if !odd.is_empty() {
        return Err("a dictionary has a key without a value".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

fn size(value: &Value) -> Result<usize, String> {
    match value {
        Value::Int(n) => usize::try_from(*n).map_err(|_| format!("{n} is no size")),
        _ => Err("a size is no number".into()),
    }
}

/// Whether all of a tensor's numbers are among `count`, and not more of them than those.
fn fits(tensor: &Tensor, count: usize) -> bool {
    let (shape, strides) = (&tensor.shape, &tensor.strides);
    if shape.len() > MAX_RANK || shape.len() != strides.len() {
        return false;
    }
    if shape.contains(&0) {
        return tensor.offset <= count;
    }
    let product = shape
        .iter()
        .try_fold(1usize, |product, &n| product.checked_mul(n));
    let steps = shape.iter().zip(strides);
    let last = steps
        .map(|(&n, &stride)| (n - 1).checked_mul(stride))
        .try_fold(tensor.offset, |sum, step| sum.checked_add(step?));
    product.is_some_and(|product| product <= count) && last.is_some_and(|last| last < count)
}
