//! From a float bundle to an int8 one: measure activations, choose scales, round the weights, build
//! the int8 graph. The mean and standard deviation of the pictures' channels are folded into the
//! first layer, so that raw bytes enter the network.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_nnef::internal::*;

use super::calibrate::{Histogram, Method, quant};
use super::dataset::Dataset;
use super::error::ModelError;
use super::eval::share;
use super::lower::{self, Kind, Layer, Window};
use super::save;
use super::sweep::sweep;
use super::synth::Random;
use crate::bundle::{Bundle, Manifest, Quantization};
use crate::infer::EngineError;
use crate::infer::engine::{normalization, normalize, read_graph};
use crate::infer::qconv::{ConvParams, QConv};
use crate::infer::qdense::QDense;
use crate::infer::qpool::{QGlobalAverage, QMaxPool};
use crate::infer::registry::OPERATORS;
use crate::infer::weights;
use crate::kernels::{Backend, Geometry, Quant, Scale};
use crate::spec::Preprocessing;

/// What measured best: see docs/QUANTIZATION.md.
pub const METHOD: Method = Method::Mse;
/// Pictures that ranges are measured on.
const CALIBRATION: usize = 512;
/// Other pictures that `--report` compares on.
const HELD_OUT: usize = 1000;

/// A float bundle whose activations have been measured.
pub struct Calibrated {
    network: FloatNetwork,
    histograms: Vec<Histogram>,
    manifest: Manifest,
    path: PathBuf,
    data: String,
    images: usize,
    backend: Backend,
}

impl Calibrated {
    /// Runs the float network at `path` over a spread of `set`'s pictures.
    ///
    /// # Errors
    /// If the bundle is not a float ResNet, or the pictures cannot be read.
    pub fn measure(path: &Path, set: &Dataset) -> Result<Self, ModelError> {
        let mut found = Self::open(&Bundle::open(path, OPERATORS)?)?;
        let table = normalization(
            found.manifest.preprocessing.mean,
            found.manifest.preprocessing.std,
        );
        let size = found.manifest.preprocessing.crop as usize;
        let swept = sweep(
            "measuring activations",
            (set, &set.spread(CALIBRATION, 0.0)),
            &found.manifest.preprocessing,
            || Ok(vec![Histogram::default(); found.network.measured.len()]),
            |histograms, picture| {
                found
                    .network
                    .measure(normalize(picture, &table, size)?, histograms)
                    .map(|_| ())
            },
        )?;
        found.images = swept.results.len();
        found.data = set
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for state in swept.states {
            found
                .histograms
                .iter_mut()
                .zip(state)
                .for_each(|(sum, h)| sum.merge(h));
        }
        Ok(found)
    }

    fn open(bundle: &Bundle) -> Result<Self, ModelError> {
        if bundle.manifest.quantization.is_some() {
            return Err(ModelError::Quantized {
                path: bundle.path.clone(),
            });
        }
        let backend = Backend::selected().map_err(EngineError::from)?;
        let network = FloatNetwork::new(&read_graph(bundle, backend)?)?;
        Ok(Self {
            histograms: vec![Histogram::default(); network.measured.len()],
            network,
            manifest: bundle.manifest.clone(),
            path: bundle.path.clone(),
            data: String::new(),
            images: 0,
            backend,
        })
    }

