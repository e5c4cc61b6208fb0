//! Minimizes a smooth convex function of many variables: limited-memory BFGS (Nocedal, "Updating quasi-Newton matrices
//! with limited storage", 1980) with a backtracking line search. The same function gives the same bits everywhere.

/// Steps remembered.
const MEMORY: usize = 10;
const MOST_STEPS: usize = 300;
/// Halvings of a step before the numbers' precision is seen to be spent.
const MOST_HALVINGS: usize = 20;

/// One step and what it changed in the gradient.
struct Pair {
    step: Vec<f32>,
    change: Vec<f32>,
    /// Of both.
    product: f64,
}

/// Moves `x` to where the gradient is no longer than `tolerance`. `value` gives a function's value at a place and
/// writes its gradient.
pub fn minimize(x: &mut [f32], tolerance: f64, mut value: impl FnMut(&[f32], &mut [f32]) -> f64) {
    let mut gradient = vec![0.0; x.len()];
    let mut height = value(x, &mut gradient);
    let mut memory: Vec<Pair> = Vec::new();
    let (mut next, mut next_gradient) = (x.to_vec(), gradient.clone());
    for _ in 0..MOST_STEPS {
        let length = product(&gradient, &gradient).sqrt();
        if length <= tolerance {
            return;
        }
        let direction = direction(&gradient, &memory);
        let slope = product(&gradient, &direction);
        // nothing is known of the curvature before the first step
        let mut size = if memory.is_empty() {
            1f64.min(1.0 / length)
        } else {
            1.0
        };
        let mut lower = false;
        for _ in 0..MOST_HALVINGS {
            add_scaled(&mut next, x, size, &direction);
            let next_height = value(&next, &mut next_gradient);
            if next_height <= height + 1e-4 * size * slope {
                height = next_height;
                lower = true;
                break;
            }
            size /= 2.0;
        }
        if !lower {
            return;
        }
        remember(&mut memory, (&next, x), (&next_gradient, &gradient));
        x.copy_from_slice(&next);
        gradient.copy_from_slice(&next_gradient);
    }
}

fn remember(memory: &mut Vec<Pair>, (to, from): (&[f32], &[f32]), (new, old): (&[f32], &[f32])) {
    let minus = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f32>>();
    let (step, change) = (minus(to, from), minus(new, old));
    let product = product(&step, &change);
    if product <= 0.0 {
        return; // rounding has hidden the curvature
    }
    if memory.len() == MEMORY {
        memory.remove(0);
    }
    memory.push(Pair {
        step,
        change,
        product,
    });
}

/// Downhill, as the remembered steps bend it: the two-loop recursion.
fn direction(gradient: &[f32], memory: &[Pair]) -> Vec<f32> {
    let mut d: Vec<f32> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let share = product(&pair.step, &d) / pair.product;
        add(&mut d, -share, &pair.change);
        shares.push(share);
    }
    if let Some(last) = memory.last() {
        let scale = last.product / product(&last.change, &last.change);
        scale_by(&mut d, scale);
    }
    for (pair, share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = product(&pair.change, &d) / pair.product;
        add(&mut d, share - back, &pair.step);
    }
    d
}

/// Summed in eight lanes: in one order on every processor, yet fast.
fn product(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        for ((sum, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    let rest = a_rest.iter().zip(b_rest);
    lanes.iter().sum::<f64>() + rest.map(|(a, b)| f64::from(a * b)).sum::<f64>()
}

#[allow(clippy::cast_possible_truncation)] // to the precision of the variables
fn add(to: &mut [f32], scale: f64, what: &[f32]) {
    let scale = scale as f32;
    to.iter_mut().zip(what).for_each(|(t, w)| *t += scale * w);
}

#[allow(clippy::cast_possible_truncation)] // as above
fn add_scaled(to: &mut [f32], from: &[f32], scale: f64, what: &[f32]) {
    let scale = scale as f32;
    let sums = from.iter().zip(what).map(|(f, w)| f + scale * w);
    to.iter_mut().zip(sums).for_each(|(t, sum)| *t = sum);
}

#[allow(clippy::cast_possible_truncation)] // as above
fn scale_by(what: &mut [f32], scale: f64) {
    let scale = scale as f32;
    what.iter_mut().for_each(|w| *w *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_narrow_valley_is_walked_to_its_end() {
        // each variable a hundredth as steep as the one before, each with its own lowest place
        let steep = [100.0f32, 10.0, 1.0, 0.1];
        let lowest = [1.0f32, -2.0, 3.0, -4.0];
        let mut x = [0.0; 4];
        let mut calls = 0;
        minimize(&mut x, 1e-5, |x, gradient| {
            calls += 1;
            let mut height = 0.0;
            for i in 0..4 {
                let off = x[i] - lowest[i];
                gradient[i] = steep[i] * off;
                height += f64::from(steep[i] * off * off) / 2.0;
            }
            height
        });
        for (x, want) in x.iter().zip(lowest) {
            assert!((x - want).abs() < 1e-3, "{x} {want}");
        }
        assert!(calls < 100, "{calls} evaluations");
    }
}
