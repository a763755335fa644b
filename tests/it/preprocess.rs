//! `resnet preprocess` as a person runs it: what the network sees as .npy, against Pillow's pixels, and compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use resnet::npy::{Array, Values};
use resnet::registry::sha256_of;

use crate::cli::run;
use crate::harness::{fixture, fixture_json, resnet, without_a_reader};
use crate::npy::{self, Npy};

const PHOTOS: [&str; 4] = ["espresso.png", "orange.png", "plate.png", "trolleybus.png"];

fn photo(name: &str) -> String {
    fixture(&format!("photos/{name}")).display().to_string()
}

/// The command with its array on standard output.
fn to_stdout(args: &[&str]) -> Vec<u8> {
    let output = command(args).args(["--npy", "-"]).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    output.stdout
}

fn command(args: &[&str]) -> Command {
    let mut command = resnet();
    command.arg("preprocess").args(args);
    command
}

/// Shape and values as another reader than ours sees them.
fn read<T: npy::Value>(file: &[u8]) -> (Vec<usize>, Vec<T>) {
    let array = Npy::parse(file);
    (array.shape.clone(), array.values())
}

fn save(dir: &Path, name: &str, shape: &[usize], values: Values) -> String {
    let path = dir.join(name);
    let mut bytes = Vec::new();
    Array::new(shape.to_vec(), values)
        .write(&mut bytes)
        .unwrap();
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn crop_is_pillows_bit_for_bit() {
    let expected = fixture_json("photos/resnet18-tiny.json");
    for name in PHOTOS {
        let (shape, pixels) = read::<u8>(&to_stdout(&[&photo(name), "--stage", "cropped"]));
        assert_eq!(shape, [64, 64, 3]);
        let sha256 = sha256_of(&mut &pixels[..]).unwrap();
        assert_eq!(sha256, expected["photos"][name]["crop_sha256"], "{name}");
    }
}

#[test]
fn tensor_is_the_normalized_crop_with_channels_first() {
    let file = photo("orange.png");
    let (shape, tensor) = read::<f32>(&to_stdout(&[&file]));
    assert_eq!(shape, [1, 3, 64, 64]);
    let (_, crop) = read::<u8>(&to_stdout(&[&file, "--stage", "cropped"]));
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    for (i, got) in tensor.iter().enumerate() {
        let (channel, pixel) = (i / 4096, i % 4096);
        let value = f64::from(crop[pixel * 3 + channel]);
        let want = (value / 255.0 - mean[channel]) / std[channel];
        // three roundings of f32
        assert!((f64::from(*got) - want).abs() < 1e-6, "{i}: {got} {want}");
    }
}

#[test]
fn stages_before_the_crop_hold_the_whole_picture_upright() {
    let file = fixture("images/exif_orientation_6.jpg")
        .display()
        .to_string();
    let shape = |args: &[&str]| read::<u8>(&to_stdout(&[&[&*file], args].concat())).0;
    assert_eq!(shape(&["--stage", "decoded"]), [48, 64, 3]);
    assert_eq!(shape(&["--stage", "decoded", "--ignore-exif"]), [64, 48, 3]);
    // the shorter side to 64, int(64 * 64 / 48) = 85
    assert_eq!(shape(&["--stage", "resized"]), [64, 85, 3]);
    assert_eq!(shape(&["--stage", "resized", "--ignore-exif"]), [85, 64, 3]);
}

#[test]
fn preprocessing_is_the_models_without_running_it() {
    let file = photo("plate.png");
    let shape = |model: &str| read::<f32>(&to_stdout(&[&file, "--model", model])).0;
    // from the catalogue, whether it is pulled or not
    assert_eq!(shape("resnet50"), [1, 3, 224, 224]);
    // from the side of the file's input; this one cannot even be run
    let of = |name: &str| {
        fixture(&format!("models/{name}.onnx"))
            .display()
            .to_string()
    };
    assert_eq!(shape(&of("opset13")), [1, 3, 32, 32]);
    assert_eq!(shape(&of("nan")), [1, 3, 32, 32]);
    // from the model.toml
    let dir = tempfile::tempdir().unwrap();
    let birds = dir.path().join("birds");
    std::fs::create_dir(&birds).unwrap();
    std::fs::copy(of("opset13"), birds.join("model.onnx")).unwrap();
    let spec = |text: &str| std::fs::write(birds.join("model.toml"), text).unwrap();
    let model = birds.display().to_string();
    spec("[preprocess]\nresize = 40\ncrop = 32\nmean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]\n");
    let (_, values) = read::<f32>(&to_stdout(&[&file, "--model", &model]));
    assert!(
        values.iter().all(|v| (0.0..=1.0).contains(v)),
        "not normalized"
    );
    spec("[preprocess]\ncrop = 224\n");
    let (code, _, stderr) = run(&["preprocess", &file, "--npy", "-", "--model", &model]);
    assert!(
        code == 1 && stderr.contains("crops to 224, the network takes 32 ("),
        "{stderr}"
    );
}

#[test]
fn grey_network_gets_the_luminance_of_the_normalized_crop() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("grey.onnx");
    std::fs::copy(fixture("exporters/grey.onnx"), &model).unwrap();
    let toml = "[preprocess]\nresize = 9\ncrop = 8\nmean = [0.5]\nstd = [0.5]\n";
    std::fs::write(dir.path().join("grey.toml"), toml).unwrap();
    let (file, model) = (photo("plate.png"), model.display().to_string());
    let (shape, tensor) = read::<f32>(&to_stdout(&[&file, "--model", &model]));
    assert_eq!(shape, [1, 1, 8, 8]);
    let crop = to_stdout(&[&file, "--model", &model, "--stage", "cropped"]);
    let (_, crop) = read::<u8>(&crop);
    for (pixel, value) in crop.chunks_exact(3).zip(&tensor) {
        let [red, green, blue] = [0, 1, 2].map(|c| f64::from(pixel[c]));
        let luminance = (0.299 * red + 0.587 * green + 0.114 * blue) / 255.0;
        let expected = (luminance - 0.5) / 0.5;
        assert!(
            (f64::from(*value) - expected).abs() < 1e-5,
            "{pixel:?}: {value}"
        );
    }
}

