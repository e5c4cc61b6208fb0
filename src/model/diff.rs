//! Compares two bundles of one architecture layer by layer on pictures: where the second departs from the first, and in
//! which channel. Layers are matched by name; 8-bit values are compared as the numbers that they stand for. Where
//! `equalize` may have divided a layer's channels, they are compared up to a factor of each.

use std::path::Path;

use super::dataset::Dataset;
use super::equalize;
use super::error::{ModelError, tract};
use super::eval::share;
use super::float::FloatNetwork;
use super::recipe::is_equalized;
use super::sweep::sweep;
use crate::bundle::{Bundle, Manifest};
use crate::infer::EngineError;
use crate::infer::engine::{normalization, normalize, read_graph};
use crate::infer::observe::{Observer, Output};
use crate::infer::registry::OPERATORS;
use crate::kernels::Backend;

/// How two networks differ.
#[derive(Debug)]
pub struct Difference {
    /// In the order in which they run.
    pub layers: Vec<LayerDifference>,
    /// Layers that only one of the networks shows, or shows in another shape.
    pub apart: Vec<String>,
    pub images: usize,
    /// Pictures that could not be read.
    pub skipped: usize,
    /// Share of pictures with the same first label; nothing where the labels are not the same.
    pub agreement: Option<f64>,
}

/// How two layers' outputs differ, over all pictures.
#[derive(Debug, Clone)]
pub struct LayerDifference {
    pub name: String,
    /// Per channel: the squares of the first network's values, and of the differences.
    signal: Vec<f64>,
    noise: Vec<f64>,
    /// Per channel: the squares of the second network's values, and its products with the first's.
    second: Vec<f64>,
    product: Vec<f64>,
    /// The largest difference of two values; nothing where channels are compared up to a factor.
    pub largest: Option<f32>,
    /// Values of the second network at the end of what 8 bits hold, of all.
    saturated: usize,
    values: usize,
}

impl LayerDifference {
    /// In decibels; nothing where there is no difference.
    #[must_use]
    pub fn signal_to_noise(&self) -> Option<f64> {
        decibels(self.signal.iter().sum(), self.noise.iter().sum())
    }

    #[must_use]
    pub fn saturated(&self) -> f64 {
        share(self.saturated, self.values)
    }

    /// The channel with most of the difference, and its share of it; nothing where there is none.
    #[must_use]
    pub fn worst_channel(&self) -> Option<(usize, f64)> {
        let whole: f64 = self.noise.iter().sum();
        let worst = (0..self.noise.len()).max_by(|&a, &b| {
            let order = self.noise[a].total_cmp(&self.noise[b]);
            order.then(b.cmp(&a))
        })?;
        (whole > 0.0).then(|| (worst, self.noise[worst] / whole))
    }

    /// Root mean square of the differences over that of the first network's values.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        let (signal, noise) = (
            self.signal.iter().sum::<f64>(),
            self.noise.iter().sum::<f64>(),
        );
        if noise == 0.0 {
            0.0
        } else {
            (noise / signal).sqrt()
        }
    }

    /// Leaves of each channel's difference what no factor in reach of `equalize` makes up for.
    fn allow_factors(&mut self) {
        let most = f64::from(equalize::MOST);
        for (channel, noise) in self.noise.iter_mut().enumerate() {
            let (product, second) = (self.product[channel], self.second[channel]);
            if second > 0.0 {
                let factor = (product / second).clamp(1.0 / most, most);
                let left = self.signal[channel] - factor * (2.0 * product - factor * second);
                *noise = left.max(0.0);
            }
        }
        self.largest = None;
    }

    fn merge(&mut self, other: &Self) {
        let add = |to: &mut [f64], what: &[f64]| {
            to.iter_mut().zip(what).for_each(|(t, w)| *t += w);
        };
        add(&mut self.signal, &other.signal);
        add(&mut self.noise, &other.noise);
        add(&mut self.second, &other.second);
        add(&mut self.product, &other.product);
        let both = self.largest.zip(other.largest);
        self.largest = both.map(|(a, b)| a.max(b));
        self.saturated += other.saturated;
        self.values += other.values;
    }
}

fn decibels(signal: f64, noise: f64) -> Option<f64> {
    (noise > 0.0).then(|| 10.0 * libm::log10((signal / noise).max(1e-30)))
}

