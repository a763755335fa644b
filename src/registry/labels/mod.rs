//! Labels: what the class indices of a network mean.
//!
//! Built by `registry` from the compiled-in ImageNet list or what lies beside a model; `classifier` puts them into
//! answers. Never touches disk or network.

mod columns;
mod json;
mod lines;
mod literal;
mod unique;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use thiserror::Error;

/// The names of a network's classes, by class index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    labels: Arc<[Label]>,
}

/// The names of one class; cheap to clone into an answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    /// The synset id, as `n02123045`, where the list gives one.
    pub wnid: Option<Arc<str>>,
    /// The short name: the first of the synset's; the whole text where it is no synset.
    pub label: Arc<str>,
    /// The full text: all names of a synset, separated by commas.
    pub synset: Arc<str>,
}

/// Why a labels file is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LabelsError {
    /// The file holds nothing.
    #[error("no labels: the file is empty; give one line per class")]
    Empty,
    /// A line in the middle is blank, which would shift every class after it.
    #[error("line {line} of the labels is blank; give every class a name, one per line")]
    BlankLine {
        /// The number of the line, counted from 1.
        line: usize,
    },
    /// The text is meant as JSON, but is none, or none that names classes.
    #[error("the labels {0}")]
    Json(String),
    /// Every line has a number, but these are no class numbers.
    #[error(
        "the labels {0}, or run from 1 with the lines; a name with a number of its own stands in quotes"
    )]
    Numbers(String),
    /// Characters that no name has, but UTF-16 read as another encoding.
    #[error(
        "the labels hold the character NUL, as UTF-16 without a byte order mark does: save the file as UTF-8"
    )]
    Nul,
}

/// ImageNet-1k's synsets, one a line: `n02123045 tabby, tabby cat`.
///
/// Source: see `models/README.md`.
const IMAGENET1K: &str = include_str!("../../../models/imagenet1k_synsets.txt");

impl Labels {
    /// Returns the 1000 classes of ImageNet-1k.
    pub fn imagenet1k() -> Labels {
        Labels::parse(IMAGENET1K).expect("the compiled-in labels parse; a unit test reads them")
    }

    /// Reads a list of classes: one a line, or JSON.
    ///
    /// A line is `n02123045 tabby, tabby cat`, or just a name. Running numbers in front or behind, quotes, and a head
    /// line above such numbers are taken off; line ends may be those of any system; a byte order mark and blank lines
    /// at the end are skipped. JSON, and the same as Python prints it, is a list of names, or a table from number to
    /// name or from name to number.
    ///
    /// # Errors
    /// [`LabelsError`], naming the line or the class.
    pub fn parse(text: &str) -> Result<Labels, LabelsError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.contains('\0') {
            return Err(LabelsError::Nul);
        }
        let labels = match json::is_meant(text) {
            true => json::parse(text)?,
            false => lines::parse(text)?,
        };
        Labels::of(labels)
    }

    /// Reads a list that must be JSON, or the same as Python prints it.
    ///
    /// # Errors
    /// [`LabelsError`], naming the class.
    pub(super) fn parse_json(text: &str) -> Result<Labels, LabelsError> {
        match text.trim().is_empty() {
            true => Err(LabelsError::Empty),
            false => Labels::of(json::parse(text)?),
        }
    }

    /// Reads a value of JSON, as [`Labels::parse`] does.
    ///
    /// # Errors
    /// [`LabelsError::Json`], naming the class.
    pub(super) fn of_json(value: &Value) -> Result<Labels, LabelsError> {
        let labels = json::labels(value).map_err(LabelsError::Json)?;
        Labels::of(labels)
    }

    /// The labels, with ImageNet's synset ids where all names are those of its list.
    fn of(labels: Vec<Label>) -> Result<Labels, LabelsError> {
        if labels.iter().any(|label| label.synset.contains('\0')) {
            return Err(LabelsError::Nul);
        }
        let names = imagenet_synsets().map(|(_, names)| names);
        let known = labels.iter().map(|label| &*label.synset);
        let has_no_ids = labels.iter().all(|label| label.wnid.is_none());
        Ok(match has_no_ids && known.eq(names) {
            true => Labels::imagenet1k(),
            false => Labels {
                labels: labels.into(),
            },
        })
    }

    /// Returns the numbers 0 to `classes - 1` as names, for a network whose classes are unknown.
    pub fn numbers(classes: usize) -> Labels {
        let label = |i: usize| {
            let number: Arc<str> = i.to_string().into();
            Label {
                wnid: None,
                label: number.clone(),
                synset: number,
            }
        };
        Labels {
            labels: (0..classes).map(label).collect(),
        }
    }

    /// Returns the same classes behind one for the background, as the networks of 1001 classes have them.
    #[must_use]
    pub fn behind_background(&self) -> Labels {
        let name: Arc<str> = "background".into();
        let background = Label {
            wnid: None,
            label: name.clone(),
            synset: name,
        };
        Labels {
            labels: std::iter::once(background)
                .chain(self.labels.iter().cloned())
                .collect(),
        }
    }

    /// Returns the number of classes.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no classes.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the names of one class, or `None` beyond the last.
    pub fn get(&self, class_index: usize) -> Option<&Label> {
        self.labels.get(class_index)
    }

    /// Returns all classes, in class order.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.labels.iter()
    }

    /// The labels without the first, if that is no class but what stands above a column of them.
    pub(super) fn without_head(&self) -> Option<Labels> {
        let (head, classes) = self.labels.split_first()?;
        columns::is_head_of_names(&head.synset).then(|| Labels {
            labels: classes.into(),
        })
    }

    /// The classes that nothing tells from an earlier one, each with that one in front.
    pub(super) fn repeated(&self) -> Vec<(usize, usize)> {
        let mut first = HashMap::new();
        let earlier = |(i, label)| {
            let earlier = *first.entry(label).or_insert(i);
            (earlier != i).then_some((earlier, i))
        };
        self.labels.iter().enumerate().filter_map(earlier).collect()
    }
}

