//! How a tensor of tract's lies over a feature map: which of its axes are channels, rows and columns. Exporters
//! transpose, flatten, squeeze and reshape; all of that only changes the view.

use tract_onnx::prelude::tract_itertools::Itertools;
use tract_onnx::tract_core::internal::*;

use super::layers::Shape;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    Channel,
    Row,
    Column,
}

/// For each axis of the tensor what it counts; nothing where there is only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View(pub Vec<Option<Axis>>);

const ORDER: [Axis; 3] = [Axis::Channel, Axis::Row, Axis::Column];

/// The extent of `shape` along `axis`.
#[must_use]
pub fn extent(shape: Shape, axis: Axis) -> usize {
    let [channels, rows, columns] = shape;
    match axis {
        Axis::Channel => channels,
        Axis::Row => rows,
        Axis::Column => columns,
    }
}

impl View {
    /// Batch, channels, rows, columns: ONNX's own order.
    #[must_use]
    pub fn channels_first(shape: Shape) -> Self {
        Self::of(shape, &ORDER)
    }

    /// Batch, rows, columns, channels: Keras'.
    #[must_use]
    pub fn channels_last(shape: Shape) -> Self {
        Self::of(shape, &[Axis::Row, Axis::Column, Axis::Channel])
    }

    fn of(shape: Shape, order: &[Axis]) -> Self {
        let axes = order.iter().map(|&a| (extent(shape, a) > 1).then_some(a));
        Self(std::iter::once(None).chain(axes).collect())
    }

    /// The same order for a map of another shape; axes that have become single are forgotten.
    #[must_use]
    pub fn reduced(&self, shape: Shape) -> Self {
        let keep = |a: &Option<Axis>| a.filter(|&a| extent(shape, a) > 1);
        Self(self.0.iter().map(keep).collect())
    }

    /// True if the tensor's axis `at` counts what `axis` says.
    #[must_use]
    pub fn counts(&self, at: usize, axis: Axis, shape: Shape) -> bool {
        let wanted = (extent(shape, axis) > 1).then_some(axis);
        self.0.get(at) == Some(&wanted)
    }

    /// After `op`, which moves no values.
    ///
    /// # Errors
    /// If values of different kinds come to lie along one axis.
    pub fn moved(&self, op: &AxisOp, shape: Shape) -> Result<Self, String> {
        let mut axes = self.0.clone();
        let broken = || "its axes do not fit its input".to_owned();
        match op {
            AxisOp::Add(at) if *at <= axes.len() => axes.insert(*at, None),
            AxisOp::Rm(at) if axes.get(*at) == Some(&None) => {
                axes.remove(*at);
            }
            AxisOp::Move(from, to) if *from < axes.len() && *to < axes.len() => {
                let axis = axes.remove(*from);
                axes.insert(*to, axis);
            }
            AxisOp::Reshape(at, from, to) => {
                let end = at.checked_add(from.len()).filter(|e| *e <= axes.len());
                let end = end.ok_or_else(broken)?;
                let new = reshaped(&axes[*at..end], to, shape)?;
                axes.splice(*at..end, new);
            }
            _ => return Err(broken()),
        }
        Ok(Self(axes))
    }
}

/// Axes that are not single keep their order when single ones come and go.
fn reshaped(old: &[Option<Axis>], to: &[TDim], shape: Shape) -> Result<Vec<Option<Axis>>, String> {
    let mut left = old.iter().flatten();
    let mut new = Vec::new();
    for dim in to {
        if dim.is_one() {
            new.push(None);
            continue;
        }
        let axis = left.next().filter(|&&a| dim == &extent(shape, a).to_dim());
        new.push(Some(*axis.ok_or_else(|| mixed(shape))?));
    }
    if left.next().is_some() {
        return Err(mixed(shape));
    }
    Ok(new)
}

fn mixed(shape: Shape) -> String {
    format!(
        "it flattens a feature map of {}; only a pooled one, 1x1, can be",
        shape.iter().join("x")
    )
}

#[cfg(test)]
mod tests {
    use super::Axis::{Channel, Column, Row};
    use super::*;

    const MAP: Shape = [8, 5, 5];
    const POOLED: Shape = [8, 1, 1];

    fn dims(dims: &[usize]) -> TVec<TDim> {
        dims.iter().map(ToDim::to_dim).collect()
    }

    #[test]
    fn a_transpose_to_channels_last_is_a_move() {
        let first = View::channels_first(MAP);
        let last = first.moved(&AxisOp::Move(1, 3), MAP).unwrap();
        assert_eq!(last, View::channels_last(MAP));
        assert!(last.counts(3, Channel, MAP) && last.counts(1, Row, MAP));
        assert!(!last.counts(1, Column, MAP) && !last.counts(9, Row, MAP));
    }

    #[test]
    fn a_pooled_map_is_flattened_in_any_way() {
        let map = View::channels_first(POOLED);
        assert_eq!(map.0, [None, Some(Channel), None, None]);
        let flat = AxisOp::Reshape(1, dims(&[8, 1, 1]), dims(&[8]));
        assert_eq!(map.moved(&flat, POOLED).unwrap().0, [None, Some(Channel)]);
        let squeezed = map.moved(&AxisOp::Rm(3), POOLED).unwrap();
        assert_eq!(squeezed.0, [None, Some(Channel), None]);
        let back = squeezed.moved(&AxisOp::Add(0), POOLED).unwrap();
        assert_eq!(back.0, [None, None, Some(Channel), None]);
    }

    #[test]
    fn a_map_that_is_not_pooled_cannot_be_flattened() {
        let flat = AxisOp::Reshape(1, dims(&[8, 5, 5]), dims(&[200]));
        let error = View::channels_first(MAP).moved(&flat, MAP).unwrap_err();
        assert!(error.contains("8x5x5"), "{error}");
        let wrong = AxisOp::Reshape(7, dims(&[8]), dims(&[8]));
        assert!(View::channels_first(MAP).moved(&wrong, MAP).is_err());
        assert!(
            View::channels_first(MAP)
                .moved(&AxisOp::Rm(1), MAP)
                .is_err()
        );
    }
}
