//! The catalogue: the models that can be pulled by name, with where they lie and what proves them right.
//!
//! Compiled in from `models/catalog.toml`. `cli` looks names up in it, `store` and `fetch` take its entries; nothing
//! else ever turns a name into a path or a URL. Never touches disk or network.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hex;
use crate::preprocess::PreprocessSpec;

use super::labels::Labels;

/// Longest name and alias. Source: the name rule `[a-z0-9._-]{1,64}`, safe as a file name, URL part and metric label.
const MAX_NAME_LEN: usize = 64;

/// All models that can be pulled by name.
#[derive(Debug, Clone)]
pub struct Catalog {
    entries: Vec<CatalogEntry>,
}

/// One model of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// What flags, URLs and metrics call it: 1 to 64 of `a-z 0-9 . _ -`.
    pub name: String,
    /// Shorter names for the same model, under the same rule.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its file name in the models directory and on a mirror.
    pub file: String,
    /// Where the original lies; always `https://`.
    pub url: String,
    /// SHA-256 of the whole file, 64 lower-case hex digits.
    pub sha256: String,
    /// Size of the file in bytes, and so the limit of its download.
    pub bytes: u64,
    /// SPDX identifier of the weights' licence.
    pub license: String,
    /// Published top-1 accuracy on the ImageNet-1k validation set, in percent.
    pub top1: Option<f32>,
    /// Published top-5 accuracy on the ImageNet-1k validation set, in percent.
    pub top5: Option<f32>,
    /// Which label list names its classes.
    pub labels: LabelSet,
    /// The preprocessing it was trained with; the ImageNet standard where the catalogue says nothing else.
    #[serde(default)]
    pub preprocess: PreprocessSpec,
    /// One line for people.
    pub description: String,
    /// What to know before using it.
    pub note: Option<String>,
}

/// The label lists that are compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelSet {
    /// The 1000 classes of ImageNet-1k.
    ImageNet1k,
}

impl LabelSet {
    /// Returns the labels themselves.
    pub fn labels(self) -> Labels {
        match self {
            LabelSet::ImageNet1k => Labels::imagenet1k(),
        }
    }
}

/// Why a catalogue text is refused.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The text is not TOML, or a field is missing, unknown or of the wrong type.
    #[error("catalogue: {0}")]
    Parse(#[from] toml::de::Error),
    /// A field holds a value outside its rule.
    #[error("catalogue entry {name:?}: {reason}")]
    Entry {
        /// Name of the entry.
        name: String,
        /// The field, its value and the rule.
        reason: String,
    },
}

impl Catalog {
    /// Returns the catalogue that is compiled into the binary.
    pub fn builtin() -> Catalog {
        Catalog::parse(include_str!("../../models/catalog.toml"))
            .expect("the compiled-in catalogue parses; a unit test reads it")
    }

    /// Reads a catalogue from TOML and checks every field against its rule.
    ///
    /// # Errors
    /// [`CatalogError::Parse`] if it is not such a table, [`CatalogError::Entry`] naming the entry and the field.
    pub fn parse(text: &str) -> Result<Catalog, CatalogError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            model: Vec<CatalogEntry>,
        }
        let entries = toml::from_str::<File>(text)?.model;
        let mut seen: Vec<&str> = Vec::new();
        for entry in &entries {
            let refuse = |reason| CatalogError::Entry {
                name: entry.name.clone(),
                reason,
            };
            entry.check().map_err(refuse)?;
            for name in entry.names() {
                if seen.contains(&name) {
                    return Err(refuse(format!(
                        "{name:?} is already taken by another entry"
                    )));
                }
                seen.push(name);
            }
        }
        Ok(Catalog { entries })
    }

    /// Finds a model by its name or an alias.
    pub fn find(&self, name: &str) -> Option<&CatalogEntry> {
        self.entries
            .iter()
            .find(|entry| entry.names().any(|known| known == name))
    }

    /// Returns all models, in the order of the catalogue file.
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }

    /// Returns the name or alias most like `name`, if one is near enough to be what was meant.
    pub fn suggest(&self, name: &str) -> Option<&str> {
        let name = name.to_lowercase();
        nearest(&name, self.entries.iter().flat_map(CatalogEntry::names))
    }
}

