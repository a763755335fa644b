//! The metadata of an ONNX file, its `metadata_props`: class names, and preprocessing in the words of several exporters.
//!
//! Read are torchvision's weights' metadata and transforms as people store them, what Ultralytics writes, and the keys
//! of the ONNX specification for images (`Image.BitmapPixelFormat`, `Image.NominalPixelRange`).

use serde_json::Value;

use super::{FILTERS, interpolation, per_channel, refused, sides, size};
use crate::preprocess::{Channels, Interpolation, ResizeMode};
use crate::registry::labels::{Labels, LabelsError};
use crate::registry::python_json;
use crate::registry::recipe::{Recipe, Resize, Setting};

/// The metadata of one file.
#[derive(Debug, Default)]
pub(in crate::registry) struct Metadata(pub(in crate::registry) Vec<(String, String)>);

/// Keys of class names.
const LABELS: [&str; 8] = [
    "names",
    "categories",
    "class_names",
    "classes",
    "labels",
    "label_names",
    "id2label",
    "label2id",
];

/// Keys of a whole pipeline, as torchvision prints one or as JSON.
const TRANSFORMS: [&str; 3] = ["transforms", "preprocess", "preprocessing"];

impl Metadata {
    fn get(&self, key: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(known, _)| known == key)?;
        Some(pair.1.trim()).filter(|value| !value.is_empty())
    }

    /// The class names, and their key.
    ///
    /// # Errors
    /// [`LabelsError`], naming the class.
    pub(in crate::registry) fn labels(
        &self,
    ) -> Result<Option<(Labels, &'static str)>, LabelsError> {
        // A number of classes, one word or a sentence is no list.
        let is_list = |text: &str| {
            let words = |name: &str| name.split_whitespace().count();
            text.starts_with(['[', '{'])
                || text.contains('\n')
                || (text.contains(',') && !text.split(',').any(|name| words(name) > 4))
        };
        let found = LABELS.iter().find_map(|key| {
            let text = self.get(key).filter(|text| is_list(text))?;
            Some((*key, text))
        });
        match found {
            None => Ok(None),
            Some((key, text)) => {
                let on_one_line = !text.starts_with(['[', '{']) && !text.contains('\n');
                let labels = match on_one_line {
                    true => Labels::parse(&text.replace(',', "\n")),
                    false => Labels::parse(text),
                };
                labels.map(|labels| Some((labels, key)))
            }
        }
    }

    /// What the metadata says of preprocessing.
    pub(in crate::registry) fn recipe(&self, source: String) -> Recipe {
        let mut recipe = Recipe {
            source,
            crop: self.numbers("crop_size", size),
            interpolation: self.setting("interpolation", interpolation, FILTERS),
            mean: self.setting("mean", per_channel, "expected three numbers"),
            std: self.setting("std", per_channel, "expected three numbers"),
            ..Recipe::default()
        };
        match self.numbers("resize_size", sides) {
            Setting::Silent => {}
            Setting::Said(sides) => recipe.set_resize(sides),
            Setting::Refused(reason) => recipe.resize = Setting::Refused(reason),
        }
        if recipe.mean != Setting::Silent {
            recipe.scale = Setting::Said(1.0);
        }
        self.set_image_keys(&mut recipe);
        if self.get("task") == Some("classify")
            && self.get("author") == Some("Ultralytics")
            && let Some(size) = self.value("imgsz").as_ref().and_then(size)
        {
            // What Ultralytics' `classify_transforms` does.
            recipe.resize = Setting::Said(Resize::Pixels(size));
            recipe.resize_mode = Setting::Said(match size.is_square() {
                true => ResizeMode::ShorterSide,
                false => ResizeMode::Stretch,
            });
            recipe.interpolation = Setting::Said(Interpolation::Bilinear);
            recipe.crop = Setting::Said(size);
            set_range(&mut recipe, 1.0, 0.0, 1.0);
        }
        recipe
    }

    /// The keys that the ONNX specification has for images.
    fn set_image_keys(&self, recipe: &mut Recipe) {
        let text = |key: &str| self.get(key).map(Value::from);
        if let Some(format) = text("Image.BitmapPixelFormat") {
            recipe.channels = match format.as_str() {
                Some("Bgr8" | "Bgra8") => Setting::Said(Channels::Bgr),
                Some("Rgb8" | "Rgba8") => Setting::Said(Channels::Rgb),
                // A network of one channel says so itself.
                Some("Gray8") => Setting::Silent,
                _ => refused(
                    "Image.BitmapPixelFormat",
                    &format,
                    "allowed are Rgb8, Bgr8 and Gray8",
                ),
            };
        }
        let Some(range) = text("Image.NominalPixelRange") else {
            return;
        };
        match range.as_str() {
            Some("NominalRange_0_255") => set_range(recipe, 255.0, 0.0, 1.0),
            Some("Normalized_0_1") => set_range(recipe, 1.0, 0.0, 1.0),
            Some("Normalized_1_1") => set_range(recipe, 1.0, 0.5, 0.5),
            _ => {
                let expected = "allowed are NominalRange_0_255, Normalized_0_1 and Normalized_1_1";
                recipe.scale = refused("Image.NominalPixelRange", &range, expected);
            }
        }
    }

    fn setting<T>(&self, key: &str, read: fn(&Value) -> Option<T>, expected: &str) -> Setting<T> {
        match self.value(key) {
            None => Setting::Silent,
            Some(value) => {
                read(&value).map_or_else(|| refused(key, &value, expected), Setting::Said)
            }
        }
    }

    /// The setting of a key that holds numbers; words there say nothing.
    fn numbers<T>(&self, key: &str, read: fn(&Value) -> Option<T>) -> Setting<T> {
        let is_word = |value: &Value| value.is_string() || value.is_boolean() || value.is_null();
        match self.value(key).filter(|value| !is_word(value)) {
            None => Setting::Silent,
            Some(value) => read(&value).map_or_else(
                || refused(key, &value, "expected one side, or height and width"),
                Setting::Said,
            ),
        }
    }

    /// A value under its own key, or inside of a pipeline.
    fn value(&self, key: &str) -> Option<Value> {
        if let Some(text) = self.get(key) {
            return Some(value_of(text));
        }
        let pipeline = TRANSFORMS.iter().find_map(|key| self.get(key))?;
        if let Ok(Value::Object(table)) = python_json::read(pipeline) {
            return table.get(key).cloned();
        }
        let (_, rest) = pipeline.split_once(&format!("{key}="))?;
        let end = match rest.starts_with(['[', '(']) {
            true => rest.find([']', ')'])? + 1,
            false => rest
                .find(|c: char| c.is_whitespace() || c == ',' || c == ')')
                .unwrap_or(rest.len()),
        };
        Some(value_of(&rest[..end]))
    }
}

