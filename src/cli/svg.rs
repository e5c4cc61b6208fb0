//! What all pictures have in common: SVG written by hand, in one style whose colours are readable on a light and on a dark
//! background.

use std::fmt::Write as _; // into a String, which cannot fail

/// Text and lines are grey, bars (`b`) blue; text may end (`n`) or be in the middle (`m`) of its place.
const STYLE: &str = "text { font: 11px sans-serif; fill: #808080 } .n { text-anchor: end } .m { text-anchor: middle } \
                     .b { fill: #3c8dd0 } .a { stroke: #808080; stroke-width: 1 } polyline { fill: none; stroke-width: 2 }";

/// A picture of this size with `body` in it; `styles` are further ones.
#[must_use]
pub fn document((width, height): (f64, f64), styles: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <style>{STYLE}{styles}</style>\n{body}</svg>\n"
    )
}

pub fn bar(out: &mut String, x: f64, y: f64, width: f64, height: f64) {
    let _ = writeln!(
        out,
        "<rect class=\"b\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
    );
}

pub fn label(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escaped(text)
    );
}

/// Of an axis.
pub fn line(out: &mut String, (from_x, from_y): (f64, f64), (to_x, to_y): (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"a\" x1=\"{from_x:.1}\" y1=\"{from_y:.1}\" x2=\"{to_x:.1}\" y2=\"{to_y:.1}\"/>"
    );
}

/// A count of something that is drawn.
#[must_use]
#[allow(clippy::cast_precision_loss)] // far below 2^53
pub fn float(count: usize) -> f64 {
    count as f64
}

/// Names come from files that anybody may have made.
#[must_use]
pub fn escaped(text: &str) -> String {
    let plain = text.replace(char::is_control, "\u{fffd}");
    plain
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_the_picture() {
        let mut body = String::new();
        label(&mut body, "", 1.0, 2.0, "<a & b>\x1b");
        let svg = document((10.0, 10.0), "", &body);
        assert!(svg.contains(">&lt;a &amp; b&gt;\u{fffd}</text>"), "{svg}");
    }
}
