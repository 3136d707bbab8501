//! The media plugin: pictures in, smaller and cleaner pictures out.
//!
//! Three handlers, by job name:
//!
//! | job name | payload | result |
//! |---|---|---|
//! | `process` | [`payload::Process`]: a source and a list of outputs | [`report::Processed`] |
//! | `thumbnails` | [`payload::Thumbnails`]: a source and a list of widths | [`report::Processed`] |
//! | `inspect` | [`payload::Inspect`]: a source | [`report::SourceReport`] |
//!
//! This file is only the entry. The way of a picture through the rest: [`source`] fetches it, [`mod@probe`] reads its
//! header and refuses what is too large, cut off or not an image, [`memory`] refuses what would not fit into a
//! cell, [`mod@decode`] makes pixels, [`resize`] makes them fewer, [`orient`] reads them upright, [`mod@encode`] makes
//! files, [`studio`] leads the way and hands the files over.
//!
//! Every output is free of metadata: EXIF (with its places and times), XMP, IPTC, comments and colour profiles.
//! Profiles are not applied before they go: pictures are taken to be sRGB, which nearly all on the web are; one in a
//! wider space comes out a little duller.

pub mod animation;
pub mod decode;
pub mod encode;
mod exif;
#[cfg(test)]
mod fixture;
pub mod format;
pub mod geometry;
pub mod limits;
pub mod memory;
pub mod orient;
pub mod payload;
pub mod picture;
pub mod probe;
pub mod recipe;
pub mod refusal;
pub mod report;
pub mod resize;
pub mod retry_after;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
pub mod source;
pub mod studio;

#[cfg(test)]
mod tests;

use jobcell_sdk::prelude::*;

/// One picture, several outputs.
///
/// # Errors
/// See [`studio::process`].
#[handler]
pub fn process(job: Job<payload::Process>) -> Result<report::Processed, Failure> {
    studio::process(&job.data)
}

/// One picture at several widths.
///
/// # Errors
/// See [`studio::process`].
#[handler]
pub fn thumbnails(job: Job<payload::Thumbnails>) -> Result<report::Processed, Failure> {
    studio::process(&job.data.into())
}

/// What a picture is, without decoding it.
///
/// # Errors
/// See [`studio::inspect`].
#[handler]
pub fn inspect(job: Job<payload::Inspect>) -> Result<report::SourceReport, Failure> {
    studio::inspect(&job.data)
}

jobcell_sdk::plugin!(process, thumbnails, inspect);
