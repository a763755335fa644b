//! Versions of a model: the served name `birds@2` is version 2 of `birds`, one without a version is version 1.

/// A served name taken apart: whose version it is, and the version if it names one.
///
/// A version is a whole number from 1, without zeros in front; what is written otherwise is a part of the name.
#[must_use]
pub fn split_version(served: &str) -> (&str, Option<u32>) {
    let parts = served.rsplit_once('@');
    match parts.and_then(|(name, version)| Some((name, version_of(version)?))) {
        Some((name, version)) => (name, Some(version)),
        None => (served, None),
    }
}

/// The version that a text names: a whole number from 1, without zeros in front; none if it is no such number.
#[must_use]
pub fn version_of(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

/// Whether two served names mean the same model: version 1 need not be written.
#[must_use]
pub fn is_same_model(one: &str, other: &str) -> bool {
    let whole = |served| {
        let (name, version) = split_version(served);
        (name, version.unwrap_or(1))
    };
    whole(one) == whole(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_a_whole_number_behind_the_last_at() {
        assert_eq!(split_version("birds"), ("birds", None));
        assert_eq!(split_version("birds@2"), ("birds", Some(2)));
        assert_eq!(split_version("a@b@4294967295"), ("a@b", Some(u32::MAX)));
        for none in [
            "birds@",
            "birds@0",
            "birds@02",
            "birds@+2",
            "birds@v2",
            "birds@4294967296",
            "@",
        ] {
            assert_eq!(split_version(none), (none, None));
        }
        assert!(is_same_model("birds", "birds@1") && is_same_model("birds@2", "birds@2"));
        assert!(!is_same_model("birds", "birds@2") && !is_same_model("bird", "birds"));
    }
}
