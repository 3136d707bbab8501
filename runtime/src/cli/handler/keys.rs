//! `jobcell handler keygen|sign|verify`: keys, detached signatures, and checking them. Works offline.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jobcell_handlers::manifest;
use jobcell_handlers::trust::{PublicKey, SecretKey, Signature, Trust};
use jobcell_handlers::{Digest, Manifest};
use jobcell_wasm::screen;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::Serialize;

use super::read_component;
use crate::cli::console::{Console, visible};
use crate::cli::exit::{Exit, Failure};
use crate::cli::payload;

/// What the file of a signature is called: the component's, and this.
const EXTENSION: &str = "sig";
/// Only the owner reads and writes.
const PRIVATE: u32 = 0o600;

/// What `keygen --json` prints. Never the secret key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewKey {
    file: PathBuf,
    public_key: String,
    key_id: String,
}

/// What `sign --json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    file: PathBuf,
    digest: String,
    key_id: String,
    signature: String,
}

/// What `verify --json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    digest: String,
    size: usize,
    /// Null of a component without a manifest.
    manifest: Option<Manifest>,
    signed_by: String,
}

/// Makes a key. The secret one goes into a new file that only its owner reads; the public one is the answer.
pub(super) fn generate(out: &Path, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|cause| {
        Failure::failed(format!("the system gives no randomness, so no key can be made: {cause}"))
    })?;
    let key = SecretKey::from_seed(seed);
    let text = format!("{}\n", key.expose());
    write_new(out, &text, PRIVATE, "a key that is overwritten is gone; name another file with --out")?;
    let (public_key, key_id) = (key.public().to_string(), key.public().id().to_string());
    let made = NewKey { file: out.to_owned(), public_key, key_id };
    console.answer(&made, |NewKey { file, public_key, key_id }| {
        format!(
            "secret    {} (only its owner can read it; it is not shown)\npublic    {public_key}\nid        {key_id}\n\n\
             to believe what it signs:\n\n    [trust]\n    require-signature = true\n    keys = [\"{public_key}\"]\n",
            file.display()
        )
    })?;
    Ok(Exit::Done)
}

/// Signs a component. A signature of the same file is replaced.
pub(super) fn sign(
    file: &Path,
    key: &Path,
    out: Option<&Path>,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let bytes = read_component(file)?;
    screened(file, &bytes)?;
    let section = section(file, &bytes)?;
    let secret = secret(key, console)?;
    let digest = Digest::of(&bytes);
    let signature = secret.sign(&digest, section);
    let out = out.map_or_else(|| beside(file), Path::to_owned);
    fs::write(&out, format!("{signature}\n")).map_err(|cause| {
        Failure::failed(format!("{} cannot be written: {cause}; name another file with --out", out.display()))
    })?;
    let signed = Signed {
        file: out,
        digest: digest.to_string(),
        key_id: secret.public().id().to_string(),
        signature: signature.to_string(),
    };
    console.answer(&signed, |Signed { file, digest, key_id, .. }| {
        format!("digest    {digest}\nby        key {key_id}\nin        {}\n", file.display())
    })?;
    Ok(Exit::Done)
}

/// Checks a component and its signature against these keys.
pub(super) fn verify(
    file: &Path,
    signature: Option<&Path>,
    keys: &[String],
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let keys = public_keys(keys)?;
    if keys.is_empty() {
        return Err(Failure::usage(
            "there is no key to check the signature with; add --key ed25519:…, or keys under [trust] in the configuration",
        ));
    }
    let bytes = read_component(file)?;
    screened(file, &bytes)?;
    let section = section(file, &bytes)?;
    let digest = Digest::of(&bytes);
    let signature = match signature {
        Some(path) => Some(read_signature(path)?),
        None => signature_beside(file)?,
    };
    let named = file.display().to_string();
    let signer = Trust::new(true, keys).verify(&named, &digest, section, signature.as_ref());
    let signer = signer.map_err(|error| Failure::new(Exit::Refused, error.to_string()))?;
    let verified = Verified {
        digest: digest.to_string(),
        size: bytes.len(),
        manifest: Manifest::read(&bytes).map_err(|error| refused(file, &error))?,
        signed_by: signer.map(|key| key.to_string()).unwrap_or_default(),
    };
    console.answer(&verified, |Verified { digest, size, manifest, signed_by }| {
        let name = manifest.as_ref().map_or_else(String::new, |manifest| {
            let version = manifest.version.as_deref().unwrap_or("without a version");
            format!("name      {} {}\n", visible(&manifest.name), visible(version))
        });
        format!("digest    {digest}\nsize      {size} bytes\n{name}signed    by key {signed_by}, which is believed\n")
    })?;
    Ok(Exit::Done)
}

/// The keys of these texts, or what is wrong with one of them. The text itself is not shown: it may be a secret one.
pub(crate) fn public_keys(texts: &[String]) -> Result<Vec<PublicKey>, Failure> {
    let read = |(place, text): (usize, &String)| {
        text.parse().map_err(|error| Failure::usage(format!("key {}: {error}", place + 1)))
    };
    texts.iter().enumerate().map(read).collect()
}

/// The signature in the file beside the component, when there is one.
pub(super) fn signature_beside(file: &Path) -> Result<Option<Signature>, Failure> {
    let path = beside(file);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Ok(_) | Err(_) => read_signature(&path).map(Some),
    }
}

/// Reads a signature's file.
pub(super) fn read_signature(path: &Path) -> Result<Signature, Failure> {
    let text = String::from_utf8_lossy(&payload::file(path)?).into_owned();
    text.trim().parse().map_err(|error| Failure::new(Exit::Refused, format!("{}: {error}", path.display())))
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(EXTENSION);
    name.into()
}

fn screened(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    screen(bytes).map(drop).map_err(|error| refused(file, &error))
}

fn section<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a [u8], Failure> {
    Ok(manifest::section(bytes).map_err(|error| refused(file, &error))?.unwrap_or_default())
}

fn refused(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Refused, format!("{}: {error}", file.display()))
}

/// Reads a secret key, and says so when others than its owner can too.
fn secret(path: &Path, console: &mut Console<'_>) -> Result<SecretKey, Failure> {
    let bytes = payload::file(path)?;
    if let Ok(found) = fs::metadata(path)
        && found.permissions().mode() & 0o077 != 0
    {
        console.note(&format!(
            "warning: others than its owner can read {}; run chmod 600 on it, or make a new key",
            path.display()
        ));
    }
    let text = String::from_utf8_lossy(&bytes);
    text.parse().map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// Writes a file that does not exist yet; `fix` says what to do when it does.
fn write_new(path: &Path, text: &str, mode: u32, fix: &str) -> Result<(), Failure> {
    let fault = |cause: std::io::Error| {
        let fix = if cause.kind() == ErrorKind::AlreadyExists { fix } else { "name another file with --out" };
        Failure::failed(format!("{} cannot be written: {cause}; {fix}", path.display()))
    };
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path).map_err(fault)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|cause| {
        // Half a key is none.
        let _ = fs::remove_file(path);
        fault(cause)
    })
}
