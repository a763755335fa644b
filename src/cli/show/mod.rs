//! `resnet show MODEL`: what is known of one model, from the catalogue and from its file.
//!
//! Loads the file if it is there, so that what it prints is what would be served.

mod document;

use std::path::Path;

use clap::Args;
use indicatif::DecimalBytes;

use self::document::Document;
use super::args::{StoreArgs, arithmetic};
use super::output::print;
use crate::config::ArithmeticConfig;
use crate::engine::{EngineSpec, InputForm, Lowering, Pixels, RefusedNode};
use crate::preprocess::{Channels, CropRounding, PreprocessSpec, ResizeMode};
use crate::registry::{self, Builtin, Catalog, CatalogEntry, LoadedModel, ModelError, ModelRef};
use crate::table::Table;

/// The flags of `resnet show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Catalogue name, .onnx file, directory with model.onnx or with versions of it, or name of one in --models-dir
    #[arg(value_name = "MODEL")]
    model: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    arithmetic: ArithmeticConfig,
}

/// Runs the command.
///
/// # Errors
/// If the name is unknown or the file cannot be served.
pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<()> {
    let options = arithmetic::options(args.arithmetic, 1)?;
    let (catalog, store) = (Catalog::builtin(), args.store.store()?);
    let entry = catalog.find(&args.model);
    match ModelRef::parse(&args.model, &catalog, store.as_ref()) {
        Ok(reference) => {
            let loaded = registry::load(&reference, &options)?;
            tell(args, entry, Found::Loaded(&loaded))
        }
        Err(ModelError::NotPulled { path, .. }) => tell(args, entry, Found::NotPulled(&path)),
        Err(e) => Err(e.into()),
    }
}

