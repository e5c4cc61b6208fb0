//! Pictures that teach, over HTTP: what is kept, who says what it is, and how new labels are taught, taken into use and taken
//! back.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::drawings::{draw, save};
use common::web::{LONG, TOKEN, address, ask, bearer, config, post, serving};
use resnetd::random::Random;
use serde_json::Value;

/// A daemon that keeps a picture every ten seconds, the first at once; with a token.
fn keeping() -> (Daemon, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (token, dir) = (folder.path().join("token"), folder.path().join("kept"));
    fs::write(&token, TOKEN).unwrap();
    fs::create_dir(&dir).unwrap();
    let more = format!(
        "token_file = \"{}\"\n[snapshots]\ndir = \"{}\"\nwhen = \"every\"\n",
        token.display(),
        dir.display()
    );
    let (daemon, address) = serving(&more);
    (daemon, address, folder)
}

/// What was kept, once there is something.
fn kept(address: &str) -> Value {
    let end = Instant::now() + LONG;
    loop {
        let list = ask(address, "GET", "/snapshots", &bearer()).json();
        if list["snapshots"][0].is_object() {
            return list;
        }
        assert!(Instant::now() < end, "{list}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_person_says_what_a_kept_picture_is() {
    let (_daemon, address, folder) = keeping();
    let note = kept(&address)["snapshots"][0].clone();
    assert!(
        note["label"].is_null() && note["because"] == "every",
        "{note}"
    );
    let id = note["id"].as_str().unwrap();
    let jpeg = ask(&address, "GET", &format!("/snapshots/{id}.jpg"), &bearer()).body();
    assert_eq!(image::load_from_memory(&jpeg).unwrap().width(), 640);
    let judged = post(
        &address,
        "/snapshots",
        &bearer(),
        &format!("{{\"ids\":[\"{id}\"],\"label\":\"golf ball\"}}"),
    );
    assert_eq!(judged.status, 200);
    assert!(
        folder
            .path()
            .join(format!("kept/labelled/golf ball/{id}.jpg"))
            .is_file()
    );
    let after = kept(&address);
    assert_eq!(after["labels"]["golf ball"], 1, "{after}");
    for (body, status) in [
        (
            "{\"ids\":[\"../../token\"],\"label\":\"x\"}".to_owned(),
            404,
        ),
        (format!("{{\"ids\":[\"{id}\"],\"label\":\"../x\"}}"), 400),
        ("{\"ids\":3}".to_owned(), 400),
        ("x".repeat(80 << 10), 413),
    ] {
        assert_eq!(
            post(&address, "/snapshots", &bearer(), &body).status,
            status,
            "{body:.60}"
        );
    }
    assert_eq!(
        ask(&address, "GET", "/snapshots/../token.jpg", &bearer()).status,
        404
    );
}

#[test]
fn nobody_else_says_what_a_picture_is() {
    let (_daemon, address, _folder) = keeping();
    kept(&address);
    let body = "{\"ids\":[],\"label\":null}";
    assert_eq!(post(&address, "/snapshots", "", body).status, 401);
    let other = format!("{}Origin: http://evil.example\r\n", bearer());
    assert_eq!(post(&address, "/snapshots", &other, body).status, 403);
    let from = format!("{}Sec-Fetch-Site: cross-site\r\n", bearer());
    assert_eq!(post(&address, "/snapshots", &from, body).status, 403);
    assert_eq!(post(&address, "/snapshots", &bearer(), body).status, 200);

    let (_open, without_token) = serving("");
    assert_eq!(post(&without_token, "/snapshots", "", body).status, 404);
}

#[test]
fn a_folder_that_vanishes_is_told_and_labels_go_on() {
    let (mut daemon, address, folder) = keeping();
    kept(&address);
    fs::remove_dir_all(folder.path().join("kept")).unwrap();
    let first = daemon.until(|message| message["type"] == "classification");
    let more = first["timestamp"].as_f64().unwrap() + 12.0;
    daemon.until(|message| message["timestamp"].as_f64() > Some(more));
    let log = daemon.end();
    assert!(log.contains("no snapshot is kept: the folder"), "{log}");
}

/// A state directory and a folder of labelled pictures, and a configuration that names both.
struct School {
    folder: tempfile::TempDir,
    address: String,
}

impl School {
    fn new() -> Self {
        let school = Self {
            folder: tempfile::tempdir().unwrap(),
            address: address(),
        };
        fs::create_dir(school.at("state")).unwrap();
        fs::write(school.at("token"), TOKEN).unwrap();
        let mut random = Random::new(3);
        for label in ["checkers", "discs"] {
            let folder = school.at("kept/labelled").join(label);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..6 {
                let file = folder.join(format!("176400000000{i}-{label}.jpg"));
                save(&file, &draw(label, &mut random));
            }
        }
        school
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> String {
        let folder = self.folder.path().display();
        let more =
            format!("token_file = \"{folder}/token\"\n[snapshots]\ndir = \"{folder}/kept\"\n");
        config(&self.address, &more)
    }

    fn daemon(&self) -> Daemon {
        let state = self.at("state");
        let variables = [("STATE_DIRECTORY", state.to_str().unwrap())];
        Daemon::in_folder(tempfile::tempdir().unwrap(), &self.config(), &variables)
    }

    fn order(&self, order: &str) -> u16 {
        let body = format!("{{\"do\":\"{order}\"}}");
        post(&self.address, "/teach", &bearer(), &body).status
    }

    fn lesson(&self) -> Value {
        ask(&self.address, "GET", "/teach", &bearer()).json()
    }

    /// What systemd's units do.
    fn teach(&self) -> Output {
        teach(&self.at("state/teach/request.json"))
    }
}

fn teach(request: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_resnetd-model"))
        .args(["teach", "--request"])
        .arg(request)
        .output()
        .unwrap()
}

fn runs(daemon: &mut Daemon, name: &str) -> Value {
    daemon.until(|message| message["type"] == "model" && message["model"]["name"] == name)
}

#[test]
fn labelled_pictures_are_taught_and_the_result_is_used_until_it_is_taken_back() {
    let school = School::new();
    let mut daemon = school.daemon();
    runs(&mut daemon, "tiny");
    assert_eq!(school.lesson()["state"], "none");
    assert_eq!(school.order("accept"), 409);
    assert_eq!(school.order("learn"), 200);
    assert_eq!(school.lesson()["state"], "asked");

    let output = school.teach();
    assert!(output.status.success(), "{output:?}");
    let lesson = school.lesson();
    assert_eq!(lesson["state"], "ended", "{lesson}");
    let figures = &lesson["learned"]["figures"];
    assert_eq!(figures["images"], 12);
    assert_eq!(figures["classes"][1]["label"], "discs");
    assert!(figures["classes"][1]["recall"].is_number());
    assert!(
        lesson["active"].is_null() && lesson["offered"] == true,
        "{lesson}"
    );

    assert_eq!(school.order("accept"), 200);
    let model = runs(&mut daemon, "taught-1");
    assert!(
        model["detail"].as_str().unwrap().contains("taught here"),
        "{model}"
    );
    let label = daemon.until(|message| message["type"] == "classification");
    let top = label["predictions"][0]["class"].as_str().unwrap();
    assert!(["checkers", "discs"].contains(&top), "{label}");
    let lesson = school.lesson();
    assert_eq!(lesson["active"], "taught-1.nnef.tar");
    assert_eq!(lesson["running"], "taught-1.nnef.tar");
    assert_eq!(lesson["offered"], false);

    assert_eq!(school.order("back"), 200);
    runs(&mut daemon, "tiny");
    assert!(school.lesson()["running"].is_null());
}

#[test]
fn what_was_accepted_outlives_a_restart_and_the_next_lesson_begins_where_it_began() {
    let school = School::new();
    let daemon = school.daemon();
    assert_eq!(school.order("learn"), 200);
    let request = fs::read(school.at("state/teach/request.json")).unwrap();
    let first: Value = serde_json::from_slice(&request).unwrap();
    assert!(
        first["base"].as_str().unwrap().ends_with("/tiny.nnef.tar"),
        "{first}"
    );
    assert!(school.teach().status.success());
    assert_eq!(school.order("accept"), 200);
    drop(daemon);

    let mut again = school.daemon();
    runs(&mut again, "taught-1");
    assert_eq!(school.order("learn"), 200);
    let request = fs::read(school.at("state/teach/request.json")).unwrap();
    let second: Value = serde_json::from_slice(&request).unwrap();
    let base = second["base"].as_str().unwrap();
    assert!(
        base.ends_with("/tiny.nnef.tar"),
        "no chain of taught ones: {base}"
    );
    assert!(
        second["bundle"]
            .as_str()
            .unwrap()
            .ends_with("/taught-2.nnef.tar")
    );
}

#[test]
fn what_was_accepted_and_cannot_be_used_is_told_and_passed_over() {
    let school = School::new();
    let mut daemon = school.daemon();
    assert_eq!(school.order("learn"), 200);
    assert!(school.teach().status.success());
    daemon.write("nonsense = 1");
    assert_eq!(school.order("accept"), 200);
    let waiting = school.lesson();
    assert_eq!(waiting["active"], "taught-1.nnef.tar");
    assert!(
        waiting["running"].is_null(),
        "the configuration has a mistake: {waiting}"
    );
    daemon.write(&school.config());
    runs(&mut daemon, "taught-1");
    drop(daemon);

    let damaged = school.at("state/models/taught/taught-1.nnef.tar");
    fs::write(damaged, "no bundle").unwrap();
    let mut damaged = school.daemon();
    runs(&mut damaged, "tiny");
    assert!(school.lesson()["running"].is_null());
    let log = damaged.end();
    assert!(log.contains("what was taught here is not used"), "{log}");
}

#[test]
fn a_lesson_that_fails_says_why_on_the_page_and_to_systemd() {
    let school = School::new();
    fs::remove_dir_all(school.at("kept/labelled/discs")).unwrap();
    let _daemon = school.daemon();
    assert_eq!(school.order("learn"), 200);
    let output = school.teach();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let lesson = school.lesson();
    assert!(
        lesson["error"].as_str().unwrap().contains("only one class"),
        "{lesson}"
    );
    assert_eq!(lesson["offered"], false);
    assert!(
        school.teach().status.success(),
        "nothing is asked for any more"
    );
    assert_eq!(school.order("learn"), 200);
}

#[test]
fn nobody_teaches_without_the_token_or_a_state_directory() {
    let school = School::new();
    let _daemon = school.daemon();
    let order = |headers: &str, body| post(&school.address, "/teach", headers, body).status;
    let learn = "{\"do\":\"learn\"}";
    assert_eq!(order("", learn), 401);
    let other = format!("{}Origin: http://evil.example\r\n", bearer());
    assert_eq!(order(&other, learn), 403);
    for wrong in [
        "",
        "{}",
        "{\"do\":\"rm\"}",
        "{\"do\":\"learn\",\"base\":\"/etc/passwd\"}",
    ] {
        assert_eq!(order(&bearer(), wrong), 400, "{wrong}");
    }
    assert_eq!(school.lesson()["state"], "none");

    let (_daemon, stateless, _folder) = keeping();
    assert_eq!(post(&stateless, "/teach", &bearer(), learn).status, 404);
    assert_eq!(ask(&stateless, "GET", "/teach", &bearer()).status, 404);
}
