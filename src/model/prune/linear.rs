//! The little linear algebra that is needed, in f64: Cholesky's factor of a covariance, and what is solved with it.

use tract_nnef::internal::tract_ndarray::Array2;

/// The lower factor of a symmetric positive definite matrix.
pub struct Cholesky(Array2<f64>);

impl Cholesky {
    /// Nothing if the matrix is not positive definite.
    #[must_use]
    pub fn of(mut a: Array2<f64>) -> Option<Self> {
        let n = a.nrows();
        for i in 0..n {
            for j in 0..=i {
                let (row, other) = (a.row(i), a.row(j));
                let inner: f64 = (0..j).map(|k| row[k] * other[k]).sum();
                let rest = a[[i, j]] - inner;
                a[[i, j]] = match (i == j, rest > 0.0) {
                    (true, true) => rest.sqrt(),
                    (true, false) => return None,
                    (false, _) => rest / a[[j, j]],
                };
            }
        }
        Some(Self(a))
    }

    /// `x` with `A x = b`, in the place of `b`.
    pub fn solve(&self, b: &mut [f64]) {
        let l = &self.0;
        let n = l.nrows();
        for i in 0..n {
            let inner: f64 = (0..i).map(|k| l[[i, k]] * b[k]).sum();
            b[i] = (b[i] - inner) / l[[i, i]];
        }
        for i in (0..n).rev() {
            b[i] /= l[[i, i]];
            let known = b[i];
            for k in 0..i {
                b[k] -= l[[i, k]] * known;
            }
        }
    }

    #[must_use]
    pub fn inverse(&self) -> Array2<f64> {
        let n = self.0.nrows();
        let mut inverse = Array2::eye(n);
        for mut row in inverse.rows_mut() {
            if let Some(row) = row.as_slice_mut() {
                self.solve(row);
            }
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let mut a = Array2::from_shape_fn((5, 5), |(i, j)| 1.0 / (1.0 + i as f64 + j as f64));
        a += &Array2::<f64>::eye(5);
        let inverse = Cholesky::of(a.clone()).unwrap().inverse();
        let error = a.dot(&inverse) - Array2::<f64>::eye(5);
        assert!(error.iter().all(|e| e.abs() < 1e-12), "{error}");
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert!(Cholesky::of(-Array2::<f64>::eye(3)).is_none());
    }
}