/// What there is of a model on this machine.
#[derive(Clone, Copy)]
enum Found<'a> {
    Loaded(&'a LoadedModel),
    /// The model is not on this machine; its file would be here.
    NotPulled(&'a Path),
}

fn tell(args: &ShowArgs, entry: Option<&CatalogEntry>, found: Found<'_>) -> anyhow::Result<()> {
    if args.json {
        let loaded = match found {
            Found::Loaded(model) => Some(model),
            Found::NotPulled(_) => None,
        };
        let document = Document::new(&args.model, entry, loaded);
        return print(&format!("{}\n", serde_json::to_string_pretty(&document)?));
    }
    let mut text = Table::of_pairs(14);
    text.row(["model", &args.model]);
    if let Some(entry) = entry {
        describe_entry(&mut text, entry);
    }
    if let Some(builtin) = Builtin::find(&args.model) {
        text.row(["built in", builtin.description]);
        text.row(["license", builtin.license]);
        text.row(["card", &format!("models/{}.md", builtin.name)]);
        text.row(["others", "resnet ls; for ResNet-50: resnet pull resnet50"]);
    }
    match found {
        Found::Loaded(model) => describe_file(&mut text, model),
        Found::NotPulled(path) => text.row([
            "file",
            &format!(
                "{} (not downloaded: resnet pull {})",
                path.display(),
                args.model
            ),
        ]),
    }
    print(&text.to_string())
}

fn describe_entry(text: &mut Table, entry: &CatalogEntry) {
    text.row([
        "catalogue",
        &format!("{}: {}", entry.name, entry.description),
    ]);
    text.row(["url", &entry.url]);
    text.row([
        "size",
        &format!("{} ({} bytes)", DecimalBytes(entry.bytes), entry.bytes),
    ]);
    text.row(["sha256", &entry.sha256]);
    text.row(["license", &entry.license]);
    let percent = |p: Option<f32>| p.map_or_else(|| "not published".into(), |p| format!("{p}%"));
    text.row([
        "accuracy",
        &format!(
            "top-1 {}, top-5 {} (published)",
            percent(entry.top1),
            percent(entry.top5)
        ),
    ]);
    describe_preprocess(text, &entry.preprocess);
    if let Some(note) = &entry.note {
        text.row(["note", note]);
    }
}

fn describe_preprocess(text: &mut Table, spec: &PreprocessSpec) {
    text.row(["preprocess", &preprocess_words(spec)]);
}

/// The preprocessing in a line of words.
pub(crate) fn preprocess_words(spec: &PreprocessSpec) -> String {
    let PreprocessSpec {
        resize,
        resize_mode,
        interpolation,
        crop,
        crop_rounding,
        channels,
        scale,
        mean,
        std,
    } = spec;
    let side = match (resize_mode, resize.is_square()) {
        (ResizeMode::ShorterSide, _) => "shorter side to",
        (ResizeMode::Stretch, true) => "both sides to",
        (ResizeMode::Stretch, false) => "height and width to",
        (ResizeMode::Cover, _) => "in proportion, to cover",
    };
    let rounding = match crop_rounding {
        CropRounding::HalfEven => "",
        CropRounding::Down => ", rounded down",
    };
    let order = match channels {
        Channels::Rgb => "",
        Channels::Bgr => ", BGR",
    };
    let range = match *scale == 1.0 {
        true => String::new(),
        false => format!(" of pixels from 0 to {scale}"),
    };
    format!(
        "{side} {resize} ({}), center crop {crop}{rounding}{order}, mean {mean:?}, std {std:?}{range}",
        interpolation.name()
    )
}

fn describe_file(text: &mut Table, model: &LoadedModel) {
    let spec = model.model.spec();
    text.row(["file", &format!("{} ({} bytes)", model.origin, model.bytes)]);
    text.row(["file sha256", &model.sha256]);
    text.row([
        "input",
        &format!(
            "{} [N, 3, {}, {}] float32{}",
            spec.input_name,
            spec.size.height,
            spec.size.width,
            file_form(spec)
        ),
    ]);
    for note in &spec.notes {
        text.row(["note", note]);
    }
    text.row([
        "output",
        &format!(
            "{} [N, {}] {} ({})",
            spec.output_name(),
            spec.classes(),
            model.output.name(),
            model.output_reason
        ),
    ]);
    describe_preprocess(text, &model.preprocess);
    text.row(["settings from", &model.preprocess_from]);
    let first: Vec<&str> = model.labels.iter().take(3).map(|l| &*l.label).collect();
    let separator = match first.iter().any(|label| label.contains(',')) {
        true => "; ",
        false => ", ",
    };
    text.row([
        "labels",
        &format!(
            "{} ({}{separator}…)",
            model.labels.len(),
            first.join(separator)
        ),
    ]);
    text.row(["labels from", &model.labels_from]);
    for note in &model.notes {
        text.row(["note", note]);
    }
    text.row([
        "runtime",
        &format!(
            "{}, loaded in {} ms",
            spec.runtime,
            model.load_time.as_millis()
        ),
    ]);
    text.row(["precision", &spec.precision_reason]);
    text.row(["instructions", &spec.instructions]);
    text.row(["operators", &operators(&spec.lowering)]);
    for line in not_ours(&spec.lowering.refused) {
        text.row(["not ours", &line]);
    }
}

/// Which operators are ours and which stay tract's, on one line.
pub(super) fn operators(lowering: &Lowering) -> String {
    let Lowering {
        steps,
        replaced,
        left,
        ..
    } = lowering;
    let left = match left.is_empty() {
        true => "none".into(),
        false => {
            let counts = left.iter().map(|(name, count)| format!("{count} {name}"));
            counts.collect::<Vec<_>>().join(", ")
        }
    };
    match steps {
        0 => "all are tract's".into(),
        _ => format!("{steps} of ours for {replaced} of tract's; tract's remain: {left}"),
    }
}

/// What the file itself takes, where that is something else.
fn file_form(spec: &EngineSpec) -> String {
    let InputForm {
        channels_last,
        without_batch,
        bytes,
        grey,
    } = spec.input_form;
    let own = match spec.pixels {
        Pixels::Normalized | Pixels::Unknown(_) => None,
        Pixels::Unit => Some("normalizes pixels from 0 to 1 itself"),
        Pixels::Bytes if bytes => None,
        Pixels::Bytes => Some("normalizes pixels from 0 to 255 itself"),
    };
    let forms = [
        channels_last.then_some("channels last"),
        without_batch.then_some("no batch"),
        bytes.then_some("uint8"),
        grey.then_some("grey"),
        own,
    ];
    let forms: Vec<&str> = forms.into_iter().flatten().collect();
    match forms.is_empty() {
        true => String::new(),
        false => format!(" (in the file: {})", forms.join(", ")),
    }
}

/// Nodes that could be ours and are not, those with the same reason on one line.
pub(super) fn not_ours(refused: &[RefusedNode]) -> Vec<String> {
    let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
    for RefusedNode { node, reason } in refused {
        match lines.iter_mut().find(|(known, _)| known == reason) {
            Some((_, nodes)) => nodes.push(node),
            None => lines.push((reason, vec![node])),
        }
    }
    let line = |(reason, nodes): (&str, Vec<&str>)| match &nodes[..] {
        [one] => format!("{one}: {reason}"),
        [first, more @ ..] => format!("{first} and {} more: {reason}", more.len()),
        [] => reason.to_owned(),
    };
    lines.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_counted_by_owner() {
        let mut lowering = Lowering::default();
        assert_eq!(operators(&lowering), "all are tract's");
        lowering.steps = 53;
        lowering.replaced = 122;
        assert_eq!(
            operators(&lowering),
            "53 of ours for 122 of tract's; tract's remain: none"
        );
        lowering.left = vec![("Softmax".into(), 1), ("Sigmoid".into(), 16)];
        assert!(operators(&lowering).ends_with("remain: 1 Softmax, 16 Sigmoid"));
    }

    #[test]
    fn nodes_with_the_same_reason_share_a_line() {
        let refused = |node: &str, reason: &str| RefusedNode {
            node: node.into(),
            reason: reason.into(),
        };
        let nodes = [refused("a", "no"), refused("b", "why"), refused("c", "no")];
        assert_eq!(not_ours(&nodes), ["a and 1 more: no", "b: why"]);
        assert!(not_ours(&[]).is_empty());
    }
}
