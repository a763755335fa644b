//! Weights in files beside the model, brought into the decoded file.
//!
//! Called by `onnx` and `quantize` before anything looks at a weight, so that none of them is another case for whatever
//! follows, and the importer opens no file. Nothing is read that does not lie with the model.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataLocation};

use super::LoadError;

/// Most bytes of weights in other files, all together: four times what a model's own file may have.
const MAX_BYTES: u64 = 8 << 30;

/// Where weights outside of a model's file may lie.
#[derive(Debug, Clone)]
pub struct WeightsDir {
    /// The directory in which the file was named, then the one that it really lies in, where a link leads there; each
    /// without links.
    dirs: Vec<PathBuf>,
}

impl WeightsDir {
    /// The directory of a model's file. If the file is a link, the directory that it leads to is one too: a hub's cache
    /// keeps all files of a model in one directory, under names that links stand for.
    #[must_use]
    pub fn of(model: &Path) -> WeightsDir {
        let parent = model.parent().filter(|p| !p.as_os_str().is_empty());
        let named = parent.unwrap_or(Path::new(".")).to_owned();
        let target = model.canonicalize().ok();
        let target = target.and_then(|file| file.parent().map(Path::to_owned));
        let mut dirs: Vec<PathBuf> = named.canonicalize().into_iter().collect();
        if let Some(target) = target.filter(|target| !dirs.contains(target)) {
            dirs.push(target);
        }
        WeightsDir { dirs }
    }

    /// The file at a location, without links.
    fn find(&self, location: &str) -> Result<PathBuf, String> {
        let paths = self.dirs.iter().filter_map(|dir| inside(dir, location));
        let paths: Vec<PathBuf> = paths.collect();
        if paths.is_empty() {
            return Err(format!("{location:?} is not inside the model's directory"));
        }
        let there = paths.into_iter().find(|path| path.is_file());
        let file = there.ok_or_else(|| format!("{location:?} is missing beside the model"))?;
        let real = file
            .canonicalize()
            .map_err(|e| format!("{location:?} cannot be read: {e}"))?;
        match self.dirs.iter().any(|dir| real.starts_with(dir)) {
            true => Ok(real),
            false => Err(format!(
                "{location:?} is a link to {}, which is not inside the model's directory",
                real.display()
            )),
        }
    }
}

/// The path of a location, if it is below the model's directory: as `w.bin`, `./w.bin`, `sub/../w.bin` are, and
/// `../model/w.bin` if the directory is `model`.
fn inside(dir: &Path, location: &str) -> Option<PathBuf> {
    let mut path = dir.to_owned();
    for component in Path::new(location).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            Component::ParentDir => path.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    path.starts_with(dir).then_some(path)
}

/// Puts the bytes of all weights that lie in other files into the file, as if they had been there.
///
/// # Errors
/// [`LoadError::ExternalData`], naming the tensor, its file and what is wrong with it.
pub(super) fn bring_in(proto: &mut ModelProto, dir: Option<&WeightsDir>) -> Result<(), LoadError> {
    let mut reader = Reader {
        dir,
        left: MAX_BYTES,
    };
    if let Some(graph) = &mut proto.graph {
        reader.graph(graph)?;
    }
    let functions = proto.functions.iter_mut();
    functions
        .flat_map(|function| &mut function.node)
        .try_for_each(|node| reader.node(node))
}

struct Reader<'a> {
    dir: Option<&'a WeightsDir>,
    /// Bytes that may still be read.
    left: u64,
}

