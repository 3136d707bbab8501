//! Writes the sample photograph to a file:
//! `cargo run -p jobcell-plugin-media --features sample --example make_photo -- photo.jpg`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: make_photo FILE.jpg");
        return ExitCode::from(2);
    };
    let photo = media::sample::photo();
    match std::fs::write(&path, &photo) {
        Ok(()) => {
            println!("{}: {} bytes, 1600×1067, EXIF orientation 6", path.display(), photo.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
