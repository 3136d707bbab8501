use std::fs::File;
use std::io::Write;

use super::*;

/// As long as a real one, so that parts of it can be written.
fn component(marker: u8) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..3 {
        // A custom section of 130 bytes: name of one byte, then content.
        bytes.extend([0, 0x82, 1, 1, b'm']);
        bytes.extend([marker; 128]);
    }
    bytes
}

/// One that waits not as long for what is written in place.
fn hasty(path: &Path) -> FileWatch {
    FileWatch { rest: LOOK / 10, ..FileWatch::anew("h", path) }
}

async fn settled(watch: &mut FileWatch) -> Look {
    for _ in 0..4 {
        match watch.look().await {
            Look::Restless => {}
            found => return found,
        }
        // As its callers do: a file system's clock ticks slowly, and two changes within a tick look the same.
        sleep(LOOK / 5).await;
    }
    panic!("a file that nobody writes comes to rest");
}

/// Where time is paused.
async fn looks_until_read(watch: &mut FileWatch) -> (usize, bytes::Bytes) {
    for looks in 1..1000 {
        if let Look::Read(artifact) = watch.look().await {
            return (looks, artifact.bytes);
        }
        tokio::time::advance(LOOK).await;
    }
    panic!("it comes to rest");
}

/// Where time is paused: for so many looks it is not read.
async fn left_alone(watch: &mut FileWatch, looks: usize) {
    for look in 0..looks {
        let found = watch.look().await;
        assert!(matches!(found, Look::Restless), "look {look}: {found:?}");
        tokio::time::advance(LOOK).await;
    }
}

/// A watch of a file that it has read.
async fn watched(path: &Path) -> FileWatch {
    std::fs::write(path, component(1)).unwrap();
    let mut watch = FileWatch::anew("h", path);
    looks_until_read(&mut watch).await;
    watch
}

#[tokio::test]
async fn in_a_directory_the_file_is_named_like_the_handler() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("media.wasm"), "x").unwrap();
    assert_eq!(read("media", dir.path()).await.unwrap().bytes, "x");
    assert!(read("other", dir.path()).await.unwrap_err().to_string().contains("other.wasm"));
}

#[tokio::test]
async fn a_missing_file_names_handler_path_and_fix() {
    let error = read("media", Path::new("no/such.wasm")).await.unwrap_err().to_string();
    assert!(
        error.contains("\"media\"") && error.contains("no/such.wasm") && error.contains("[handlers.media]"),
        "{error}"
    );
}

#[tokio::test]
async fn no_byte_beyond_the_cap_is_read_and_nothing_endless_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.wasm");
    // Sparse: its size costs nothing, reading it would.
    let file = File::create(&path).unwrap();
    file.set_len(ARTIFACT_BYTES_MAX).unwrap();
    assert_eq!(read("large", &path).await.unwrap().bytes.len() as u64, ARTIFACT_BYTES_MAX);
    for size in [ARTIFACT_BYTES_MAX + 1, 1 << 40] {
        file.set_len(size).unwrap();
        let error = read("large", &path).await.unwrap_err();
        assert!(matches!(error, ArtifactError::TooLarge { .. }), "{error}");
    }
    let error = read("zero", Path::new("/dev/zero")).await.unwrap_err();
    assert!(matches!(error, ArtifactError::NoFile { .. }), "{error}");
    assert!(error.to_string().contains("/dev/zero is no regular file"), "{error}");
}

#[tokio::test]
async fn renaming_turning_a_link_and_writing_in_place_are_all_seen_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.wasm");
    std::fs::write(&path, component(1)).unwrap();
    let mut watch = hasty(&path);
    assert!(matches!(settled(&mut watch).await, Look::Read(_)));
    assert!(matches!(watch.look().await, Look::Same));
    let ways: [&dyn Fn(&Path); 3] = [
        &|draft| std::fs::rename(draft, &path).unwrap(),
        &|draft| std::fs::write(&path, std::fs::read(draft).unwrap()).unwrap(),
        &|draft| {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(draft, &link).unwrap();
            std::fs::rename(link, &path).unwrap();
        },
    ];
    for (way, marker) in ways.iter().zip(2..) {
        let draft = dir.path().join(format!("draft-{marker}"));
        std::fs::write(&draft, component(marker)).unwrap();
        way(&draft);
        let Look::Read(artifact) = settled(&mut watch).await else { panic!("it was changed") };
        assert_eq!(artifact.bytes, component(marker));
        assert!(matches!(watch.look().await, Look::Same), "it is told once");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(settled(&mut watch).await, Look::Fault(ArtifactError::Unreadable { .. })));
    assert!(matches!(watch.look().await, Look::Same), "it is told once");
    std::fs::write(&path, component(9)).unwrap();
    assert!(matches!(settled(&mut watch).await, Look::Read(_)), "it came back");
}