impl Reader<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), LoadError> {
        for tensor in &mut graph.initializer {
            self.tensor(tensor)?;
        }
        graph.node.iter_mut().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &mut NodeProto) -> Result<(), LoadError> {
        for attribute in &mut node.attribute {
            let tensors = attribute.t.iter_mut().chain(&mut attribute.tensors);
            for tensor in tensors {
                self.tensor(tensor)?;
            }
            let graphs = attribute.g.iter_mut().chain(&mut attribute.graphs);
            for graph in graphs {
                self.graph(graph)?;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<(), LoadError> {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let bytes = self
            .read(tensor)
            .map_err(|reason| LoadError::ExternalData {
                tensor: tensor.name.clone(),
                reason,
            })?;
        tensor.raw_data = bytes;
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    }

    /// The range of the file that the tensor names.
    fn read(&mut self, tensor: &TensorProto) -> Result<Vec<u8>, String> {
        let entry = |key: &str| {
            let entry = tensor.external_data.iter().find(|e| e.key == key);
            entry.map(|e| e.value.as_str())
        };
        let number = |key: &str| {
            let number = entry(key).map(|text| {
                let number = text.parse::<u64>();
                number.map_err(|_| format!("its {key} is {text:?}, expected a number"))
            });
            number.transpose()
        };
        let location = entry("location").ok_or("the model does not say which")?;
        let dir = self.dir.ok_or_else(|| {
            format!("{location:?}, but this model may have weights in its own file only")
        })?;
        let path = dir.find(location)?;
        let unreadable = |e: std::io::Error| format!("{location:?} cannot be read: {e}");
        let mut file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(size.saturating_sub(offset));
        let end = offset.saturating_add(length);
        if end > size {
            return Err(format!(
                "{location:?} ends at byte {size}, the weights at {end}"
            ));
        }
        self.left = self.left.checked_sub(length).ok_or_else(|| {
            format!("all weights together have more than the {MAX_BYTES} bytes that are allowed")
        })?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        file.take(length)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::{AttributeProto, FunctionProto, StringStringEntryProto};

    #[test]
    fn location_is_a_path_below_the_directory() {
        let dir = Path::new("/models/birds");
        for (location, path) in [
            ("w.bin", "w.bin"),
            ("./w.bin", "w.bin"),
            (".//w.bin", "w.bin"),
            ("sub/../w.bin", "w.bin"),
            ("sub/./deep/../w.bin", "sub/w.bin"),
            ("sub/w.bin", "sub/w.bin"),
            ("../birds/w.bin", "w.bin"),
            ("../../models/birds/sub/w.bin", "sub/w.bin"),
        ] {
            assert_eq!(inside(dir, location), Some(dir.join(path)), "{location}");
        }
        for location in [
            "../w.bin",
            "sub/../../w.bin",
            "/w.bin",
            "/models/birds/w.bin",
            "./../w.bin",
            "..",
            "../birds2/w.bin",
            "../../../../models/w.bin",
        ] {
            assert_eq!(inside(dir, location), None, "{location}");
        }
    }

    fn external(location: &str, offset: &str) -> TensorProto {
        let entry = |(key, value): (&str, &str)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        TensorProto {
            name: "w".into(),
            data_location: Some(DataLocation::External as i32),
            external_data: [("location", location), ("offset", offset), ("length", "4")]
                .map(entry)
                .into(),
            ..TensorProto::default()
        }
    }

    /// A model with the tensor as a weight, in a node, in a graph inside of a node, and in a function's node.
    fn everywhere(tensor: &TensorProto) -> ModelProto {
        let node = |attribute| NodeProto {
            attribute: vec![attribute],
            ..NodeProto::default()
        };
        let constant = node(AttributeProto {
            t: Some(tensor.clone()),
            ..AttributeProto::default()
        });
        let graph = GraphProto {
            initializer: vec![tensor.clone()],
            node: vec![constant.clone()],
            ..GraphProto::default()
        };
        let branch = node(AttributeProto {
            g: Some(graph.clone()),
            ..AttributeProto::default()
        });
        ModelProto {
            graph: Some(GraphProto {
                node: vec![constant.clone(), branch],
                ..graph
            }),
            functions: vec![FunctionProto {
                node: vec![constant],
                ..FunctionProto::default()
            }],
            ..ModelProto::default()
        }
    }

    #[test]
    fn weights_are_brought_in_wherever_they_stand_and_refused_by_their_tensor() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("w.bin"), [1, 2, 3, 4, 5, 6, 7]).expect("writable");
        let dir = WeightsDir::of(&root.path().join("model.onnx"));
        let mut proto = everywhere(&external("./w.bin", "2"));
        bring_in(&mut proto, Some(&dir)).expect("they are there");
        let brought = TensorProto {
            name: "w".into(),
            raw_data: vec![3, 4, 5, 6],
            ..TensorProto::default()
        };
        assert_eq!(proto, everywhere(&brought));
        for (location, offset, reason) in [
            ("w.bin", "4", "\"w.bin\" ends at byte 7, the weights at 8"),
            ("w.bin", "18446744073709551615", "\"w.bin\" ends at byte 7"),
            ("w.bin", "x", "its offset is \"x\", expected a number"),
            ("v.bin", "0", "\"v.bin\" is missing beside the model"),
            ("", "0", "\"\" is missing beside the model"),
        ] {
            let error = bring_in(&mut everywhere(&external(location, offset)), Some(&dir));
            let error = error.expect_err(reason).to_string();
            let start = format!("tensor \"w\" has its weights in another file: {reason}");
            assert!(error.starts_with(&start), "{error}");
        }
        let error = bring_in(&mut everywhere(&external("w.bin", "0")), None).expect_err("alone");
        assert!(
            error.to_string().ends_with("in its own file only"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_may_lead_anywhere_in_the_directories_of_the_model() {
        use std::fs;
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().expect("a directory");
        let at = |path: &str| root.path().join(path);
        for dir in ["snapshot", "blobs", "elsewhere", "snapshot/sub"] {
            fs::create_dir(at(dir)).expect("writable");
        }
        for file in [
            "blobs/1",
            "blobs/2",
            "blobs/3.bin",
            "elsewhere/w",
            "snapshot/own",
        ] {
            fs::write(at(file), file).expect("writable");
        }
        for (target, link) in [
            ("../blobs/1", "snapshot/model.onnx"),
            ("../blobs/2", "snapshot/w.bin"),
            ("own", "snapshot/near"),
            ("../elsewhere/w", "snapshot/far"),
            ("../elsewhere", "snapshot/dir"),
            ("nowhere", "snapshot/broken"),
        ] {
            symlink(target, at(link)).expect("writable");
        }
        let dir = WeightsDir::of(&at("snapshot/model.onnx"));
        for (location, file) in [
            ("w.bin", "blobs/2"),
            ("./sub/../w.bin", "blobs/2"),
            ("near", "snapshot/own"),
            ("own", "snapshot/own"),
            ("3.bin", "blobs/3.bin"),
        ] {
            let real = at(file).canonicalize().expect("there");
            assert_eq!(dir.find(location), Ok(real), "{location}");
        }
        for (location, words) in [
            ("far", "is a link to "),
            ("dir/w", "which is not inside the model's directory"),
            ("broken", "is missing beside the model"),
            ("sub", "is missing beside the model"),
            ("../elsewhere/w", "is not inside the model's directory"),
        ] {
            let error = dir.find(location).expect_err(location);
            assert!(error.contains(words), "{error}");
        }
    }
}