/// The range of pixels, and what mean and deviation make it where other keys do not say them.
fn set_range(recipe: &mut Recipe, scale: f32, mean: f32, std: f32) {
    recipe.scale = Setting::Said(scale);
    for (setting, value) in [(&mut recipe.mean, mean), (&mut recipe.std, std)] {
        if *setting == Setting::Silent {
            *setting = Setting::Said([value; 3]);
        }
    }
}

/// Numbers and lists of numbers, Python's tuples too; anything else is text.
fn value_of(text: &str) -> Value {
    let json = text.replace('(', "[").replace(')', "]");
    python_json::read(&json).unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{IMAGENET_MEAN, PreprocessSpec};
    use crate::registry::recipe::Recipes;
    use crate::tensor::Size;

    fn metadata(pairs: &[(&str, &str)]) -> Metadata {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Metadata(pairs.iter().map(owned).collect())
    }

    fn whole(pairs: &[(&str, &str)], side: u32) -> Result<PreprocessSpec, String> {
        let recipe = metadata(pairs).recipe("metadata".into());
        Ok(Recipes(vec![recipe]).whole(Size::square(side), None)?.0)
    }

    #[test]
    fn pipeline_of_torchvision_is_read_as_it_is_printed_and_as_keys() {
        let printed = "ImageClassification(\n    crop_size=[224]\n    resize_size=[232]\n    mean=[0.485, 0.456, 0.406]\n    \
            std=[0.229, 0.224, 0.225]\n    interpolation=InterpolationMode.BICUBIC\n)";
        let keys = [
            ("crop_size", "[224]"),
            ("resize_size", "232"),
            ("mean", "(0.485, 0.456, 0.406)"),
            ("std", "[0.229, 0.224, 0.225]"),
            ("interpolation", "bicubic"),
        ];
        let json = r#"{"crop_size": [224], "resize_size": [232], "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225], "interpolation": "bicubic"}"#;
        for pairs in [
            &[("transforms", printed)][..],
            &keys,
            &[("preprocess", json)],
        ] {
            let spec = whole(pairs, 224).expect("honoured");
            assert_eq!(
                (spec.resize, spec.crop, spec.mean),
                (Size::square(232), Size::square(224), IMAGENET_MEAN)
            );
            assert_eq!(spec.resize_mode, ResizeMode::ShorterSide);
            assert_eq!(spec.interpolation, Interpolation::Bicubic);
        }
        // Two numbers are height and width of the result, equal or not.
        let spec = whole(&[("resize_size", "[232, 232]")], 224).expect("honoured");
        assert_eq!(spec.resize_mode, ResizeMode::Stretch);
        let tall = Size {
            height: 256,
            width: 128,
        };
        let pairs = [("resize_size", "[256, 128]"), ("crop_size", "[256, 128]")];
        let recipe = metadata(&pairs).recipe("metadata".into());
        let (spec, _) = Recipes(vec![recipe]).whole(tall, None).expect("honoured");
        assert_eq!((spec.resize, spec.resize_mode), (tall, ResizeMode::Stretch));
        for (key, value, words) in [
            (
                "preprocess",
                r#"{"crop_size": 224, "mean": [NaN, 0.5, 0.5]}"#,
                "metadata: mean is [NaN,0.5,0.5], expected three numbers",
            ),
            (
                "std",
                "(Infinity, 1, 1)",
                "metadata: std is [Infinity,1,1], expected three numbers",
            ),
            (
                "crop_size",
                "[NaN]",
                "metadata: crop_size is [NaN], expected one side",
            ),
            (
                "resize_size",
                "-1",
                "metadata: resize_size is -1, expected one side",
            ),
        ] {
            let error = whole(&[(key, value)], 224).expect_err(words);
            assert!(error.starts_with(words), "{error}");
        }
        whole(&[("crop_size", "as the network")], 224).expect("words say nothing");
        let error = whole(&[("interpolation", "lanczos")], 224).expect_err("no such filter");
        assert!(
            error.starts_with("metadata: interpolation is \"lanczos\""),
            "{error}"
        );
    }

    #[test]
    fn keys_of_the_specification_give_order_and_range() {
        let pairs = [
            ("Image.BitmapPixelFormat", "Bgr8"),
            ("Image.NominalPixelRange", "NominalRange_0_255"),
        ];
        let spec = whole(&pairs, 224).expect("honoured");
        assert_eq!((spec.channels, spec.scale), (Channels::Bgr, 255.0));
        assert_eq!((spec.mean, spec.std), ([0.0; 3], [1.0; 3]));
        let pairs = [
            pairs[1],
            ("mean", "[123.675, 116.28, 103.53]"),
            ("std", "[58.395, 57.12, 57.375]"),
        ];
        let spec = whole(&pairs, 224).expect("honoured");
        assert_eq!(
            (spec.scale, spec.mean[0], spec.std[2]),
            (255.0, 123.675, 57.375)
        );
        let spec = whole(&[("Image.NominalPixelRange", "Normalized_1_1")], 224).expect("honoured");
        assert_eq!((spec.scale, spec.mean, spec.std), (1.0, [0.5; 3], [0.5; 3]));
        let error =
            whole(&[("Image.NominalPixelRange", "NominalRange_16_235")], 224).expect_err("video");
        assert!(error.contains("NominalRange_16_235"), "{error}");
        assert!(whole(&[("Image.BitmapPixelFormat", "Gray8")], 224).is_ok());
        let error = whole(&[("Image.BitmapPixelFormat", "Yuv")], 224).expect_err("video");
        assert!(
            error.contains("Image.BitmapPixelFormat is \"Yuv\""),
            "{error}"
        );
    }

    #[test]
    fn what_ultralytics_writes_is_read() {
        let pairs = [
            ("author", "Ultralytics"),
            ("task", "classify"),
            ("imgsz", "[64, 64]"),
            ("names", "{0: 'cat', 1: \"dog's\"}"),
        ];
        let spec = whole(&pairs, 64).expect("honoured");
        assert_eq!(
            (spec.resize, spec.crop, spec.mean, spec.std),
            (Size::square(64), Size::square(64), [0.0; 3], [1.0; 3])
        );
        assert_eq!(spec.resize_mode, ResizeMode::ShorterSide);
        let wide = metadata(&[pairs[0], pairs[1], ("imgsz", "[64, 128]")]).recipe(String::new());
        assert_eq!(wide.resize_mode, Setting::Said(ResizeMode::Stretch));
        let (labels, key) = metadata(&pairs)
            .labels()
            .expect("labels")
            .expect("there are");
        assert_eq!(
            (labels.len(), &*labels.get(1).expect("two").label, key),
            (2, "dog's", "names")
        );
    }

    #[test]
    fn class_names_may_be_any_list() {
        for value in [
            "[\"cat\", \"dog\"]",
            "cat,dog",
            "cat\ndog\n",
            "['cat', 'dog']",
            "{\"0\": \"cat\", \"1\": \"dog\"}",
        ] {
            let (labels, _) = metadata(&[("classes", value)])
                .labels()
                .expect(value)
                .expect(value);
            let names: Vec<&str> = labels.iter().map(|l| &*l.label).collect();
            assert_eq!(names, ["cat", "dog"], "{value}");
        }
        for value in ["1000", "imagenet", ""] {
            assert_eq!(
                metadata(&[("classes", value)]).labels(),
                Ok(None),
                "{value}"
            );
        }
        assert!(metadata(&[("names", "{0: 'cat'")]).labels().is_err());
    }
}
