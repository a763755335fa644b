//! stub
pub(super) fn flush_denormals() {}
