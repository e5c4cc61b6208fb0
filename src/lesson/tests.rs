//! A lesson from its request to the bundle in use, without anybody who teaches.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;

fn room() -> (tempfile::TempDir, Room) {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::new(folder.path().to_owned());
    (folder, room)
}

fn ask(room: &Room) -> Result<(), LessonError> {
    room.ask(Path::new("/base"), Path::new("/labelled"))
}

/// Asks, teaches nothing at all, and ends.
fn lesson(room: &Room, outcome: Result<(), &str>) {
    ask(room).unwrap();
    let taken = take(&room.lesson(REQUEST)).unwrap().unwrap();
    if outcome.is_ok() {
        fs::write(&taken.request.bundle, "bundle").unwrap();
    }
    let outcome = outcome.map(|()| json!({"top1": 0.5}));
    taken.end(outcome.map_err(str::to_owned)).unwrap();
}

fn error(room: &Room) -> Option<String> {
    match room.state() {
        State::Ended(outcome) => outcome.error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lesson_is_asked_for_taken_reported_accepted_and_taken_back() {
    let (folder, room) = room();
    assert_eq!(room.state(), State::None);
    assert!(matches!(room.accept(), Err(LessonError::Nothing)));
    ask(&room).unwrap();
    assert!(matches!(room.state(), State::Asked { since } if since > 1.6e9));
    ask(&room).unwrap();
    let mode = fs::metadata(folder.path().join("teach")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, OURS_ALONE);

    let request = folder.path().join("teach/request.json");
    let taken = take(&request).unwrap().unwrap();
    assert!(take(&request).unwrap().is_none(), "it is taken once");
    assert!(matches!(room.state(), State::Learning { .. }));
    assert!(matches!(ask(&room), Err(LessonError::Busy)));
    assert_eq!(taken.request.base, Path::new("/base"));
    let bundle = folder.path().join("models/taught/taught-1.nnef.tar");
    assert_eq!(taken.request.bundle, bundle);
    fs::write(&bundle, "bundle").unwrap();
    taken.end(Ok(json!({"top1": 0.5}))).unwrap();

    assert_eq!(error(&room), None);
    assert_eq!(room.learned().unwrap().figures["top1"], 0.5);
    assert_eq!(room.active(), None, "nobody has accepted it");
    room.accept().unwrap();
    assert_eq!(room.active(), Some(bundle));
    room.back().unwrap();
    room.back().unwrap();
    assert_eq!(room.active(), None);
}

#[test]
fn the_one_in_use_and_the_newest_are_kept() {
    let (folder, room) = room();
    lesson(&room, Ok(()));
    room.accept().unwrap();
    for _ in 0..3 {
        lesson(&room, Ok(()));
    }
    let taught = folder.path().join("models/taught");
    let mut names: Vec<_> = { fs::read_dir(&taught).unwrap() }
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["taught-1.nnef.tar", "taught-4.nnef.tar"]);
    assert_eq!(room.active(), Some(taught.join("taught-1.nnef.tar")));
    room.accept().unwrap();
    assert_eq!(room.active(), Some(taught.join("taught-4.nnef.tar")));
}

#[test]
fn what_failed_is_told_and_the_lesson_before_can_still_be_accepted() {
    let (_folder, room) = room();
    lesson(&room, Err("only one class"));
    assert_eq!(error(&room).as_deref(), Some("only one class"));
    assert!(matches!(room.accept(), Err(LessonError::Nothing)));
    lesson(&room, Ok(()));
    lesson(&room, Err("only one class"));
    assert_eq!(error(&room).as_deref(), Some("only one class"));
    room.accept().unwrap();
    assert!(room.active().unwrap().ends_with("taught-1.nnef.tar"));
}

#[test]
fn who_is_killed_at_work_is_seen_and_may_be_asked_again() {
    let (folder, room) = room();
    ask(&room).unwrap();
    drop(take(&folder.path().join("teach/request.json")).unwrap());
    assert!(matches!(room.state(), State::Died { .. }));
    lesson(&room, Ok(()));
    assert_eq!(error(&room), None);
}

#[test]
fn what_is_no_request_is_an_error_and_gone() {
    let (folder, room) = room();
    let path = folder.path().join("teach/request.json");
    assert!(take(&path).unwrap().is_none());
    ask(&room).unwrap();
    for text in ["", "{", "{\"base\":1}", "[]"] {
        fs::write(&path, text).unwrap();
        let said = take(&path).unwrap_err().to_string();
        assert!(said.contains("is no request"), "{said}");
        assert_eq!(error(&room), Some(said));
    }
}

#[test]
fn a_link_to_elsewhere_or_to_nothing_is_no_bundle() {
    let (folder, room) = room();
    lesson(&room, Ok(()));
    let link = folder.path().join("models/active");
    symlink("/etc/passwd", &link).unwrap();
    assert_eq!(room.active(), None);
    fs::remove_file(&link).unwrap();
    symlink("taught/taught-9.nnef.tar", &link).unwrap();
    assert_eq!(room.active(), None);
}
