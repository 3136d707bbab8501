//! `[http]`: how handlers' outgoing requests are sent.

use std::io::Read;
use std::path::{Path, PathBuf};

use jobcell_wasm::HttpSender;

use super::forms::PATH;
use super::reader::Reader;
use super::table::{Absent, Key, Section};

/// How handlers' outgoing requests are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// Certificates of authorities in PEM that are trusted besides the machine's. Empty for none.
    pub ca: Vec<u8>,
}

/// Bytes the file may have: all authorities that browsers trust make about 220 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

const CA: Key<PathBuf> = Key::new(
    "ca",
    PATH,
    Absent::Means("none"),
    "File with certificates in PEM: authorities that are trusted besides those of this machine, for services with \
     certificates of one's own. At most 1 MiB.",
);
pub(super) static HTTP: Section = Section {
    about: "How handlers' outgoing requests are sent. Where they may go stands in each handler's grants. Proxy variables of \
            the environment are ignored: a proxy would dial past the address filter.",
    keys: &[CA.entry()],
};

/// Reads the group. The file is only looked at where handlers are to run.
pub(super) fn read(reader: &Reader<'_>, is_wanted: bool) -> HttpConfig {
    let Some(path) = reader.get(&CA).filter(|_| is_wanted) else { return HttpConfig::default() };
    let checked = read_file(&path).and_then(|ca| {
        HttpSender::new(None, &ca).map_err(|error| error.to_string())?;
        Ok(ca)
    });
    let ca = checked.unwrap_or_else(|cause| {
        let cause = format!("{}: {cause}", path.display());
        reader.fault(CA.name, &cause, "name a file in PEM, with lines -----BEGIN CERTIFICATE-----");
        Vec::new()
    });
    HttpConfig { ca }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut ca = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut ca).map_err(|error| error.to_string())?;
    match ca.len() as u64 {
        0 => Err("is empty".to_owned()),
        size if size > FILE_BYTES_MAX => Err(format!("is larger than {FILE_BYTES_MAX} bytes")),
        _ => Ok(ca),
    }
}
