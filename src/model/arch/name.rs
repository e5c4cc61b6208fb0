//! What a network is called: by its depth and widths, where those are published ones.

use std::fmt::Write;

use super::{Block, Resnet};

/// Blocks per stage of the published depths of bottlenecks that `synth` makes.
pub const PUBLISHED: [(&str, [usize; 4]); 3] = [
    ("resnet50", [3, 4, 6, 3]),
    ("resnet101", [3, 4, 23, 3]),
    ("resnet152", [3, 8, 36, 3]),
];

/// Depth, blocks per stage, and whether they are bottlenecks.
const DEPTHS: [(usize, [usize; 4], bool); 9] = [
    (10, [1, 1, 1, 1], false),
    (18, [2, 2, 2, 2], false),
    (34, [3, 4, 6, 3], false),
    (14, [1, 1, 1, 1], true),
    (26, [2, 2, 2, 2], true),
    (50, [3, 4, 6, 3], true),
    (101, [3, 4, 23, 3], true),
    (152, [3, 8, 36, 3], true),
    (200, [3, 24, 36, 3], true),
];

/// Blocks per stage of a published plain ResNet (`resnet50`), and whether they are bottlenecks.
#[must_use]
pub fn depth(name: &str) -> Option<([usize; 4], bool)> {
    let depth: usize = name.strip_prefix("resnet")?.parse().ok()?;
    let found = DEPTHS.iter().find(|(d, ..)| *d == depth)?;
    Some((found.1, found.2))
}

/// Those that [`depth`] knows.
#[must_use]
pub fn depths() -> Vec<String> {
    let names = DEPTHS.iter().map(|(depth, ..)| format!("resnet{depth}"));
    names.collect()
}

/// The channels that a bottleneck of the first stage is narrowed to in ResNet50, and a basic block has.
const NARROW: usize = 64;

impl Resnet {
    /// torchvision's or timm's name where depth and widths are published ones (`resnet50`, `resnext50_32x4d`,
    /// `wide_resnet50_2`, `resnet50d`), else the blocks per stage (`resnet-2-4-5-3`).
    #[must_use]
    pub fn arch(&self) -> String {
        self.published().unwrap_or_else(|| {
            let blocks = self.stages.iter().map(Vec::len);
            blocks.fold("resnet".to_owned(), |mut name, n| {
                write!(name, "-{n}").ok();
                name
            })
        })
    }

    fn published(&self) -> Option<String> {
        let bottlenecks = self.blocks().all(|block| block.convs.len() == 3);
        if !bottlenecks && self.blocks().any(|block| block.convs.len() == 3) {
            return None;
        }
        let counts: Vec<usize> = self.stages.iter().map(Vec::len).collect();
        let depth = DEPTHS
            .iter()
            .find(|(_, blocks, kind)| blocks[..] == counts && *kind == bottlenecks)?
            .0;
        let first = self.blocks().next()?;
        let (width, groups) = (first.convs[0].outputs(), first.convs[1].groups);
        if !self.widths_double(width, groups, bottlenecks) {
            return None;
        }
        let variant = self.variant()?;
        match (groups, width) {
            (1, NARROW) => Some(format!("resnet{depth}{variant}")),
            (1, w) if w == 2 * NARROW && bottlenecks && variant.is_empty() => {
                Some(format!("wide_resnet{depth}_2"))
            }
            (2.., w) => Some(format!("resnext{depth}{variant}_{groups}x{}d", w / groups)),
            _ => None,
        }
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.stages.iter().flatten()
    }

    /// Whether every block has the widths of its stage: twice those of the stage before.
    fn widths_double(&self, width: usize, groups: usize, bottlenecks: bool) -> bool {
        let outputs = if bottlenecks { 4 * NARROW } else { width };
        self.stages.iter().enumerate().all(|(stage, blocks)| {
            blocks.iter().all(|block| {
                let last = block.convs.len() - 1;
                block.convs[last].outputs() == outputs << stage
                    && block.convs[..last]
                        .iter()
                        .all(|conv| conv.outputs() == width << stage)
                    && block.convs[1].groups == groups
            })
        })
    }

    /// timm's letter: `d` for a deep stem and averaged shortcuts, `t` for one with growing widths, `c` and `s`
    /// for a deep stem alone; nothing for the plain stem.
    fn variant(&self) -> Option<&'static str> {
        let stem: Vec<usize> = self.stem.iter().map(super::FoldedConv::outputs).collect();
        let shortcuts = || self.blocks().filter_map(|block| block.shortcut.as_ref());
        let averaged = shortcuts().any(|shortcut| shortcut.averaged);
        Some(match (&stem[..], averaged) {
            ([64], false) => "",
            ([32, 32, 64], true) => "d",
            ([24, 32, 64], true) => "t",
            ([32, 32, 64], false) => "c",
            ([64, 64, 128], false) => "s",
            _ => return None,
        })
    }
}
