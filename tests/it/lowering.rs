//! The built-in model and the fixtures through our operators, against tract's own where ours are switched off.

use kernels::{Features, Isa};
use resnet::engine::{
    ColorValues, EngineOptions, Model, ModelSource, Network, OutputWish, TractModel,
};
use resnet::tensor::{Image, Size, Tensor};

use crate::harness::fixture;

/// Of the inputs that a file leaves open.
const SIZE: Size = Size::square(32);

fn model(bytes: &[u8], features: Features, max_batch: usize) -> TractModel {
    model_of(SIZE, bytes, features, max_batch)
}

fn model_of(size: Size, bytes: &[u8], features: Features, max_batch: usize) -> TractModel {
    let options = EngineOptions {
        features,
        max_batch,
        ..EngineOptions::default()
    };
    let source = ModelSource {
        bytes: bytes.to_vec().into(),
        dir: None,
        default_size: size,
        output: OutputWish::default(),
    };
    let network = Network::read(source).unwrap();
    TractModel::load(network, &ColorValues::UNIT, &options).unwrap()
}

/// What no operator of ours runs with.
fn scalar() -> Features {
    Features::vectors(Isa::Scalar)
}

fn images(size: Size, count: usize) -> Vec<Image> {
    let value = |i: usize| ((i * 7919) % 1009) as f32 / 250.0 - 2.0;
    let values = size.values();
    let image = |n: usize| (n * values..(n + 1) * values).map(value).collect();
    (0..count)
        .map(|n| Tensor::new(size.shape().to_vec(), image(n)).into())
        .collect()
}

#[test]
fn ours_answers_as_tract_and_the_same_in_every_batch() {
    let built_in = concat!(env!("CARGO_MANIFEST_DIR"), "/models/resnet18-tiny.onnx");
    let fixtures = [
        "opset7",
        "preactivation",
        "probabilities",
        "convolutional",
        "classes1000",
    ];
    let fixtures = fixtures.map(|name| fixture(&format!("models/{name}.onnx")));
    let open = fixture("models/dynamic_sides.onnx");
    let sizes = [(32, 48), (57, 33), (9, 64)].map(|(height, width)| Size { height, width });
    let not_square = sizes.map(|size| (open.clone(), size));
    let square = std::iter::once(built_in.into()).chain(fixtures);
    for (path, size) in square.map(|path| (path, SIZE)).chain(not_square) {
        let bytes = std::fs::read(&path).unwrap();
        let ours = model_of(size, &bytes, Features::detect(), 3);
        let tracts = model_of(size, &bytes, scalar(), 1);
        assert!(path != open || ours.spec().size == size);
        assert_eq!(tracts.spec().lowering.steps, 0, "{}", path.display());
        assert_eq!(tracts.spec().plan_batch, Some(1), "{}", path.display());
        let images = images(ours.spec().size, 7);
        let want = tracts.spawn().unwrap().run(&images).unwrap();
        let mut engine = ours.spawn().unwrap();
        let got = engine.run(&images).unwrap();
        for (got, want) in got.iter().zip(&want) {
            let largest = want.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
            for (got, want) in got.iter().zip(want) {
                assert!(
                    (got - want).abs() <= 1e-4 * largest,
                    "{}: {got} {want}",
                    path.display()
                );
            }
        }
        for (image, got) in images.iter().zip(&got) {
            let alone = engine.run(std::slice::from_ref(image)).unwrap();
            assert_eq!(alone[0], *got, "{}", path.display());
        }
    }
}

#[test]
fn what_is_not_lowered_is_named() {
    let bytes = std::fs::read(fixture("models/probabilities.onnx")).unwrap();
    let lowering = model(&bytes, scalar(), 1).spec().lowering.clone();
    let of = |name: &str| {
        lowering
            .left
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, c)| *c)
    };
    assert_eq!(
        (of("Conv"), of("Softmax")),
        (Some(3), Some(1)),
        "{lowering:?}"
    );
}
