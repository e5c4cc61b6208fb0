//! `resnetd devices`: which cameras are here, and what can each do?

use std::io::{self, Write};

use serde_json::{Value, json};

use super::Failure;
use crate::source::v4l2::{
    self, Control, ControlKind, Listed, OfferedFormat, OfferedSize, Rates, Sizes,
};

const EXAMPLES: &str = "\
Examples:
  resnetd devices
  resnetd devices --controls       exposure, white balance, ...: what `controls` in the configuration can set
  resnetd devices --json           the same, controls included, for scripts

A node that cannot be used is listed with the reason and the remedy.";

/// Lists the machine's cameras: formats, sizes, frame rates and controls.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Also the controls (exposure, white balance, ...), their values and what is possible
    #[arg(long)]
    controls: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let found = v4l2::list();
    let mut out = io::stdout().lock();
    let shown = if arguments.json {
        let devices: Vec<Value> = found.iter().map(to_json).collect();
        writeln!(out, "{}", json!({ "devices": devices }))
    } else {
        table(&found, arguments.controls, &mut out)
    };
    shown.map_err(Failure::Output)
}

fn to_json(device: &Listed) -> Value {
    let (mut formats, mut controls, mut error) = (Vec::new(), Vec::new(), Value::Null);
    match &device.offers {
        Ok(offers) => {
            formats.extend(offers.formats.iter().map(format_json));
            controls.extend(offers.controls.iter().map(control_json));
        }
        Err(why) => error = Value::String(why.to_string()),
    }
    json!({
        "path": device.path.to_string_lossy(), "card": device.card, "driver": device.driver,
        "formats": formats, "controls": controls, "error": error,
    })
}

fn format_json(format: &OfferedFormat) -> Value {
    let sizes = format.sizes.iter().map(|OfferedSize { size, rates }| {
        json!({ "size": size_text(size), "fps": rates.fps, "fps_is_range": rates.range })
    });
    json!({ "format": format.name, "usable": format.usable, "sizes": sizes.collect::<Vec<_>>() })
}

fn control_json(control: &Control) -> Value {
    let menu = match &control.kind {
        ControlKind::Menu(items) => items.as_slice(),
        _ => &[],
    };
    let menu = menu
        .iter()
        .map(|item| json!({ "value": item.index, "text": item.text }));
    json!({
        "name": v4l2::plain_name(&control.name), "type": type_name(&control.kind),
        "min": control.min, "max": control.max, "step": control.step, "default": control.default,
        "value": control.value, "menu": menu.collect::<Vec<_>>(),
        "read_only": control.read_only, "inactive": control.inactive,
    })
}

fn type_name(kind: &ControlKind) -> &'static str {
    match kind {
        ControlKind::Number => "number",
        ControlKind::Switch => "switch",
        ControlKind::Menu(_) => "menu",
        ControlKind::Bits => "bits",
        ControlKind::Button => "button",
        ControlKind::Other => "other",
    }
}

/// `640x480`, or `32..1920 x 32..1080` where a range is offered.
fn size_text(size: &Sizes) -> String {
    match size {
        Sizes::One { width, height } => format!("{width}x{height}"),
        Sizes::Range { width, height } => {
            format!(
                "{}..{} x {}..{}",
                width.min, width.max, height.min, height.max
            )
        }
    }
}

