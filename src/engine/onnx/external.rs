//! Weights that lie in another file than the graph, read.
//!
//! Called by `floats`, which needs the numbers themselves; all other weights of this kind are read by the importer.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use tract_onnx::pb::TensorProto;

use super::super::LoadError;
use super::check_external_tensor;

/// The bytes of a tensor that lies in another file.
///
/// # Errors
/// [`LoadError::ExternalData`] if they may not or cannot be read.
pub(super) fn read(tensor: &TensorProto, dir: Option<&Path>) -> Result<Vec<u8>, LoadError> {
    read_inside(tensor, dir).map_err(|reason| LoadError::ExternalData {
        tensor: tensor.name.clone(),
        reason,
    })
}

fn read_inside(tensor: &TensorProto, dir: Option<&Path>) -> Result<Vec<u8>, String> {
    check_external_tensor(tensor, dir)?;
    let entry = |key: &str| {
        let mut entries = tensor.external_data.iter();
        entries.find(|e| e.key == key).map(|e| e.value.as_str())
    };
    let number = |key: &str| entry(key).and_then(|text| text.parse::<u64>().ok());
    let location = entry("location").unwrap_or_default();
    let unreadable = |e: std::io::Error| format!("{location:?} cannot be read: {e}");
    let dir = dir
        .unwrap_or(Path::new("."))
        .canonicalize()
        .map_err(unreadable)?;
    let path = dir.join(location).canonicalize().map_err(unreadable)?;
    if !path.starts_with(&dir) {
        return Err(format!(
            "{location:?} is a link out of the model's directory"
        ));
    }
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let offset = number("offset").unwrap_or(0);
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(number("length").unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}
