//! The whole of what several sources say: each setting from the first that says it.
//!
//! What none says is ImageNet's, scaled to the network's input.

use std::fmt;

use super::resized::resized;
use super::{Recipe, Setting};
use crate::preprocess::{Channels, IMAGENET_MEAN, IMAGENET_STD, PreprocessSpec};
use crate::tensor::Size;

/// Which settings come from where: `resize, crop: model.toml; mean, std: ImageNet's`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::registry) struct Provenance(Vec<(String, Vec<&'static str>)>);

impl Provenance {
    fn add(&mut self, source: &str, setting: &'static str) {
        match self.0.iter_mut().find(|(known, _)| known == source) {
            Some((_, settings)) => settings.push(setting),
            None => self.0.push((source.to_owned(), vec![setting])),
        }
    }

    /// Whether no source says a setting.
    pub(in crate::registry) fn is_assumed(&self, setting: &str) -> bool {
        let mut parts = self.0.iter();
        parts.any(|(source, settings)| source == ASSUMED && settings.contains(&setting))
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part =
            |(source, settings): &(String, Vec<&str>)| format!("{}: {source}", settings.join(", "));
        let parts: Vec<String> = self.0.iter().map(part).collect();
        f.write_str(&parts.join("; "))
    }
}

/// How colors become a network's values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::registry) struct Colors {
    pub(in crate::registry) channels: Channels,
    pub(in crate::registry) scale: f32,
    pub(in crate::registry) mean: [f32; 3],
    pub(in crate::registry) std: [f32; 3],
}

impl Colors {
    fn with_geometry_of(self, geometry: &PreprocessSpec) -> PreprocessSpec {
        PreprocessSpec {
            channels: self.channels,
            scale: self.scale,
            mean: self.mean,
            std: self.std,
            ..geometry.clone()
        }
    }
}

/// What all sources say of one model, the first to be asked first.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::registry) struct Recipes(pub(in crate::registry) Vec<Recipe>);

/// The name of the source of a setting that no source gives.
const ASSUMED: &str = "ImageNet's, as nothing says otherwise";

impl Recipes {
    /// The size of the input where the network leaves it open.
    pub(in crate::registry) fn open_size(&self) -> Size {
        let size = self.0.iter().find_map(|recipe| match recipe.crop {
            Setting::Said(crop) => Some(crop),
            _ => recipe.input,
        });
        size.unwrap_or(PreprocessSpec::default().crop)
    }

    /// Sentences about the keys and values that nothing here knows, one for each source that has some.
    pub(in crate::registry) fn notes(&self) -> impl Iterator<Item = String> {
        let unread = self.0.iter().filter(|recipe| !recipe.unread.is_empty());
        unread.map(|recipe| {
            let keys = recipe.unread.join(", ");
            format!("{} has what is not known here: {keys}", recipe.source)
        })
    }

    /// Whether any source says how pixels become a network's values. A range from 0 to 1 alone does not: exporters
    /// write it whether or not the network normalizes pixels itself.
    pub(in crate::registry) fn say_colors(&self) -> bool {
        let says = |r: &Recipe| {
            let usual = matches!(r.scale, Setting::Silent | Setting::Said(1.0));
            !usual || r.mean != Setting::Silent || r.std != Setting::Silent
        };
        self.0.iter().any(says)
    }

    fn colors_from(&self, own: Option<f32>, from: &mut Provenance) -> Result<Colors, String> {
        let channels = self.pick("channels", |r| &r.channels, from)?;
        if let Some(scale) = own.filter(|_| !self.say_colors()) {
            for setting in ["scale", "mean", "std"] {
                from.add("the network, which takes pixels as they are", setting);
            }
            return Ok(Colors {
                channels: channels.unwrap_or_default(),
                scale,
                mean: [0.0; 3],
                std: [1.0; 3],
            });
        }
        let scale = self.pick("scale", |r| &r.scale, from)?.unwrap_or(1.0);
        let mean = self.pick("mean", |r| &r.mean, from)?;
        let std = self.pick("std", |r| &r.std, from)?;
        if scale > 0.0 && scale != 1.0 && (mean.is_none() || std.is_none()) {
            let missing = if mean.is_none() { "mean" } else { "std" };
            return Err(format!(
                "scale is {scale}, but {missing} is not given: give mean and std as numbers of pixels from 0 to {scale}, \
                 mean = [0, 0, 0] and std = [1, 1, 1] where the network takes these pixels as they are"
            ));
        }
        let colors = Colors {
            channels: channels.unwrap_or_default(),
            scale,
            mean: mean.unwrap_or(IMAGENET_MEAN),
            std: std.unwrap_or(IMAGENET_STD),
        };
        let alone = colors.with_geometry_of(&PreprocessSpec::default());
        alone
            .validate()
            .map_err(|reason| format!("{reason} ({from})"))?;
        match own {
            Some(own) => self.refuse_twice(own, colors),
            None => Ok(colors),
        }
    }