#[test]
fn array_compared_with_itself_is_equal_whatever_its_batch_dimension() {
    let dir = tempfile::tempdir().unwrap();
    let file = photo("espresso.png");
    for (stage, shape) in [("tensor", vec![3, 64, 64]), ("cropped", vec![1, 64, 64, 3])] {
        let out = dir
            .path()
            .join(format!("{stage}.npy"))
            .display()
            .to_string();
        let (code, stdout, stderr) = run(&["preprocess", &file, "--stage", stage, "--npy", &out]);
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""));
        let array = Array::read(&mut std::fs::File::open(&out).unwrap()).unwrap();
        let other = save(dir.path(), "other.npy", &shape, array.values().clone());
        for reference in [&out, &other] {
            let args = [
                "preprocess",
                &file,
                "--stage",
                stage,
                "--compare",
                reference,
            ];
            let (code, stdout, stderr) = run(&args);
            assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
            assert!(stdout.ends_with("\nequal\n"), "{stdout}");
        }
    }
}

#[test]
fn skew_is_sized_and_located_and_ends_with_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = photo("espresso.png");
    let (_, mut pixels) = read::<u8>(&to_stdout(&[&file, "--stage", "cropped"]));
    let at = (10 * 64 + 20) * 3 + 1;
    let value = pixels[at];
    pixels[at] = value.wrapping_add(5);
    let shape = [64, 64, 3];
    let reference = save(dir.path(), "ref.npy", &shape, Values::U8(pixels.clone()));
    let compare = |reference: &str, more: &[&str]| {
        let args = [
            "preprocess",
            &file,
            "--stage",
            "cropped",
            "--compare",
            reference,
        ];
        run(&[&args, more].concat())
    };
    let (code, stdout, _) = compare(&reference, &[]);
    assert_eq!(code, 1, "{stdout}");
    let largest = format!(
        "largest    5 at row 10, column 20, channel 1: {value} here, {} in the reference",
        value + 5
    );
    for line in [
        "differing  1 of 12288 values (0.0081%)",
        &largest,
        "by size    0: 12287, 1: 0, 2: 0, more: 1",
        "different",
    ] {
        assert!(
            stdout.lines().any(|l| l == line),
            "{line} is not in\n{stdout}"
        );
    }
    assert_eq!(compare(&reference, &["--tolerance", "4.9"]).0, 1);
    assert_eq!(compare(&reference, &["--tolerance", "5"]).0, 0);

    let planes = (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3).copied());
    let planes = save(
        dir.path(),
        "planes.npy",
        &[1, 3, 64, 64],
        Values::U8(planes.collect()),
    );
    let (code, stdout, _) = compare(&planes, &["--tolerance", "5"]);
    assert!(
        code == 1 && stdout.contains("the reference is NCHW"),
        "{stdout}"
    );

    let bgr = pixels.chunks(3).flat_map(|p| [p[2], p[1], p[0]]);
    let bgr = save(dir.path(), "bgr.npy", &shape, Values::U8(bgr.collect()));
    let (code, stdout, _) = compare(&bgr, &[]);
    assert!(code == 1 && stdout.contains("looks like BGR"), "{stdout}");

    // Both: the array goes to standard output, the report does not mix with it.
    let both = [
        "preprocess",
        &*file,
        "--stage",
        "cropped",
        "--npy",
        "-",
        "--compare",
        &*bgr,
    ];
    let output = resnet().args(both).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(read::<u8>(&output.stdout).0, [64, 64, 3]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("BGR"));
}

