//! Small networks as ONNX files, for tests: written node by node, as exporters would.

use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType,
    type_proto,
};

use crate::random::Random;

/// An attribute's value.
pub enum Attribute<'a> {
    Ints(&'a [i64]),
    Int(i64),
    Float(f32),
}

pub struct Made {
    pub graph: GraphProto,
    pub metadata: Vec<StringStringEntryProto>,
    pub opset: i64,
    random: Random,
}

/// A dimension is a number or a name.
pub enum Dim {
    Fixed(i64),
    Named(&'static str),
}

impl Made {
    /// With an input `x` of these dimensions.
    pub fn new(dims: &[Dim]) -> Self {
        let mut graph = GraphProto::default();
        graph.input.push(value_info("x", dims));
        Self {
            graph,
            metadata: Vec::new(),
            opset: 13,
            random: Random::new(7),
        }
    }

    /// With an input `x` of `[1, 3, size, size]`.
    pub fn pictures(size: i64) -> Self {
        Self::new(&[1, 3, size, size].map(Dim::Fixed))
    }

    pub fn model(mut self, output: &str) -> ModelProto {
        self.graph.output.push(value_info(output, &[]));
        ModelProto {
            ir_version: 8,
            opset_import: vec![
                OperatorSetIdProto {
                    domain: String::new(),
                    version: self.opset,
                },
                OperatorSetIdProto {
                    domain: "com.microsoft".into(),
                    version: 1,
                },
            ],
            metadata_props: self.metadata,
            graph: Some(self.graph),
            ..ModelProto::default()
        }
    }

    pub fn bytes(self, output: &str) -> Vec<u8> {
        self.model(output).encode_to_vec()
    }

    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let output = format!("{}_{}", op.to_lowercase(), self.graph.node.len());
        self.graph.node.push(NodeProto {
            op_type: op.into(),
            name: format!("/{output}/{op}"),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![output.clone()],
            attribute: attributes
                .iter()
                .map(|(name, value)| attribute(name, value))
                .collect(),
            ..NodeProto::default()
        });
        output
    }

