//! Quantized files: the answers of ONNX Runtime, the same bits however they are computed, and refusals that name the
//! node.

use kernels::nn::{Arithmetic, Precision};
use kernels::{Features, Isa};
use resnet::engine::{
    ColorValues, EngineOptions, LoadError, Lowering, Model, ModelSource, Network, OutputWish,
    TractModel,
};
use resnet::tensor::{Image, Size, Tensor};

use crate::harness::{fixture, fixture_json};

const SIDE: usize = 32;

fn load(file: &str, options: &EngineOptions) -> Result<TractModel, LoadError> {
    let source = ModelSource {
        bytes: std::fs::read(fixture(&format!("quantized/{file}")))
            .unwrap()
            .into(),
        dir: None,
        default_size: Size::square(SIDE as u32),
        output: OutputWish::default(),
    };
    TractModel::load(Network::read(source)?, &ColorValues::UNIT, options)
}

fn options(features: Features, precision: Option<Precision>) -> EngineOptions {
    EngineOptions {
        features,
        precision,
        max_batch: 2,
        ..EngineOptions::default()
    }
}

/// The input of `expected.json`; see `make_models.py`.
fn images() -> Vec<Image> {
    let value = |i: usize| {
        let modulus = 1000 - 100 * (i / (SIDE * SIDE) % 7);
        ((i * 7919) % modulus) as f32 / 500.0 - 1.0
    };
    let size = 3 * SIDE * SIDE;
    let image = |n: usize| (n * size..(n + 1) * size).map(value).collect();
    (0..3)
        .map(|n| Tensor::new(vec![3, SIDE, SIDE], image(n)).into())
        .collect()
}

fn outputs(model: &TractModel) -> Vec<Vec<f32>> {
    model.spawn().unwrap().run(&images()).unwrap()
}

fn bits(outputs: &[Vec<f32>]) -> Vec<u32> {
    outputs.concat().into_iter().map(f32::to_bits).collect()
}

/// A step of the output where sums in another order round the other way: at most one, and seldom.
#[test]
fn quantized_files_answer_as_onnx_runtime_does() {
    let expected = fixture_json("quantized/expected.json");
    let (mut values, mut same) = (0, 0);
    for (file, about) in expected["good"].as_object().unwrap() {
        let want: Vec<f64> = about["output"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_f64().unwrap())
            .collect();
        // Numbers that are not quantized in the end differ by what a step of the layers before makes of them.
        let step = about["output_scale"].as_f64().unwrap_or(0.2);
        for precision in [None, Some(Precision::F32)] {
            let model = load(file, &options(Features::detect(), precision)).unwrap();
            let got = outputs(&model).concat();
            assert_eq!(got.len(), want.len(), "{file}");
            for (got, want) in got.iter().zip(&want) {
                let difference = (f64::from(*got) - want).abs();
                assert!(
                    difference < 1.01 * step,
                    "{file}, {precision:?}: {got} {want}"
                );
                values += 1;
                same += usize::from(difference < 0.1 * step);
            }
        }
    }
    assert!(same * 100 >= values * 95, "{same} of {values} are the same");
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
fn whole_quantized_networks_are_ours_and_say_so() {
    for file in [
        "qdq.onnx",
        "qdq_per_tensor.onnx",
        "qdq_signed.onnx",
        "qdq_symmetric.onnx",
        "qdq_matmul.onnx",
        "qdq_float_head.onnx",
        "qoperator.onnx",
        "qoperator_per_tensor.onnx",
        "qoperator_signed.onnx",
        "qdq_sums.onnx",
        "qdq_sums_beside.onnx",
        "qdq_own_pairs.onnx",
        "mobile_qdq.onnx",
        "mobile_qdq_per_tensor.onnx",
        "mobile_qdq_sums.onnx",
        "mobile_qoperator.onnx",
    ] {
        for wish in [None, Some(Precision::Int8)] {
            let model = load(file, &options(Features::detect(), wish)).unwrap();
            let spec = model.spec();
            assert_eq!(spec.lowering.left, [], "{file}");
            assert_eq!(spec.precision, Precision::Int8, "{file}");
            let layers = match file {
                "qdq_float_head.onnx" => "; in f32: dense.ab",
                _ => "",
            };
            let reason = format!("int8: the file is quantized{layers}");
            assert_eq!(spec.precision_reason, reason, "{file}");
            assert_eq!(spec.plan_batch, None, "{file}");
        }
        let layers = |wish: Option<Precision>| {
            let model = load(file, &options(Features::detect(), wish)).unwrap();
            model.spec().lowering.layers.clone()
        };
        let [(Lowering::TRACT, all)] = layers(Some(Precision::F32))[..] else {
            panic!("{file}: tract computes all of it");
        };
        let expected = match file {
            "qdq_float_head.onnx" => vec![("f32", 1), ("int8", all - 1)],
            _ => vec![("int8", all)],
        };
        assert_eq!(layers(None), expected, "{file}");
        let model = load(file, &options(Features::detect(), Some(Precision::F32))).unwrap();
        assert_eq!(model.spec().lowering.steps, 0, "{file}");
        assert_eq!(model.spec().instructions, "tract", "{file}");
    }
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "no micro-kernel")]
fn answers_have_the_same_bits_on_every_instruction_set_and_in_every_batch() {
    for file in [
        "qdq.onnx",
        "qdq_symmetric.onnx",
        "qoperator.onnx",
        "qdq_sums.onnx",
        "qdq_sums_beside.onnx",
        "mobile_qdq.onnx",
        "mobile_qdq_sums.onnx",
    ] {
        let mut first: Option<Vec<u32>> = None;
        for features in Features::supported() {
            let Some(arithmetic) = Arithmetic::new(Precision::Int8, features) else {
                continue;
            };
            for max_batch in [1, 3] {
                let options = EngineOptions {
                    max_batch,
                    ..options(features, None)
                };
                let model = load(file, &options).unwrap();
                assert_eq!(model.spec().instructions, arithmetic.instructions());
                let got = bits(&outputs(&model));
                let first = first.get_or_insert_with(|| got.clone());
                assert_eq!(*first, got, "{file} with {features:?}, batch {max_batch}");
            }
        }
    }
}

