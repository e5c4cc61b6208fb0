//! Simplifies a list of layers to what our operators have: batch normalization goes into the convolution before
//! it, padding into the window behind it, sums over whole maps become averages.

use super::error::OnnxError;
use super::layers::{Affine, Conv, Divisor, Kind, Layer, Place, Window, both, readers};
use crate::kernels::Padding;

/// What the graph does with a picture before its first layer.
pub type Normalization = Option<Affine>;

/// The simplified list, and a normalization of the picture that stood at its beginning: the bundle's
/// preprocessing will do it.
///
/// # Errors
/// If padding or a sum is left that no layer of ours takes, or a weight is not finite.
pub fn fold(layers: Vec<Layer>) -> Result<(Vec<Layer>, Normalization), OnnxError> {
    let mut folding = Folding {
        readers: readers(&layers),
        done: Vec::with_capacity(layers.len()),
        places: Vec::with_capacity(layers.len()),
        normalization: None,
    };
    for (old, layer) in layers.into_iter().enumerate() {
        let place = folding.layer(old, layer);
        folding.places.push(place);
    }
    let last = folding.places.last().copied().unwrap_or(0);
    let layers = reachable(folding.done, last);
    for layer in &layers {
        check(layer)?;
    }
    Ok((layers, folding.normalization))
}

struct Folding {
    /// Of the old list.
    readers: Vec<usize>,
    done: Vec<Layer>,
    /// Where the old list's layers are in the new one.
    places: Vec<Place>,
    normalization: Normalization,
}

impl Folding {
    fn layer(&mut self, old: Place, mut layer: Layer) -> Place {
        let before = layer.inputs.first().copied();
        for input in &mut layer.inputs {
            *input = self.places[*input];
        }
        let Some(input) = layer.inputs.first().copied() else {
            return self.push(layer);
        };
        // nobody else sees what may change
        let alone = before.is_some_and(|before| self.readers[before] == 1);
        match std::mem::replace(&mut layer.kind, Kind::Add) {
            Kind::Affine(affine) => self.affine(old, layer, affine, alone),
            Kind::Relu if self.not_negative(input) => input,
            Kind::Conv(conv) => self.conv(layer, conv, input),
            Kind::MaxPool(window) => self.max_pool(layer, window, input),
            Kind::AveragePool(window, divisor) => self.average(layer, window, divisor, input),
            kind => self.push(Layer { kind, ..layer }),
        }
    }

    fn push(&mut self, layer: Layer) -> Place {
        self.done.push(layer);
        self.done.len() - 1
    }

    fn affine(&mut self, old: Place, layer: Layer, affine: Affine, alone: bool) -> Place {
        let input = layer.inputs[0];
        let shape = self.done[input].inputs.first().map(|&i| self.done[i].shape);
        match &mut self.done[input].kind {
            Kind::Conv(conv) if alone => {
                scale(conv, &affine);
                return input;
            }
            Kind::Affine(earlier) if alone => {
                *earlier = chained(earlier, &affine);
                return input;
            }
            kind @ Kind::Sum if alone && shape.is_some_and(|s| is_share(&affine, s[1] * s[2])) => {
                *kind = Kind::GlobalAverage;
                return input;
            }
            Kind::Image if self.readers[0] == 1 => {
                self.normalization = Some(match self.normalization.take() {
                    Some(earlier) => chained(&earlier, &affine),
                    None => affine,
                });
                // the picture as it is from here on
                self.readers[0] = self.readers[old];
                return input;
            }
            _ => {}
        }
        self.push(Layer {
            kind: Kind::Affine(affine),
            ..layer
        })
    }

    /// A convolution takes the padding before it: there it pads with the zeros that it pads with itself.
    fn conv(&mut self, mut layer: Layer, mut conv: Conv, input: Place) -> Place {
        if let Kind::Pad(pad) = self.done[input].kind {
            layer.inputs = self.done[input].inputs.clone();
            conv.window.pad = both(conv.window.pad, pad);
        }
        layer.kind = Kind::Conv(conv);
        self.push(layer)
    }