    pub fn tensor(&mut self, tensor: TensorProto) -> String {
        let name = format!("tensor_{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            ..tensor
        });
        name
    }

    pub fn random(&mut self, dims: &[i64], value: impl Fn(f32) -> f32) -> String {
        let count: i64 = dims.iter().product();
        let values: Vec<f32> = (0..count).map(|_| value(self.random.normal())).collect();
        self.tensor(floats(dims, &values))
    }

    pub fn random_below(&mut self, most: u8) -> u8 {
        self.random.byte() % most
    }

    /// A convolution without bias; `pads` as ONNX has them.
    pub fn conv(
        &mut self,
        x: &str,
        dims: [i64; 4],
        stride: i64,
        pads: [i64; 4],
        group: i64,
    ) -> String {
        #[allow(clippy::cast_precision_loss)]
        let spread = (2.0 / (dims[1] * dims[2] * dims[3]) as f32).sqrt();
        let w = self.random(&dims, |v| v * spread);
        self.node(
            "Conv",
            &[x, &w],
            &[
                ("kernel_shape", Attribute::Ints(&dims[2..])),
                ("strides", Attribute::Ints(&[stride, stride])),
                ("pads", Attribute::Ints(&pads)),
                ("group", Attribute::Int(group)),
            ],
        )
    }

    pub fn batch_norm(&mut self, x: &str, channels: i64) -> String {
        let gamma = self.random(&[channels], |v| 1.0 + 0.1 * v);
        let beta = self.random(&[channels], |v| 0.1 * v);
        let mean = self.random(&[channels], |v| 0.1 * v);
        let var = self.random(&[channels], |v| 1.0 + 0.1 * v.abs());
        let epsilon = [("epsilon", Attribute::Float(1e-3))];
        self.node(
            "BatchNormalization",
            &[x, &gamma, &beta, &mean, &var],
            &epsilon,
        )
    }

    pub fn relu(&mut self, x: &str) -> String {
        self.node("Relu", &[x], &[])
    }

    /// Convolution, batch normalization, ReLU.
    pub fn unit(&mut self, x: &str, dims: [i64; 4], stride: i64, pad: i64) -> String {
        let x = self.conv(x, dims, stride, [pad; 4], 1);
        let x = self.batch_norm(&x, dims[0]);
        self.relu(&x)
    }

    pub fn max_pool(&mut self, x: &str) -> String {
        let attributes = [
            ("kernel_shape", Attribute::Ints(&[3, 3])),
            ("strides", Attribute::Ints(&[2, 2])),
            ("pads", Attribute::Ints(&[1, 1, 1, 1])),
        ];
        self.node("MaxPool", &[x], &attributes)
    }

    /// A basic block of `inputs` to `outputs` channels, with a shortcut of its own where they differ.
    pub fn block(&mut self, x: &str, inputs: i64, outputs: i64) -> String {
        let stride = if inputs == outputs { 1 } else { 2 };
        let y = self.unit(x, [outputs, inputs, 3, 3], stride, 1);
        let y = self.conv(&y, [outputs, outputs, 3, 3], 1, [1; 4], 1);
        let y = self.batch_norm(&y, outputs);
        let shortcut = if inputs == outputs {
            x.to_owned()
        } else {
            let s = self.conv(x, [outputs, inputs, 1, 1], stride, [0; 4], 1);
            self.batch_norm(&s, outputs)
        };
        let sum = self.node("Add", &[&y, &shortcut], &[]);
        self.relu(&sum)
    }

    /// The classifier: an average, flattened, and five classes.
    pub fn head(&mut self, x: &str, channels: i64) -> String {
        let x = self.node("GlobalAveragePool", &[x], &[]);
        let x = self.node("Flatten", &[&x], &[("axis", Attribute::Int(1))]);
        self.dense(&x, channels)
    }

    pub fn dense(&mut self, x: &str, channels: i64) -> String {
        let (w, b) = (
            self.random(&[5, channels], |v| 0.3 * v),
            self.random(&[5], |v| v),
        );
        self.node("Gemm", &[x, &w, &b], &[("transB", Attribute::Int(1))])
    }
}

/// A whole small ResNet of two blocks.
pub fn resnet() -> Made {
    let mut made = Made::pictures(32);
    let x = made.unit("x", [8, 3, 7, 7], 2, 3);
    let x = made.max_pool(&x);
    let x = made.block(&x, 8, 8);
    let x = made.block(&x, 8, 16);
    made.head(&x, 16);
    made
}

/// The output of the node that was added last.
pub fn last(made: &Made) -> String {
    made.graph.node.last().unwrap().output[0].clone()
}

pub fn floats(dims: &[i64], values: &[f32]) -> TensorProto {
    raw(
        DataType::Float,
        dims,
        values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    )
}

pub fn integers(values: &[i64]) -> TensorProto {
    let dims = [i64::try_from(values.len()).unwrap()];
    raw(
        DataType::Int64,
        &dims,
        values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    )
}

pub fn raw(dtype: DataType, dims: &[i64], raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: dtype as i32,
        raw_data,
        ..TensorProto::default()
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut made = AttributeProto {
        name: name.into(),
        ..AttributeProto::default()
    };
    let kind = match value {
        Attribute::Ints(ints) => {
            made.ints = ints.to_vec();
            AttributeType::Ints
        }
        Attribute::Int(i) => {
            made.i = *i;
            AttributeType::Int
        }
        Attribute::Float(f) => {
            made.f = *f;
            AttributeType::Float
        }
    };
    made.r#type = kind as i32;
    made
}

fn value_info(name: &str, dims: &[Dim]) -> ValueInfoProto {
    let dim = |d: &Dim| Dimension {
        denotation: String::new(),
        value: Some(match d {
            Dim::Fixed(n) => Value::DimValue(*n),
            Dim::Named(name) => Value::DimParam((*name).into()),
        }),
    };
    let shape = (!dims.is_empty()).then(|| TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            denotation: String::new(),
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: DataType::Float as i32,
                shape,
            })),
        }),
        ..ValueInfoProto::default()
    }
}
