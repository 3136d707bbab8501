//! One job from payload to written outputs.
//!
//! Everything that can be refused is refused in order of cost: the payload before the fetch, the header before
//! the decoding, the memory before the first buffer. Keys and bytes depend only on payload and source, so a
//! job that runs twice writes the same things to the same places.

use jobcell_sdk::prelude::Failure;
use jobcell_sdk::{blobs, context};
use sha2::{Digest, Sha256};

use crate::animation;
use crate::decode::decode;
use crate::encode::{Encoding, encode};
use crate::format::Format;
use crate::geometry::Geometry;
use crate::limits::{Limits, OUTPUT_BYTES_MAX};
use crate::memory;
use crate::orient::{Orientation, Upright};
use crate::payload::{Destination, Inspect, Process, Source};
use crate::picture::Picture;
use crate::probe::{Probe, probe};
use crate::recipe::{self, Recipe};
use crate::refusal::Refusal;
use crate::report::{OutputReport, Processed, Progress, SourceReport};
use crate::resize::Premultiplied;
use crate::source::{self, Fetched};

/// Runs `inspect`: fetches and probes, decodes nothing.
///
/// # Errors
/// See [`crate::source::fetch`] and [`crate::probe::probe`].
pub fn inspect(payload: &Inspect) -> Result<SourceReport, Failure> {
    let limits = Limits::from_payload(&payload.limits).map_err(Refusal::into_failure)?;
    source::check(&payload.source).map_err(Refusal::into_failure)?;
    let (fetched, probe) = open(&payload.source, &limits, payload.sniff)?;
    Ok(SourceReport::new(&probe, fetched.bytes.len() as u64))
}

/// Runs `process`.
///
/// # Errors
/// `invalid` for a payload that contradicts itself, `fatal` for a picture that is refused, a retry for a store
/// or server that is down.
pub fn process(payload: &Process) -> Result<Processed, Failure> {
    let limits = Limits::from_payload(&payload.limits).map_err(Refusal::into_failure)?;
    let recipes = recipe::recipes(payload).map_err(Refusal::into_failure)?;
    source::check(&payload.source).map_err(Refusal::into_failure)?;
    let (Fetched { bytes, content_type: _, held_bytes }, probe) =
        open(&payload.source, &limits, payload.sniff)?;
    let report = SourceReport::new(&probe, bytes.len() as u64);
    let orders = orders(recipes, &probe, &limits).map_err(Refusal::into_failure)?;
    let rendered = orders.iter().filter(|order| !order.keep).map(|order| (&order.geometry, order.encoding));
    memory::check(&probe, held_bytes, rendered).map_err(Refusal::into_failure)?;

    let mut desk = Desk {
        destination: &payload.destination,
        orientation: probe.orientation,
        reports: orders.iter().map(|_| None).collect(),
    };
    desk.keep(&orders, &bytes, &probe)?;
    if orders.iter().any(|order| !order.keep) {
        let picture = decode(bytes, &probe).map_err(Refusal::into_failure)?;
        desk.render(&orders, picture)?;
    }
    Ok(Processed { source: report, outputs: desk.reports.into_iter().flatten().collect() })
}

/// Fetches a source and reads its header.
fn open(source: &Source, limits: &Limits, sniff: bool) -> Result<(Fetched, Probe), Failure> {
    let fetched = source::fetch(source, limits)?;
    let probe = probe(&fetched.bytes, limits).map_err(Refusal::into_failure)?;
    if !sniff {
        probe.format.check_declared(fetched.content_type.as_deref()).map_err(Refusal::into_failure)?;
    }
    Ok((fetched, probe))
}

/// A recipe applied to this picture.
struct Order {
    name: String,
    geometry: Geometry,
    encoding: Encoding,
    /// Pass the animation through instead of rendering.
    keep: bool,
}

