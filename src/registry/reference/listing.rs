//! What lies in a models directory under a name that clients may give.
//!
//! Asked by `repository` for its index. Reads directories, no file's content.

use std::collections::BTreeSet;
use std::fs::DirEntry;

use super::{ModelOrigin, ModelRef, versions};
use crate::registry::beside::has_model;
use crate::registry::{Catalog, CatalogEntry, Store};

/// The models that [`ModelRef::in_store`] finds in the store itself, each version under its own name, by name; none
/// where the store cannot be read.
pub(super) fn names(catalog: &Catalog, store: &Store) -> Vec<String> {
    let entries = std::fs::read_dir(store.dir()).into_iter().flatten();
    let lying = entries
        .flatten()
        .flat_map(|entry| names_of(&entry, catalog));
    let pulled = catalog.entries().iter().map(|entry| entry.name.clone());
    // What is found by a name is what counts: another model may be called so, and the name may be none.
    let found = |name: String| {
        let found = ModelRef::in_store(&name, catalog, Some(store)).ok()?;
        let is_here = !matches!(found.source, ModelOrigin::Builtin(_));
        is_here.then_some(found.name)
    };
    let names: BTreeSet<String> = pulled.chain(lying).filter_map(found).collect();
    names.into_iter().collect()
}

/// The names that an entry of the store may stand for.
fn names_of(entry: &DirEntry, catalog: &Catalog) -> Vec<String> {
    let Ok(name) = entry.file_name().into_string() else {
        return Vec::new();
    };
    let path = entry.path();
    if path.is_dir() {
        // A directory that cannot be listed has no version that could be loaded.
        let versions = versions::in_directory(&path).unwrap_or_default();
        if versions.is_empty() {
            return has_model(&path).then_some(name).into_iter().collect();
        }
        let numbers = versions.iter().map(|(number, _)| number);
        return numbers.map(|number| format!("{name}@{number}")).collect();
    }
    let is_pulled = |known: &CatalogEntry| known.file == name;
    if catalog.entries().iter().any(is_pulled) {
        return Vec::new();
    }
    let stem = name.strip_suffix(".onnx").map(str::to_owned);
    stem.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_listed_by_the_name_that_loads_it() {
        let root = tempfile::tempdir().expect("a directory");
        let catalog = Catalog::builtin();
        let pulled = &catalog.entries()[0];
        let files = [
            "owls.onnx",
            "finches/model.onnx",
            "birds/1/model.onnx",
            "birds/12/model.onnx",
            "birds/2/model.onnx.part",
            // Hidden behind the directory of its name.
            "birds.onnx",
            // Hidden behind the model that is built in, and behind one of the catalogue that has not been pulled.
            "resnet18-tiny.onnx",
            &format!("{}/model.onnx", catalog.entries()[1].name),
            &pulled.file,
            &format!("{}.part", catalog.entries()[1].file),
            "no name.onnx",
            ".hidden.onnx",
            "notes.txt",
            "empty/notes.txt",
        ];
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below")).expect("writable");
            std::fs::write(path, "x").expect("writable");
        }
        let store = Store::new(root.path());
        let mut expected = ["birds@1", "birds@12", "finches", "owls", &pulled.name];
        expected.sort_unstable();
        assert_eq!(names(&catalog, &store), expected);
        assert_eq!(
            names(&catalog, &Store::new(root.path().join("gone"))),
            [""; 0]
        );
    }
}