    /// Pictures measured.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    fn graph(&self, method: Method) -> Result<TypedModel, ModelError> {
        self.network.quantize(
            &self.histograms,
            method,
            &self.manifest.preprocessing,
            self.backend,
        )
    }

    /// The int8 bundle.
    ///
    /// # Errors
    /// If it cannot be put together.
    pub fn bundle(&self, method: Method) -> Result<Bundle, ModelError> {
        let mut manifest = self.manifest.clone();
        manifest.quantization = Some(Quantization {
            method: method.to_string(),
            calibration: self.data.clone(),
            images: self.images,
        });
        manifest.accuracy = None;
        save::bundle(&self.path, self.graph(method)?, manifest)
    }

    /// A table of the methods, on pictures that ranges were not measured on: how often the int8
    /// network gives the float network's label, and how far its logits are off.
    ///
    /// # Errors
    /// As for [`Self::measure`].
    pub fn report(&self, set: &Dataset) -> Result<String, ModelError> {
        let p = &self.manifest.preprocessing;
        let (table, size) = (normalization(p.mean, p.std), p.crop as usize);
        let pictures = set.spread(HELD_OUT, 0.5);
        let float = sweep(
            "float",
            (set, &pictures),
            p,
            || Ok(()),
            |(), picture| {
                self.network
                    .measure(normalize(picture, &table, size)?, &mut [])
            },
        )?;
        let mut text = format!("{:12}{:>12}{:>14}\n", "method", "same label", "logit error");
        for method in Method::ALL {
            let plan = self.graph(method)?.into_runnable()?;
            let int8 = sweep(
                &method.to_string(),
                (set, &pictures),
                p,
                || Ok(()),
                |(), picture| {
                    let input = Tensor::from_shape(&[1, size, size, 3], picture)?;
                    let output = plan.run(tvec!(input.into_tvalue()))?;
                    Ok(output[0].try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
                },
            )?;
            let pairs = float
                .results
                .iter()
                .zip(&int8.results)
                .map(|(f, i)| (&f.1[..], &i.1[..]));
            let (same, error) = compare(pairs);
            writeln!(text, "{method:12}{:>10.2} %{error:>14.5}", same * 100.0).ok();
        }
        Ok(text)
    }
}

/// Share of equal labels, and the root mean square of the logits' difference over that of the logits.
fn compare<'a>(pairs: impl Iterator<Item = (&'a [f32], &'a [f32])>) -> (f64, f64) {
    let top = |v: &[f32]| (0..v.len()).max_by(|&a, &b| v[a].total_cmp(&v[b]));
    let (mut same, mut count, mut error, mut power) = (0, 0, 0.0, 0.0);
    for (float, int8) in pairs {
        count += 1;
        same += usize::from(top(float) == top(int8));
        for (f, i) in float.iter().zip(int8) {
            error += f64::from(f - i).powi(2);
            power += f64::from(*f).powi(2);
        }
    }
    (share(same, count), (error / power).sqrt())
}

/// Quantizes a synthetic float bundle, its ranges measured on seeded noise.
///
/// # Errors
/// If the bundle is not a float ResNet.
pub fn synthetic(bundle: &Bundle, seed: u64) -> Result<Bundle, ModelError> {
    const PICTURES: usize = 2;
    let mut found = Calibrated::open(bundle)?;
    let size = found.manifest.preprocessing.crop as usize;
    let mut random = Random::new(seed ^ 0x5eed);
    for _ in 0..PICTURES {
        let noise: Vec<f32> = (0..3 * size * size).map(|_| random.normal()).collect();
        let picture = Tensor::from_shape(&[1, 3, size, size], &noise)?;
        found.network.measure(picture, &mut found.histograms)?;
    }
    found.images = PICTURES;
    found.data = "seeded noise".into();
    found.bundle(METHOD)
}

/// A float graph, and what it takes to run it with every activation in view.
pub struct FloatNetwork {
    pub layers: Vec<Layer>,
    source: OutletId,
    /// The outlets that need a scale.
    pub measured: Vec<OutletId>,
    plan: Arc<TypedRunnableModel>,
}

impl FloatNetwork {
    /// # Errors
    /// If the graph holds what our operators do not cover.
    pub fn new(model: &TypedModel) -> Result<Self, ModelError> {
        let layers = lower::layers(model)?;
        let measured: Vec<OutletId> = layers
            .iter()
            .filter(|l| matches!(l.kind, Kind::Conv(..) | Kind::Average))
            .map(|l| l.output)
            .collect();
        let mut watched = model.clone();
        let logits = watched.outputs.clone();
        let outlets: Vec<OutletId> = measured.iter().copied().chain(logits).collect();
        watched.select_output_outlets(&outlets)?;
        let plan = watched.into_optimized()?.into_runnable()?;
        let source = model.inputs.first().copied();
        let source = source.ok_or_else(|| ModelError::Tract("the graph has no input".into()))?;
        Ok(Self {
            layers,
            source,
            measured,
            plan,
        })
    }

