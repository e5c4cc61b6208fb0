//! Shares against cost as a picture. What they are shares of is the commands' business.

use std::fmt::Write as _; // into a String, which cannot fail

use crate::cli::svg::{self, label, line};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Of the field within the axes.
const LEFT: f64 = 60.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = HEIGHT - 50.0;

/// The colours of series, in their order.
const COLOURS: [&str; 3] = ["#3c8dd0", "#d0803c", "#50a060"];

/// Points that are one line.
pub struct Series<'a> {
    pub name: &'a str,
    /// Billions of multiply-adds, and a share of 0 to 1.
    pub points: Vec<(f64, f64)>,
}

/// The picture of one to three series.
#[must_use]
pub fn draw(title: &str, series: &[Series]) -> String {
    let field = Field::around(series);
    let mut body = String::new();
    axes(&field, &mut body);
    label(&mut body, "", LEFT, 16.0, title);
    let mut styles = String::new();
    let mut left = LEFT + 180.0;
    for (index, (one, colour)) in series.iter().zip(COLOURS).enumerate() {
        let class = format!("s{index}");
        let _ = write!(
            styles,
            " text.{class}, circle.{class} {{ fill: {colour} }} polyline.{class} {{ stroke: {colour} }}"
        );
        points(&field, &class, &one.points, &mut body);
        label(&mut body, &class, left, 16.0, one.name);
        left += 140.0;
    }
    svg::document((WIDTH, HEIGHT), &styles, &body)
}

/// What part of cost and shares is shown.
struct Field {
    most: f64,
    /// A multiple of 5 %.
    worst: f64,
}

impl Field {
    fn around(series: &[Series]) -> Self {
        let all = || series.iter().flat_map(|one| one.points.iter().copied());
        let worst = all().map(|(_, share)| share).fold(0.95, f64::min);
        let most = all().map(|(giga, _)| giga).fold(1e-9, f64::max);
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
        line(out, (LEFT, BOTTOM), (x, y));
    }
}

fn points(field: &Field, class: &str, points: &[(f64, f64)], out: &mut String) {
    let place = |&(giga, share): &(f64, f64)| (field.x(giga), field.y(share));
    let places: Vec<(f64, f64)> = points.iter().map(place).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_within_the_axes() {
        let series = [
            Series {
                name: "one",
                points: vec![(4.0, 1.0), (2.0, 0.31)],
            },
            Series {
                name: "two",
                points: vec![(4.0, 0.97)],
            },
        ];
        let svg = draw("of 500 pictures", &series);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains(">two<"), "{svg}");
        let field = Field::around(&series);
        for &(giga, share) in series.iter().flat_map(|one| &one.points) {
            let (x, y) = (field.x(giga), field.y(share));
            assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y));
        }
    }

    #[test]
    fn without_points_there_is_no_nonsense() {
        let svg = draw(
            "",
            &[Series {
                name: "none",
                points: Vec::new(),
            }],
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
