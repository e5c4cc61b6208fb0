//! The shape of a sliding window: sizes, strides, padding, and the output size that follows.

use thiserror::Error;

/// Rows and columns added around the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    pub top: usize,
    pub bottom: usize,
    pub left: usize,
    pub right: usize,
}

impl Padding {
    /// The same on all four sides.
    #[must_use]
    pub const fn all(n: usize) -> Self {
        Self {
            top: n,
            bottom: n,
            left: n,
            right: n,
        }
    }
}

/// One convolution's or pooling's shape, for a batch of one. Values of this type are consistent:
/// every output pixel's window touches the padded input only, and no size overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub in_h: usize,
    pub in_w: usize,
    pub in_c: usize,
    pub out_c: usize,
    pub kernel_h: usize,
    pub kernel_w: usize,
    pub stride_h: usize,
    pub stride_w: usize,
    pub pad: Padding,
    out_h: usize,
    out_w: usize,
}

/// No dimension of a real network is larger; the product of any four still fits 64 bits.
const MAX_DIM: usize = 1 << 15;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum GeometryError {
    #[error("{what} is {value}, not within 1 to {MAX_DIM}")]
    Dimension { what: &'static str, value: usize },
    #[error("padding of {0} is not smaller than the kernel's {1}")]
    Padding(usize, usize),
    #[error("a kernel of {kernel} does not fit a padded input of {padded}")]
    Kernel { kernel: usize, padded: usize },
}

impl Geometry {
    /// `input` and `kernel` and `stride` as `(rows, columns)`.
    ///
    /// # Errors
    /// If a size is zero or absurd, the padding as wide as the kernel, or the kernel larger than the
    /// padded input.
    pub fn new(
        input: (usize, usize),
        (in_c, out_c): (usize, usize),
        kernel: (usize, usize),
        stride: (usize, usize),
        pad: Padding,
    ) -> Result<Self, GeometryError> {
        for (what, value) in [
            ("input height", input.0),
            ("input width", input.1),
            ("input channels", in_c),
            ("output channels", out_c),
            ("kernel height", kernel.0),
            ("kernel width", kernel.1),
            ("stride", stride.0),
            ("stride", stride.1),
        ] {
            if !(1..=MAX_DIM).contains(&value) {
                return Err(GeometryError::Dimension { what, value });
            }
        }
        for (pad, kernel) in [
            (pad.top, kernel.0),
            (pad.bottom, kernel.0),
            (pad.left, kernel.1),
            (pad.right, kernel.1),
        ] {
            if pad >= kernel {
                return Err(GeometryError::Padding(pad, kernel));
            }
        }
        let out = |size: usize, before: usize, after: usize, kernel: usize, stride: usize| {
            let padded = size + before + after;
            if kernel > padded {
                return Err(GeometryError::Kernel { kernel, padded });
            }
            Ok((padded - kernel) / stride + 1)
        };
        Ok(Self {
            in_h: input.0,
            in_w: input.1,
            in_c,
            out_c,
            kernel_h: kernel.0,
            kernel_w: kernel.1,
            stride_h: stride.0,
            stride_w: stride.1,
            pad,
            out_h: out(input.0, pad.top, pad.bottom, kernel.0, stride.0)?,
            out_w: out(input.1, pad.left, pad.right, kernel.1, stride.1)?,
        })
    }

    #[must_use]
    pub fn out_h(&self) -> usize {
        self.out_h
    }

    #[must_use]
    pub fn out_w(&self) -> usize {
        self.out_w
    }

    #[must_use]
    pub fn out_pixels(&self) -> usize {
        self.out_h * self.out_w
    }

    /// Products summed for one output value.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.kernel_h * self.kernel_w * self.in_c
    }

    /// Whether each output pixel sees just the input pixel of the same place.
    #[must_use]
    pub fn is_pointwise(&self) -> bool {
        (self.kernel_h, self.kernel_w, self.stride_h, self.stride_w) == (1, 1, 1, 1)
    }

    #[must_use]
    pub fn input_len(&self) -> usize {
        self.in_h * self.in_w * self.in_c
    }

    #[must_use]
    pub fn output_len(&self) -> usize {
        self.out_pixels() * self.out_c
    }

    /// Multiply-adds of the whole layer, padding counted as if it were data.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.output_len() as u64 * self.depth() as u64
    }

    /// The input row or column that kernel element `k` of output element `out` sees, if it is not
    /// padding.
    #[inline]
    #[must_use]
    pub fn source(out: usize, k: usize, stride: usize, pad: usize, size: usize) -> Option<usize> {
        (out * stride + k).checked_sub(pad).filter(|&i| i < size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stem_of_a_resnet_halves_the_picture() {
        let g = Geometry::new((224, 224), (3, 64), (7, 7), (2, 2), Padding::all(3)).unwrap();
        assert_eq!((g.out_h(), g.out_w(), g.depth()), (112, 112, 147));
        assert_eq!(g.macs(), 118_013_952);
    }

    #[test]
    fn inconsistent_shapes_are_refused() {
        let new =
            |input, kernel, pad| Geometry::new(input, (1, 1), kernel, (1, 1), Padding::all(pad));
        assert_eq!(
            new((0, 5), (1, 1), 0),
            Err(GeometryError::Dimension {
                what: "input height",
                value: 0
            })
        );
        assert_eq!(new((5, 5), (3, 3), 3), Err(GeometryError::Padding(3, 3)));
        assert_eq!(
            new((2, 2), (5, 5), 1),
            Err(GeometryError::Kernel {
                kernel: 5,
                padded: 4
            })
        );
    }
}