    /// Runs one normalized picture; adds its activations to `histograms` (one per measured outlet)
    /// and gives the logits.
    ///
    /// # Errors
    /// If tract fails.
    pub fn measure(
        &self,
        picture: Tensor,
        histograms: &mut [Histogram],
    ) -> Result<Vec<f32>, ModelError> {
        let outputs = self.plan.run(tvec!(picture.into_tvalue()))?;
        for (histogram, values) in histograms.iter_mut().zip(&outputs) {
            histogram.add(values.try_as_plain_ram()?.as_slice::<f32>()?);
        }
        let logits = outputs.last().context("no output")?;
        Ok(logits.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    }

    /// The int8 graph, with the ranges that `method` chooses.
    ///
    /// # Errors
    /// If a range or a weight is not finite.
    pub fn quantize(
        &self,
        histograms: &[Histogram],
        method: Method,
        preprocessing: &Preprocessing,
        backend: Backend,
    ) -> Result<TypedModel, ModelError> {
        let mut quants = HashMap::new();
        for (outlet, histogram) in self.measured.iter().zip(histograms) {
            quants.insert(*outlet, quant(histogram.range(method)).map_err(tract)?);
        }
        let mut build = Build {
            model: TypedModel::default(),
            wires: HashMap::new(),
            quants,
            source: self.source,
            preprocessing,
            backend,
        };
        build.run(&self.layers)?;
        Ok(build.model)
    }
}

fn tract(error: impl std::fmt::Display) -> ModelError {
    ModelError::Tract(error.to_string())
}

/// The int8 graph under construction.
struct Build<'a> {
    model: TypedModel,
    /// Where the float graph's outlets are found in the int8 graph.
    wires: HashMap<OutletId, OutletId>,
    quants: HashMap<OutletId, Quant>,
    source: OutletId,
    preprocessing: &'a Preprocessing,
    backend: Backend,
}

impl Build<'_> {
    fn run(&mut self, layers: &[Layer]) -> Result<(), ModelError> {
        let size = self.preprocessing.crop as usize;
        let image = self
            .model
            .add_source("image", u8::fact([1, size, size, 3]))?;
        self.wires.insert(self.source, image);
        // a byte stands for itself, 0 to 255
        self.quants
            .insert(self.source, Quant::new(1.0, 0).map_err(tract)?);
        for layer in layers {
            let output = self.layer(layer)?;
            self.wires.insert(layer.output, output);
        }
        if let Some(last) = layers.last() {
            self.model
                .select_output_outlets(&[self.wires[&last.output]])?;
        }
        Ok(())
    }

    fn find<T: Copy>(map: &HashMap<OutletId, T>, o: OutletId, l: &Layer) -> Result<T, ModelError> {
        map.get(&o).copied().ok_or_else(|| ModelError::Lower {
            name: l.name.clone(),
            op: format!("{:?}", o),
            reason: "reads what no int8 layer writes".into(),
        })
    }

    fn layer(&mut self, layer: &Layer) -> Result<OutletId, ModelError> {
        let input = Self::find(&self.wires, layer.input, layer)?;
        let input_quant = Self::find(&self.quants, layer.input, layer)?;
        let fact = self
            .model
            .outlet_fact(input)?
            .shape
            .as_concrete()
            .map(<[usize]>::to_vec);
        let shape = fact.ok_or_else(|| ModelError::Tract("shapes must be known".into()))?;
        let mut inputs = tvec!(input);
        let op: Box<dyn TypedOp> = match &layer.kind {
            Kind::Conv(weights, window) => {
                let residual = match layer.residual {
                    Some(r) => {
                        inputs.push(Self::find(&self.wires, r, layer)?);
                        Some(Self::find(&self.quants, r, layer)?)
                    }
                    None => None,
                };
                let params = ConvParams {
                    stride: window.stride,
                    pad: window.pad,
                    border: Vec::new(),
                    relu: layer.relu,
                    input: input_quant,
                    output: Self::find(&self.quants, layer.output, layer)?,
                    residual,
                };
                Box::new(self.conv(layer, weights, params, (shape[1], shape[2]))?)
            }
            Kind::MaxPool(window) => {
                self.quants.insert(layer.output, input_quant);
                Box::new(QMaxPool {
                    geometry: geometry(*window, &shape)?,
                })
            }
            Kind::Average => Box::new(QGlobalAverage {
                input: input_quant,
                output: Self::find(&self.quants, layer.output, layer)?,
            }),
            Kind::Dense(weights) => {
                let r = round(weights, input_quant.scale)?;
                let weights = weights::Weights::new(&r.weights, self.backend)?;
                Box::new(QDense::new(
                    layer.name.clone(),
                    input_quant,
                    weights,
                    r.bias,
                    r.scales,
                )?)
            }
        };
        Ok(self.model.wire_node(&layer.name, op, &inputs)?[0])
    }

    fn conv(
        &self,
        layer: &Layer,
        weights: &lower::Weights,
        mut params: ConvParams,
        input: (usize, usize),
    ) -> Result<QConv, ModelError> {
        let rounded = if layer.input == self.source {
            params.border = self.mean_colour();
            round(
                &fold_normalization(weights, self.preprocessing)?,
                params.input.scale,
            )?
        } else {
            round(weights, params.input.scale)?
        };
        let weights = weights::Weights::new(&rounded.weights, self.backend)?;
        Ok(QConv::new(
            layer.name.clone(),
            params,
            weights,
            rounded.bias,
            rounded.scales,
            input,
        )?)
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
    fn mean_colour(&self) -> Vec<u8> {
        self.preprocessing
            .mean
            .iter()
            .map(|m| (m * 255.0).round().clamp(0.0, 255.0) as u8)
            .collect()
    }
}