#[tokio::test]
async fn no_half_of_a_file_is_ever_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.wasm");
    let whole = component(1);
    for written in 1..whole.len() {
        std::fs::write(&path, &whole[..written]).unwrap();
        let found = settled(&mut hasty(&path)).await;
        // Between two sections nothing shows that more is to come; admission wants what is in the last one.
        let between = written >= 8 && (written - 8) % 133 == 0;
        match found {
            Look::Read(_) => assert!(between, "{written} of {} bytes were taken", whole.len()),
            Look::Fault(ArtifactError::CutOff { .. }) => assert!(!between),
            found => panic!("{written}: {found:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_written_in_place_has_to_rest_and_what_is_renamed_has_not() {
    let dir = tempfile::tempdir().unwrap();
    let (path, draft) = (dir.path().join("h.wasm"), dir.path().join("draft"));
    let mut watch = watched(&path).await;

    std::fs::write(&draft, component(2)).unwrap();
    std::fs::rename(&draft, &path).unwrap();
    assert_eq!(looks_until_read(&mut watch).await, (2, component(2).into()));

    // The writer pauses between two sections, for less than the rest.
    let whole = component(3);
    std::fs::write(&path, &whole[..8 + 133]).unwrap();
    left_alone(&mut watch, 15).await;
    std::fs::write(&path, &whole).unwrap();
    let (looks, bytes) = looks_until_read(&mut watch).await;
    assert_eq!(bytes, whole);
    assert!(looks > 20, "{looks} looks");

    // Made where none was, it may be under way as well.
    std::fs::remove_file(&path).unwrap();
    watch.look().await;
    std::fs::write(&path, component(4)).unwrap();
    assert!(looks_until_read(&mut watch).await.0 > 20);
}

/// Looks for longer than a file that nobody has open has to rest.
const LONG: usize = 50;
/// Where the first section ends: nothing in the file shows that more is to come.
const BETWEEN: usize = 8 + 133;

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn what_its_writer_has_open_is_left_alone_however_long_he_pauses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.wasm");
    let mut watch = watched(&path).await;
    let whole = component(2);
    let mut file = File::create(&path).unwrap();
    for part in [&whole[..BETWEEN], &whole[BETWEEN..]] {
        file.write_all(part).unwrap();
        left_alone(&mut watch, LONG).await;
    }
    drop(file);
    let (looks, bytes) = looks_until_read(&mut watch).await;
    assert_eq!(bytes, whole);
    assert!((20..25).contains(&looks), "{looks} looks after it was closed, as it may be opened again");

    // Closed between two sections, and opened again before it has rested.
    let whole = component(3);
    std::fs::write(&path, &whole[..BETWEEN]).unwrap();
    left_alone(&mut watch, 15).await;
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(&whole[BETWEEN..BETWEEN + 133]).unwrap();
    left_alone(&mut watch, LONG).await;
    file.write_all(&whole[BETWEEN + 133..]).unwrap();
    drop(file);
    assert_eq!(looks_until_read(&mut watch).await.1, whole);
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_file_that_is_made_in_the_place_of_another_is_left_alone_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.wasm");
    let mut watch = watched(&path).await;
    for (marker, is_seen_missing) in [(2, false), (3, true)] {
        // So that the new one cannot be given the old one's number.
        std::fs::hard_link(&path, dir.path().join(format!("backup-{marker}"))).unwrap();
        std::fs::remove_file(&path).unwrap();
        if is_seen_missing {
            left_alone(&mut watch, 1).await;
        }
        let whole = component(marker);
        let mut file = File::create(&path).unwrap();
        for part in [&whole[..BETWEEN], &whole[BETWEEN..]] {
            file.write_all(part).unwrap();
            left_alone(&mut watch, LONG).await;
        }
        drop(file);
        let (looks, bytes) = looks_until_read(&mut watch).await;
        assert_eq!(bytes, whole);
        assert!((20..25).contains(&looks), "{looks} looks after it was closed, as it may be opened again");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn what_is_put_there_whole_is_taken_after_two_looks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.wasm");
    let mut watch = watched(&path).await;
    let mut before = File::options().append(true).open(&path).unwrap();
    before.write_all(&[0]).unwrap();
    left_alone(&mut watch, 2).await;
    let turn = |draft: &Path| {
        std::os::unix::fs::symlink(draft, dir.path().join("link")).unwrap();
        std::fs::rename(dir.path().join("link"), &path).unwrap();
    };
    let ways: [&dyn Fn(&Path); 5] = [
        &|draft| std::fs::rename(draft, &path).unwrap(),
        &|draft| {
            std::fs::remove_file(&path).unwrap();
            std::fs::hard_link(draft, &path).unwrap();
        },
        &|draft| {
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink(draft, &path).unwrap();
        },
        &turn,
        &turn,
    ];
    for (way, marker) in ways.iter().zip(2..) {
        let draft = dir.path().join(format!("draft-{marker}"));
        std::fs::write(&draft, component(marker)).unwrap();
        // A file system's clock ticks slowly.
        std::thread::sleep(LOOK / 5);
        way(&draft);
        // Who has the file open that lay there before writes to nothing that counts.
        before.write_all(&[0]).unwrap();
        assert_eq!(looks_until_read(&mut watch).await, (2, component(marker).into()));
    }
    // It is a link now: what counts is who writes the file that it leads to.
    let whole = component(9);
    let mut file = File::create(&path).unwrap();
    file.write_all(&whole[..BETWEEN]).unwrap();
    left_alone(&mut watch, LONG).await;
    file.write_all(&whole[BETWEEN..]).unwrap();
    drop(file);
    assert_eq!(looks_until_read(&mut watch).await.1, whole);
    // And a file again, of which a part is there.
    std::fs::remove_file(&path).unwrap();
    let mut file = File::create(&path).unwrap();
    file.write_all(&whole[..BETWEEN]).unwrap();
    left_alone(&mut watch, LONG).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_writer_that_never_closes_the_file_keeps_it_away_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.wasm");
    let mut watch = watched(&path).await;
    watch.open_rest = LOOK * 100;
    let mut file = File::create(&path).unwrap();
    file.write_all(&component(2)).unwrap();
    let (looks, bytes) = looks_until_read(&mut watch).await;
    assert_eq!((looks, bytes), (101, component(2).into()));
    assert!(matches!(watch.look().await, Look::Same), "it is told once");
    // Every change has it wait anew.
    let more = &component(3)[8..];
    for more in more.chunks(133) {
        file.write_all(more).unwrap();
        left_alone(&mut watch, LONG).await;
    }
    drop(file);
    assert_eq!(looks_until_read(&mut watch).await.1, [&component(2), more].concat());
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_told_of_a_writer_looking_has_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (path, alias) = (dir.path().join("h.wasm"), dir.path().join("alias"));
    let mut watch = watched(&path).await;
    std::fs::hard_link(&path, &alias).unwrap();
    // Told of the other name only.
    let mut file = File::create(&alias).unwrap();
    file.write_all(&component(2)).unwrap();
    let (looks, bytes) = looks_until_read(&mut watch).await;
    assert_eq!(bytes, component(2));
    assert!((20..25).contains(&looks), "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn what_has_rested_before_the_first_look_is_taken_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.wasm");
    let file = File::create(&path).unwrap();
    (&file).write_all(&component(1)).unwrap();
    drop(file);
    let rest = LOOK / 5;
    let fresh = || FileWatch { rest: Duration::from_secs(3600), ..FileWatch::anew("h", &path) };
    assert!(matches!(fresh().look().await, Look::Restless), "it may be under way");
    std::thread::sleep(rest);
    let mut watch = FileWatch { rest, ..FileWatch::anew("h", &path) };
    assert!(matches!(watch.look().await, Look::Read(_)), "nobody wrote to it for as long as it has to rest");
    assert!(matches!(watch.look().await, Look::Same));
    let missing = dir.path().join("missing.wasm");
    assert!(
        matches!(FileWatch::anew("h", &missing).look().await, Look::Fault(_)),
        "there is nothing to wait for"
    );
}

#[tokio::test(start_paused = true)]
async fn at_the_first_look_whatever_changed_lately_has_to_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (path, alias) = (dir.path().join("h.wasm"), dir.path().join("alias"));
    let whole = component(1);
    std::fs::write(&path, &whole[..BETWEEN]).unwrap();
    // As a copying tool does with what it has not finished, and a backup with what it finds.
    std::thread::sleep(LOOK / 5);
    std::fs::hard_link(&path, alias).unwrap();
    let mut watch = FileWatch::anew("h", &path);
    left_alone(&mut watch, 15).await;
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(looks_until_read(&mut watch).await.1, whole);
}

#[tokio::test(start_paused = true)]
async fn a_start_and_a_reload_wait_for_a_file_that_is_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.wasm");
    let whole = component(1);
    std::fs::write(&path, &whole[..BETWEEN]).unwrap();
    let reading = || Reading::new("h", &path, Instant::now() + REST_PATIENCE);
    let begin = Instant::now();
    let write = async {
        sleep(REST / 2).await;
        std::fs::write(&path, &whole).unwrap();
    };
    let (read, ()) = tokio::join!(reading().read(), write);
    assert_eq!(read.unwrap().bytes, whole);
    assert!(begin.elapsed() >= REST + REST / 2, "{:?}", begin.elapsed());

    // Its writer never rests.
    let begin = Instant::now();
    let write = async {
        loop {
            sleep(REST / 2).await;
            File::options().append(true).open(&path).unwrap().write_all(&[0, 2, 1, b'x']).unwrap();
        }
    };
    let error = tokio::select! {
        read = reading().read() => read.unwrap_err(),
        () = write => unreachable!("it goes on for ever"),
    };
    assert!(matches!(error, ArtifactError::Restless { .. }), "{error}");
    assert!(error.to_string().contains("h.wasm has not rested for 2 s within 10 s"), "{error}");
    assert!((REST_PATIENCE..REST_PATIENCE * 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

#[test]
fn other_files_are_not_called_cut_off() {
    for bytes in [&b"not wasm at all"[..], b"\x7fELF", &component(1)] {
        assert_eq!(cut_off(bytes), None, "{bytes:?}");
    }
    assert_eq!(cut_off(b""), Some(0));
    assert_eq!(cut_off(b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\xff\xff\xff"), None, "not a size");
}