impl Label {
    /// Reads the text of one class, with no space around it: a synset id and its names, an id alone, or a name.
    ///
    /// Only names of a synset are cut at a comma: those behind an id, and those that ImageNet's list has.
    fn parse(text: &str) -> Label {
        match split_wnid(text) {
            Some((wnid, "")) => Label::synset(Some(wnid), text),
            Some((wnid, names)) => Label::synset(Some(wnid), &lines::unquoted(names)),
            None if is_imagenet_synset(text) => Label::synset(None, text),
            None => Label {
                wnid: None,
                label: text.into(),
                synset: text.into(),
            },
        }
    }

    /// A class whose names stand between commas, the usual one first.
    fn synset(wnid: Option<&str>, names: &str) -> Label {
        let first = names.split(',').next().unwrap_or(names).trim();
        Label {
            wnid: wnid.map(Arc::from),
            label: if first.is_empty() { names } else { first }.into(),
            synset: names.into(),
        }
    }
}

/// A synset id in front, and what follows it.
fn split_wnid(text: &str) -> Option<(&str, &str)> {
    const SEPARATORS: [char; 5] = [' ', '\t', ',', ';', ':'];
    let (wnid, rest) = text.split_at_checked(9).filter(|(id, _)| is_wnid(id))?;
    let names = rest.trim_start_matches(SEPARATORS);
    (rest.is_empty() || names.len() < rest.len()).then_some((wnid, names))
}

