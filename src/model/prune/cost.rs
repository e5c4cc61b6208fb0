//! How many multiply-adds a published ResNet has, for `--like`.

use crate::model::arch;

/// Multiply-adds of `name` (`resnet50`) on pictures of `crop` pixels' side with so many classes; nothing if it is not known.
#[must_use]
pub fn published(name: &str, crop: usize, classes: usize) -> Option<u64> {
    let (blocks, bottlenecks) = arch::depth(name)?;
    let halved = |side: usize| side.div_ceil(2);
    let mut side = halved(crop);
    let mut macs = side * side * 64 * 3 * 49;
    side = halved(side);
    let mut inputs = 64;
    for (stage, &count) in blocks.iter().enumerate() {
        let width = 64 << stage;
        let outputs = if bottlenecks { 4 * width } else { width };
        for block in 0..count {
            let before = side * side;
            if stage > 0 && block == 0 {
                side = halved(side);
            }
            let after = side * side;
            macs += if bottlenecks {
                before * inputs * width + after * (9 * width * width + width * outputs)
            } else {
                after * 9 * (inputs * width + width * width)
            };
            if block == 0 && (stage > 0 || inputs != outputs) {
                macs += after * inputs * outputs;
            }
            inputs = outputs;
        }
    }
    Some((macs + inputs * classes) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_networks_have_their_published_multiply_adds() {
        let millions = |name| published(name, 224, 1000).map(|macs| macs / 1_000_000);
        assert_eq!(millions("resnet18"), Some(1814));
        assert_eq!(millions("resnet50"), Some(4089));
        assert_eq!(millions("resnet101"), Some(7801));
        assert_eq!(millions("resnet51"), None);
    }
}
