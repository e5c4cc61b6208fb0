//! Operators that take integers and give integers, with scales and zero points among their inputs: ONNX's
//! `QLinearConv` and `QLinearMatMul`, ONNX Runtime's others.

use tract_onnx::pb::NodeProto;

use super::super::check;
use super::super::layers::{Place, Shape};
use super::attributes::{dense_shape, plain_gemm, text};
use super::constants::integers;
use super::walk::{Value, Walk};
use super::{Kind, QuantizedLayer, Weights};
use crate::kernels::Quant;

impl<'a> Walk<'a> {
    /// One operator that does it all.
    pub(super) fn fused(&mut self, node: &'a NodeProto) -> Result<Value, String> {
        match node.op_type.as_str() {
            "QLinearConv" => {
                let input = self.input(node, 0, 1)?;
                let mut weights = self.constants.integers(node, 3, (4, 0))?.convolution()?;
                self.integer_bias(node, 8, &mut weights)?;
                let (kind, shape) = self.convolution(node, weights, input)?;
                self.layer(node, (kind, shape), vec![input], 6)
            }
            "QLinearAdd" => {
                let (a, b) = (self.input(node, 0, 1)?, self.input(node, 3, 4)?);
                if self.shape(a) != self.shape(b) {
                    return Err("it adds feature maps of different shapes".into());
                }
                self.layer(node, (Kind::Add, self.shape(a)), vec![a, b], 6)
            }
            "QLinearGlobalAveragePool" | "QLinearAveragePool" => {
                if node
                    .get_attr_opt("channels_last")
                    .map_err(text)?
                    .unwrap_or(false)
                {
                    return Err(
                        "channels last are not read; quantize for the CPU's default order".into(),
                    );
                }
                let input = self.input(node, 0, 1)?;
                let averaged = self.averaged(node, input)?;
                self.layer(node, averaged, vec![input], 3)
            }
            "QGemm" => {
                let input = self.input(node, 0, 1)?;
                plain_gemm(node)?;
                let outputs_first = node.get_attr_opt("transB").map_err(text)?.unwrap_or(false);
                let axis = if outputs_first { 0 } else { 1 };
                let mut weights = self
                    .constants
                    .integers(node, 3, (4, axis))?
                    .dense(!outputs_first)?;
                self.integer_bias(node, 6, &mut weights)?;
                self.dense_layer(node, weights, input, 7)
            }
            "QLinearMatMul" => {
                let input = self.input(node, 0, 1)?;
                let weights = self.constants.integers(node, 3, (4, 1))?.dense(true)?;
                self.dense_layer(node, weights, input, 6)
            }
            _ => Err("it stands in a quantized network and is not quantized".into()),
        }
    }

    /// The layer that a node reads at `slot`, which must give what the node's scale says.
    fn input(&self, node: &NodeProto, slot: usize, scale: usize) -> Result<Place, String> {
        let Value::Integers(place) = self.value(node, slot)? else {
            return Err("it reads what is not quantized".into());
        };
        if self.constants.quant(node, scale)? != self.quant(place)? {
            return Err("its input's scale is not the one that it was rounded with".into());
        }
        Ok(place)
    }

    fn integer_bias(
        &self,
        node: &NodeProto,
        slot: usize,
        weights: &mut Weights,
    ) -> Result<(), String> {
        if node.input.get(slot).is_none_or(String::is_empty) {
            return Ok(());
        }
        let bias = integers(
            self.constants
                .get(node, slot)
                .ok_or("its bias is computed")?,
        )?;
        if bias.len() != weights.bias.len() {
            return Err(format!(
                "{} values of bias for {} outputs",
                bias.len(),
                weights.bias.len()
            ));
        }
        weights.bias = bias;
        Ok(())
    }

    fn dense_layer(
        &mut self,
        node: &NodeProto,
        weights: Weights,
        input: Place,
        scale: usize,
    ) -> Result<Value, String> {
        let shape = dense_shape(weights.dims, self.shape(input))?;
        // a dense layer that is told no scale gives floats
        if node.input.get(scale).is_some_and(|s| !s.is_empty()) {
            return self.layer(node, (Kind::Dense(weights), shape), vec![input], scale);
        }
        Ok(Value::Floats(self.add_layer(
            node,
            (Kind::Dense(weights), shape),
            vec![input],
            None,
        )))
    }

    /// A layer whose output's scale is at `scale`.
    fn layer(
        &mut self,
        node: &NodeProto,
        what: (Kind, Shape),
        inputs: Vec<Place>,
        scale: usize,
    ) -> Result<Value, String> {
        let output = self.constants.quant(node, scale)?;
        Ok(Value::Integers(self.add_layer(
            node,
            what,
            inputs,
            Some(output),
        )))
    }

    fn add_layer(
        &mut self,
        node: &NodeProto,
        (kind, shape): (Kind, Shape),
        inputs: Vec<Place>,
        output: Option<Quant>,
    ) -> Place {
        self.push(QuantizedLayer {
            name: check::name(node).to_owned(),
            kind,
            inputs,
            relu: false,
            shape,
            output,
        })
    }
}
