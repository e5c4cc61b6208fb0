//! `resnetd devices`: which cameras are here, and what can each do?

use std::io::{self, Write};

use serde_json::{Value, json};

use super::Failure;
use crate::source::v4l2::{self, Listed, Sizes};

const EXAMPLES: &str = "\
Examples:
  resnetd devices
  resnetd devices --json

A node that cannot be used is listed with the reason and the remedy.";

/// Lists the machine's cameras.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
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
        table(&found, &mut out)
    };
    shown.map_err(Failure::Output)
}

fn to_json(device: &Listed) -> Value {
    let (formats, error) = match &device.formats {
        Ok(formats) => (formats.iter().map(format_json).collect(), Value::Null),
        Err(error) => (Vec::new(), Value::String(error.to_string())),
    };
    json!({
        "path": device.path.to_string_lossy(), "card": device.card, "driver": device.driver,
        "formats": formats, "error": error,
    })
}

fn format_json((fourcc, sizes): &(String, Vec<Sizes>)) -> Value {
    json!({ "format": fourcc, "sizes": sizes.iter().map(size).collect::<Vec<_>>() })
}

/// `640x480`, or `32..1920 x 32..1080` where a range is offered.
fn size(sizes: &Sizes) -> String {
    match sizes {
        Sizes::One { width, height } => format!("{width}x{height}"),
        Sizes::Range { width, height } => {
            format!(
                "{}..{} x {}..{}",
                width.min, width.max, height.min, height.max
            )
        }
    }
}

fn table(found: &[Listed], out: &mut impl Write) -> io::Result<()> {
    if found.is_empty() {
        return writeln!(
            out,
            "no camera: there is no /dev/video*. Plug one in, or try `resnetd run --source demo:`"
        );
    }
    for device in found {
        writeln!(
            out,
            "{}  {} ({})",
            device.path.display(),
            device.card,
            device.driver
        )?;
        match &device.formats {
            Ok(formats) => {
                for (fourcc, sizes) in formats {
                    let sizes: Vec<String> = sizes.iter().map(size).collect();
                    writeln!(out, "  {fourcc:6}{}", sizes.join(", "))?;
                }
            }
            Err(error) => writeln!(out, "  {error}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;

    fn shown(found: &[Listed]) -> String {
        let mut out = Vec::new();
        table(found, &mut out).unwrap();
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
            formats: Err(SourceError::Busy(path)),
        };
        let text = shown(std::slice::from_ref(&busy));
        assert!(text.contains("Webcam") && text.contains("fuser"), "{text}");
        assert!(to_json(&busy)["error"].as_str().unwrap().contains("fuser"));
    }
}
