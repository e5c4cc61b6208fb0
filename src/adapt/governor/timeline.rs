//! An afternoon of the simulator as the picture in docs/ADAPTING.md: what other programs and the sun do, how warm the
//! processor is, and what the governor makes of it.

use std::fmt::Write as _; // into a String, which cannot fail
use std::path::Path;
use std::time::Duration;

use super::simulator::{GOOD, MIB, Simulator, Weather, cost};
use super::{Cause, Effort, Rung, Settings};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
/// Of the field.
const LEFT: f64 = 120.0;
const RIGHT: f64 = WIDTH - 20.0;
/// Of the temperatures.
const TOP: f64 = 30.0;
const BOTTOM: f64 = 130.0;
const DEGREES: (f64, f64) = (40.0, 90.0);
/// Of the first lane, and from one to the next.
const LANES: f64 = 160.0;
const LANE: f64 = 24.0;

/// A cause has room in so much.
const WORD: f64 = 45.0;

/// What is going on, and for how long.
const AFTERNOON: [(&str, Weather); 5] = [
    (
        "",
        Weather {
            seconds: 600,
            ..GOOD
        },
    ),
    (
        "something is compiled",
        Weather {
            seconds: 420,
            load: 1.7,
            ..GOOD
        },
    ),
    (
        "",
        Weather {
            seconds: 900,
            ..GOOD
        },
    ),
    (
        "the sun shines on it",
        Weather {
            seconds: 1500,
            ambient: 47.0,
            ..GOOD
        },
    ),
    (
        "",
        Weather {
            seconds: 1980,
            ..GOOD
        },
    ),
];

/// One lane each.
const RUNGS: [(&str, Rung); 3] = [
    ("ResNet101", rung(0, Effort::Full)),
    ("ResNet50", rung(1, Effort::Full)),
    ("half of the time", rung(1, Effort::Half)),
];

const fn rung(model: usize, effort: Effort) -> Rung {
    Rung { model, effort }
}

/// What is to be drawn of each second.
struct Moment {
    degrees: f64,
    rung: Rung,
}

fn run() -> (Simulator, Vec<Moment>) {
    let settings = Settings {
        longest: Some(Duration::from_millis(200)),
        ..Settings::default()
    };
    let models = [cost(160, 90), cost(90, 65)];
    let mut machine = Simulator::new(settings, &models, 400 * MIB);
    let mut moments = Vec::new();
    for (_, weather) in AFTERNOON {
        for _ in 0..weather.seconds {
            machine.run(weather.lasting(1));
            moments.push(Moment {
                degrees: machine.temperature,
                rung: machine.governor.rung(),
            });
        }
    }
    (machine, moments)
}

fn draw() -> String {
    let (machine, moments) = run();
    let x = |second: usize| LEFT + (RIGHT - LEFT) * second as f64 / moments.len() as f64;
    let y =
        |degrees: f64| BOTTOM - (BOTTOM - TOP) * (degrees - DEGREES.0) / (DEGREES.1 - DEGREES.0);
    let mut body = String::new();
    let mut begun = 0;
    for (what, weather) in AFTERNOON {
        let end = begun + weather.seconds as usize;
        if !what.is_empty() {
            let (from, width) = (x(begun), x(end) - x(begun));
            let _ = writeln!(
                body,
                "<rect class=\"w\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                HEIGHT - 25.0 - TOP
            );
            text(&mut body, "", from + 2.0, TOP - 8.0, what);
        }
        begun = end;
    }
    for degrees in [50.0, 85.0] {
        let at = y(degrees);
        let _ = writeln!(
            body,
            "<line class=\"a\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\"/>"
        );
        text(
            &mut body,
            "n",
            LEFT - 8.0,
            at + 4.0,
            &format!("{degrees:.0} degrees"),
        );
    }
    let line: Vec<String> = (0..moments.len())
        .step_by(30)
        .map(|second| format!("{:.1},{:.1}", x(second), y(moments[second].degrees)))
        .collect();
    let _ = writeln!(body, "<polyline points=\"{}\"/>", line.join(" "));
    for (lane, (name, rung)) in RUNGS.iter().enumerate() {
        let top = LANES + LANE * lane as f64;
        text(&mut body, "n", LEFT - 8.0, top + 13.0, name);
        for (from, to) in spans(&moments, *rung) {
            let (from, width) = (x(from), x(to) - x(from));
            let _ = writeln!(
                body,
                "<rect class=\"m\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"16\"/>"
            );
        }
    }
    for event in &machine.events {
        let cause = match event.cause {
            Cause::Load => "load",
            Cause::Memory => "memory",
            Cause::Heat => "heat",
            Cause::Recovered => "recovered",
        };
        let lane = RUNGS
            .iter()
            .position(|(_, rung)| *rung == event.to)
            .unwrap_or(0);
        let stays = { machine.events.iter() }.find(|next| next.second > event.second);
        let until = stays.map_or(moments.len(), |next| next.second as usize);
        if x(until) - x(event.second as usize) < WORD {
            continue;
        }
        text(
            &mut body,
            "t",
            x(event.second as usize) + 2.0,
            LANES + LANE * lane as f64 + 12.0,
            cause,
        );
    }
    for minutes in (0..=moments.len() / 60).step_by(15) {
        text(
            &mut body,
            "c",
            x(minutes * 60),
            HEIGHT - 8.0,
            &format!("{minutes} min"),
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\">\n\
         <style>text {{ font: 11px sans-serif; fill: #808080 }} .n {{ text-anchor: end }} .c {{ text-anchor: middle }} \
         .t {{ font-size: 9px; fill: #ffffff }} .a {{ stroke: #808080; stroke-dasharray: 3 3 }} \
         polyline {{ fill: none; stroke: #d0603c; stroke-width: 2 }} .m {{ fill: #3c8dd0 }} \
         .w {{ fill: #d0803c; fill-opacity: 0.15 }}</style>\n{body}</svg>\n"
    )
}

/// From when to when a rung was stood on.
fn spans(moments: &[Moment], rung: Rung) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (second, _) in moments
        .iter()
        .enumerate()
        .filter(|(_, moment)| moment.rung == rung)
    {
        match found.last_mut() {
            Some((_, end)) if *end == second => *end += 1,
            _ => found.push((second, second + 1)),
        }
    }
    found
}

fn text(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
    );
}

#[test]
fn the_picture_in_the_documentation_is_what_the_governor_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/adapting.svg");
    let drawn = draw();
    if std::env::var_os("RESNETD_DRAW").is_some() {
        std::fs::write(&path, &drawn).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        drawn == committed,
        "docs/adapting.svg is not what the simulator does; make it anew with RESNETD_DRAW=1 and this test"
    );
    let (machine, moments) = run();
    let shown = |rung: Rung| RUNGS.iter().any(|(_, known)| *known == rung);
    assert!(
        moments.iter().all(|moment| shown(moment.rung)),
        "{:?}",
        machine.events
    );
}