fn geometry(window: Window, nhwc: &[usize]) -> Result<Geometry, ModelError> {
    Geometry::new(
        (nhwc[1], nhwc[2]),
        (nhwc[3], nhwc[3]),
        window.kernel,
        window.stride,
        window.pad,
    )
    .map_err(tract)
}

/// Weights for bytes: `w / (255 std)`, and a bias that takes `w * mean / std` off.
#[allow(clippy::cast_possible_truncation)] // back to the precision the graph has
fn fold_normalization(
    weights: &lower::Weights,
    p: &Preprocessing,
) -> Result<lower::Weights, ModelError> {
    let shape = weights.weights.shape().to_vec();
    let plain = weights.weights.try_as_plain_ram()?;
    let mut values = plain.as_slice::<f32>()?.to_vec();
    let mut bias = weights.bias.clone();
    let per_channel = shape[2] * shape[3];
    for (filter, bias) in values.chunks_exact_mut(3 * per_channel).zip(&mut bias) {
        let mut taken = 0f64;
        for (c, plane) in filter.chunks_exact_mut(per_channel).enumerate() {
            let (mean, std) = (f64::from(p.mean[c]), f64::from(p.std[c]));
            for w in plane {
                taken += f64::from(*w) * mean / std;
                *w = (f64::from(*w) / (255.0 * std)) as f32;
            }
        }
        *bias = (f64::from(*bias) - taken) as f32;
    }
    Ok(lower::Weights {
        weights: Arc::new(Tensor::from_shape(&shape, &values)?),
        bias,
    })
}

/// Weights and biases in integers.
struct Rounded {
    /// i8, OHWI.
    weights: Tensor,
    bias: Arc<[i32]>,
    scales: Arc<[Scale]>,
}

/// One scale per output channel, the largest weight becoming 127; biases in units of input scale
/// times weight scale.
#[allow(clippy::cast_possible_truncation)] // clamped
fn round(weights: &lower::Weights, input: Scale) -> Result<Rounded, ModelError> {
    let &[out, inputs, rows, columns] = weights.weights.shape() else {
        return Err(ModelError::Tract("weights without four dimensions".into()));
    };
    let plain = weights.weights.try_as_plain_ram()?;
    let plain = plain.as_slice::<f32>()?;
    let mut rounded = Vec::with_capacity(plain.len());
    let (mut bias, mut scales) = (Vec::with_capacity(out), Vec::with_capacity(out));
    for (filter, &b) in plain
        .chunks_exact(inputs * rows * columns)
        .zip(&weights.bias)
    {
        let largest = filter.iter().fold(0f32, |a, w| a.max(w.abs()));
        // a channel of (almost) nothing but a bias: its bias must still fit
        let floor = b.abs() / (input.get() * 16_777_216.0);
        let scale = Scale::new((largest / 127.0).max(floor).max(1e-10)).map_err(tract)?;
        for pixel in 0..rows * columns {
            for c in 0..inputs {
                let w = filter[c * rows * columns + pixel] / scale.get();
                rounded.push(w.round_ties_even().clamp(-127.0, 127.0) as i8);
            }
        }
        bias.push(
            (f64::from(b) / (f64::from(input.get()) * f64::from(scale.get()))).round() as i32,
        );
        scales.push(scale);
    }
    Ok(Rounded {
        weights: Tensor::from_shape(&[out, rows, columns, inputs], &rounded)?,
        bias: bias.into(),
        scales: scales.into(),
    })
}
