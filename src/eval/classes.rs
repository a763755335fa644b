//! The classes of a model by everything that labels may call them.
//!
//! Called by `labels` for each photo. Guesses nothing: a name that could be two classes is refused.

use std::collections::{BTreeSet, HashMap};

use crate::registry::Labels;

/// What the labels say of a photo's class.
#[derive(Debug, Clone)]
pub(super) enum Claim {
    /// A synset id, and an index that should agree with it.
    Wnid(String, Option<usize>),
    /// An index without a synset id.
    Index(usize),
    /// The name of a folder.
    Folder(String),
}

/// Why a claim names no class of the model.
pub(super) enum Misfit {
    /// A class, but not of this model.
    Unknown(String),
    /// No class at all, or two.
    Wrong(String),
}

/// A model's classes by what they may be called.
pub(super) struct Classes<'a> {
    model: &'a str,
    labels: &'a Labels,
    by_wnid: HashMap<&'a str, BTreeSet<usize>>,
    by_name: HashMap<String, BTreeSet<usize>>,
    imagenet: Labels,
}

impl<'a> Classes<'a> {
    /// Indexes the labels of the model of this name.
    pub(super) fn new(model: &'a str, labels: &'a Labels) -> Classes<'a> {
        let mut by_wnid = HashMap::<_, BTreeSet<usize>>::new();
        let mut by_name = HashMap::<_, BTreeSet<usize>>::new();
        for (i, label) in labels.iter().enumerate() {
            if let Some(wnid) = &label.wnid {
                by_wnid.entry(&**wnid).or_default().insert(i);
            }
            for name in [&label.label, &label.synset] {
                by_name.entry(folded(name)).or_default().insert(i);
            }
        }
        Classes {
            model,
            labels,
            by_wnid,
            by_name,
            imagenet: Labels::imagenet1k(),
        }
    }

    /// The class that is meant, as a position in the model's output.
    ///
    /// # Errors
    /// [`Misfit`], in words that name the value.
    pub(super) fn find(&self, claim: &Claim) -> Result<usize, Misfit> {
        match claim {
            Claim::Wnid(wnid, index) if !self.by_wnid.is_empty() => {
                let Some(found) = self.by_wnid.get(&**wnid) else {
                    return Err(Misfit::Unknown(format!("wnid {wnid}")));
                };
                match index.filter(|&i| !self.agrees(wnid, i)) {
                    None => one(found, wnid),
                    Some(index) => Err(Misfit::Wrong(format!(
                        "class_index {index} is not the class of wnid {wnid}, neither of {} nor of ImageNet-1k",
                        self.model
                    ))),
                }
            }
            Claim::Wnid(wnid, None) => Err(Misfit::Wrong(format!(
                "the labels of {} have no wnids, so {wnid} names none of them: give class_index",
                self.model
            ))),
            Claim::Wnid(_, Some(index)) | Claim::Index(index) => self.in_range(*index),
            Claim::Folder(name) => {
                let named = self.by_wnid.get(&**name);
                match (
                    named.or_else(|| self.by_name.get(&folded(name))),
                    name.parse(),
                ) {
                    (Some(found), _) => one(found, name),
                    (None, Ok(index)) => self.in_range(index),
                    (None, Err(_)) => Err(Misfit::Unknown(format!(
                        "\"{name}\" (a wnid, name or index)"
                    ))),
                }
            }
        }
    }

    /// Whether an index can be that of the wnid: the model's, ImageNet's, or one beyond the model's classes, which
    /// is some other numbering and says nothing.
    fn agrees(&self, wnid: &str, index: usize) -> bool {
        let is = |labels: &Labels| {
            labels
                .get(index)
                .is_some_and(|l| l.wnid.as_deref() == Some(wnid))
        };
        index >= self.labels.len() || is(self.labels) || is(&self.imagenet)
    }

    fn in_range(&self, index: usize) -> Result<usize, Misfit> {
        let last = self.labels.len() - 1;
        if index <= last {
            return Ok(index);
        }
        Err(Misfit::Wrong(format!(
            "class_index is {index}, those of {} are 0 to {last}",
            self.model
        )))
    }
}

fn one(found: &BTreeSet<usize>, name: &str) -> Result<usize, Misfit> {
    let mut classes = found.iter();
    match (classes.next(), classes.next()) {
        (Some(&class), None) => Ok(class),
        (first, second) => Err(Misfit::Wrong(format!(
            "\"{name}\" names more than one class of the model, as {} and {}: use wnids or indices",
            first.copied().unwrap_or_default(),
            second.copied().unwrap_or_default()
        ))),
    }
}

/// Class names as people write them into folder names: any case, underscores for spaces.
fn folded(name: &str) -> String {
    name.replace('_', " ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(labels: &Labels, claim: &Claim) -> Result<usize, String> {
        Classes::new("birds", labels)
            .find(claim)
            .map_err(|e| match e {
                Misfit::Unknown(what) => format!("unknown: {what}"),
                Misfit::Wrong(what) => format!("wrong: {what}"),
            })
    }

    fn wnid(wnid: &str, index: Option<usize>) -> Claim {
        Claim::Wnid(wnid.into(), index)
    }

    #[test]
    fn wnid_decides_and_the_index_may_be_the_models_or_imagenets() {
        // Goldfish is class 1 of ImageNet-1k and class 0 here; 17 is beyond the two classes.
        let labels = Labels::parse("n01443537 goldfish\nn01629819 salamander").expect("labels");
        for index in [None, Some(0), Some(1), Some(17)] {
            assert_eq!(find(&labels, &wnid("n01443537", index)), Ok(0), "{index:?}");
        }
        // 0 is the goldfish here, and the tench of ImageNet-1k.
        let error = find(&labels, &wnid("n01629819", Some(0))).expect_err("a contradiction");
        assert!(
            error.starts_with("wrong: class_index 0 ") && error.contains("n01629819"),
            "{error}"
        );
        assert_eq!(
            find(&labels, &wnid("n02084071", Some(1))),
            Err("unknown: wnid n02084071".into())
        );
    }

    #[test]
    fn labels_without_wnids_need_an_index_in_range() {
        let labels = Labels::numbers(3);
        assert_eq!(find(&labels, &wnid("n01443537", Some(2))), Ok(2));
        assert_eq!(find(&labels, &Claim::Index(0)), Ok(0));
        let error = find(&labels, &Claim::Index(3)).expect_err("beyond");
        assert_eq!(error, "wrong: class_index is 3, those of birds are 0 to 2");
        let error = find(&labels, &wnid("n01443537", None)).expect_err("no index");
        assert!(error.contains("give class_index"), "{error}");
    }

    #[test]
    fn folder_is_a_wnid_a_name_or_an_index_and_never_a_guess() {
        let labels = Labels::imagenet1k();
        let folder = |name: &str| find(&labels, &Claim::Folder(name.into()));
        assert_eq!(folder("n02123045"), Ok(281));
        assert_eq!(folder("Golden_Retriever"), Ok(207));
        assert_eq!(folder("tabby, tabby cat"), Ok(281));
        assert_eq!(folder("281"), Ok(281));
        let error = folder("crane").expect_err("a bird and a machine");
        assert!(
            error.starts_with("wrong: ") && error.contains("134 and 517"),
            "{error}"
        );
        assert!(folder("1000").expect_err("beyond").starts_with("wrong: "));
        assert!(
            folder("unicorn")
                .expect_err("no class")
                .starts_with("unknown: \"unicorn\"")
        );
    }
}
