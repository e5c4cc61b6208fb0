//! Joins a ReLU that stands by itself behind a rounding with the layer before it: PyTorch rounds a sum, then its ReLU
//! in the same scale. Rounding keeps the order of values and zero, so that both ways give the same integers.

use super::super::layers::Place;
use super::{Kind, QuantizedLayer};

/// The layers, without such ReLUs where nothing else reads what is before them.
pub fn joined(layers: Vec<QuantizedLayer>) -> Vec<QuantizedLayer> {
    let mut readers = vec![0; layers.len()];
    layers
        .iter()
        .flat_map(|l| &l.inputs)
        .for_each(|&i| readers[i] += 1);
    let last = layers.len().saturating_sub(1);
    let mut kept: Vec<QuantizedLayer> = Vec::with_capacity(layers.len());
    let mut places: Vec<Place> = Vec::with_capacity(layers.len());
    for mut layer in layers {
        let alone = layer.inputs.first().is_some_and(|&i| readers[i] == 1);
        layer.inputs.iter_mut().for_each(|i| *i = places[*i]);
        let before = layer.inputs.first().and_then(|&i| kept.get_mut(i));
        match before {
            Some(before) if alone && places.len() < last && is_its_relu(&layer, before) => {
                before.relu = true;
                places.push(layer.inputs[0]);
            }
            _ => {
                places.push(kept.len());
                kept.push(layer);
            }
        }
    }
    kept
}

fn is_its_relu(layer: &QuantizedLayer, before: &QuantizedLayer) -> bool {
    let takes_one = matches!(before.kind, Kind::Conv { .. } | Kind::Add | Kind::Float(_));
    let same = before.output.is_some() && before.output == layer.output;
    matches!(layer.kind, Kind::Rescale) && layer.relu && takes_one && same
}