#[test]
fn what_is_not_quantized_is_not_int8() {
    let model = |file: &str, precision| {
        let source = ModelSource {
            bytes: std::fs::read(fixture(file)).unwrap().into(),
            dir: None,
            default_size: Size::square(SIDE as u32),
            output: OutputWish::default(),
        };
        TractModel::load(
            Network::read(source)?,
            &ColorValues::UNIT,
            &options(Features::detect(), precision),
        )
    };
    let error = model("models/opset13.onnx", Some(Precision::Int8)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("precision int8 needs a quantized file"),
        "{error}"
    );
    for precision in [Precision::Bf16, Precision::Bf16x3] {
        let error = model("quantized/qdq.onnx", Some(precision)).unwrap_err();
        let expected = format!(
            "precision {} is not that of a quantized file: allowed are auto, int8 and f32",
            precision.name()
        );
        assert_eq!(error.to_string(), expected);
    }
    let scalar = Features::vectors(Isa::Scalar);
    let error = load("qdq.onnx", &options(scalar, Some(Precision::Int8))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "precision int8 needs AVX2, allowed are instructions up to scalar"
    );
    let by_tract = load("qdq.onnx", &options(scalar, None)).unwrap();
    assert_eq!(by_tract.spec().precision, Precision::F32);
}

#[test]
fn damaged_quantization_is_refused_with_node_and_reason() {
    let scale = "node \"stem_relu_out_QuantizeLinear\": scale 0 is ";
    let weights = "node \"a1_weight_DequantizeLinear\": ";
    let reasons = [
        ("no_scale.onnx", weights, "it has no scale"),
        ("scale_0.onnx", scale, "0, allowed are positive numbers"),
        ("scale_nan.onnx", scale, "NaN"),
        ("scale_negative.onnx", scale, "-0.5"),
        ("scale_denormal.onnx", scale, "0.0000"),
        ("scale_infinite.onnx", scale, "inf"),
        (
            "scale_computed.onnx",
            "node \"data_QuantizeLinear\": ",
            "its scale \"made_scale\" is computed, expected a constant",
        ),
        (
            "scale_f16.onnx",
            "the runtime refuses the graph: tensor \"stem_relu_out_scale\" ",
            "holds 0 numbers",
        ),
        (
            "scales_too_few.onnx",
            weights,
            "it has 19 scales and 20 zero points",
        ),
        (
            "axis_2.onnx",
            weights,
            "it has 20 scales along axis 2, which has 3 indices",
        ),
        (
            "axis_9.onnx",
            weights,
            "its axis is 9, its values have 4 axes",
        ),
        (
            "zero_300.onnx",
            "node \"data_QuantizeLinear\": ",
            "a zero point is 300, allowed are 0 to 255 for uint8",
        ),
        (
            "bias_zero_1.onnx",
            "node \"a1_bias",
            "a zero point is 1, allowed are 0 to 0 for int32",
        ),
        (
            "types_differ.onnx",
            weights,
            "its values are int8, its zero point is uint8",
        ),
        (
            "int4.onnx",
            weights,
            "its values are int4, its zero point is int8",
        ),
        (
            "float8.onnx",
            "node \"data_QuantizeLinear\": ",
            "its zero point is float8e4m3fn, allowed are uint8 and int8",
        ),
        (
            "uint16.onnx",
            "node \"data_QuantizeLinear\": ",
            "its zero point is uint16, allowed are uint8 and int8",
        ),
    ];
    for (file, node, reason) in reasons {
        let error = load(file, &options(Features::detect(), None))
            .expect_err(file)
            .to_string();
        assert!(
            error.starts_with(node) && error.contains(reason),
            "{file}: {error}"
        );
        assert!(!error.contains('\n'), "{file}: {error}");
    }
    let expected = fixture_json("quantized/expected.json");
    assert_eq!(expected["bad"].as_object().unwrap().len(), reasons.len());
}
