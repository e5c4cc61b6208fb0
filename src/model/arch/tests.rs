//! Every shape that is read, by what it is called and by the graph that it becomes.

use tract_nnef::internal::*;

use super::Resnet;
use crate::model::import::tensors::Tensors;

/// A network to be made up: only its shapes matter.
#[derive(Clone)]
struct Shape {
    blocks: [usize; 4],
    bottlenecks: bool,
    /// The stem's widths: one is a 7x7, three are 3x3.
    stem: Vec<usize>,
    averaged: bool,
    /// Of the first stage's blocks within.
    width: usize,
    groups: usize,
    /// Of the first stage's bottlenecks.
    outputs: usize,
    prefix: &'static str,
    head: &'static str,
}

/// ResNet50.
const PLAIN: Shape = Shape {
    blocks: [3, 4, 6, 3],
    bottlenecks: true,
    stem: Vec::new(),
    averaged: false,
    width: 64,
    groups: 1,
    outputs: 256,
    prefix: "",
    head: "fc",
};

impl Shape {
    fn tensors(&self) -> Tensors {
        let mut t = Tensors::default();
        let stem = if self.stem.is_empty() {
            &[64][..]
        } else {
            &self.stem
        };
        let mut inputs = 3;
        for (i, &outputs) in stem.iter().enumerate() {
            let deep = [
                ("conv1.0", "conv1.1"),
                ("conv1.3", "conv1.4"),
                ("conv1.6", "bn1"),
            ];
            let (names, side) = if stem.len() == 1 {
                (("conv1", "bn1"), 7)
            } else {
                (deep[i], 3)
            };
            self.conv(&mut t, names, [outputs, inputs, side, side]);
            inputs = outputs;
        }
        for (stage, &count) in self.blocks.iter().enumerate() {
            for block in 0..count {
                inputs = self.block(
                    &mut t,
                    &format!("layer{}.{block}", stage + 1),
                    stage,
                    inputs,
                );
            }
        }
        t.insert(
            format!("{}.weight", self.head),
            vec![5, inputs],
            vec![0.1; 5 * inputs],
        );
        t.insert(format!("{}.bias", self.head), vec![5], vec![0.0; 5]);
        t
    }

    fn block(&self, t: &mut Tensors, name: &str, stage: usize, inputs: usize) -> usize {
        let width = self.width << stage;
        let outputs = if self.bottlenecks {
            self.outputs << stage
        } else {
            width
        };
        let shapes = if self.bottlenecks {
            vec![
                [width, inputs, 1, 1],
                [width, width / self.groups, 3, 3],
                [outputs, width, 1, 1],
            ]
        } else {
            vec![[width, inputs, 3, 3], [width, width, 3, 3]]
        };
        for (i, shape) in shapes.into_iter().enumerate() {
            let names = (
                format!("{name}.conv{}", i + 1),
                format!("{name}.bn{}", i + 1),
            );
            self.conv(t, (&names.0, &names.1), shape);
        }
        if name.ends_with(".0") && (stage > 0 || inputs != outputs) {
            let at = usize::from(self.averaged);
            let names = [at, at + 1].map(|i| format!("{name}.downsample.{i}"));
            self.conv(t, (&names[0], &names[1]), [outputs, inputs, 1, 1]);
        }
        outputs
    }

    fn conv(&self, t: &mut Tensors, (conv, bn): (&str, &str), shape: [usize; 4]) {
        let prefix = self.prefix;
        let count = shape.iter().product();
        t.insert(
            format!("{prefix}{conv}.weight"),
            shape.to_vec(),
            vec![0.01; count],
        );
        for (what, value) in [
            ("weight", 1.0),
            ("bias", 0.0),
            ("running_mean", 0.0),
            ("running_var", 1.0),
        ] {
            t.insert(
                format!("{prefix}{bn}.{what}"),
                vec![shape[0]],
                vec![value; shape[0]],
            );
        }
    }

    fn arch(&self) -> String {
        Resnet::from_tensors(self.tensors()).unwrap().arch()
    }
}

#[test]
fn depth_and_kind_are_read_from_names_and_shapes() {
    let basic = Shape {
        bottlenecks: false,
        ..PLAIN
    };
    let small = [2, 2, 2, 2];
    let deep = |stem: [usize; 3], averaged| Shape {
        stem: stem.to_vec(),
        averaged,
        blocks: small,
        ..PLAIN
    };
    let grouped = Shape {
        width: 128,
        groups: 32,
        blocks: small,
        ..PLAIN
    };
    for (shape, name) in [
        (PLAIN, "resnet50"),
        (
            Shape {
                blocks: small,
                ..PLAIN
            },
            "resnet26",
        ),
        (basic.clone(), "resnet34"),
        (
            Shape {
                blocks: small,
                ..basic.clone()
            },
            "resnet18",
        ),
        (
            Shape {
                width: 128,
                ..PLAIN
            },
            "wide_resnet50_2",
        ),
        (grouped.clone(), "resnext26_32x4d"),
        (
            Shape {
                stem: vec![32, 32, 64],
                averaged: true,
                ..grouped
            },
            "resnext26d_32x4d",
        ),
        (deep([32, 32, 64], true), "resnet26d"),
        (deep([24, 32, 64], true), "resnet26t"),
        (deep([32, 32, 64], false), "resnet26c"),
        (Shape { width: 40, ..PLAIN }, "resnet-3-4-6-3"),
        (
            Shape {
                blocks: [1, 2, 1, 1],
                ..basic
            },
            "resnet-1-2-1-1",
        ),
    ] {
        assert_eq!(shape.arch(), name);
    }
}