/// Whether `word` is a synset id of a noun: `n` and eight digits.
fn is_wnid(word: &str) -> bool {
    word.strip_prefix('n')
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The ids and names of ImageNet-1k, in the order of its classes.
fn imagenet_synsets() -> impl Iterator<Item = (&'static str, &'static str)> {
    IMAGENET1K.lines().filter_map(|line| line.split_once(' '))
}

/// Whether these are all names of one class of ImageNet-1k, as its list spells them.
fn is_imagenet_synset(names: &str) -> bool {
    static SYNSETS: LazyLock<HashSet<&str>> =
        LazyLock::new(|| imagenet_synsets().map(|(_, names)| names).collect());
    SYNSETS.contains(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(line: &str) -> (Option<String>, String, String) {
        let label = Labels::parse(line).unwrap().get(0).unwrap().clone();
        (
            label.wnid.map(|w| w.to_string()),
            label.label.to_string(),
            label.synset.to_string(),
        )
    }

    #[test]
    fn imagenet1k_has_1000_classes_in_torchvision_order() {
        let labels = Labels::imagenet1k();
        assert_eq!(labels.len(), 1000);
        let tabby = labels.get(281).unwrap();
        assert_eq!(tabby.wnid.as_deref(), Some("n02123045"));
        assert_eq!(
            (&*tabby.label, &*tabby.synset),
            ("tabby", "tabby, tabby cat")
        );
        assert_eq!(&*labels.get(999).unwrap().label, "toilet tissue");
        assert!(labels.get(1000).is_none());
    }

    #[test]
    fn imagenet1k_wnids_are_distinct() {
        let labels = Labels::imagenet1k();
        let mut wnids: Vec<_> = labels.iter().map(|l| l.wnid.clone().unwrap()).collect();
        wnids.sort();
        wnids.dedup();
        assert_eq!(wnids.len(), 1000);
    }

    #[test]
    fn line_may_be_wnid_and_names_or_just_a_name() {
        let some = |wnid: &str| Some(wnid.to_owned());
        assert_eq!(
            label("n02123045 tabby, tabby cat"),
            (some("n02123045"), "tabby".into(), "tabby, tabby cat".into())
        );
        assert_eq!(
            label("n02123045\ttabby"),
            (some("n02123045"), "tabby".into(), "tabby".into())
        );
        assert_eq!(
            label("golden retriever"),
            (None, "golden retriever".into(), "golden retriever".into())
        );
        assert_eq!(
            label("n02123045"),
            (some("n02123045"), "n02123045".into(), "n02123045".into())
        );
        assert_eq!(label("n0212 x"), (None, "n0212 x".into(), "n0212 x".into()));
        assert_eq!(label(", odd"), (None, ", odd".into(), ", odd".into()));
    }

    #[test]
    fn only_names_of_a_synset_are_cut_at_a_comma() {
        for (line, short) in [
            ("dog, small", "dog, small"),
            ("n02084071 dog, small", "dog"),
            ("n02084071,\"dog, small\"", "dog"),
            ("n02084071: dog, small", "dog"),
            ("n02084071,dog", "dog"),
            ("n020840711 dog, small", "n020840711 dog, small"),
            ("tabby, tabby cat", "tabby"),
            ("tabby, tabby dog", "tabby, tabby dog"),
        ] {
            assert_eq!(label(line).1, short, "{line}");
        }
        let small = label("n02084071,\"dog, small\"");
        assert_eq!(
            (small.0.as_deref(), &*small.2),
            (Some("n02084071"), "dog, small")
        );
    }

    #[test]
    fn imagenets_names_alone_get_their_ids() {
        let names: Vec<&str> = imagenet_synsets().map(|(_, names)| names).collect();
        let table: serde_json::Map<String, Value> = (0..1000)
            .map(|i: usize| (i.to_string(), names[i].into()))
            .collect();
        let of_json = Labels::of_json(&Value::Object(table)).unwrap();
        assert_eq!(of_json, Labels::imagenet1k());
        let of_text = Labels::parse(&names.join("\n")).unwrap();
        assert_eq!(of_text, Labels::imagenet1k());
        let other = Labels::parse(&names[1..].join("\n")).unwrap();
        assert_eq!(other.get(0).unwrap().wnid, None);
        assert_eq!(other.repeated(), [(133, 516)]);
    }

    #[test]
    fn classes_that_nothing_tells_apart_are_found() {
        let repeated = |text: &str| Labels::parse(text).unwrap().repeated();
        assert_eq!(
            repeated("dog\ncat\ndog\ncat\ndog"),
            [(0, 2), (1, 3), (0, 4)]
        );
        assert_eq!(repeated("dog, small\ndog, large"), []);
        assert_eq!(repeated("n02012849 crane\nn03126707 crane"), []);
        assert_eq!(Labels::imagenet1k().repeated(), []);
    }

    #[test]
    fn byte_order_mark_is_skipped() {
        let labels = Labels::parse("\u{feff}cat\r\ndog\r\n\r\n").unwrap();
        assert_eq!(labels.len(), 2);
        assert_eq!(&*labels.get(0).unwrap().label, "cat");
        assert_eq!(&*labels.get(1).unwrap().label, "dog");
        assert_eq!(Labels::parse("\u{feff}\n"), Err(LabelsError::Empty));
    }

    #[test]
    fn utf_16_without_its_mark_is_refused_with_what_to_do() {
        for text in [
            "c\0a\0t\0\n\0d\0o\0g\0",
            "\0c\0a\0t\0\n\0d\0o\0g",
            "[\0\"\0a\0\"\0]\0",
            r#"["cat", "do\u0000g"]"#,
        ] {
            let error = Labels::parse(text).expect_err(text);
            assert!(error.to_string().contains("save the file as UTF-8"));
        }
    }

    #[test]
    fn numbers_have_no_wnid() {
        let labels = Labels::numbers(3);
        assert_eq!(labels.len(), 3);
        assert_eq!(&*labels.get(2).unwrap().label, "2");
        assert_eq!(labels.get(2).unwrap().wnid, None);
        assert!(Labels::numbers(0).is_empty());
    }
}