/// Returns the known name that is most like `name`, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is still a typo; more is another word.
    let near = (name.chars().count() / 3).clamp(1, 4);
    known
        .map(|known| (edit_distance(name, known), known))
        .filter(|(distance, known)| {
            *distance <= near || (name.len() >= 3 && known.starts_with(name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

impl CatalogEntry {
    /// Returns the name, then the aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    /// Checks every field against its rule; says which one breaks it.
    fn check(&self) -> Result<(), String> {
        if let Some(name) = self.names().find(|name| !is_name(name)) {
            return Err(format!(
                "name {name:?} is not 1 to {MAX_NAME_LEN} of a-z 0-9 . _ -"
            ));
        }
        // The only place where catalogue text becomes a path: a bare name, so that nothing can leave the directory.
        if !is_name(&self.file) || self.file.starts_with('.') {
            return Err(format!(
                "file {:?} is not a bare lower-case file name",
                self.file
            ));
        }
        if !self.url.starts_with("https://") {
            return Err(format!("url {:?} is not https", self.url));
        }
        let digest = hex::decode::<32>(&self.sha256);
        if digest.is_none_or(|digest| hex::encode(&digest) != self.sha256) {
            return Err(format!(
                "sha256 {:?} is not 64 lower-case hex digits",
                self.sha256
            ));
        }
        if self.bytes == 0 {
            return Err("bytes is 0".into());
        }
        for (field, percent) in [("top1", self.top1), ("top5", self.top5)] {
            if percent.is_some_and(|p| !(0.0..=100.0).contains(&p)) {
                return Err(format!(
                    "{field} is {percent:?}, allowed are 0 to 100 percent"
                ));
            }
        }
        self.preprocess.validate()
    }
}

/// Whether `name` is 1 to 64 of `a-z 0-9 . _ -`.
fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// How many letters must be added, dropped, changed or swapped with their neighbours to make `a` into `b`: the optimal
/// string alignment distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // The distances of the beginnings of `b` from those of `a`: two letters shorter, one shorter, and as long.
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let change = above[j] + usize::from(a[i] != b[j]);
            row[j + 1] = change.min(row[j] + 1).min(above[j + 1] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A catalogue of one entry with `line` put in place of the field it sets.
    fn with(line: &str) -> Result<Catalog, CatalogError> {
        let field = line.split(' ').next().unwrap();
        let mut lines = vec![
            "name = \"a-1\"".to_owned(),
            "file = \"a-1.onnx\"".to_owned(),
            "url = \"https://example.org/a-1.onnx\"".to_owned(),
            format!("sha256 = \"{}\"", "0".repeat(64)),
            "bytes = 10".to_owned(),
            "license = \"MIT\"".to_owned(),
            "labels = \"imagenet1k\"".to_owned(),
            "description = \"a\"".to_owned(),
        ];
        lines.retain(|l| !l.starts_with(&format!("{field} =")));
        lines.push(line.to_owned());
        Catalog::parse(&format!("[[model]]\n{}\n", lines.join("\n")))
    }

    #[test]
    fn builtin_catalogue_holds_the_thirteen_models_of_the_zoo() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.entries().len(), 13);
        for entry in catalog.entries() {
            entry.check().unwrap();
            assert_eq!(entry.file, format!("{}.onnx", entry.name));
            assert_eq!(entry.license, "Apache-2.0");
            assert_eq!(entry.preprocess, PreprocessSpec::default());
            assert_eq!(entry.labels.labels().len(), 1000);
        }
    }

    #[test]
    fn quantized_models_carry_a_note() {
        for name in ["resnet50-v1-12-int8", "resnet50-v1-12-qdq"] {
            let note = Catalog::builtin().find(name).unwrap().note.clone().unwrap();
            assert!(note.contains("refused at start"), "{note}");
        }
    }

    #[test]
    fn resnet50_is_an_alias_of_the_opset_12_file() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.find("resnet50").unwrap().name, "resnet50-v1-12");
        assert_eq!(catalog.find("resnet18").unwrap().name, "resnet18-v1-7");
        assert!(catalog.find("../resnet50").is_none());
    }

    #[test]
    fn typo_gets_the_nearest_name_and_another_word_gets_none() {
        let catalog = Catalog::builtin();
        assert_eq!(catalog.suggest("resnet-50"), Some("resnet50"));
        assert_eq!(catalog.suggest("ResNet50"), Some("resnet50"));
        assert_eq!(catalog.suggest("resnet50-v2"), Some("resnet50-v2-7"));
        assert_eq!(catalog.suggest("resnt18"), Some("resnet18"));
        assert_eq!(catalog.suggest("mobilenet"), None);
        assert_eq!(catalog.suggest(""), None);
    }

    #[test]
    fn values_outside_their_rule_are_refused_by_name() {
        for (line, word) in [
            ("name = \"A\"", "name"),
            ("name = \"\"", "name"),
            ("aliases = [\"a/b\"]", "name"),
            ("aliases = [\"a-1\"]", "taken"),
            ("file = \"../a.onnx\"", "file"),
            ("file = \"..\"", "file"),
            ("url = \"http://example.org/a\"", "https"),
            ("sha256 = \"00\"", "sha256"),
            ("bytes = 0", "bytes"),
            ("top1 = 101.0", "top1"),
            ("labels = \"cats\"", "cats"),
            ("preprocess = { crop = 0 }", "crop"),
            ("colour = \"red\"", "colour"),
        ] {
            let error = with(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
        with("top1 = 99.5").unwrap();
    }

    #[test]
    fn edit_distance_counts_letters() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", "abc"), 0);
        assert_eq!(edit_distance("PROT", "PORT"), 1);
        assert_eq!(edit_distance("ba", "ab"), 1);
        assert_eq!(edit_distance("ca", "abc"), 3);
    }
}
