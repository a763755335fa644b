//! Labels: what the class indices of a network mean.
//!
//! Built by `registry` from the compiled-in ImageNet list or a model's `labels.txt`; `classifier` puts them into
//! answers. Never touches disk or network.

use std::sync::Arc;

use thiserror::Error;

/// The names of a network's classes, by class index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    labels: Arc<[Label]>,
}

/// The names of one class; cheap to clone into an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The synset id, as `n02123045`, where the list gives one.
    pub wnid: Option<Arc<str>>,
    /// The short name: the first of the synset's.
    pub label: Arc<str>,
    /// The full text: all names of the synset, separated by commas.
    pub synset: Arc<str>,
}

/// Why a labels file is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LabelsError {
    /// There is nothing in it.
    #[error("no labels: the file is empty; give one line per class")]
    Empty,
    /// A line in the middle is blank, which would shift every class after it.
    #[error("line {line} of the labels is blank; give every class a name, one per line")]
    BlankLine {
        /// Counted from 1.
        line: usize,
    },
}

impl Labels {
    /// Returns the 1000 classes of ImageNet-1k.
    ///
    /// Source: `models/imagenet1k_synsets.txt`; see `models/README.md`.
    pub fn imagenet1k() -> Labels {
        Labels::parse(include_str!("../../models/imagenet1k_synsets.txt"))
            .expect("the compiled-in labels parse; a unit test reads them")
    }

    /// Reads one class per line, in class order: `n02123045 tabby, tabby cat`, or just names.
    ///
    /// Line ends may be LF or CRLF; a byte order mark and blank lines at the end are skipped.
    ///
    /// # Errors
    /// [`LabelsError::Empty`] without any line, [`LabelsError::BlankLine`] for a blank one before the last.
    pub fn parse(text: &str) -> Result<Labels, LabelsError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
        if text.is_empty() {
            return Err(LabelsError::Empty);
        }
        let label = |(i, line): (usize, &str)| match line.trim() {
            "" => Err(LabelsError::BlankLine { line: i + 1 }),
            line => Ok(Label::parse(line)),
        };
        Ok(Labels {
            labels: text
                .lines()
                .enumerate()
                .map(label)
                .collect::<Result<_, _>>()?,
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
}

impl Label {
    /// Reads one line that is not blank and has no space around it.
    fn parse(line: &str) -> Label {
        let (wnid, names) = match line.split_once([' ', '\t']) {
            Some((first, rest)) if is_wnid(first) => (Some(first), rest.trim_start()),
            None if is_wnid(line) => (Some(line), line),
            _ => (None, line),
        };
        let first = names.split(',').next().unwrap_or(names).trim();
        Label {
            wnid: wnid.map(Arc::from),
            label: if first.is_empty() { names } else { first }.into(),
            synset: names.into(),
        }
    }
}

/// Whether `word` is a synset id of a noun: `n` and eight digits.
fn is_wnid(word: &str) -> bool {
    word.strip_prefix('n')
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
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
    fn crlf_byte_order_mark_and_trailing_blank_lines_are_fine() {
        let labels = Labels::parse("\u{feff}cat\r\ndog\r\n\r\n").unwrap();
        assert_eq!(labels.len(), 2);
        assert_eq!(&*labels.get(0).unwrap().label, "cat");
        assert_eq!(&*labels.get(1).unwrap().label, "dog");
    }

    #[test]
    fn blank_line_in_the_middle_names_its_number() {
        assert_eq!(
            Labels::parse("cat\n\ndog\n"),
            Err(LabelsError::BlankLine { line: 2 })
        );
        assert_eq!(
            Labels::parse(" \ncat\n"),
            Err(LabelsError::BlankLine { line: 1 })
        );
        assert_eq!(Labels::parse("\n\n"), Err(LabelsError::Empty));
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