/// `30 15 7.5`, or `1..60` where a range is offered.
fn rates_text(rates: &Rates) -> String {
    let short = |fps: &f64| {
        let text = format!("{fps:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let all: Vec<_> = rates.fps.iter().map(short).collect();
    match all.as_slice() {
        [] => "not told".into(),
        [fastest, slowest] if rates.range => format!("{slowest}..{fastest}"),
        all => all.join(" "),
    }
}

fn table(found: &[Listed], controls: bool, out: &mut impl Write) -> io::Result<()> {
    if found.is_empty() {
        return writeln!(
            out,
            "no camera: there is no /dev/video*. Plug one in, or try `resnetd run --source demo:`"
        );
    }
    for (number, device) in found.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        write!(out, "{}", device.path.display())?;
        if !device.card.is_empty() {
            write!(out, "  {} ({})", device.card, device.driver)?;
        }
        writeln!(out)?;
        match &device.offers {
            Ok(offers) => {
                rows(&format_rows(&offers.formats), out)?;
                others(&offers.formats, out)?;
                if controls {
                    rows(&control_rows(&offers.controls), out)?;
                }
            }
            Err(error) => writeln!(out, "  {error}")?,
        }
    }
    Ok(())
}

fn format_rows(formats: &[OfferedFormat]) -> Vec<Vec<String>> {
    let headings = ["format", "size", "frames per second"];
    let mut rows = vec![headings.map(Into::into).to_vec()];
    for format in formats.iter().filter(|format| format.usable) {
        let mut name = format.name.clone();
        for OfferedSize { size, rates } in &format.sizes {
            rows.push(vec![
                std::mem::take(&mut name),
                size_text(size),
                rates_text(rates),
            ]);
        }
        if !name.is_empty() {
            rows.push(vec![name, "not told".into(), String::new()]);
        }
    }
    rows
}

/// What is offered and not understood, in one line.
fn others(formats: &[OfferedFormat], out: &mut impl Write) -> io::Result<()> {
    let others = formats.iter().filter(|format| !format.usable);
    let names: Vec<_> = others.map(|format| format.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    writeln!(out, "  not used here: {}", names.join(" "))
}

fn control_rows(controls: &[Control]) -> Vec<Vec<String>> {
    let mut rows = vec![
        ["control", "now", "default", "possible"]
            .map(Into::into)
            .to_vec(),
    ];
    for control in controls {
        let mut possible = v4l2::possible(control);
        if control.read_only {
            possible.push_str(" (can only be read)");
        } else if control.inactive {
            possible.push_str(" (now governed by an automatic mode)");
        }
        let shown = |value: i32| match control.kind {
            ControlKind::Switch => (value != 0).to_string(),
            ControlKind::Bits => format!("{:#x}", value.cast_unsigned()),
            ControlKind::Button | ControlKind::Other => String::new(),
            ControlKind::Number | ControlKind::Menu(_) => value.to_string(),
        };
        rows.push(vec![
            v4l2::plain_name(&control.name),
            control.value.map_or_else(String::new, shown),
            shown(control.default),
            possible,
        ]);
    }
    rows
}

/// Writes rows in columns; the first row is their headings.
fn rows(rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, &width)| format!("  {cell:width$}"))
            .collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;
    use crate::source::v4l2::{Menu, Offers, Steps};

    fn shown(found: &[Listed]) -> String {
        let mut out = Vec::new();
        table(found, true, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_machine_without_a_camera_says_what_to_do() {
        assert!(shown(&[]).contains("--source demo:"));
    }

    #[test]
    fn an_unusable_node_is_listed_with_its_remedy() {
        let path = std::path::PathBuf::from("/dev/video7");
        let busy = Listed {
            path: path.clone(),
            card: "Webcam".into(),
            driver: "uvcvideo".into(),
            offers: Err(SourceError::Busy(path)),
        };
        let text = shown(std::slice::from_ref(&busy));
        assert!(text.contains("Webcam") && text.contains("fuser"), "{text}");
        assert!(to_json(&busy)["error"].as_str().unwrap().contains("fuser"));
    }

    fn webcam() -> Listed {
        let size = |width, height, fps: &[f64]| OfferedSize {
            size: Sizes::One { width, height },
            rates: Rates {
                fps: fps.to_vec(),
                range: false,
            },
        };
        let steps = |min, max| Steps { min, max, step: 2 };
        let format = |name: &str, usable, sizes| OfferedFormat {
            name: name.into(),
            usable,
            sizes,
        };
        let range = OfferedSize {
            size: Sizes::Range {
                width: steps(2, 1920),
                height: steps(2, 1080),
            },
            rates: Rates {
                fps: vec![60.0, 1.0],
                range: true,
            },
        };
        let control = |name: &str, kind, value, inactive| Control {
            id: 1,
            name: name.into(),
            kind,
            min: 1,
            max: 3,
            step: 1,
            default: 3,
            value,
            read_only: false,
            inactive,
        };
        let menu = ControlKind::Menu(vec![Menu {
            index: 1,
            text: "Manual Mode".into(),
        }]);
        Listed {
            path: "/dev/video0".into(),
            card: "Webcam".into(),
            driver: "uvcvideo".into(),
            offers: Ok(Offers {
                formats: vec![
                    format(
                        "YUYV",
                        true,
                        vec![size(640, 480, &[30.0, 7.5]), size(1280, 720, &[10.0])],
                    ),
                    format("NV12", true, vec![range]),
                    format("H264", false, vec![]),
                ],
                controls: vec![
                    control("Auto Exposure", menu, Some(1), false),
                    control(
                        "Exposure Time, Absolute",
                        ControlKind::Number,
                        Some(2),
                        true,
                    ),
                ],
            }),
        }
    }

    #[test]
    fn what_a_camera_offers_stands_in_columns() {
        let expected = "\
/dev/video0  Webcam (uvcvideo)
  format  size               frames per second
  YUYV    640x480            30 7.5
          1280x720           10
  NV12    2..1920 x 2..1080  1..60
  not used here: H264
  control                 now  default  possible
  auto_exposure           1    3        1 \"Manual Mode\"
  exposure_time_absolute  2    3        1 to 3 (now governed by an automatic mode)
";
        assert_eq!(shown(&[webcam()]), expected);
    }

    #[test]
    fn scripts_get_every_rate_and_control() {
        let json = to_json(&webcam());
        assert_eq!(
            json["formats"][0]["sizes"][0],
            json!({"size": "640x480", "fps": [30.0, 7.5], "fps_is_range": false})
        );
        assert_eq!(json["controls"][0]["name"], "auto_exposure");
        assert_eq!(
            json["controls"][0]["menu"][0],
            json!({"value": 1, "text": "Manual Mode"})
        );
        assert_eq!(json["controls"][1]["inactive"], true);
    }
}