impl Difference {
    /// The layer where the second network is farthest from the first.
    #[must_use]
    pub fn worst(&self) -> Option<usize> {
        let far = |i: &usize| self.layers[*i].signal_to_noise();
        let differing = (0..self.layers.len()).filter(|i| far(i).is_some());
        differing.min_by(|a, b| far(a).unwrap_or(0.0).total_cmp(&far(b).unwrap_or(0.0)))
    }

    /// The layer that adds most to the difference: whose signal-to-noise falls most from the layer before it.
    #[must_use]
    pub fn steepest(&self) -> Option<usize> {
        let fall = |i: usize| self.fall(i).unwrap_or(f64::NEG_INFINITY);
        let falling = (1..self.layers.len()).filter(|&i| self.fall(i).is_some_and(|f| f > 0.0));
        falling.max_by(|&a, &b| fall(a).total_cmp(&fall(b)).then(b.cmp(&a)))
    }

    /// By how many decibels a layer is worse than the one before it; a first difference is a fall from what 8 bits can do
    /// at best, about 60.
    #[must_use]
    pub fn fall(&self, layer: usize) -> Option<f64> {
        let here = self.layers[layer].signal_to_noise()?;
        let before = self.layers.get(layer.checked_sub(1)?)?;
        Some(before.signal_to_noise().unwrap_or(60.0) - here)
    }

    /// The last layer's, where both have the same number of labels.
    #[must_use]
    pub fn logits(&self) -> Option<&LayerDifference> {
        self.agreement.and(self.layers.last())
    }
}

/// Compares the bundles at `a` and `b` on up to `images` pictures, spread over `set`.
///
/// # Errors
/// If the bundles are not of one architecture or want other pictures, or too many pictures cannot be read.
pub fn compare(a: &Path, b: &Path, set: &Dataset, images: usize) -> Result<Difference, ModelError> {
    let [first, second] = [Bundle::open(a, OPERATORS)?, Bundle::open(b, OPERATORS)?];
    on_pictures(&first, &second, (set, &set.spread(images, &[])))
}

/// As [`compare`], on the pictures of `set` that are named.
///
/// # Errors
/// As for [`compare`].
pub fn on_pictures(
    first: &Bundle,
    second: &Bundle,
    (set, pictures): (&Dataset, &[usize]),
) -> Result<Difference, ModelError> {
    alike(first, second)?;
    let labels = first.manifest.labels == second.manifest.labels;
    let preprocessing = first.manifest.preprocessing.clone();
    let side = preprocessing.crop as usize;
    let networks = [Network::new(first)?, Network::new(second)?];
    let swept = sweep(
        "comparing",
        (set, pictures),
        &preprocessing,
        || {
            let eyes = [networks[0].eye()?, networks[1].eye()?];
            Ok((eyes, Sums::default()))
        },
        |([x, y], sums), picture| {
            let x = networks[0].watch(x, picture, side)?;
            let y = networks[1].watch(y, picture, side)?;
            Ok(sums.add(&x, &y))
        },
    )?;
    let mut sums = Sums::default();
    for (_, state) in swept.states {
        sums.merge(state);
    }
    if [first, second].iter().any(|bundle| equalized(bundle)) {
        let divisible = networks.iter().find_map(Network::divisible);
        let divisible = divisible.unwrap_or_default();
        let divided = { sums.layers.iter_mut() }.filter(|layer| divisible.contains(&&*layer.name));
        divided.for_each(LayerDifference::allow_factors);
    }
    let same = swept.results.iter().filter(|(_, same)| *same).count();
    if sums.layers.is_empty() {
        return Err(unlike(
            first,
            second,
            "no layer of one has its name and shape in the other",
        ));
    }
    Ok(Difference {
        layers: sums.layers,
        apart: sums.apart,
        images: swept.results.len(),
        skipped: swept.skipped,
        agreement: labels.then(|| share(same, swept.results.len())),
    })
}

fn equalized(bundle: &Bundle) -> bool {
    let quantization = bundle.manifest.quantization.as_ref();
    quantization.is_some_and(|q| is_equalized(&q.method))
}

fn unlike(a: &Bundle, b: &Bundle, reason: impl Into<String>) -> ModelError {
    ModelError::Unlike {
        a: a.path.clone(),
        b: b.path.clone(),
        reason: reason.into(),
    }
}

fn alike(a: &Bundle, b: &Bundle) -> Result<(), ModelError> {
    let (x, y) = (&a.manifest, &b.manifest);
    if x.arch != y.arch {
        return Err(unlike(
            a,
            b,
            format!("one is a {}, the other a {}", x.arch, y.arch),
        ));
    }
    let pictures = |m: &Manifest| {
        let p = &m.preprocessing;
        (p.resize, p.crop, p.interpolation, p.channel_order)
    };
    if pictures(x) != pictures(y) {
        let (x, y) = (pictures(x), pictures(y));
        return Err(unlike(
            a,
            b,
            format!("they want other pictures: {x:?} and {y:?}"),
        ));
    }
    Ok(())
}