    /// Refuses to normalize for a network that does so itself, where only what its exporter left behind says to. What says
    /// the same as the network in other numbers gives exactly its pixels.
    fn refuse_twice(&self, white: f32, colors: Colors) -> Result<Colors, String> {
        let per_white = white / colors.scale;
        let near = |value: &f32, to: f32| (value * per_white - to).abs() <= 1e-4;
        if colors.mean.iter().all(|m| near(m, 0.0)) && colors.std.iter().all(|s| near(s, 1.0)) {
            return Ok(Colors {
                scale: white,
                mean: [0.0; 3],
                std: [1.0; 3],
                ..colors
            });
        }
        let says = |r: &&Recipe| r.mean != Setting::Silent || r.std != Setting::Silent;
        let Some(recipe) = self.0.iter().find(says).filter(|recipe| !recipe.decides) else {
            return Ok(colors);
        };
        Err(format!(
            "the network takes pixels from 0 to {white} and normalizes them itself, and {} says mean and std as well: done \
             twice, the answers are wrong. Say in model.toml which is meant: scale = {white}, mean = [0, 0, 0] and std = \
             [1, 1, 1] for the network's own alone, else mean and std as they stand there",
            recipe.source
        ))
    }

    /// The whole for a network whose input has this size, and where each setting comes from. `own` is what white is for a
    /// network that takes pixels as they are, by its type or because it normalizes them itself; what a source says counts
    /// before it.
    ///
    /// # Errors
    /// A sentence with the source, its key and value, if a setting cannot be honoured or contradicts the network.
    pub(in crate::registry) fn whole(
        &self,
        size: Size,
        own: Option<f32>,
    ) -> Result<(PreprocessSpec, Provenance), String> {
        let mut from = Provenance::default();
        let resize = self.pick("resize", |r| &r.resize, &mut from)?;
        let resize_mode = self.pick("resize_mode", |r| &r.resize_mode, &mut from)?;
        let interpolation = self.pick("interpolation", |r| &r.interpolation, &mut from)?;
        let crop = self.find(|r| &r.crop)?;
        from.add(
            crop.map_or("the network's input", |(_, source)| source),
            "crop",
        );
        if let Some((crop, source)) = crop.filter(|(crop, _)| *crop != size) {
            return Err(format!(
                "the preprocessing crops to {crop}, the network takes {size} ({source} says crop)"
            ));
        }
        let crop_rounding = self.pick("crop_rounding", |r| &r.crop_rounding, &mut from)?;
        let colors = self.colors_from(own, &mut from)?;
        let (resize, resize_mode) = resized(size, resize, resize_mode);
        let spec = colors.with_geometry_of(&PreprocessSpec {
            resize,
            resize_mode,
            interpolation: interpolation.unwrap_or_default(),
            crop: size,
            crop_rounding: crop_rounding.unwrap_or_default(),
            ..PreprocessSpec::default()
        });
        match spec.validate() {
            Ok(()) => Ok((spec, from)),
            Err(reason) => Err(format!("{reason} ({from})")),
        }
    }

    /// The first source's value of a setting, which is noted under its name.
    fn pick<T: Copy>(
        &self,
        name: &'static str,
        setting: fn(&Recipe) -> &Setting<T>,
        from: &mut Provenance,
    ) -> Result<Option<T>, String> {
        let found = self.find(setting)?;
        from.add(found.map_or(ASSUMED, |(_, source)| source), name);
        Ok(found.map(|(value, _)| value))
    }

