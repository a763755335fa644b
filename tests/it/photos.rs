//! Pixels of labelled photos against Pillow, answers against Pillow and ONNX Runtime; `eval.rs` has the accuracy. Needs
//! the weights and photos named by `RESNET_TEST_ASSETS`; says that it was skipped without them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kernels::nn::{Arithmetic, Precision};
use resnet::batcher::BatchPolicy;
use resnet::classifier::{Classification, Classifier, ClassifierOptions, ClassifyOptions};
use resnet::engine::EngineOptions;
use resnet::metrics::Metrics;
use resnet::preprocess::{
    ExifMode, ImageOptions, PreprocessSpec, Preprocessor, Stage, StageOutput,
};
use resnet::registry::{Builtin, Catalog, LoadedModel, ModelRef, load};

use sha2::Digest as _;

use crate::harness::{Answer, Process, agent, assets, skipped};
use crate::npy::Npy;

/// The labelled photos' names, in the order of the reference.
fn photos(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("labels.tsv")).unwrap();
    let file = |line: &str| line.split('\t').next().unwrap().to_owned();
    text.lines().skip(1).map(file).collect()
}

/// Classifies photos through the classifier, as stored (the reference ignores EXIF).
fn classify_all(model: LoadedModel, dir: &Path, photos: &[String]) -> Vec<Classification> {
    let options = ClassifierOptions {
        images: ImageOptions::default(),
        batching: BatchPolicy {
            max_batch_size: 8,
            max_queue_delay: std::time::Duration::ZERO,
            workers: 2,
        },
        prep_threads: 2,
        queue_capacity: 8,
        max_queue_wait: Duration::MAX,
        stuck_after: Duration::from_secs(30),
    };
    let classifier = Classifier::start(vec![model], options, Arc::new(Metrics::new())).unwrap();
    let model = Arc::clone(&classifier.models()[0]);
    let options = ClassifyOptions {
        top_k: 5,
        exif: ExifMode::Ignore,
        ..ClassifyOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut pending = Vec::new();
        for photo in photos {
            let bytes = std::fs::read(dir.join("photos").join(photo)).unwrap();
            pending.push(classifier.submit(
                &model,
                bytes::Bytes::from(bytes).into(),
                options,
                classifier.enter(&model),
            ));
        }
        let mut answers = Vec::new();
        for (photo, pending) in photos.iter().zip(pending) {
            answers.push(
                pending
                    .wait()
                    .await
                    .unwrap_or_else(|e| panic!("{photo}: {e}")),
            );
        }
        answers
    })
}

/// The logits of a reference `.npz`: `[photos, 1000]`, row-major.
fn reference_logits(path: &Path) -> Vec<Vec<f32>> {
    let values: Vec<f32> = Npy::in_archive(path, "logits").values();
    values.chunks(1000).map(<[f32]>::to_vec).collect()
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len())
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)))
        .unwrap()
}

/// How near a precision comes to the reference.
struct Agreement {
    /// Photos, and those whose most probable class is the reference's.
    photos: usize,
    same_class: usize,
    /// Photos whose label the reference, and this precision, put first.
    reference_right: usize,
    right: usize,
    /// Largest difference of a logit, relative to the photo's largest.
    error: f32,
}

/// Answers in a precision against Pillow's pixels and ONNX Runtime's logits; none without the assets, or where the CPU
/// has no instructions for it.
fn agreement(model: &str, precision: Precision) -> Option<Agreement> {
    let catalog = Catalog::builtin();
    let reference = match Builtin::find(model) {
        Some(builtin) => ModelRef::builtin(builtin),
        None => {
            let weights = assets(&format!("models/{model}.onnx"))?;
            ModelRef::parse(&weights.display().to_string(), &catalog, None).unwrap()
        }
    };
    let dir = assets("eval")?;
    let options = EngineOptions {
        precision: Some(precision),
        max_batch: 8,
        ..EngineOptions::default()
    };
    if Arithmetic::new(precision, options.features).is_none() {
        let name = precision.name();
        skipped(&format!("this CPU has no instructions for {name}"));
        return None;
    }
    let photos = photos(&dir);
    let loaded = load(&reference, &options).unwrap();
    assert_eq!(loaded.model.spec().precision, precision);
    let answers = classify_all(loaded, &dir, &photos);
    let expected =
        reference_logits(&dir.join(format!("reference_{}.npz", model.replace('-', "_"))));
    let labels = class_indices(&dir);
    assert_eq!(
        (answers.len(), expected.len(), labels.len()),
        (300, 300, 300)
    );
    let mut result = Agreement {
        photos: photos.len(),
        same_class: 0,
        reference_right: 0,
        right: 0,
        error: 0.0,
    };
    for ((answer, expected), label) in answers.iter().zip(&expected).zip(labels) {
        let (ours, theirs) = (answer.predictions[0].class_index, argmax(expected));
        result.same_class += usize::from(ours == theirs);
        result.right += usize::from(ours == label);
        result.reference_right += usize::from(theirs == label);
        let largest = expected.iter().fold(0.0_f32, |m, e| m.max(e.abs()));
        let pairs = answer.output.iter().zip(expected);
        let error = pairs.map(|(a, e)| (a - e).abs()).fold(0.0, f32::max) / largest;
        result.error = result.error.max(error);
    }
    println!(
        "{model} {}: {} of {} photos in the reference's class, {} right ({} by the reference), largest error {:.1e}",
        precision.name(),
        result.same_class,
        result.photos,
        result.right,
        result.reference_right,
        result.error
    );
    Some(result)
}

