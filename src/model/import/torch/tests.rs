//! Goldens that PyTorch wrote, and pickles that nobody should write.

use super::pickle::{self, Value};
use super::*;

const ZIPPED: &[u8] = include_bytes!("../../../../tests/golden/tiny.pth");
const OLDER: &[u8] = include_bytes!("../../../../tests/golden/tiny_legacy.pth");
const GOLDEN: &str = include_str!("../../../../tests/golden/tiny_pth.json");

#[derive(serde::Deserialize)]
struct Golden {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn read_from(bytes: &[u8]) -> Result<Tensors, String> {
    let found = read(Path::new("tiny.pth"), bytes).map_err(|error| error.to_string());
    found.map(|(tensors, _)| tensors)
}

fn refused(bytes: &[u8]) -> String {
    read_from(bytes).map(|_| ()).unwrap_err()
}

#[test]
fn both_formats_give_the_tensors_that_pytorch_put_in() {
    let golden: HashMap<String, Golden> = serde_json::from_str(GOLDEN).unwrap();
    for bytes in [ZIPPED, OLDER] {
        let mut tensors = read_from(bytes).unwrap();
        for (name, wanted) in &golden {
            let (shape, values) = tensors.take(name, wanted.shape.len()).unwrap();
            assert_eq!(shape, wanted.shape, "{name}");
            assert_eq!(values, wanted.values, "{name}");
        }
        tensors.finish().unwrap(); // neither counters nor the optimizer's
    }
}

#[test]
fn a_file_cut_off_anywhere_is_an_error() {
    for bytes in [ZIPPED, OLDER] {
        for length in 0..bytes.len() {
            assert!(read_from(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn a_damaged_file_is_read_or_refused_and_never_a_panic() {
    for bytes in [ZIPPED, OLDER] {
        for at in 0..bytes.len() {
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= flip;
                let _ = read_from(&damaged);
            }
        }
    }
}

/// Writes pickles of protocol 2, instruction by instruction.
#[derive(Default, Clone)]
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        Self(vec![0x80, 2])
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        self.raw(b"X").raw(&length).raw(text.as_bytes())
    }

    fn int(self, value: u64) -> Self {
        self.raw(&[0x8a, 9]).raw(&value.to_le_bytes()).raw(&[0])
    }

    fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    fn sizes(self, sizes: &[u64]) -> Self {
        let opened = self.raw(b"(");
        let filled = sizes.iter().fold(opened, |writer, &size| writer.int(size));
        filled.raw(b"t")
    }

    /// A tensor of a storage of `count` floats.
    fn tensor(self, count: u64, offset: u64, shape: &[u64], strides: &[u64]) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", "FloatStorage")
            .text("0")
            .text("cpu")
            .int(count)
            .raw(b"tQ")
            .int(offset)
            .sizes(shape)
            .sizes(strides)
            .raw(&[0x89])
            .raw(b"}tR")
    }

    /// A dictionary with one tensor.
    fn state(tensor: impl FnOnce(Self) -> Self) -> Vec<u8> {
        let named = Self::new().raw(b"}").text("x");
        tensor(named).raw(b"s.").0
    }

    fn done(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// A file of the older format, whose object is `pickle` and whose one storage holds `floats`.
fn older(pickle: &[u8], floats: &[f32]) -> Vec<u8> {
    let mut file = LEGACY.to_vec();
    file.extend(Writer::new().int(1001).done());
    file.extend(Writer::new().raw(b"}").done());
    file.extend_from_slice(pickle);
    file.extend(Writer::new().raw(b"](").text("0").raw(b"e").done());
    file.extend((floats.len() as u64).to_le_bytes());
    file.extend(floats.iter().flat_map(|v| v.to_le_bytes()));
    file
}

#[test]
fn a_view_is_read_by_its_strides() {
    let floats = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let pickle = Writer::state(|w| w.tensor(6, 1, &[2, 1, 2], &[1, u64::MAX, 3]));
    let mut tensors = read_from(&older(&pickle, &floats)).unwrap();
    assert_eq!(tensors.take("x", 3).unwrap().1, [1.0, 4.0, 2.0, 5.0]);
}

#[test]
fn a_tensor_that_its_storage_does_not_hold_is_refused() {
    let huge = 1 << 40;
    let cases: [(u64, u64, &[u64], &[u64]); 7] = [
        (6, 0, &[7], &[1]),
        (6, 1, &[6], &[1]),
        (6, 0, &[2, 2], &[5, 1]),
        (6, 0, &[huge, huge], &[0, 0]),
        (6, 0, &[7], &[0]),
        (6, u64::MAX, &[1], &[1]),
        (6, 0, &[2], &[u64::MAX, 1]),
    ];
    for (count, offset, shape, strides) in cases {
        let pickle = Writer::state(|w| w.tensor(count, offset, shape, strides));
        let message = refused(&older(&pickle, &[0.0; 6]));
        assert!(message.contains("does not lie in its storage"), "{message}");
    }
    // a storage that claims as much as its tensor, and is not there
    let pickle = Writer::state(|w| w.tensor(huge, 0, &[huge], &[1]));
    let message = refused(&older(&pickle, &[0.0; 6]));
    assert!(message.contains("two sizes"), "{message}");
}

#[test]
fn many_tensors_of_one_storage_allocate_no_more_than_the_file_has() {
    let one = |writer: Writer, name: &str| writer.text(name).tensor(4000, 0, &[4000], &[1]);
    let writer = (0..200).fold(Writer::new().raw(b"}("), |writer, i| {
        one(writer, &format!("x{i}"))
    });
    let message = refused(&older(&writer.raw(b"u.").0, &[0.0; 4000]));
    assert!(message.contains("ends before its tensors"), "{message}");
}

#[test]
fn what_a_pickle_would_call_is_named_and_not_called() {
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch.serialization", "load"),
        ("numpy.testing._private.utils", "runstring"),
        ("torchvision.models.resnet", "ResNet"),
    ] {
        let pickle = Writer::new().global(module, name);
        let pickle = pickle.raw(b"(").text("true").raw(b"tR.").0;
        let wanted = format!("calls {module}.{name}: only tensors are read");
        for file in [older(&pickle, &[]), pickle.clone(), zipped(&pickle)] {
            let message = refused(&file);
            assert!(message.contains(&wanted), "{message}");
        }
        // by the newer instruction, whose names are values
        let stacked = Writer::new().text(module).text(name).raw(&[0x93]).done();
        assert!(refused(&stacked).contains(&wanted));
    }
}

#[test]
fn what_training_programs_keep_beside_the_weights_is_left_alone() {
    let with = |beside: fn(Writer) -> Writer| {
        let writer = Writer::new().raw(b"}").text("model").raw(b"}").text("x");
        let writer = writer.tensor(2, 0, &[2], &[1]).raw(b"ss").text("beside");
        beside(writer).raw(b"s.").0
    };
    let namespace: fn(Writer) -> Writer = |w| {
        let w = w.global("argparse", "Namespace").raw(b")\x81}");
        w.text("lr").raw(b"G").raw(&[0; 8]).raw(b"sb")
    };
    let scalar: fn(Writer) -> Writer = |w| {
        let w = w.global("numpy.core.multiarray", "scalar");
        let w = w
            .global("numpy", "dtype")
            .raw(b"(")
            .text("f8")
            .raw(b"\x89\x88tR(NtbK\x00\x86R");
        w.raw(b"0")
            .global("collections", "deque")
            .raw(b")R(K\x01K\x02e")
    };
    for beside in [namespace, scalar] {
        let mut tensors = read_from(&older(&with(beside), &[1.0, 2.0])).unwrap();
        assert_eq!(tensors.take("x", 1).unwrap().1, [1.0, 2.0]);
        tensors.finish().unwrap();
    }
}

#[test]
fn a_checkpoints_own_tensors_are_no_weights_and_its_network_has_a_name() {
    let pickle = Writer::new().raw(b"}").text("best").tensor(2, 0, &[], &[]);
    let pickle = pickle.raw(b"s").text("arch").text("resnet18").raw(b"s");
    let pickle = pickle.text("state_dict").raw(b"}").text("x");
    let pickle = pickle.tensor(2, 0, &[2], &[1]).raw(b"ss.").0;
    let file = older(&pickle, &[1.0, 2.0]);
    let (mut tensors, metadata) = read(Path::new("best.pth"), &file).unwrap();
    assert_eq!(tensors.take("x", 1).unwrap().1, [1.0, 2.0]);
    tensors.finish().unwrap();
    assert_eq!(metadata["arch"], "resnet18");
}

#[test]
fn instructions_that_make_objects_are_refused() {
    for (pickle, word) in [
        (&b"\x80\x02}}b."[..], None),
        (b"\x80\x02]}b.", Some("attributes")),
        (b"\x80\x02ios\nsystem\n.", Some("0x69")),
        (b"\x80\x02(cos\nsystem\no.", Some("os.system")),
        (b"\x80\x02\x82\x01.", Some("0x82")),
        (b"\x80\x02Pname\n.", Some("0x50")),
        (b"\x80\x02)R.", Some("takes what is not there")),
        (b"\x80\x02))R.", Some("no known name")),
        (b"\x80\x02h\x05.", Some("never had")),
        (
            b"\x80\x02ctorch\nFloatStorage\n)R.",
            Some("storage of its own"),
        ),
        (b"\x80\x02(q\x00.", Some("no value")),
    ] {
        let outcome = pickle::read(pickle).map(|found| found.value);
        match word {
            None => assert!(outcome.is_ok(), "{outcome:?}"),
            Some(word) => {
                let message = outcome.unwrap_err();
                assert!(message.contains(word), "{message}");
            }
        }
    }
}

#[test]
fn pickles_that_nest_or_lead_in_circles_cost_what_they_weigh() {
    // a list in a list in a list ...
    let deep = [
        &b"\x80\x02"[..],
        &b"]".repeat(300_000),
        &b"a".repeat(299_999),
        b".",
    ]
    .concat();
    assert!(matches!(pickle::read(&deep).unwrap().value, Value::List(0)));
    // tuples, each around the one before
    let deep = [&b"\x80\x02)"[..], &b"\x85".repeat(500_000), b"."].concat();
    assert!(refused(&deep).contains("plain pickle"));
    // a dictionary that holds itself
    let circle = Writer::new().raw(b"}q\x00").text("model").raw(b"h\x00s.").0;
    assert!(refused(&zipped(&circle)).contains("no dictionary of tensors"));
    // each list twice the one before
    let mut laughs = b"\x80\x02]q\x00".to_vec();
    for i in 0..200u8 {
        laughs.extend([b']', b'(', b'h', i, b'h', i, b'e', b'q', i + 1]);
    }
    laughs.push(b'.');
    assert!(pickle::read(&laughs).is_ok());
    // a list of pairs that becomes a dictionary again and again
    let pairs = Writer::new()
        .raw(b"(")
        .raw(&b"NN\x86".repeat(50_000))
        .raw(b"l\x85q\x00");
    let call = Writer::default()
        .global("collections", "OrderedDict")
        .raw(b"h\x00R");
    let bomb = pairs.raw(&call.0.repeat(1000)).done();
    assert!(pickle::read(&bomb).unwrap_err().contains("copies too much"));
    // more instructions than any state dict has
    let long = [&b"\x80\x02"[..], &b"N0".repeat(1 << 20), b"N."].concat();
    assert!(pickle::read(&long).unwrap_err().contains("instructions"));
}

/// An archive as PyTorch makes them, with `pickle` in it.
fn zipped(pickle: &[u8]) -> Vec<u8> {
    archive(
        &[("archive/data.pkl", pickle), ("archive/data/0", &[0; 24])],
        CompressionMethod::Stored,
    )
}

fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    use std::io::Write;
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, data) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(data).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn an_archive_must_stay_in_its_folder_and_hold_what_it_says() {
    let pickle = Writer::state(|w| w.tensor(6, 0, &[2, 3], &[3, 1]));
    assert!(read_from(&zipped(&pickle)).is_ok());
    for name in [
        "../archive/data/0",
        "/etc/passwd",
        "archive\\data",
        "a/../../b",
        "C:data",
    ] {
        let entries = [("archive/data.pkl", &pickle[..]), (name, &[0; 24])];
        let message = refused(&archive(&entries, CompressionMethod::Stored));
        assert!(message.contains("leads out of it"), "{message}");
    }
    let missing = archive(&[("archive/data.pkl", &pickle)], CompressionMethod::Stored);
    assert!(refused(&missing).contains("no entry \"archive/data/0\""));
    let short = [
        ("archive/data.pkl", &pickle[..]),
        ("archive/data/0", &[0; 23]),
    ];
    let message = refused(&archive(&short, CompressionMethod::Stored));
    assert!(message.contains("ends before its tensors"), "{message}");
    let foreign = archive(&[("word/document.xml", b"<a/>")], CompressionMethod::Stored);
    assert!(refused(&foreign).contains("without data.pkl"));
}

#[test]
fn an_archive_that_says_it_is_compressed_is_refused() {
    let pickle = Writer::state(|w| w.tensor(6, 0, &[2, 3], &[3, 1]));
    let mut bytes = zipped(&pickle);
    // the method of the second entry in the directory: 8 is deflate
    let entries: Vec<usize> = (0..bytes.len() - 4)
        .filter(|&at| bytes[at..at + 4] == *b"PK\x01\x02")
        .collect();
    bytes[entries[1] + 10] = 8;
    let message = refused(&bytes);
    assert!(message.contains("archive/data/0"), "{message}");
}

#[test]
fn an_archive_with_a_damaged_tensor_is_refused_by_its_sum() {
    let pickle = Writer::state(|w| w.tensor(6, 0, &[2, 3], &[3, 1]));
    let entries = [
        ("archive/data.pkl", &pickle[..]),
        ("archive/data/0", b"twenty-four bytes, exact"),
    ];
    let mut bytes = archive(&entries, CompressionMethod::Stored);
    let at = bytes.windows(6).position(|w| w == b"twenty").unwrap();
    bytes[at] = b'T';
    let message = refused(&bytes);
    assert!(
        message.contains("archive/data/0") && message.contains("checksum"),
        "{message}"
    );
}
