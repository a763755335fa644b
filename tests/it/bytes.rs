//! Networks that take the bytes of a crop, or a client's own numbers: the answers must be those for the normalized tensor,
//! to the last bit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernels::nn::{Arithmetic, Precision};
use kernels::{Features, Isa};
use resnet::batcher::BatchPolicy;
use resnet::classifier::{Classifier, ClassifierOptions, ClassifyOptions};
use resnet::engine::{Engine, EngineError, EngineOptions, EngineSpec, Model};
use resnet::metrics::Metrics;
use resnet::preprocess::{ExifMode, ImageOptions, Preprocessor};
use resnet::registry::{Catalog, LoadedModel, ModelRef, load};
use resnet::tensor::{Image, Size, Tensor, Values};

use crate::harness::{fixture, skipped, tiny_reference};

/// The test photos, and pictures of other formats and sizes.
fn photos() -> Vec<Vec<u8>> {
    let names = [
        "photos/espresso.png",
        "photos/orange.png",
        "photos/plate.png",
        "photos/trolleybus.png",
        "images/espresso_299.jpg",
        "images/lossy.webp",
        "images/odd_33x7_420.jpg",
    ];
    names.map(|n| std::fs::read(fixture(n)).unwrap()).into()
}

/// The small built-in model, and fixtures that are lowered to one region, a softmax behind it in one; one of an input
/// that is not square, as `model.toml` in the directory says.
fn references(wide: &Path) -> Vec<ModelRef> {
    std::fs::copy(
        fixture("models/dynamic_sides.onnx"),
        wide.join("model.onnx"),
    )
    .unwrap();
    std::fs::write(wide.join("model.toml"), "[preprocess]\ncrop = [33, 58]\n").unwrap();
    let fixture = |name: &str| {
        let value = format!("m={}", fixture(&format!("models/{name}.onnx")).display());
        ModelRef::parse(&value, &Catalog::builtin(), None).unwrap()
    };
    let fixtures = ["opset7", "fixed_batch4", "probabilities", "classes1000"];
    let wide = format!("m={}", wide.display());
    let wide = ModelRef::parse(&wide, &Catalog::builtin(), None).unwrap();
    let fixtures = fixtures.map(fixture).into_iter().chain([wide]);
    std::iter::once(tiny_reference()).chain(fixtures).collect()
}

/// A tensor as clients send it, in a body in which other bytes stand before it.
fn as_sent(tensor: &Tensor, size: Size) -> Image {
    let bytes = tensor.data().iter().flat_map(|v| v.to_le_bytes());
    let body = Bytes::from_iter([0].into_iter().chain(bytes));
    Values::new(size, body.slice(1..)).into()
}

fn bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let bits = |output: &Vec<f32>| output.iter().map(|v| v.to_bits()).collect();
    outputs.iter().map(bits).collect()
}

#[test]
fn crop_and_values_give_the_bits_of_their_tensor_in_every_precision_and_company() {
    let wide = tempfile::tempdir().unwrap();
    let avx2 = Features::vectors(Isa::Avx2);
    let precisions = Precision::FLOATS.map(|precision| (precision, Features::detect()));
    for (precision, features) in precisions.into_iter().chain([(Precision::F32, avx2)]) {
        if Arithmetic::new(precision, features).is_none() {
            let name = precision.name();
            skipped(&format!("this CPU has no instructions for {name}"));
            continue;
        }
        for reference in references(wide.path()) {
            let options = EngineOptions {
                features,
                precision: Some(precision),
                max_batch: 3,
                ..EngineOptions::default()
            };
            let loaded = load(&reference, &options).unwrap();
            let name = &loaded.origin;
            assert!(loaded.model.spec().takes_bytes, "{name}");
            let preprocessor =
                Preprocessor::new(loaded.preprocess.clone(), ImageOptions::default());
            let (mut tensors, mut values, mut crops) = (
                Vec::<Image>::new(),
                Vec::<Image>::new(),
                Vec::<Image>::new(),
            );
            for photo in photos() {
                let tensor = preprocessor.run(&photo, ExifMode::Apply, &|| false);
                let crop = preprocessor.crop(&photo, ExifMode::Apply, &|| false);
                let tensor = tensor.unwrap().image;
                values.push(as_sent(&tensor, loaded.model.spec().size));
                tensors.push(tensor.into());
                crops.push(crop.unwrap().image.into());
            }
            let mut engine = loaded.model.spawn().unwrap();
            let want = engine.run(&tensors).unwrap();
            assert!(want.iter().flatten().all(|v| v.is_finite()), "{name}");
            assert!(want[1..].iter().all(|w| *w != want[0]), "{name}");
            assert_eq!(bits(&engine.run(&crops).unwrap()), bits(&want), "{name}");
            // one of each in turn, and each alone
            let mixed: Vec<Image> = (0..crops.len())
                .map(|i| [&crops, &tensors, &values][i % 3][i].clone())
                .collect();
            assert_eq!(bits(&engine.run(&mixed).unwrap()), bits(&want), "{name}");
            assert_eq!(bits(&engine.run(&values).unwrap()), bits(&want), "{name}");
            for images in [&crops, &values] {
                for (image, want) in images.iter().zip(&want) {
                    let alone = engine.run(std::slice::from_ref(image)).unwrap();
                    assert_eq!(bits(&alone), bits(std::slice::from_ref(want)), "{name}");
                }
            }
        }
    }
}

