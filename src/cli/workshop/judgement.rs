//! How a network judges, as a picture: which labels it takes for which, and whether it is as often right as it is sure.

use std::fmt::Write as _; // into a String, which cannot fail

use crate::cli::svg::{self, bar, float, label, line};
use crate::model::confidence::Bin;
use crate::model::eval::{Evaluation, share};

/// Left of it are names.
const LEFT: f64 = 150.0;
/// Above it are names.
const TOP: f64 = 130.0;
/// The longest side of the table.
const TABLE: f64 = 420.0;
const LARGEST_CELL: f64 = 34.0;
/// With smaller cells there is no room for figures, and no name can be read.
const READABLE_CELL: f64 = 24.0;
/// Of the diagram.
const DIAGRAM: f64 = 300.0;
const GAP: f64 = 90.0;
const COLUMN: f64 = 40.0;
/// A name that is longer loses its end.
const LONGEST_NAME: usize = 22;

/// The picture; `bins` are of the pictures' confidences.
#[must_use]
pub fn draw(found: &Evaluation, bins: &[Bin]) -> String {
    let mut body = String::new();
    let side = table(found, &mut body);
    let left = LEFT + side + GAP;
    reliability(bins, left, &mut body);
    let below = format!(
        "{} pictures, {:.2} % right; rows are what is shown, columns what was said",
        found.images,
        found.top1 * 100.0
    );
    let bottom = TOP + side.max(DIAGRAM + COLUMN) + 24.0;
    label(&mut body, "", 10.0, bottom, &below);
    let turned = " .t { text-anchor: start } .e { fill: #3c8dd0 } .w { fill: #d0803c }";
    svg::document((left + DIAGRAM + 30.0, bottom + 12.0), turned, &body)
}

/// A cell for each pair of labels, the darker the more of the row's pictures are in it. Returns its side.
fn table(found: &Evaluation, out: &mut String) -> f64 {
    let count = found.labels.len().max(1);
    let cell = (TABLE / float(count)).min(LARGEST_CELL);
    let readable = cell >= READABLE_CELL;
    for (row, (name, counts)) in found.labels.iter().zip(&found.confusion).enumerate() {
        let (y, all) = (TOP + float(row) * cell, counts.iter().sum::<usize>());
        if readable {
            label(out, "n", LEFT - 6.0, y + cell / 2.0 + 4.0, &short(name));
            let x = LEFT + (float(row) + 0.5) * cell;
            let _ = writeln!(
                out,
                "<text class=\"t\" transform=\"translate({x:.1} {:.1}) rotate(-60)\">{}</text>",
                TOP - 6.0,
                svg::escaped(&short(name))
            );
        }
        for (column, &seen) in counts.iter().enumerate().filter(|(_, seen)| **seen > 0) {
            let x = LEFT + float(column) * cell;
            let class = if row == column { "e" } else { "w" };
            let strength = share(seen, all).sqrt();
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\" opacity=\"{strength:.2}\"/>"
            );
            if readable {
                let text = seen.to_string();
                label(out, "m", x + cell / 2.0, y + cell / 2.0 + 4.0, &text);
            }
        }
    }
    let side = cell * float(count);
    let (left, right, top, bottom) = (LEFT, LEFT + side, TOP, TOP + side);
    for (from, to) in [
        ((left, top), (right, top)),
        ((left, bottom), (right, bottom)),
        ((left, top), (left, bottom)),
        ((right, top), (right, bottom)),
    ] {
        line(out, from, to);
    }
    side
}

/// The share of right labels by confidence: bars on the diagonal are a network that is as sure as it may be.
fn reliability(bins: &[Bin], left: f64, out: &mut String) {
    let (right, bottom) = (left + DIAGRAM, TOP + DIAGRAM);
    label(
        out,
        "",
        left,
        TOP - 26.0,
        "how often it is right, by how sure it is",
    );
    for fifth in 0..=5 {
        let part = f64::from(fifth) / 5.0;
        let text = format!("{:.0} %", part * 100.0);
        label(out, "n", left - 6.0, bottom - part * DIAGRAM + 4.0, &text);
        label(out, "m", left + part * DIAGRAM, bottom + 16.0, &text);
    }
    let width = DIAGRAM / float(bins.len().max(1));
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    for (index, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
        let height = DIAGRAM * share(bin.right, bin.count);
        let x = left + float(index) * width;
        bar(out, x + 0.5, bottom - height, width - 1.0, height);
        let depth = (COLUMN - 4.0) * share(bin.count, most);
        bar(out, x + 0.5, bottom + 22.0, width - 1.0, depth);
    }
    label(out, "n", left - 6.0, bottom + 36.0, "how many");
    line(out, (left, bottom), (right, bottom));
    line(out, (left, bottom), (left, TOP));
    line(out, (left, bottom), (right, TOP));
}

fn short(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    let begin: String = name.chars().take(LONGEST_NAME - 1).collect();
    format!("{begin}\u{2026}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(labels: usize) -> Evaluation {
        let name = |n: usize| format!("label {n} <of many that have a long name>");
        Evaluation {
            images: 3 * labels,
            skipped: 0,
            labels: (0..labels).map(name).collect(),
            top1: 0.5,
            top5: 1.0,
            confusion: (0..labels)
                .map(|row| {
                    (0..labels)
                        .map(|column| usize::from(row == column) * 2 + usize::from(column == 0))
                        .collect()
                })
                .collect(),
            predicted: Vec::new(),
            answers: Vec::new(),
            macs: 1,
            temperature: None,
        }
    }

    fn bins() -> Vec<Bin> {
        let bin = |n: usize| Bin {
            count: n,
            right: n / 2,
            confidence: 0.5,
        };
        (0..15).map(bin).collect()
    }

    #[test]
    fn every_pair_that_was_seen_has_a_cell_and_its_count() {
        let svg = draw(&evaluation(3), &bins());
        assert_eq!(svg.matches("<rect class=\"e\"").count(), 3);
        assert_eq!(svg.matches("<rect class=\"w\"").count(), 2);
        assert!(
            svg.contains(">3<") && svg.contains(">2<") && svg.contains(">1<"),
            "{svg}"
        );
        assert!(svg.contains("label 0 &lt;of many that\u{2026}"), "{svg}");
    }

    #[test]
    fn a_thousand_labels_make_a_picture_of_the_same_size_without_names() {
        let svg = draw(&evaluation(1000), &bins());
        assert!(!svg.contains("label 1"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn without_pictures_there_is_no_nonsense() {
        let mut none = evaluation(2);
        none.confusion = vec![vec![0; 2]; 2];
        let svg = draw(&none, &[]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
