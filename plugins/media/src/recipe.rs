//! A payload's wishes, checked: what contradicts itself is refused before anything is fetched.

use std::collections::HashSet;

use crate::encode::Encoding;
use crate::format::Format;
use crate::geometry::Size;
use crate::limits::{OUTPUTS_MAX, SIDE_MAX};
use crate::payload::{Animation, Destination, Fit, Output, OutputFormat, Process, Source};
use crate::refusal::Refusal;

/// JPEG quality when none is asked for: below 80 edges begin to show, above 85 mostly bytes grow.
pub const QUALITY: u8 = 82;

const NAME_MAX: usize = 64;

/// Longest key in bytes that S3 and its like take.
const KEY_MAX: usize = 1024;

/// A checked output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Unique in its job; part of the key.
    pub name: String,
    /// Size wish.
    pub size: Size,
    /// Format wish.
    pub format: OutputFormat,
    /// JPEG quality.
    pub quality: u8,
    /// Red, green, blue under transparency when the format has none.
    pub background: [u8; 3],
    /// May it get larger than the source?
    pub upscale: bool,
    /// Pass an animated GIF through?
    pub keep_animation: bool,
}

impl Recipe {
    /// How to encode for a source of this format.
    #[must_use]
    pub fn encoding(&self, source: Format) -> Encoding {
        Encoding { format: self.format.resolve(source), quality: self.quality, background: self.background }
    }
}

/// Checks every output of a job together with its destination.
///
/// # Errors
/// [`Refusal::Payload`] naming the field.
pub fn recipes(process: &Process) -> Result<Vec<Recipe>, Refusal> {
    let Process { source, destination, outputs, limits: _, sniff: _ } = process;
    if outputs.is_empty() || outputs.len() > OUTPUTS_MAX {
        let reason = format!("{} outputs; ask for 1 to {OUTPUTS_MAX}", outputs.len());
        return Err(Refusal::payload("outputs", reason));
    }
    check_destination(destination)?;
    let mut names = HashSet::new();
    let mut recipes = Vec::with_capacity(outputs.len());
    for (number, output) in outputs.iter().enumerate() {
        let recipe = recipe(number, output)?;
        if !names.insert(output.name.as_str()) {
            let reason = format!("`{}` is the name of an earlier output", output.name);
            return Err(Refusal::payload(format!("outputs[{number}].name"), reason));
        }
        check_overwrite(number, source, destination, &recipe)?;
        recipes.push(recipe);
    }
    Ok(recipes)
}

/// The key of an output.
#[must_use]
pub fn key(destination: &Destination, name: &str, format: Format) -> String {
    format!("{}{name}.{}", destination.prefix, format.extension())
}

fn recipe(number: usize, output: &Output) -> Result<Recipe, Refusal> {
    let Output { name, fit: _, width: _, height: _, format, quality, upscale, background, animation } =
        output;
    let field = |field: &str| format!("outputs[{number}].{field}");
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > NAME_MAX || name.starts_with('.') || !name.bytes().all(usable) {
        let reason = format!("1 to {NAME_MAX} of a-z A-Z 0-9 . _ -, not beginning with a dot, make a name");
        return Err(Refusal::payload(field("name"), reason));
    }
    let size = size(output, &field)?;
    if quality.is_some_and(|quality| !(1..=100).contains(&quality)) {
        return Err(Refusal::payload(field("quality"), "from 1 to 100"));
    }
    if quality.is_some() && !matches!(format, OutputFormat::Source | OutputFormat::Jpeg) {
        let reason = "only JPEG has a quality; PNG, WebP and GIF are written without loss";
        return Err(Refusal::payload(field("quality"), reason));
    }
    let background = match background {
        None => [0xff; 3],
        Some(color) => parse_color(color)
            .ok_or_else(|| Refusal::payload(field("background"), "write a colour as #rrggbb"))?,
    };
    let keep_animation = match animation {
        Animation::First => false,
        Animation::Keep => true,
    };
    if keep_animation
        && (size != Size::Original || !matches!(format, OutputFormat::Source | OutputFormat::Gif))
    {
        let reason = "an animation is kept as it is: leave fit `original` and format `source` or `gif`";
        return Err(Refusal::payload(field("animation"), reason));
    }
    Ok(Recipe {
        name: name.clone(),
        size,
        format: *format,
        quality: quality.unwrap_or(QUALITY),
        background,
        upscale: *upscale,
        keep_animation,
    })
}

