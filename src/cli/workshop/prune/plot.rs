//! Accuracy against cost as a picture: SVG written by hand, in colours that are readable on a light and on a dark
//! background.

use std::fmt::Write as _; // into a String, which cannot fail

use crate::model::prune::{Outcome, Point};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Of the field within the axes.
const LEFT: f64 = 60.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 50.0;

/// The picture of the way to the target.
#[must_use]
pub fn draw(found: &Outcome) -> String {
    curve(&found.points, found.held_out)
}

fn curve(points: &[Point], pictures: usize) -> String {
    let field = Field::around(points);
    let mut body = String::new();
    axes(&field, &mut body);
    line(
        &field,
        "s",
        points.iter().map(|p| (giga(p), p.agreement)),
        &mut body,
    );
    let right = points.iter().filter_map(|p| Some((giga(p), p.top1?)));
    line(&field, "t", right, &mut body);
    let title = format!("of {pictures} held-out pictures");
    label(&mut body, "", LEFT, 16.0, &title);
    label(&mut body, "s", LEFT + 180.0, 16.0, "the original's label");
    if points.iter().any(|p| p.top1.is_some()) {
        label(&mut body, "t", LEFT + 320.0, 16.0, "the right label");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">\n\
         <style>text {{ font: 11px sans-serif; fill: #808080 }} .n {{ text-anchor: end }} .m {{ text-anchor: middle }} \
         .a {{ stroke: #808080; stroke-width: 1 }} polyline {{ fill: none; stroke-width: 2 }} \
         text.s, circle.s {{ fill: #3c8dd0 }} polyline.s {{ stroke: #3c8dd0 }} \
         text.t, circle.t {{ fill: #d0803c }} polyline.t {{ stroke: #d0803c }}</style>\n{body}</svg>\n"
    )
}

/// What part of cost and accuracy is shown.
struct Field {
    most: f64,
    /// A multiple of 5 %.
    worst: f64,
}

impl Field {
    fn around(points: &[Point]) -> Self {
        let each = points.iter().flat_map(|p| [Some(p.agreement), p.top1]);
        let worst = each.flatten().fold(0.95, f64::min);
        let most = points.iter().map(giga).fold(1e-9, f64::max);
        Self {
            most,
            worst: (worst * 20.0).floor() / 20.0,
        }
    }

    fn x(&self, giga: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * giga / self.most
    }

    fn y(&self, share: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * (share - self.worst) / (1.0 - self.worst)
    }
}

#[allow(clippy::cast_precision_loss)] // a place in a picture
fn giga(point: &Point) -> f64 {
    point.macs as f64 / 1e9
}

fn axes(field: &Field, out: &mut String) {
    for fifth in 0..=5 {
        let part = f64::from(fifth) / 5.0;
        let share = field.worst + (1.0 - field.worst) * part;
        let text = format!("{:.0} %", share * 100.0);
        label(out, "n", LEFT - 6.0, field.y(share) + 4.0, &text);
        let cost = field.most * part;
        label(
            out,
            "m",
            field.x(cost),
            BOTTOM + 16.0,
            &format!("{cost:.2}"),
        );
    }
    let below = "G multiply-adds for one picture";
    label(out, "m", f64::midpoint(LEFT, RIGHT), BOTTOM + 36.0, below);
    for (x, y) in [(RIGHT, BOTTOM), (LEFT, TOP)] {
        let _ = writeln!(
            out,
            "<line class=\"a\" x1=\"{LEFT}\" y1=\"{BOTTOM}\" x2=\"{x}\" y2=\"{y}\"/>"
        );
    }
}

fn line(field: &Field, class: &str, values: impl Iterator<Item = (f64, f64)>, out: &mut String) {
    let places: Vec<(f64, f64)> = values.map(|(x, y)| (field.x(x), field.y(y))).collect();
    let text: Vec<String> = places
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let _ = writeln!(
        out,
        "<polyline class=\"{class}\" points=\"{}\"/>",
        text.join(" ")
    );
    for (x, y) in places {
        let _ = writeln!(
            out,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
        );
    }
}

fn label(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(macs: u64, agreement: f64, top1: Option<f64>) -> Point {
        Point {
            macs,
            params: 1,
            blocks: 1,
            agreement,
            top1,
        }
    }

    #[test]
    fn every_point_lies_within_the_axes() {
        let points = [
            point(4_000_000_000, 1.0, Some(0.97)),
            point(2_000_000_000, 0.31, Some(0.3)),
        ];
        let svg = curve(&points, 500);
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.contains("the right label"), "{svg}");
        let field = Field::around(&points);
        for p in &points {
            let (x, y) = (field.x(giga(p)), field.y(p.agreement));
            assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y));
        }
    }

    #[test]
    fn without_known_labels_there_is_one_line_and_no_nonsense() {
        let svg = curve(&[point(5, 1.0, None)], 0);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(!svg.contains("the right label"), "{svg}");
    }
}
