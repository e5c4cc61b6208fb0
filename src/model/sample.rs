//! Whether a set of pictures is fit to measure ranges on, and which part of it is kept to compare recipes on.

use super::dataset::Dataset;
use super::error::ModelError;

/// With fewer of them ranges are a matter of luck, which is said.
const FEW: usize = 32;
/// Of a small set, the share that is kept to compare recipes on; and the least that says anything.
const KEPT: usize = 4;
const LEAST_KEPT: usize = 4;

/// Of `count` pictures, how many no range is measured on, so that recipes can be compared.
#[must_use]
pub fn to_keep(count: usize) -> usize {
    Some(count / KEPT).filter(|n| *n >= LEAST_KEPT).unwrap_or(0)
}

/// Whether a picture of RGB bytes shows nothing.
#[must_use]
pub fn is_of_one_colour(picture: &[u8]) -> bool {
    let (first, rest) = picture.split_at(picture.len().min(3));
    rest.chunks_exact(3).all(|pixel| pixel == first)
}

/// Says of pictures that were measured, of each whether it is of one colour, if they are few or say little.
///
/// # Errors
/// If they say nothing.
pub fn warn_of_few(
    set: &Dataset,
    one_colour: impl ExactSizeIterator<Item = bool>,
) -> Result<(), ModelError> {
    let (count, path) = (one_colour.len(), set.path.clone());
    let empty = one_colour.filter(|empty| *empty).count();
    if empty == count {
        let reason = "every picture is of one colour: they do not say how large values become";
        return Err(ModelError::Dataset {
            path,
            reason: reason.into(),
        });
    }
    let path = path.display();
    if empty * 10 > count {
        log::warn!("{path}: {empty} of {count} pictures are of one colour");
    }
    if count < FEW {
        log::warn!(
            "{path}: {count} pictures are few to measure ranges on; a hundred or more are better"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_where_that_says_anything() {
        let kept = [1, 15, 16, 100, 512, 9469].map(to_keep);
        assert_eq!(kept, [0, 0, 4, 25, 128, 2367]);
    }

    #[test]
    fn a_picture_of_one_colour_shows_nothing() {
        assert!(is_of_one_colour(&[7, 8, 9, 7, 8, 9]) && is_of_one_colour(&[]));
        assert!(!is_of_one_colour(&[7, 8, 9, 7, 8, 8]));
    }
}