fn size(output: &Output, field: &impl Fn(&str) -> String) -> Result<Size, Refusal> {
    for (name, side) in [("width", output.width), ("height", output.height)] {
        if side.is_some_and(|side| !(1..=SIDE_MAX).contains(&side)) {
            return Err(Refusal::payload(field(name), format!("from 1 to {SIDE_MAX} pixels")));
        }
    }
    match (output.fit, output.width, output.height) {
        (Fit::Original, None, None) => Ok(Size::Original),
        (Fit::Cover, Some(width), Some(height)) => Ok(Size::Cover { width, height }),
        (Fit::Contain, Some(width), Some(height)) => Ok(Size::Contain { width, height }),
        (Fit::Width, Some(width), None) => Ok(Size::Width(width)),
        (Fit::Original, _, _) => Err(Refusal::payload(
            field("fit"),
            "`original` keeps the size; say `cover`, `contain` or `width` to give one",
        )),
        (Fit::Cover | Fit::Contain, _, _) => {
            Err(Refusal::payload(field("fit"), "`cover` and `contain` need width and height"))
        }
        (Fit::Width, _, _) => {
            Err(Refusal::payload(field("fit"), "`width` needs width alone; the height follows"))
        }
    }
}

fn parse_color(text: &str) -> Option<[u8; 3]> {
    let mut color = [0; 3];
    hex::decode_to_slice(text.strip_prefix('#')?, &mut color).ok()?;
    Some(color)
}

/// Stores have directories or pretend to: nothing may climb out of the prefix or hide in it.
fn check_destination(destination: &Destination) -> Result<(), Refusal> {
    let Destination { store, prefix } = destination;
    if store.is_empty() {
        return Err(Refusal::payload("destination.store", "name a blob store"));
    }
    let (folders, _) = prefix.rsplit_once('/').unwrap_or(("", ""));
    let climbs = !prefix.is_empty()
        && prefix.contains('/')
        && folders.split('/').any(|folder| matches!(folder, "" | "." | ".."));
    // What follows the last slash becomes the beginning of a file's name.
    let odd_start = prefix.rsplit('/').next().is_some_and(|start| start.starts_with('.'));
    let odd_bytes = prefix.chars().any(|c| c.is_control() || c == '\\');
    if climbs || odd_start || odd_bytes {
        let reason = "no empty, `.` or `..` folder, no leading slash, backslash or control character";
        return Err(Refusal::payload("destination.prefix", reason));
    }
    if prefix.len() > KEY_MAX - NAME_MAX - ".jpeg".len() {
        return Err(Refusal::payload("destination.prefix", format!("keys have at most {KEY_MAX} bytes")));
    }
    Ok(())
}

