//! Compiled components on disk: kept, found again, and never believed without proof.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jobcell_core::Outcome;
use jobcell_wasm::{
    AdmitError, AdmitOptions, Admitted, CompileCache, Engine, EngineConfig, Grants, HandlerRunner,
    HandlerSpec, Services, WasmError,
};

use crate::support::{ENGINE, attempt, by_hand, guest, handle, job, run};

fn admit(engine: &Engine, cache: &CompileCache, bytes: &[u8]) -> Admitted {
    let mut options = AdmitOptions::new("tested", Grants::default());
    options.cache = Some(cache.clone());
    engine.admit_blocking(bytes, &options).unwrap()
}

async fn works(engine: &Engine, admitted: &Admitted) {
    let spec = HandlerSpec { name: "tested".to_owned(), ..HandlerSpec::default() };
    let runner = HandlerRunner::new(engine, admitted, spec, Services::default()).unwrap();
    let report = run(&runner, &attempt(job("noop", r#"{"i":1}"#))).await;
    assert!(matches!(report.outcome, Outcome::Complete(_)), "{report:?}");
}

fn entries(cache: &CompileCache) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(cache.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "cwasm"))
        .collect();
    entries.sort();
    entries
}

fn small(n: u8) -> Vec<u8> {
    by_hand(&handle(&format!("(i32.const {n})")))
}

#[tokio::test]
async fn the_second_time_nothing_is_compiled() {
    let dir = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(dir.path()).unwrap();
    let first = admit(&ENGINE, &cache, &guest("basic"));
    assert!(!first.was_cached());
    works(&ENGINE, &first).await;
    // Another process would open it anew, with the same key.
    let again = CompileCache::open(dir.path()).unwrap();
    let second = admit(&ENGINE, &again, &guest("basic"));
    assert!(second.was_cached());
    works(&ENGINE, &second).await;
    assert_eq!(entries(&cache).len(), 1);
}

#[tokio::test]
async fn what_was_changed_is_thrown_away_and_compiled_anew() {
    let dir = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(dir.path()).unwrap();
    let damages: [fn(&mut Vec<u8>); 6] = [
        |bytes| bytes[100] ^= 1,
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x80;
        },
        |bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        },
        |bytes| bytes.truncate(1000),
        |bytes| bytes.clear(),
        |bytes| bytes.extend_from_slice(b"more"),
    ];
    admit(&ENGINE, &cache, &guest("basic"));
    for damage in damages {
        let path = entries(&cache).remove(0);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let anew = admit(&ENGINE, &cache, &guest("basic"));
        assert!(!anew.was_cached());
        works(&ENGINE, &anew).await;
        assert!(admit(&ENGINE, &cache, &guest("basic")).was_cached());
    }
}

#[test]
fn an_entry_cannot_stand_in_for_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(dir.path()).unwrap();
    admit(&ENGINE, &cache, &small(0));
    let own = entries(&cache).remove(0);
    admit(&ENGINE, &cache, &small(8));
    let other = entries(&cache).into_iter().find(|path| *path != own).unwrap();
    fs::copy(&own, &other).unwrap();
    assert!(!admit(&ENGINE, &cache, &small(8)).was_cached());
    assert!(admit(&ENGINE, &cache, &small(0)).was_cached());
}

#[test]
fn an_entry_of_another_cache_is_foreign() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) =
        (CompileCache::open(ours.path()).unwrap(), CompileCache::open(theirs.path()).unwrap());
    admit(&ENGINE, &ours, &small(0));
    admit(&ENGINE, &theirs, &small(0));
    fs::copy(&entries(&theirs)[0], &entries(&ours)[0]).unwrap();
    assert!(!admit(&ENGINE, &ours, &small(0)).was_cached());
}

