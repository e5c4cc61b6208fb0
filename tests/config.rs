//! The configuration file at its edges: what is accepted, and how what is not is told.

// The helpers here are parts of tests.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use resnetd::config::{Config, ConfigError, Models};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/resnetd.toml"), text)
}

fn error(text: &str) -> String {
    let message = parse(text).unwrap_err().to_string();
    assert!(message.starts_with("/etc/resnetd.toml:"), "{message}");
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("# nothing\n").unwrap(), Config::default());
}

#[test]
fn every_key_is_read() {
    let config = parse(
        "models = [\"a\", \"b\"]\nsocket = \"/run/x\"\nsmoothing_ms = 0\nstale_s = 9\n\
         [[camera]]\nname = \"front\"\nsource = \"demo:\"\n[[camera]]\nname = \"back\"\nsource = \"v4l2:/dev/video1\"\n",
    )
    .unwrap();
    assert_eq!(
        config.models,
        Some(Models::List(vec!["a".into(), "b".into()]))
    );
    assert_eq!(config.socket, Some(PathBuf::from("/run/x")));
    assert_eq!(config.smoothing_ms, Some(0));
    assert_eq!(config.stale_s.map(usize::from), Some(9));
    let names: Vec<&str> = config
        .camera
        .iter()
        .map(|camera| camera.name.as_str())
        .collect();
    assert_eq!(names, ["front", "back"]);

    let config = parse("source = \"demo:\"\nmodel = \"m.nnef.tar\"\n").unwrap();
    assert_eq!(config.source.as_deref(), Some("demo:"));
    assert_eq!(config.model, Some(PathBuf::from("m.nnef.tar")));
    assert_eq!(
        parse("models = \"folder\"").unwrap().models,
        Some(Models::Folder("folder".into()))
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
    let message = error("stale_s = 1\n\nsorce = \"demo:\"\n");
    assert!(message.starts_with("/etc/resnetd.toml:3: "), "{message}");
    assert!(
        message.contains("`sorce`") && message.contains("`source`"),
        "{message}"
    );

    let message = error("[[camera]]\nname = \"a\"\nsource = \"demo:\"\nfps = 3\n");
    assert!(message.starts_with("/etc/resnetd.toml:4: "), "{message}");
    assert!(
        message.contains("`fps`") && message.contains("`name`"),
        "{message}"
    );
}

#[test]
fn a_wrong_value_is_told_with_its_line() {
    assert!(error("\nstale_s = 0\n").contains(":2: "));
    assert!(error("stale_s = \"two\"").contains(":1: "));
    assert!(error("smoothing_ms = -1").contains(":1: "));
    for threads in ["0", "10000", "-1"] {
        let message = error(&format!("threads = {threads}"));
        assert!(
            message.contains(":1: ") && message.contains("1 to 256"),
            "{message}"
        );
    }
    assert!(error("models = 3").contains("list of bundles"));
    assert!(error("[[camera]]\nname = \"\"\nsource = \"demo:\"").contains(":2: "));
    assert!(error("source = ").contains(":1: "));
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let message = error("source = \"demo:\"\n[[camera]]\nname = \"a\"\nsource = \"demo:\"\n");
    assert!(
        message.contains("`source`") && message.contains("[[camera]]"),
        "{message}"
    );
    assert!(error("model = \"a\"\nmodels = [\"b\"]").contains("`models`"));
    let camera = "[[camera]]\nname = \"a\"\nsource = \"demo:\"\n";
    assert!(error(&camera.repeat(2)).contains("named `a`"));
}

#[test]
fn regions_lie_within_the_picture_and_have_names_of_their_own() {
    let region = |area: &str| format!("[[region]]\nname = \"door\"\narea = {area}\n");
    assert_eq!(parse(&region("[0.5, 0, 0.5, 1]")).unwrap().region.len(), 1);
    for outside in [
        "[0.5, 0, 0.6, 1]",
        "[-0.1, 0, 0.5, 1]",
        "[0, 0, 0, 1]",
        "[0, nan, 1, 1]",
        "[0, 0, 1, inf]",
        "[0, 0, 1]",
    ] {
        assert!(error(&region(outside)).contains(":3: "), "{outside}");
    }
    let twice = region("[0, 0, 1, 1]").repeat(2);
    assert!(error(&twice).contains("named `door`"));
    let many: String = (0..17)
        .map(|i| region("[0, 0, 1, 1]").replace("door", &i.to_string()))
        .collect();
    assert!(error(&many).contains("17 regions"));
    let camera = "[[camera]]\nname = \"a\"\nsource = \"demo:\"\n";
    assert!(error(&format!("rotate = 90\n{camera}")).contains("`rotate`"));
    let own = format!(
        "{camera}rotate = 270\nflip = \"vertical\"\n[[camera.region]]\nname = \"door\"\narea = [0, 0, 1, 1]\n"
    );
    assert_eq!(parse(&own).unwrap().camera[0].region.len(), 1);
}

#[test]
fn what_is_said_of_labels_makes_sense_or_is_refused() {
    for wrong in [
        "threshold = 1.1",
        "threshold = -0.1",
        "hysteresis = 2",
        "votes = [4, 3]",
        "votes = [0, 3]",
        "votes = [3, 101]",
        "votes = 3",
        "rotate = 45",
        "flip = \"sideways\"",
        "fit = \"stretch\"",
        "cascade_below = nan",
    ] {
        assert!(error(wrong).contains(":1: "), "{wrong}");
    }
    assert!(parse("votes = [3, 5]\nthreshold = 1\n[thresholds]\n\"golf ball\" = 0.5\n").is_ok());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = Config::load(Path::new("/nonexistent/r.toml"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("/nonexistent/r.toml"), "{message}");
}

#[test]
fn controls_belong_to_a_camera_or_to_the_only_one() {
    use resnetd::control::ControlValue::{Number, Switch, Text};
    let config = parse(
        "source = \"v4l2:/dev/video0\"\n[controls]\nauto_exposure = \"Manual Mode\"\n\
         exposure_time_absolute = 150\nwhite_balance_automatic = false\n",
    )
    .unwrap();
    let only: Vec<_> = config.controls.into_values().collect();
    assert_eq!(
        only,
        [Text("Manual Mode".into()), Number(150), Switch(false)]
    );

    let cameras = "[[camera]]\nname = \"a\"\nsource = \"demo:\"\ncontrols = { gain = 3 }\n";
    let config = parse(cameras).unwrap();
    assert_eq!(config.camera[0].controls.get("gain"), Some(&Number(3)));

    let message = error(&format!("{cameras}[controls]\ngain = 4\n"));
    assert!(message.contains("[controls]"), "{message}");
    let message = error("[controls]\ngain = [1, 2]\n");
    assert!(
        message.contains(":2: ") && message.contains("a number, true, false"),
        "{message}"
    );
}
