//! Reads a `--source` URI. What it says is checked here and never again; whether the device or file
//! exists is found out by opening it.
//!
//! The form is `SCHEME:PATH?KEY=VALUE&KEY=VALUE`. Nothing is percent-decoded: a path is written as it is. `exec:`,
//! `mjpeg:` and `y4m:` have no options, since a command or a file's name may contain anything; `http:` is a URL.

use std::path::PathBuf;
use std::str::FromStr;

use super::http::url::Url;
use super::pipe::Input;
use super::stream::Kind;
use crate::control::Controls;
use crate::frame::{MAX_SIDE, PixelFormat};

/// What may stand behind `format=`, for messages.
const FORMATS: &str = "one of YUYV YVYU UYVY NV12 NV21 YU12 YV12 RGB3 BGR3 RGBP GREY MJPG";

/// Which source, and how it is to be set up.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceSpec {
    V4l2(V4l2Spec),
    /// The first camera that can be used, else rendered scenes.
    First(Controls),
    Images(ImagesSpec),
    /// `mjpeg:-`, `mjpeg:FILE`, `y4m:-`, `y4m:FILE`.
    Stream(Kind, Input),
    /// `exec:COMMAND`, for a shell.
    Exec(String),
    /// `http://[USER:PASSWORD@]HOST[:PORT]/PATH`.
    Http(Url),
    /// Rendered scenes.
    Demo,
}

/// `v4l2:[DEVICE][?size=WxH&fps=N&format=FOURCC]`; what is not said is chosen when the camera is opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct V4l2Spec {
    /// None: the first camera that can be used, looked for anew whenever it is opened.
    pub device: Option<PathBuf>,
    /// Width and height, in pixels.
    pub size: Option<(u32, u32)>,
    /// Frames per second.
    pub fps: Option<f64>,
    pub format: Option<PixelFormat>,
    /// Not part of the URI: the configuration says them beside it.
    pub controls: Controls,
}

/// `images:PATH?fps=N&loop=true`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImagesSpec {
    /// A file, a folder, or a pattern with `*` and `?`.
    pub path: PathBuf,
    /// Frames per second; without it as fast as they are classified.
    pub fps: Option<f64>,
    /// Start again after the last one.
    pub repeat: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error(
        "`{0}` is not a source; write v4l2:/dev/video0, exec:COMMAND, http://HOST/PATH, mjpeg:FILE, y4m:FILE, images:PATH or demo:"
    )]
    NoScheme(String),
    #[error(
        "unknown source `{0}:`; there are v4l2:, exec:, http:, mjpeg:, y4m:, images: and demo:"
    )]
    UnknownScheme(String),
    #[error(
        "{0}: is not spoken here; let ffmpeg do it: `exec:ffmpeg -nostdin -loglevel warning -i {0}://... -f mjpeg -q:v 3 -`"
    )]
    NotSpoken(String),
    #[error("`http:` needs {missing}, as in http://192.168.1.20:8080/stream.mjpg")]
    Url { missing: &'static str },
    #[error("`{scheme}:` needs {needs}, as in {example}")]
    Nothing {
        scheme: &'static str,
        needs: &'static str,
        example: &'static str,
    },
    #[error("`{scheme}:` has no option `{key}`; {exist}")]
    UnknownKey {
        scheme: &'static str,
        key: String,
        exist: &'static str,
    },
    #[error("option `{0}` is given twice")]
    Twice(String),
    #[error("option `{0}` needs a value, as in {0}=VALUE")]
    NoValue(String),
    #[error("{key}={value}: expected {expected}")]
    BadValue {
        key: &'static str,
        value: String,
        expected: &'static str,
    },
}

impl SourceSpec {
    /// Whether it is a camera, which may be away for a while; not something that is there or a mistake.
    #[must_use]
    pub fn may_vanish(&self) -> bool {
        matches!(self, Self::V4l2(_) | Self::Exec(_) | Self::Http(_))
    }
}