#[test]
fn wrong_use_and_wrong_files_are_told_in_one_line() {
    let (file, text) = (
        photo("plate.png"),
        fixture("README.md").display().to_string(),
    );
    let cut: PathBuf = fixture("hostile/truncated_half.png");
    let cut = cut.display().to_string();
    let strip = fixture("images/1x300.png").display().to_string();
    for (args, code, words) in [
        (vec![], 2, "<FILE>"),
        (vec![&*file], 2, "--npy <OUT>"),
        (
            vec![&*file, "--npy", "-", "--stage", "eaten"],
            2,
            "decoded, resized, cropped, tensor",
        ),
        (
            vec![&*file, "--npy", &*file],
            2,
            "allowed are names that end in .npy",
        ),
        (
            vec![&*file, "--npy", "-", "--tolerance", "1"],
            2,
            "--compare <REF>",
        ),
        (
            vec![&*file, "--compare", &*text, "--tolerance", "-1"],
            2,
            "-1",
        ),
        (
            vec![&*file, "--compare", &*text, "--tolerance", "NaN"],
            2,
            "finite numbers from 0",
        ),
        (
            vec!["/nonexistent.png", "--npy", "-"],
            1,
            "error: /nonexistent.png: cannot be read",
        ),
        (
            vec![&*text, "--npy", "-"],
            1,
            "not an image in an accepted format",
        ),
        (
            vec![&*cut, "--npy", "-"],
            1,
            "truncated_half.png, tensor: the PNG ends before",
        ),
        (
            vec![&*file, "--npy", "/nonexistent/a.npy"],
            1,
            "cannot write /nonexistent/a.npy",
        ),
        (
            vec![&*file, "--npy", "/nonexistent/a.png"],
            2,
            "--npy is /nonexistent/a.png, allowed are names that end in .npy",
        ),
        (
            vec![&*file, "--compare", "/nonexistent.npy"],
            1,
            "/nonexistent.npy: cannot be read",
        ),
        (
            vec![&*file, "--compare", &*text],
            1,
            "README.md: is no .npy file",
        ),
        (
            vec![&*file, "--npy", "-", "--model", "resnet5O"],
            1,
            "did you mean",
        ),
        (
            vec![
                &*strip,
                "--npy",
                "-",
                "--stage",
                "resized",
                "--max-pixels",
                "100000",
            ],
            1,
            "1x300.png, resized: the image has 64×19200 = 1228800 pixels, allowed are 100000",
        ),
    ] {
        let (got, stdout, stderr) = run(&[&["preprocess"], &args[..]].concat());
        assert_eq!((got, stdout.as_str()), (code, ""), "{args:?}: {stderr}");
        assert!(
            stderr.contains(words),
            "{args:?}: {words} is not in {stderr}"
        );
    }
}

#[test]
fn standard_input_is_read_and_a_reader_that_has_gone_is_no_failure() {
    let reading = || {
        let mut command = command(&["-", "--npy", "-"]);
        command.stdin(std::fs::File::open(photo("plate.png")).unwrap());
        command
    };
    let output = without_a_reader(reading());
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    let piped = reading().output().unwrap();
    assert_eq!(piped.stdout, to_stdout(&[&photo("plate.png")]));
}
