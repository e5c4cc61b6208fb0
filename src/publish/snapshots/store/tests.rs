//! A folder of pictures with its bounds, on a real disk.

use super::*;
use tempfile::TempDir;

fn note(n: usize) -> Note {
    Note {
        id: format!("{n:013}-a"),
        camera: "a".into(),
        region: None,
        timestamp: 1.0,
        top: "x".into(),
        confidence: 0.5,
        because: When::Change,
        label: None,
    }
}

fn store(most: u64) -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().to_owned(), most);
    (folder, store)
}

fn ids(store: &mut Store) -> Vec<String> {
    let list = store.list(None, 100).unwrap();
    list.into_iter()
        .map(|note| note.id[..13].trim_start_matches('0').to_owned())
        .collect()
}

#[test]
fn what_is_kept_is_listed_newest_first_and_found_again_by_the_next_run() {
    let (folder, mut store) = store(1 << 20);
    for n in 1..=5 {
        store.keep(&note(n), &[7; 100]).unwrap();
    }
    assert_eq!(ids(&mut store), ["5", "4", "3", "2", "1"]);
    let older = store.list(Some(&note(4).id), 2).unwrap();
    assert_eq!(
        older.iter().map(|note| &note.id).collect::<Vec<_>>(),
        [&note(3).id, &note(2).id]
    );
    store.judge(&note(2).id, Some("golf ball")).unwrap();
    let mut next = Store::new(folder.path().to_owned(), 1 << 20);
    assert_eq!(ids(&mut next), ["5", "4", "3", "2", "1"]);
    assert_eq!(
        next.list(None, 9).unwrap()[3].label.as_deref(),
        Some("golf ball")
    );
    assert_eq!(next.picture(&note(2).id).unwrap(), [7; 100]);
}

#[test]
fn at_the_bound_the_oldest_goes_that_nobody_has_judged() {
    let (_folder, mut store) = store(3000);
    for n in 1..=3 {
        store.keep(&note(n), &[7; 700]).unwrap();
    }
    store.judge(&note(1).id, Some("x")).unwrap();
    store.keep(&note(4), &[7; 700]).unwrap();
    assert_eq!(ids(&mut store), ["4", "3", "1"]);
    for n in [3, 4] {
        store.judge(&note(n).id, Some("y")).unwrap();
    }
    let error = store.keep(&note(5), &[7; 700]).unwrap_err();
    assert!(matches!(error, StoreError::Labelled(_)), "{error}");
    assert_eq!(ids(&mut store), ["4", "3", "1"]);
}

#[test]
fn what_a_person_says_is_a_folder_that_teach_takes() {
    let (folder, mut store) = store(1 << 20);
    store.keep(&note(1), &[7; 10]).unwrap();
    store.judge(&note(1).id, Some("robin")).unwrap();
    let file = |label: &str| {
        folder
            .path()
            .join("labelled")
            .join(label)
            .join(format!("{}.jpg", note(1).id))
    };
    assert!(file("robin").is_file());
    store.judge(&note(1).id, Some("wren")).unwrap();
    assert!(file("wren").is_file() && !folder.path().join("labelled/robin").exists());
    assert_eq!(
        store.counts().unwrap(),
        ([("wren".to_owned(), 1)].into(), 0)
    );
    store.judge(&note(1).id, None).unwrap();
    assert_eq!(store.counts().unwrap(), (BTreeMap::new(), 1));
    assert_eq!(store.labelled(), folder.path().join("labelled"));
}

#[test]
fn names_that_are_none_reach_no_file() {
    let (_folder, mut store) = store(1 << 20);
    store.keep(&note(1), &[7; 10]).unwrap();
    for id in ["../notes/x", "", "..", "/etc/passwd"] {
        assert!(
            matches!(store.picture(id), Err(StoreError::Unknown(_))),
            "{id}"
        );
        assert!(
            matches!(store.judge(id, Some("x")), Err(StoreError::Unknown(_))),
            "{id}"
        );
    }
    for label in ["../x", "", ".", "a/b"] {
        let error = store.judge(&note(1).id, Some(label));
        assert!(matches!(error, Err(StoreError::Label(_))), "{label}");
    }
}

#[test]
fn a_folder_that_is_gone_is_an_error_and_one_that_comes_back_is_used() {
    let (folder, mut store) = store(1 << 20);
    let path = folder.path().to_owned();
    store.keep(&note(1), &[7; 10]).unwrap();
    fs::remove_dir_all(&path).unwrap();
    let error = store.keep(&note(2), &[7; 10]).unwrap_err();
    assert!(matches!(error, StoreError::Missing(_)), "{error}");
    fs::create_dir(&path).unwrap();
    store.keep(&note(3), &[7; 10]).unwrap();
    assert_eq!(ids(&mut store), ["3"]);
}

#[test]
fn strange_files_in_the_folder_are_left_alone() {
    let (folder, mut store) = store(1 << 20);
    fs::create_dir_all(folder.path().join("new")).unwrap();
    fs::create_dir_all(folder.path().join("labelled/.hidden")).unwrap();
    fs::write(folder.path().join("new/other.txt"), "x").unwrap();
    fs::write(folder.path().join("new/a b.jpg"), "x").unwrap();
    store.keep(&note(1), &[7; 10]).unwrap();
    assert_eq!(ids(&mut store), ["1"]);
    assert!(folder.path().join("new/other.txt").exists());
}