impl SourceSpec {
    /// What a configuration asks for: a URI, if it has one, and what a camera's controls are to be.
    ///
    /// # Errors
    /// The URI is none.
    pub fn asked(uri: Option<&str>, controls: &Controls) -> Result<Self, UriError> {
        let Some(uri) = uri else {
            return Ok(Self::First(controls.clone()));
        };
        let mut spec = uri.parse()?;
        match &mut spec {
            Self::V4l2(spec) => spec.controls.clone_from(controls),
            _ if controls.is_empty() => {}
            _ => log::warn!("{uri}: only v4l2: cameras have controls; those configured do nothing"),
        }
        Ok(spec)
    }
}

impl FromStr for SourceSpec {
    type Err = UriError;

    fn from_str(uri: &str) -> Result<Self, UriError> {
        let (scheme, rest) = uri
            .split_once(':')
            .ok_or_else(|| UriError::NoScheme(uri.to_owned()))?;
        match scheme {
            "v4l2" => v4l2(rest).map(Self::V4l2),
            "images" => images(rest).map(Self::Images),
            "mjpeg" => stream(Kind::Mjpeg, rest, "mjpeg:- or mjpeg:video.mjpg"),
            "y4m" => stream(Kind::Y4m, rest, "y4m:- or y4m:video.y4m"),
            "exec" => exec(rest).map(Self::Exec),
            "http" => Url::parse(rest).map(Self::Http),
            "https" | "rtsp" | "rtsps" | "rtmp" | "srt" | "udp" => {
                Err(UriError::NotSpoken(scheme.to_owned()))
            }
            "demo" => demo(rest).map(|()| Self::Demo),
            _ => Err(UriError::UnknownScheme(scheme.to_owned())),
        }
    }
}

fn v4l2(rest: &str) -> Result<V4l2Spec, UriError> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut spec = V4l2Spec {
        device: (!path.is_empty()).then(|| path.into()),
        ..V4l2Spec::default()
    };
    for option in options(query)? {
        match option {
            ("size", value) => spec.size = Some(size(value)?),
            ("fps", value) => spec.fps = Some(fps(value)?),
            ("format", value) => spec.format = Some(format(value)?),
            (key, _) => return Err(unknown_key("v4l2", key, "there are size, fps and format")),
        }
    }
    Ok(spec)
}

fn images(rest: &str) -> Result<ImagesSpec, UriError> {
    // `?` is also a wildcard: options begin at the last one, and only if a `=` follows it.
    let (path, query) = match rest.rsplit_once('?') {
        Some((path, query)) if query.contains('=') => (path, query),
        _ => (rest, ""),
    };
    if path.is_empty() {
        return Err(UriError::Nothing {
            scheme: "images",
            needs: "a path",
            example: "images:photos or images:'photos/*.jpg'",
        });
    }
    let mut spec = ImagesSpec {
        path: path.into(),
        ..ImagesSpec::default()
    };
    for option in options(query)? {
        match option {
            ("fps", value) => spec.fps = Some(fps(value)?),
            ("loop", value) => spec.repeat = boolean("loop", value)?,
            (key, _) => return Err(unknown_key("images", key, "there are fps and loop")),
        }
    }
    Ok(spec)
}

fn stream(kind: Kind, rest: &str, example: &'static str) -> Result<SourceSpec, UriError> {
    let input = match rest {
        "" => {
            return Err(UriError::Nothing {
                scheme: kind.scheme(),
                needs: "a file, or - for standard input",
                example,
            });
        }
        "-" => Input::Stdin,
        path => Input::File(path.into()),
    };
    Ok(SourceSpec::Stream(kind, input))
}

fn exec(command: &str) -> Result<String, UriError> {
    // The kernel ends an argument at a zero byte.
    if command.trim().is_empty() || command.contains('\0') {
        return Err(UriError::Nothing {
            scheme: "exec",
            needs: "a command",
            example: "exec:rpicam-vid -n -t 0 --codec mjpeg --flush -o -",
        });
    }
    Ok(command.to_owned())
}

fn demo(rest: &str) -> Result<(), UriError> {
    match rest {
        "" | "?" => Ok(()),
        other => Err(unknown_key(
            "demo",
            other.trim_start_matches('?'),
            "it has none",
        )),
    }
}