/// Tiny, with all that is special: groups, a deep stem, averaged shortcuts.
fn tiny() -> Shape {
    Shape {
        blocks: [1, 1, 1, 1],
        stem: vec![4, 4, 8],
        averaged: true,
        width: 8,
        groups: 4,
        outputs: 16,
        ..PLAIN
    }
}

#[test]
fn what_stands_before_the_names_does_not_matter() {
    for prefix in [
        "",
        "module.",
        "model.",
        "backbone.",
        "module.model.backbone.",
    ] {
        for head in ["fc", "head.fc", "last_linear", "classifier", "fc.1"] {
            let shape = Shape {
                prefix,
                head,
                ..tiny()
            };
            assert_eq!(shape.arch(), "resnet-1-1-1-1", "{prefix} {head}");
        }
    }
    // the head behind a part of the prefix
    let shape = Shape {
        prefix: "model.backbone.",
        head: "model.head.fc",
        ..tiny()
    };
    assert_eq!(shape.arch(), "resnet-1-1-1-1");
    let mut two = tiny().tensors();
    let twin = Shape {
        prefix: "teacher.",
        ..tiny()
    };
    for name in twin.tensors().names() {
        two.insert(name.to_owned(), vec![1], vec![0.0]);
    }
    let message = Resnet::from_tensors(two).unwrap_err().to_string();
    assert!(message.contains("more than one network"), "{message}");
}

#[test]
fn odd_sizes_run_through_averaged_shortcuts_and_groups() {
    let net = Resnet::from_tensors(tiny().tensors()).unwrap();
    assert!(net.stages[1][0].shortcut.as_ref().unwrap().averaged);
    assert!(!net.stages[0][0].shortcut.as_ref().unwrap().averaged);
    assert_eq!(net.stages[2][0].convs[1].groups, 4);
    for size in [32, 33, 65, 97] {
        let plan = net.to_graph(size).unwrap().into_runnable().unwrap();
        let image = Tensor::from_shape(&[1, 3, size, size], &vec![1f32; 3 * size * size]).unwrap();
        let out = plan.run(tvec!(image.into_tvalue())).unwrap();
        assert_eq!(out[0].shape(), [1, 5]);
    }
}

#[test]
fn a_stem_of_one_3x3_may_pool_or_not_and_is_refused() {
    let mut tensors = PLAIN.tensors();
    let (shape, _) = tensors.take("conv1.weight", 4).unwrap();
    let shape = vec![shape[0], 3, 3, 3];
    let values = vec![0.0; shape.iter().product()];
    tensors.insert("conv1.weight".into(), shape, values);
    let message = Resnet::from_tensors(tensors).unwrap_err().to_string();
    assert!(message.contains("conv1 is 3x3"), "{message}");
}

#[test]
fn channels_that_do_not_follow_are_named() {
    let broken = |name: &str, shape: &[usize]| {
        let mut tensors = tiny().tensors();
        tensors.insert(
            name.to_owned(),
            shape.to_vec(),
            vec![0.0; shape.iter().product()],
        );
        Resnet::from_tensors(tensors).unwrap_err().to_string()
    };
    for (name, shape) in [
        ("layer1.0.conv2.weight", &[8, 3, 3, 3][..]),
        ("layer1.0.conv2.weight", &[8, 16, 3, 3]),
        ("layer1.0.conv2.weight", &[8, 8, 5, 5]),
        ("layer2.0.conv1.weight", &[16, 8, 1, 1]),
        ("layer2.0.conv1.weight", &[16, 0, 1, 1]),
        ("conv1.3.weight", &[4, 5, 3, 3]),
        ("fc.weight", &[5, 100]),
        ("fc.weight", &[5]),
        ("conv1.6.weight", &[8, 4]),
    ] {
        let message = broken(name, shape);
        assert!(
            message.contains(name.trim_end_matches(".weight").rsplit('.').next().unwrap()),
            "{message}"
        );
    }
    assert!(broken("layer1.0.se.fc1.weight", &[1]).contains("layer1.0.se.fc1.weight"));
    let mut tensors = tiny().tensors();
    tensors.insert("fc.0.weight".into(), vec![1], vec![0.0]);
    tensors.take("fc.weight", 2).unwrap();
    let message = Resnet::from_tensors(tensors).unwrap_err().to_string();
    assert!(
        message.contains("but fc.0.weight; a head of several layers"),
        "{message}"
    );
    let mut tensors = tiny().tensors();
    tensors.take("layer3.0.downsample.1.weight", 4).unwrap();
    let message = Resnet::from_tensors(tensors).unwrap_err().to_string();
    assert!(message.contains("downsample"), "{message}");
}