    fn find<T: Copy>(
        &self,
        setting: fn(&Recipe) -> &Setting<T>,
    ) -> Result<Option<(T, &str)>, String> {
        for recipe in &self.0 {
            match setting(recipe) {
                Setting::Silent => {}
                Setting::Said(value) => return Ok(Some((*value, &recipe.source))),
                Setting::Refused(reason) => return Err(format!("{}: {reason}", recipe.source)),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Given, Resize};
    use super::*;
    use crate::preprocess::{Interpolation, ResizeMode};

    const SIZE: Size = Size::square(224);
    const SMALL: Size = Size::square(32);

    fn toml(text: &str) -> Recipe {
        let given: Given = toml::from_str(text).expect(text);
        Recipe::of_given("model.toml".into(), &given)
    }

    #[test]
    fn network_that_takes_pixels_as_they_are_gets_them_unless_colors_are_said() {
        let own = Some(255.0);
        // Exporters write the range of pixels also where they write no mean.
        let range = Recipe {
            source: "preprocessor_config.json".into(),
            scale: Setting::Said(1.0),
            ..Recipe::default()
        };
        for recipes in [Recipes::default(), Recipes(vec![range, toml("")])] {
            assert!(!recipes.say_colors());
            let (spec, from) = recipes.whole(SIZE, own).expect("as they are");
            assert_eq!(
                (spec.scale, spec.mean, spec.std),
                (255.0, [0.0; 3], [1.0; 3])
            );
            assert!(
                from.to_string().contains("scale, mean, std: the network"),
                "{from}"
            );
        }
        let exporter = Recipe {
            source: "preprocessor_config.json".into(),
            mean: Setting::Said(IMAGENET_MEAN),
            std: Setting::Said(IMAGENET_STD),
            ..Recipe::default()
        };
        for white in [255.0_f32, 1.0] {
            let own = Some(white);
            let reason = Recipes(vec![exporter.clone()]).whole(SIZE, own);
            let reason = reason.expect_err("twice");
            let start = format!("the network takes pixels from 0 to {white} and normalizes");
            assert!(
                reason.starts_with(&start) && reason.contains("preprocessor_config.json says"),
                "{reason}"
            );
            // Which model.toml settles, and what says the same as the network needs not.
            let lines = format!("scale = {white}\nmean = [0, 0, 0]\nstd = [1, 1, 1]");
            let decided = Recipes(vec![toml(&lines), exporter.clone()]).whole(SIZE, own);
            assert!(decided.is_ok());
            let same = Recipe {
                mean: Setting::Said([0.0; 3]),
                std: Setting::Said([white.recip(); 3]),
                ..exporter.clone()
            };
            let said = toml(&format!(
                "mean = [0, 0, 0]\nstd = [{0}, {0}, {0}]",
                white.recip()
            ));
            for same in [same, said] {
                let (spec, _) = Recipes(vec![same]).whole(SIZE, own).expect("the same");
                assert_eq!((spec.scale, spec.std), (white, [1.0; 3]));
            }
        }
        let said = Recipes(vec![toml("mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]")]);
        assert!(said.say_colors());
        let (spec, _) = said.whole(SIZE, own).expect("what is said");
        assert_eq!((spec.mean, spec.std), ([0.5; 3], [0.5; 3]));
    }

    #[test]
    fn what_nobody_says_is_imagenets_for_the_networks_size() {
        let (spec, from) = Recipes::default().whole(SIZE, None).expect("the standard");
        assert_eq!(spec, PreprocessSpec::default());
        assert_eq!(
            from.to_string(),
            "resize, resize_mode, interpolation, crop_rounding, channels, scale, mean, std: ImageNet's, as nothing says otherwise; \
             crop: the network's input"
        );
        for (side, resize) in [(64, 74), (1, 2), (32, 37), (299, 342), (2048, 2048)] {
            let size = Size::square(side);
            let (spec, _) = Recipes::default().whole(size, None).expect("the standard");
            assert_eq!((spec.crop, spec.resize), (size, Size::square(resize)));
        }
    }

    #[test]
    fn what_nobody_says_covers_an_input_that_is_not_square() {
        let wide = Size {
            height: 192,
            width: 320,
        };
        let of = |text: &str| Recipes(vec![toml(text)]).whole(wide, None).expect(text);
        let (spec, from) = of("");
        let covered = Size {
            height: 220,
            width: 366,
        };
        assert_eq!(
            (spec.crop, spec.resize, spec.resize_mode),
            (wide, covered, ResizeMode::Cover)
        );
        assert!(
            from.is_assumed("resize") && from.is_assumed("resize_mode") && !from.is_assumed("crop")
        );
        // Each word of model.toml counts as it does for a square.
        let (spec, _) = of("resize_mode = \"shorter-side\"");
        assert_eq!(
            (spec.resize, spec.resize_mode),
            (Size::square(366), ResizeMode::ShorterSide)
        );
        let (spec, _) = of("resize_mode = \"stretch\"");
        assert_eq!(
            (spec.resize, spec.resize_mode),
            (covered, ResizeMode::Stretch)
        );
        let (spec, _) = of("resize = 384");
        assert_eq!(
            (spec.resize, spec.resize_mode),
            (Size::square(384), ResizeMode::ShorterSide)
        );
        let (spec, from) = of("resize = [192, 320]\ncrop = [192, 320]");
        assert_eq!((spec.resize, spec.resize_mode), (wide, ResizeMode::Stretch));
        assert!(!from.is_assumed("resize_mode"), "{from}");
        for (text, words) in [
            (
                "crop = [320, 192]",
                "crops to [320, 192], the network takes [192, 320]",
            ),
            ("resize = 256", "crop is [192, 320], larger than resize 256"),
            (
                "resize = [220, 366]\nresize_mode = \"shorter-side\"",
                "takes one number",
            ),
        ] {
            let error = Recipes(vec![toml(text)]).whole(wide, None).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn each_left_out_setting_follows_the_network() {
        for text in [
            "",
            "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]",
            "interpolation = \"bicubic\"",
            "resize_mode = \"stretch\"",
            "channels = \"bgr\"",
            "scale = 255\nmean = [0, 0, 0]\nstd = [1, 1, 1]",
            "crop = 32",
        ] {
            let (spec, _) = Recipes(vec![toml(text)]).whole(SMALL, None).expect(text);
            assert_eq!(
                (spec.crop, spec.resize),
                (SMALL, Size::square(37)),
                "{text}"
            );
        }
        let (spec, from) = Recipes(vec![toml("resize = 40")])
            .whole(SMALL, None)
            .expect("fits");
        assert_eq!((spec.crop, spec.resize), (SMALL, Size::square(40)));
        assert!(
            from.to_string().starts_with("resize: model.toml; "),
            "{from}"
        );
    }

    #[test]
    fn first_source_wins_setting_by_setting() {
        let exporter = Recipe {
            source: "config.json".into(),
            resize: Setting::Said(Resize::Share(0.9, None)),
            interpolation: Setting::Refused("interpolation is \"lanczos\"".into()),
            mean: Setting::Said([0.1; 3]),
            std: Setting::Said([0.2; 3]),
            ..Recipe::default()
        };
        let own = toml("interpolation = \"bicubic\"\nmean = [0.3, 0.3, 0.3]");
        let (spec, from) = Recipes(vec![own, exporter.clone()])
            .whole(SIZE, None)
            .expect("fits");
        assert_eq!(
            (spec.resize, spec.mean, spec.std, spec.interpolation),
            (
                Size::square(248),
                [0.3; 3],
                [0.2; 3],
                Interpolation::Bicubic
            )
        );
        let from = from.to_string();
        assert!(from.contains("interpolation, mean: model.toml; "), "{from}");
        assert!(from.contains("resize, std: config.json; "), "{from}");
        let error = Recipes(vec![exporter])
            .whole(SIZE, None)
            .expect_err("no such filter");
        assert_eq!(error, "config.json: interpolation is \"lanczos\"");
    }

    #[test]
    fn scale_needs_numbers_of_that_scale() {
        for (text, missing) in [
            ("scale = 255", "mean"),
            ("scale = 2\nstd = [1, 1, 1]", "mean"),
            ("scale = 255\nmean = [103.939, 116.779, 123.68]", "std"),
        ] {
            let error = Recipes(vec![toml(text)])
                .whole(SMALL, None)
                .expect_err(text);
            assert!(
                error.contains(&format!("but {missing} is not given")),
                "{error}"
            );
        }
    }

    #[test]
    fn contradiction_names_the_source() {
        let error = Recipes(vec![toml("crop = 48")])
            .whole(SMALL, None)
            .expect_err("48 of 32");
        assert!(
            error.contains("crops to 48, the network takes 32 (model.toml says crop)"),
            "{error}"
        );
        let error = Recipes(vec![toml("mean = [123, 117, 104]")])
            .whole(SMALL, None)
            .expect_err("of 0 to 255");
        assert!(
            error.contains("write scale = 255") && error.contains("mean: model.toml"),
            "{error}"
        );
    }
}