fn unknown_key(scheme: &'static str, key: &str, exist: &'static str) -> UriError {
    UriError::UnknownKey {
        scheme,
        key: key.to_owned(),
        exist,
    }
}

fn options(query: &str) -> Result<Vec<(&str, &str)>, UriError> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| UriError::NoValue(option.to_owned()))?;
        if all.iter().any(|&(seen, _)| seen == key) {
            return Err(UriError::Twice(key.to_owned()));
        }
        all.push((key, value));
    }
    Ok(all)
}

fn bad(key: &'static str, value: &str, expected: &'static str) -> UriError {
    UriError::BadValue {
        key,
        value: value.to_owned(),
        expected,
    }
}

fn size(value: &str) -> Result<(u32, u32), UriError> {
    let sides = value
        .split_once('x')
        .and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides
        .filter(|(w, h)| (1..=MAX_SIDE).contains(w) && (1..=MAX_SIDE).contains(h))
        .ok_or_else(|| {
            bad(
                "size",
                value,
                "WIDTHxHEIGHT, each 1 to 8192, as in 1280x720",
            )
        })
}

fn fps(value: &str) -> Result<f64, UriError> {
    let number = value
        .parse()
        .ok()
        .filter(|fps| (0.01..=1000.0).contains(fps));
    number.ok_or_else(|| bad("fps", value, "frames per second, 0.01 to 1000"))
}

fn format(value: &str) -> Result<PixelFormat, UriError> {
    PixelFormat::ALL
        .into_iter()
        .find(|format| format.to_string().eq_ignore_ascii_case(value))
        .ok_or_else(|| bad("format", value, FORMATS))
}