#[test]
fn an_engine_with_other_settings_has_entries_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(dir.path()).unwrap();
    admit(&ENGINE, &cache, &small(0));
    // A smaller pool changes nothing in the code; it may share.
    let pool = Engine::new(EngineConfig { cells: 2, ..EngineConfig::default() }).unwrap();
    assert!(admit(&pool, &cache, &small(0)).was_cached());
    assert_eq!(entries(&cache).len(), 1);
    let name = entries(&cache).remove(0);
    let text = name.file_stem().unwrap().to_str().unwrap().to_owned();
    let (digest, settings) = text.split_once('-').unwrap();
    assert_eq!((digest.len(), settings.len()), (64, 16));
    // As if an older engine had written it.
    fs::rename(&name, name.with_file_name(format!("{digest}-0123456789abcdef.cwasm"))).unwrap();
    assert!(!admit(&ENGINE, &cache, &small(0)).was_cached());
}

#[test]
fn compiled_code_is_never_taken_as_an_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(dir.path()).unwrap();
    admit(&ENGINE, &cache, &small(0));
    let code = fs::read(&entries(&cache)[0]).unwrap();
    let error = ENGINE.admit_blocking(&code, &AdmitOptions::new("tested", Grants::default())).unwrap_err();
    assert!(matches!(error, AdmitError::Precompiled), "{error}");
}

#[test]
fn a_folder_that_others_may_enter_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = CompileCache::open(dir.path()).unwrap().folder().to_owned();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(folder.join("key")).unwrap().permissions().mode() & 0o777, 0o600);
    mode(&folder, 0o755);
    let error = CompileCache::open(dir.path()).unwrap_err();
    assert!(matches!(error, WasmError::CacheOpen { mode: 0o755, fix: 0o700, .. }), "{error}");
    assert!(error.to_string().contains("chmod 700"), "{error}");
    mode(&folder, 0o700);
    mode(&folder.join("key"), 0o640);
    assert!(matches!(CompileCache::open(dir.path()), Err(WasmError::CacheOpen { .. })));
    mode(&folder.join("key"), 0o600);
    CompileCache::open(dir.path()).unwrap();
    fs::write(folder.join("key"), b"short").unwrap();
    assert!(CompileCache::open(dir.path()).unwrap_err().to_string().contains("wrong size"));
}

#[test]
fn a_folder_that_cannot_be_made_says_why() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = CompileCache::open(dir.path().join("file")).unwrap_err();
    assert!(matches!(error, WasmError::CacheDir { .. }), "{error}");
}

#[test]
fn the_longest_unused_entries_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(dir.path()).unwrap();
    admit(&ENGINE, &cache, &small(0));
    let size = fs::metadata(&entries(&cache)[0]).unwrap().len();
    let cache = cache.with_bytes_max(size * 5 / 2);
    admit(&ENGINE, &cache, &small(8));
    // Used again, so the other one is older now.
    assert!(admit(&ENGINE, &cache, &small(0)).was_cached());
    admit(&ENGINE, &cache, &small(16));
    assert_eq!(entries(&cache).len(), 2);
    assert!(admit(&ENGINE, &cache, &small(16)).was_cached());
    assert!(admit(&ENGINE, &cache, &small(0)).was_cached());
    assert!(!admit(&ENGINE, &cache, &small(8)).was_cached());
}

#[test]
fn a_disk_that_takes_nothing_keeps_no_handler_from_running() {
    let dir = tempfile::tempdir().unwrap();
    let cache = CompileCache::open(dir.path()).unwrap();
    fs::remove_dir_all(cache.folder()).unwrap();
    assert!(!admit(&ENGINE, &cache, &small(0)).was_cached());
}

#[test]
fn many_hosts_may_open_one_cache_at_once() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let cache = CompileCache::open(dir.path()).unwrap();
                admit(&ENGINE, &cache, &small(0));
            });
        }
    });
    let cache = CompileCache::open(dir.path()).unwrap();
    assert!(admit(&ENGINE, &cache, &small(0)).was_cached());
    let drafts = fs::read_dir(cache.folder())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "draft"));
    assert_eq!(drafts.count(), 0);
}