/// Each photo's class index, in the order of the reference.
fn class_indices(dir: &Path) -> Vec<usize> {
    let text = std::fs::read_to_string(dir.join("labels.tsv")).unwrap();
    let index = |line: &str| line.split('\t').nth(1).unwrap().parse().unwrap();
    text.lines().skip(1).map(index).collect()
}

/// The same most probable class on all photos, and logits that differ by no more than `error` of the largest.
fn equals_reference(model: &str, precision: Precision, error: f32) {
    if let Some(result) = agreement(model, precision) {
        assert_eq!(result.same_class, result.photos);
        assert!(result.error < error, "largest error {}", result.error);
    }
}

/// The same most probable class on so many photos, and nearly the same accuracy: 2 of 300 photos are 0.7 points.
fn nearly_equals_reference(model: &str, same_class: usize) {
    if let Some(result) = agreement(model, Precision::Bf16) {
        assert!(result.same_class >= same_class, "{}", result.same_class);
        assert!(result.right.abs_diff(result.reference_right) <= 2);
    }
}

#[test]
fn resnet50_f32_answers_as_after_pillow_and_onnx_runtime() {
    equals_reference("resnet50", Precision::F32, 1e-4);
}

#[test]
fn resnet18_f32_answers_as_after_pillow_and_onnx_runtime() {
    equals_reference("resnet18", Precision::F32, 1e-4);
}

#[test]
fn preset_f32_answers_as_after_pillow_and_onnx_runtime() {
    equals_reference("efficientnet-lite0", Precision::F32, 1e-4);
}

#[test]
fn preset_bf16_answers_nearly_as_f32_does() {
    nearly_equals_reference("efficientnet-lite0", 290);
}

#[test]
fn resnet50_bf16x3_answers_as_f32_does() {
    equals_reference("resnet50", Precision::Bf16x3, 1e-3);
}

#[test]
fn resnet18_bf16x3_answers_as_f32_does() {
    equals_reference("resnet18", Precision::Bf16x3, 1e-3);
}

#[test]
fn resnet50_bf16_answers_nearly_as_f32_does() {
    nearly_equals_reference("resnet50", 297);
}

#[test]
fn resnet18_bf16_answers_nearly_as_f32_does() {
    // Its closest decisions are closer: with all products in bfloat16, four of them turn.
    nearly_equals_reference("resnet18", 295);
}

#[test]
fn crop_of_every_photo_is_pillows_to_the_byte() {
    let Some(dir) = assets("eval") else { return };
    let digests = Npy::in_archive(&dir.join("reference_resnet50.npz"), "tensor_sha256").strings();
    let preprocessor = Preprocessor::new(PreprocessSpec::default(), ImageOptions::default());
    let photos = photos(&dir);
    assert_eq!(photos.len(), digests.len());
    for (photo, expected) in photos.iter().zip(&digests) {
        let bytes = std::fs::read(dir.join("photos").join(photo)).unwrap();
        let stage = preprocessor.stage(&bytes, ExifMode::Ignore, Stage::Cropped);
        let Ok(StageOutput::Pixels(crop)) = stage else {
            panic!("{photo}: {stage:?}");
        };
        let digest = resnet::hex::encode(&sha2::Sha256::digest(&crop.rgb));
        assert_eq!(&digest, expected, "{photo}");
    }
}

#[test]
fn eight_clients_get_the_answers_that_one_gets() {
    let Some(dir) = assets("eval") else { return };
    // All are answered, however slow the machine is.
    let server = Process::start(&["--max-queue-wait", "5m"]);
    let photos: Vec<Vec<u8>> = photos(&dir)
        .iter()
        .filter(|p| p.ends_with(".JPEG"))
        .map(|p| std::fs::read(dir.join("photos").join(p)).unwrap())
        .collect();
    assert_eq!(photos.len(), 200);
    let url = format!("http://{}/classify", server.address);
    let run = |agent: &ureq::Agent, photo: &[u8]| Answer::of(agent.post(&url).send(photo)).ok();
    let one = agent();
    let alone: Vec<_> = photos.iter().map(|p| run(&one, p)).collect();
    let round = || {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (photos, alone, run) = (&photos, &alone, &run);
                scope.spawn(move || {
                    let agent = agent();
                    for i in 0..photos.len() {
                        let i = (i + client * 25) % photos.len();
                        assert_eq!(run(&agent, &photos[i]), alone[i]);
                    }
                });
            }
        });
    };
    round();
    let before = resident_bytes(server.child.id());
    for _ in 0..3 {
        round();
    }
    // The allocator's caches make the figure move by 10 MiB up and down; a leak of 5 KiB a photo would show.
    let growth = resident_bytes(server.child.id()).saturating_sub(before);
    assert!(
        growth < 24 << 20,
        "RSS grew by {growth} bytes over 4800 photos"
    );
    let metrics = Answer::of(one.get(format!("http://{}/metrics", server.address)).call());
    let text = String::from_utf8(metrics.body).unwrap();
    let value = |name: &str| -> f64 {
        text.lines()
            .find_map(|l| l.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name}"))
            .trim()
            .parse()
            .unwrap()
    };
    let (images, batches) = (
        value("resnet_batch_size_sum{model=\"resnet18-tiny\"}"),
        value("resnet_batch_size_count{model=\"resnet18-tiny\"}"),
    );
    assert_eq!(images, 6600.0);
    assert!(batches < images, "no batch was larger than one");
}

fn resident_bytes(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .unwrap()
        * 1024
}