fn boolean(key: &'static str, value: &str) -> Result<bool, UriError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(bad(key, value, "true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Result<SourceSpec, UriError> {
        uri.parse()
    }

    #[test]
    fn a_camera_with_every_option_is_read() {
        let spec = V4l2Spec {
            device: Some("/dev/video0".into()),
            size: Some((1280, 720)),
            fps: Some(30.0),
            format: Some(PixelFormat::Yuyv),
            controls: Controls::new(),
        };
        assert_eq!(
            parse("v4l2:/dev/video0?size=1280x720&fps=30&format=YUYV"),
            Ok(SourceSpec::V4l2(spec))
        );
    }

    #[test]
    fn a_camera_without_options_leaves_everything_open() {
        let spec = V4l2Spec {
            device: Some("/dev/video2".into()),
            ..V4l2Spec::default()
        };
        assert_eq!(parse("v4l2:/dev/video2"), Ok(SourceSpec::V4l2(spec)));
    }

    #[test]
    fn every_format_can_be_asked_for_and_is_named() {
        for format in PixelFormat::ALL {
            let spec = V4l2Spec {
                device: Some("/dev/video0".into()),
                format: Some(format),
                ..V4l2Spec::default()
            };
            let name = format.to_string().to_lowercase();
            let uri = format!("v4l2:/dev/video0?format={name}");
            assert_eq!(parse(&uri), Ok(SourceSpec::V4l2(spec)));
            assert!(FORMATS.contains(&format.to_string()));
        }
    }

    #[test]
    fn a_camera_without_a_path_is_the_first() {
        let spec = V4l2Spec {
            fps: Some(1.0),
            ..V4l2Spec::default()
        };
        assert_eq!(parse("v4l2:?fps=1"), Ok(SourceSpec::V4l2(spec)));
        assert_eq!(parse("v4l2:"), Ok(SourceSpec::V4l2(V4l2Spec::default())));
    }

    #[test]
    fn question_marks_in_an_image_pattern_are_wildcards() {
        let spec = ImagesSpec {
            path: "a/img?.jpg".into(),
            ..ImagesSpec::default()
        };
        assert_eq!(parse("images:a/img?.jpg"), Ok(SourceSpec::Images(spec)));
        let spec = ImagesSpec {
            path: "a/img?.jpg".into(),
            fps: Some(2.5),
            repeat: true,
        };
        assert_eq!(
            parse("images:a/img?.jpg?fps=2.5&loop=true"),
            Ok(SourceSpec::Images(spec))
        );
    }

    #[test]
    fn streams_and_commands_are_taken_as_they_are() {
        let file = |path: &str| Input::File(path.into());
        for (uri, spec) in [
            ("mjpeg:-", SourceSpec::Stream(Kind::Mjpeg, Input::Stdin)),
            (
                "mjpeg:a?b=c",
                SourceSpec::Stream(Kind::Mjpeg, file("a?b=c")),
            ),
            ("y4m:-", SourceSpec::Stream(Kind::Y4m, Input::Stdin)),
            ("y4m:./-", SourceSpec::Stream(Kind::Y4m, file("./-"))),
            (
                "exec:a -b 'c?d=e' | f:g",
                SourceSpec::Exec("a -b 'c?d=e' | f:g".into()),
            ),
        ] {
            assert_eq!(parse(uri), Ok(spec), "{uri}");
        }
        for uri in ["mjpeg:", "y4m:", "exec:", "exec:  ", "exec:a\0b"] {
            assert!(matches!(parse(uri), Err(UriError::Nothing { .. })), "{uri}");
        }
    }

    #[test]
    fn what_is_not_spoken_is_said_with_a_way_out() {
        for scheme in ["https", "rtsp"] {
            let error = parse(&format!("{scheme}://u:secret@h/p"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!(
                "exec:ffmpeg -nostdin -loglevel warning -i {scheme}://"
            )));
            assert!(!error.contains("secret"));
        }
    }

    #[test]
    fn controls_go_to_cameras_and_to_nothing_else() {
        let value = crate::control::ControlValue::Number(3);
        let controls = Controls::from([("gain".to_owned(), value)]);
        let asked = |uri| SourceSpec::asked(uri, &controls);
        assert_eq!(asked(None), Ok(SourceSpec::First(controls.clone())));
        let spec = V4l2Spec {
            device: Some("/dev/video2".into()),
            controls: controls.clone(),
            ..V4l2Spec::default()
        };
        assert_eq!(asked(Some("v4l2:/dev/video2")), Ok(SourceSpec::V4l2(spec)));
        assert_eq!(asked(Some("demo:")), Ok(SourceSpec::Demo));
        assert!(asked(Some("demo")).is_err());
    }

    #[test]
    fn demo_is_read() {
        assert_eq!(parse("demo:"), Ok(SourceSpec::Demo));
    }

    #[test]
    fn unknown_schemes_and_keys_list_what_exists() {
        let message = |uri: &str| parse(uri).unwrap_err().to_string();
        assert_eq!(
            message("gphoto:x"),
            "unknown source `gphoto:`; there are v4l2:, exec:, http:, mjpeg:, y4m:, images: and demo:"
        );
        assert_eq!(
            message("v4l2:/dev/video0?gain=3"),
            "`v4l2:` has no option `gain`; there are size, fps and format"
        );
        assert_eq!(
            message("images:x?speed=3"),
            "`images:` has no option `speed`; there are fps and loop"
        );
        assert_eq!(
            message("demo:?x=1"),
            "`demo:` has no option `x=1`; it has none"
        );
        assert!(message("/dev/video0").contains("write v4l2:/dev/video0"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for uri in [
            "v4l2:/dev/video0?size=0x10",
            "v4l2:/dev/video0?size=1280",
            "v4l2:/dev/video0?size=9000x10",
            "v4l2:/dev/video0?fps=0",
            "v4l2:/dev/video0?fps=nan",
            "v4l2:/dev/video0?fps=-1",
            "v4l2:/dev/video0?format=H264",
            "images:x?loop=maybe",
        ] {
            assert!(
                matches!(parse(uri), Err(UriError::BadValue { .. })),
                "{uri}"
            );
        }
        assert_eq!(
            parse("v4l2:/dev/video0?fps=1&fps=2"),
            Err(UriError::Twice("fps".into()))
        );
        assert_eq!(
            parse("v4l2:/dev/video0?fps"),
            Err(UriError::NoValue("fps".into()))
        );
        assert!(matches!(parse("images:"), Err(UriError::Nothing { .. })));
    }
}