/// A bundle's network: what all workers share.
enum Network<'a> {
    Float {
        network: FloatNetwork,
        table: Box<[[f32; 256]; 3]>,
    },
    Int8(&'a Bundle),
}

/// One layer's output as real numbers, channels innermost.
struct Activation {
    name: String,
    channels: usize,
    values: Vec<f32>,
    saturated: usize,
}

impl<'a> Network<'a> {
    fn new(bundle: &'a Bundle) -> Result<Self, ModelError> {
        if bundle.manifest.quantization.is_some() {
            return Ok(Self::Int8(bundle));
        }
        let backend = Backend::selected().map_err(EngineError::from)?;
        let p = &bundle.manifest.preprocessing;
        Ok(Self::Float {
            network: FloatNetwork::new(&read_graph(bundle, backend)?)?,
            table: normalization(p.mean, p.std),
        })
    }

    /// The layers whose channels may be divided; only a float network tells.
    fn divisible(&self) -> Option<Vec<&str>> {
        match self {
            Self::Float { network, .. } => Some(equalize::divisible(&network.layers).collect()),
            Self::Int8(_) => None,
        }
    }

    /// What each worker has for itself.
    fn eye(&self) -> Result<Option<Observer>, ModelError> {
        match self {
            Self::Float { .. } => Ok(None),
            Self::Int8(bundle) => Ok(Some(Observer::new(bundle)?)),
        }
    }

    fn watch(
        &self,
        eye: &mut Option<Observer>,
        picture: &[u8],
        side: usize,
    ) -> Result<Vec<Activation>, ModelError> {
        let mut found = Vec::new();
        if let Self::Float { network, table } = self {
            for (name, value) in network.watch(normalize(picture, table, side)?)? {
                let channels = value.shape().get(1).copied().unwrap_or(1);
                let plain = value.try_as_plain_ram()?;
                found.push(Activation {
                    name: name.to_owned(),
                    channels,
                    values: channels_innermost(plain.as_slice::<f32>()?, channels),
                    saturated: 0,
                });
            }
        }
        if let Some(observer) = eye {
            observer.run(picture, side, |name, output| found.push(real(name, output)))?;
        }
        if found.is_empty() {
            return Err(tract("a network without layers"));
        }
        Ok(found)
    }
}

fn channels_innermost(planes: &[f32], channels: usize) -> Vec<f32> {
    let pixels = planes.len() / channels.max(1);
    let at = |i: usize| planes[i % channels * pixels + i / channels];
    (0..pixels * channels).map(at).collect()
}

fn real(name: &str, output: Output) -> Activation {
    let name = name.to_owned();
    match output {
        Output::Scores(scores) => Activation {
            name,
            channels: scores.len(),
            values: scores.to_vec(),
            saturated: 0,
        },
        Output::Map(map) => {
            let (scale, zero) = (map.quant.scale.get(), map.quant.zero.0);
            // where zero is the lowest value, it is ReLU's and no limit
            let end = |q: &u8| *q == 255 || (*q == 0 && zero > 0);
            Activation {
                name,
                channels: map.channels,
                saturated: map.values().filter(end).count(),
                values: map
                    .values()
                    .map(|q| scale * (f32::from(q) - f32::from(zero)))
                    .collect(),
            }
        }
    }
}

/// What has been summed up so far.
#[derive(Default)]
struct Sums {
    layers: Vec<LayerDifference>,
    apart: Vec<String>,
}

impl Sums {
    /// Adds one picture; whether both networks give it the same first label.
    fn add(&mut self, x: &[Activation], y: &[Activation]) -> bool {
        let same_shape = |x: &Activation, y: &Activation| {
            (&x.name, x.channels, x.values.len()) == (&y.name, y.channels, y.values.len())
        };
        let pairs = { y.iter() }.filter_map(|y| Some((x.iter().find(|x| same_shape(x, y))?, y)));
        let pairs: Vec<(&Activation, &Activation)> = pairs.collect();
        if self.layers.is_empty() {
            let shared = |a: &Activation| pairs.iter().any(|(x, _)| x.name == a.name);
            let alone = x.iter().chain(y).filter(|a| !shared(a));
            self.apart = alone.map(|a| a.name.clone()).collect();
            self.apart.dedup();
            self.layers = pairs.iter().map(|(x, _)| nothing(x)).collect();
        }
        for (sum, (x, y)) in self.layers.iter_mut().zip(&pairs) {
            sum.merge(&difference(x, y));
        }
        let top = |a: Option<&Activation>| {
            let v = &a?.values;
            (0..v.len()).max_by(|&i, &j| v[i].total_cmp(&v[j]).then(j.cmp(&i)))
        };
        top(x.last()) == top(y.last())
    }