/// An output in the place of its own source would make a second run start from the first one's result.
fn check_overwrite(
    number: usize,
    source: &Source,
    destination: &Destination,
    recipe: &Recipe,
) -> Result<(), Refusal> {
    let Source::Blob(blob) = source else { return Ok(()) };
    let own = [Format::Jpeg, Format::Png, Format::Webp, Format::Gif]
        .into_iter()
        .any(|format| key(destination, &recipe.name, format) == blob.key);
    if own && blob.store == destination.store {
        let reason =
            "this output could overwrite the source, and a retry would start from it; use another prefix";
        return Err(Refusal::payload(format!("outputs[{number}].name"), reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{BlobSource, LimitsPayload};

    fn process(prefix: &str, outputs: Vec<Output>) -> Process {
        Process {
            source: Source::Blob(BlobSource { store: "uploads".into(), key: "in/cat.jpg".into() }),
            destination: Destination { store: "uploads".into(), prefix: prefix.into() },
            outputs,
            limits: LimitsPayload::default(),
            sniff: false,
        }
    }

    fn named(name: &str) -> Output {
        Output { name: name.into(), ..Output::default() }
    }

    /// The message for one output, in a job that is fine otherwise.
    fn refusal(output: Output) -> String {
        recipes(&process("out/", vec![output])).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let recipe = recipes(&process("out/", vec![named("a")])).unwrap().remove(0);
        assert_eq!((recipe.size, recipe.format), (Size::Original, OutputFormat::Source));
        assert_eq!((recipe.quality, recipe.background), (82, [255; 3]));
        assert!(!recipe.upscale && !recipe.keep_animation);
        assert_eq!(recipe.encoding(Format::Webp).format, Format::Webp);
    }

    #[test]
    fn every_contradiction_is_named_by_its_field() {
        let wide = |fit, width, height| Output { fit, width, height, ..named("a") };
        for (output, word) in [
            (wide(Fit::Original, Some(5), None), "outputs[0].fit"),
            (wide(Fit::Cover, Some(5), None), "need width and height"),
            (wide(Fit::Contain, None, Some(5)), "need width and height"),
            (wide(Fit::Width, Some(5), Some(5)), "width alone"),
            (wide(Fit::Width, Some(0), None), "outputs[0].width"),
            (wide(Fit::Cover, Some(5), Some(16_384)), "outputs[0].height"),
            (Output { quality: Some(0), ..named("a") }, "1 to 100"),
            (Output { quality: Some(80), format: OutputFormat::Webp, ..named("a") }, "only JPEG"),
            (Output { background: Some("white".into()), ..named("a") }, "#rrggbb"),
            (Output { background: Some("#ffff".into()), ..named("a") }, "#rrggbb"),
            (
                Output { animation: Animation::Keep, format: OutputFormat::Png, ..named("a") },
                "outputs[0].animation",
            ),
            (
                Output { animation: Animation::Keep, fit: Fit::Width, width: Some(5), ..named("a") },
                "outputs[0].animation",
            ),
            (named(""), "outputs[0].name"),
            (named("../up"), "outputs[0].name"),
            (named(".hidden"), "outputs[0].name"),
            (named(&"x".repeat(65)), "outputs[0].name"),
        ] {
            let message = refusal(output.clone());
            assert!(message.contains(word), "{output:?}: {message}");
        }
    }

    #[test]
    fn names_are_unique_and_outputs_are_counted() {
        let twice = recipes(&process("", vec![named("a"), named("b"), named("a")])).unwrap_err().to_string();
        assert!(twice.contains("outputs[2].name"), "{twice}");
        assert!(recipes(&process("", vec![])).is_err());
        let many = (0..33).map(|number| named(&number.to_string())).collect();
        assert!(recipes(&process("", many)).is_err());
    }

    #[test]
    fn prefixes_cannot_climb() {
        for bad in
            ["/abs/", "a/../b/", "a//b", "./a/", "a/./", "..", "a/.b", "a\\b/", "a\n/", &"x".repeat(1000)]
        {
            assert!(recipes(&process(bad, vec![named("a")])).is_err(), "{bad:?}");
        }
        for good in ["", "out/", "out/a-", "a/b/c/", "tenant 7/"] {
            assert!(recipes(&process(good, vec![named("a")])).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn an_output_never_overwrites_its_source() {
        let refused = recipes(&process("in/", vec![named("cat")])).unwrap_err().to_string();
        assert!(refused.contains("overwrite"), "{refused}");
        let mut elsewhere = process("in/", vec![named("cat")]);
        elsewhere.destination.store = "public".into();
        assert!(recipes(&elsewhere).is_ok());
    }
}