    /// Zeros change no maximum of values that are not negative.
    fn max_pool(&mut self, mut layer: Layer, mut window: Window, input: Place) -> Place {
        if let Kind::Pad(pad) = self.done[input].kind
            && self.not_negative(input)
        {
            layer.inputs = self.done[input].inputs.clone();
            window.pad = both(window.pad, pad);
        }
        layer.kind = Kind::MaxPool(window);
        self.push(layer)
    }

    fn average(
        &mut self,
        mut layer: Layer,
        mut window: Window,
        mut divisor: Divisor,
        input: Place,
    ) -> Place {
        let own = window.pad != Padding::default();
        if let Kind::Pad(pad) = self.done[input].kind
            && (!own || divisor == Divisor::Window)
        {
            layer.inputs = self.done[input].inputs.clone();
            window.pad = both(window.pad, pad);
            divisor = Divisor::Window;
        }
        let map = self.done[layer.inputs[0]].shape;
        let bare = window.pad == Padding::default();
        layer.kind = if bare && window.kernel == (map[1], map[2]) {
            Kind::GlobalAverage
        } else {
            Kind::AveragePool(window, if bare { Divisor::Window } else { divisor })
        };
        self.push(layer)
    }

    fn not_negative(&self, mut place: Place) -> bool {
        loop {
            let layer = &self.done[place];
            match layer.kind {
                Kind::Relu | Kind::Sigmoid => return true,
                Kind::Pad(_) | Kind::MaxPool(_) | Kind::AveragePool(..) | Kind::GlobalAverage => {
                    place = layer.inputs[0];
                }
                _ => return false,
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // back to the precision the graph has
fn scale(conv: &mut Conv, affine: &Affine) {
    let row = conv.weights.len() / conv.bias.len().max(1);
    for (o, weights) in conv.weights.chunks_exact_mut(row.max(1)).enumerate() {
        let (factor, summand) = (f64::from(affine.factor[o]), f64::from(affine.summand[o]));
        for w in weights {
            *w = (f64::from(*w) * factor) as f32;
        }
        conv.bias[o] = (f64::from(conv.bias[o]) * factor + summand) as f32;
    }
}

fn chained(first: &Affine, second: &Affine) -> Affine {
    let pairs = first.factor.iter().zip(&second.factor);
    let summands = first
        .summand
        .iter()
        .zip(&second.factor)
        .zip(&second.summand);
    Affine {
        factor: pairs.map(|(a, b)| a * b).collect(),
        summand: summands.map(|((s, f), t)| s * f + t).collect(),
    }
}

/// True if a sum over so many pixels becomes their mean.
#[allow(clippy::cast_precision_loss)] // pixels of the last feature map
fn is_share(affine: &Affine, pixels: usize) -> bool {
    let one = |f: &f32| (f * pixels as f32 - 1.0).abs() < 1e-4;
    affine.factor.iter().all(one) && affine.summand.iter().all(|s| *s == 0.0)
}

/// Only what leads to `last`, which becomes the last one.
fn reachable(layers: Vec<Layer>, last: Place) -> Vec<Layer> {
    let mut wanted = vec![false; layers.len()];
    wanted[last] = true;
    for place in (0..=last).rev().filter(|p| *p < layers.len()) {
        if wanted[place] {
            layers[place].inputs.iter().for_each(|&i| wanted[i] = true);
        }
    }
    let mut places = vec![0; layers.len()];
    let mut kept = Vec::new();
    for (place, mut layer) in layers.into_iter().enumerate().filter(|(p, _)| wanted[*p]) {
        layer.inputs.iter_mut().for_each(|i| *i = places[*i]);
        places[place] = kept.len();
        kept.push(layer);
    }
    kept
}

fn check(layer: &Layer) -> Result<(), OnnxError> {
    let bad = |reason: &str| Err(OnnxError::node(&layer.name, &layer.op, reason));
    let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
    match &layer.kind {
        Kind::Pad(_) => bad("no convolution or pooling takes this padding"),
        Kind::Sum => bad("a sum over rows and columns is only read as a part of their average"),
        Kind::Conv(conv) if !finite(&conv.weights) || !finite(&conv.bias) => {
            bad("a weight is not finite, batch normalization folded in")
        }
        Kind::Affine(affine) if !finite(&affine.factor) || !finite(&affine.summand) => {
            bad("a constant of it is not finite")
        }
        _ => Ok(()),
    }
}