/// A network that is said to take tensors only.
struct TensorsOnly {
    model: Arc<dyn Model>,
    spec: EngineSpec,
}

impl Model for TensorsOnly {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn spawn(&self) -> Result<Box<dyn Engine>, EngineError> {
        self.model.spawn()
    }
}

/// The outputs for all photos, from encoded bytes on, several in a batch.
fn outputs(model: LoadedModel) -> Vec<Vec<f32>> {
    let options = ClassifierOptions {
        images: ImageOptions::default(),
        batching: BatchPolicy {
            max_batch_size: 3,
            max_queue_delay: std::time::Duration::from_millis(20),
            workers: 1,
        },
        prep_threads: 2,
        queue_capacity: 16,
        max_queue_wait: Duration::MAX,
        stuck_after: Duration::from_secs(30),
    };
    let classifier = Classifier::start(vec![model], options, Arc::new(Metrics::new())).unwrap();
    let model = Arc::clone(&classifier.models()[0]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut pending = Vec::new();
        for photo in photos() {
            let place = classifier.enter(&model);
            pending.push(classifier.submit(
                &model,
                bytes::Bytes::from(photo).into(),
                ClassifyOptions::default(),
                place,
            ));
        }
        let mut outputs = Vec::new();
        for pending in pending {
            outputs.push(pending.wait().await.unwrap().output);
        }
        outputs
    })
}

#[test]
fn photos_are_answered_alike_with_and_without_bytes() {
    let wide = tempfile::tempdir().unwrap();
    let options = EngineOptions {
        max_batch: 3,
        ..EngineOptions::default()
    };
    for reference in references(wide.path()) {
        let loaded = || load(&reference, &options).unwrap();
        let lowered = options.features.isa > Isa::Scalar;
        assert_eq!(loaded().model.spec().takes_bytes, lowered);
        let mut tensors_only = loaded();
        tensors_only.model = Arc::new(TensorsOnly {
            spec: EngineSpec {
                takes_bytes: false,
                ..tensors_only.model.spec().clone()
            },
            model: tensors_only.model,
        });
        assert_eq!(bits(&outputs(loaded())), bits(&outputs(tensors_only)));
    }
}

#[test]
fn network_of_stock_operators_takes_no_bytes_and_says_so() {
    let options = EngineOptions {
        features: Features::vectors(Isa::Scalar),
        ..EngineOptions::default()
    };
    let loaded = load(&tiny_reference(), &options).unwrap();
    assert!(!loaded.model.spec().takes_bytes);
    let preprocessor = Preprocessor::new(loaded.preprocess.clone(), ImageOptions::default());
    let crop = preprocessor.crop(&photos()[0], ExifMode::Apply, &|| false);
    let crop = crop.unwrap().image.into();
    let error = loaded.model.spawn().unwrap().run(&[crop]).unwrap_err();
    assert!(error.to_string().contains("takes no bytes"), "{error}");
    assert!(!outputs(loaded).is_empty());
}
