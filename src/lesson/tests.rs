//! A lesson from its request to the bundle in use, without anybody who teaches.

use serde_json::json;

use super::*;

fn room() -> (tempfile::TempDir, Room) {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::new(folder.path().to_owned());
    (folder, room)
}

/// Asks, teaches nothing at all, and ends.
fn lesson(room: &Room, outcome: Result<(), &str>) -> Request {
    room.ask(Path::new("/base"), Path::new("/labelled"))
        .unwrap();
    let taken = take(&room.lesson(REQUEST)).unwrap().unwrap();
    let request = taken.request.clone();
    if outcome.is_ok() {
        fs::write(&request.bundle, "bundle").unwrap();
    }
    let outcome = outcome.map(|()| json!({"top1": 0.5}));
    taken.end(outcome.map_err(str::to_owned), 7.0).unwrap();
    request
}

#[test]
fn a_lesson_is_asked_for_taken_reported_accepted_and_taken_back() {
    let (folder, room) = room();
    assert_eq!(room.state(), State::None);
    assert!(matches!(room.accept(), Err(LessonError::Nothing)));
    room.ask(Path::new("/base"), Path::new("/labelled"))
        .unwrap();
    assert!(matches!(room.state(), State::Asked { since } if since > 1.6e9));
    let again = room.ask(Path::new("/base"), Path::new("/labelled"));
    assert!(matches!(again, Err(LessonError::Busy)));

    let request = folder.path().join("teach/request.json");
    let taken = take(&request).unwrap().unwrap();
    assert!(take(&request).unwrap().is_none(), "it is taken once");
    assert!(matches!(room.state(), State::Learning { .. }));
    assert_eq!(taken.request.base, Path::new("/base"));
    let bundle = folder.path().join("models/taught/taught-1.nnef.tar");
    assert_eq!(taken.request.bundle, bundle);
    fs::write(&bundle, "bundle").unwrap();
    taken.end(Ok(json!({"top1": 0.5})), 7.0).unwrap();

    let State::Ended(report) = room.state() else {
        panic!("{:?}", room.state());
    };
    assert_eq!((report.ended, report.error), (7.0, None));
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
fn what_failed_is_told_and_cannot_be_accepted() {
    let (_folder, room) = room();
    lesson(&room, Ok(()));
    room.accept().unwrap();
    lesson(&room, Err("only one class"));
    let State::Ended(report) = room.state() else {
        panic!("{:?}", room.state());
    };
    assert_eq!(report.error.as_deref(), Some("only one class"));
    assert!(matches!(room.accept(), Err(LessonError::Nothing)));
    assert!(room.active().unwrap().ends_with("taught-1.nnef.tar"));
}

#[test]
fn who_is_killed_at_work_is_seen_and_may_be_asked_again() {
    let (folder, room) = room();
    room.ask(Path::new("/base"), Path::new("/labelled"))
        .unwrap();
    drop(take(&folder.path().join("teach/request.json")).unwrap());
    assert!(matches!(room.state(), State::Died { .. }));
    lesson(&room, Ok(()));
    assert!(matches!(room.state(), State::Ended(_)));
}

#[test]
fn what_is_no_request_is_an_error_and_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("request.json");
    assert!(take(&path).unwrap().is_none());
    for text in ["", "{", "{\"base\":1}", "[]"] {
        fs::write(&path, text).unwrap();
        let error = take(&path).unwrap_err().to_string();
        assert!(error.contains("is no request"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{text}");
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