    fn merge(&mut self, other: Self) {
        if self.layers.is_empty() {
            *self = other;
            return;
        }
        let pairs = self.layers.iter_mut().zip(&other.layers);
        pairs.for_each(|(sum, layer)| sum.merge(layer));
    }
}

fn nothing(like: &Activation) -> LayerDifference {
    LayerDifference {
        name: like.name.clone(),
        signal: vec![0.0; like.channels],
        noise: vec![0.0; like.channels],
        second: vec![0.0; like.channels],
        product: vec![0.0; like.channels],
        largest: Some(0.0),
        saturated: 0,
        values: 0,
    }
}

fn difference(x: &Activation, y: &Activation) -> LayerDifference {
    let (mut sum, mut largest) = (nothing(x), 0f32);
    let pixels = x.values.chunks_exact(x.channels.max(1));
    for (x, y) in pixels.zip(y.values.chunks_exact(x.channels.max(1))) {
        for (channel, (x, y)) in x.iter().zip(y).enumerate() {
            largest = largest.max((x - y).abs());
            let (x, y) = (f64::from(*x), f64::from(*y));
            sum.signal[channel] += x * x;
            sum.noise[channel] += (x - y) * (x - y);
            sum.second[channel] += y * y;
            sum.product[channel] += x * y;
        }
    }
    sum.largest = Some(largest);
    sum.saturated = y.saturated;
    sum.values = y.values.len();
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(name: &str, values: &[f32]) -> Activation {
        Activation {
            name: name.into(),
            channels: 2,
            values: values.to_vec(),
            saturated: 1,
        }
    }

    #[test]
    fn the_worst_channel_is_the_one_with_most_of_the_difference() {
        let x = activation("c", &[10.0, 1.0, 10.0, 1.0]);
        let y = activation("c", &[10.0, 2.0, 9.5, 1.0]);
        let found = difference(&x, &y);
        assert_eq!(found.worst_channel(), Some((1, 0.8)));
        assert_eq!((found.largest, found.saturated()), (Some(1.0), 0.25));
        let decibels = found.signal_to_noise().unwrap();
        assert!((decibels - 10.0 * (202.0f64 / 1.25).log10()).abs() < 1e-9);
        let none = difference(&x, &x);
        assert_eq!((none.signal_to_noise(), none.worst_channel()), (None, None));
    }

    #[test]
    fn a_divided_channel_differs_by_what_no_factor_makes_up_for() {
        let x = activation("c", &[4.0, 3.0, 8.0, 0.0, 8.0, 4.0]);
        let y = activation("c", &[1.0, 0.0, 2.0, 3.0, 2.0, 4.0]);
        let mut found = difference(&x, &y);
        found.allow_factors();
        // of the second channel a factor of 0.64: 3^2 + 4^2 - 16^2 / (3^2 + 4^2)
        assert!((found.noise[1] - 14.76).abs() < 1e-9);
        assert_eq!(found.noise[0], 0.0);
        assert_eq!(found.largest, None);
        let mut far = difference(
            &activation("c", &[64.0, 0.0]),
            &activation("c", &[1.0, 0.0]),
        );
        far.allow_factors();
        assert_eq!(far.noise, [48.0 * 48.0, 0.0]);
    }

    #[test]
    fn layers_are_matched_by_name_and_shape() {
        let mut sums = Sums::default();
        let x = [activation("a", &[1.0, 2.0]), activation("x", &[0.0, 1.0])];
        let y = [
            activation("pool", &[1.0, 2.0]),
            activation("a", &[1.0, 2.0]),
            activation("x", &[1.0, 0.0]),
        ];
        assert!(!sums.add(&x, &y));
        let names: Vec<&str> = sums.layers.iter().map(|l| &*l.name).collect();
        assert_eq!(names, ["a", "x"]);
        assert_eq!(sums.apart, ["pool"]);
    }

    #[test]
    fn planes_become_pixels() {
        assert_eq!(
            channels_innermost(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
    }
}