fn orders(recipes: Vec<Recipe>, probe: &Probe, limits: &Limits) -> Result<Vec<Order>, Refusal> {
    let order = |recipe: Recipe| {
        let encoding = recipe.encoding(probe.format);
        let geometry = recipe.size.geometry((probe.width, probe.height), probe.orientation, recipe.upscale);
        // Only upscaling can get here with more than the source has.
        limits.check_size(geometry.width, geometry.height)?;
        let keep = recipe.keep_animation && probe.animated;
        if keep && probe.format != Format::Gif {
            let feature = "animation, which is kept only for GIF; ask for `first`".to_owned();
            return Err(Refusal::Unsupported { format: probe.format, feature });
        }
        Ok(Order { name: recipe.name, geometry, encoding, keep })
    };
    recipes.into_iter().map(order).collect()
}

/// Where outputs are made and handed over.
struct Desk<'a> {
    destination: &'a Destination,
    orientation: Orientation,
    /// In the payload's order; filled in the order of work.
    reports: Vec<Option<OutputReport>>,
}

impl Desk<'_> {
    /// Hands over the animations that are passed through.
    fn keep(&mut self, orders: &[Order], source: &[u8], probe: &Probe) -> Result<(), Failure> {
        for (number, order) in orders.iter().enumerate().filter(|(_, order)| order.keep) {
            let file = animation::without_metadata(source).map_err(Refusal::into_failure)?;
            let file = Made { file, size: (probe.width, probe.height), format: Format::Gif, animated: true };
            self.deliver(number, order, &file)?;
        }
        Ok(())
    }

    /// Renders and hands over everything else. Outputs in the source's size come first: resizing multiplies
    /// colours with opacity in place, which they must not see.
    fn render(&mut self, orders: &[Order], picture: Picture) -> Result<(), Failure> {
        let rendered = || orders.iter().enumerate().filter(|(_, order)| !order.keep);
        for (number, order) in rendered().filter(|(_, order)| !order.geometry.scaled) {
            self.write(number, order, &picture)?;
        }
        let source = Premultiplied::new(picture).map_err(Refusal::into_failure)?;
        for (number, order) in rendered().filter(|(_, order)| order.geometry.scaled) {
            let resized = source.resize(&order.geometry).map_err(Refusal::into_failure)?;
            self.write(number, order, &resized)?;
        }
        Ok(())
    }

    fn write(&mut self, number: usize, order: &Order, picture: &Picture) -> Result<(), Failure> {
        let upright = Upright::new(picture, self.orientation);
        let file = encode(&upright, &order.encoding, &order.name).map_err(Refusal::into_failure)?;
        let format = order.encoding.format;
        self.deliver(number, order, &Made { file, size: upright.size(), format, animated: false })
    }

    fn deliver(&mut self, number: usize, order: &Order, made: &Made) -> Result<(), Failure> {
        let Made { file, size: (width, height), format, animated } = made;
        if file.len() as u64 > OUTPUT_BYTES_MAX {
            let refusal = Refusal::OutputTooLarge { name: order.name.clone(), limit: OUTPUT_BYTES_MAX };
            return Err(refusal.into_failure());
        }
        let store = &self.destination.store;
        let key = recipe::key(self.destination, &order.name, *format);
        blobs::put(store, &key, file, Some(format.content_type()))
            .map_err(|error| source::blob_failure(error, &format!("output blob `{store}/{key}`")))?;
        self.reports[number] = Some(OutputReport {
            name: order.name.clone(),
            store: store.clone(),
            key,
            width: *width,
            height: *height,
            bytes: file.len() as u64,
            content_type: format.content_type().to_owned(),
            sha256: hex::encode(Sha256::digest(file)),
            animated: *animated,
        });
        let done = self.reports.iter().flatten().count();
        // Progress is for people to look at; failing to show it is no reason to fail the job.
        let _shown = context::progress(&Progress { done, total: self.reports.len() });
        Ok(())
    }
}

/// A finished file.
struct Made {
    file: Vec<u8>,
    /// As seen upright.
    size: (u32, u32),
    format: Format,
    animated: bool,
}
