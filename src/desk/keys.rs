//! API keys: how they are written down, and how one is found without telling the others.
//!
//! `cli` reads the file and the variable and hands their text to [`KeySet::parse`]; protocols look up what requests
//! bring. A key is held as its SHA-256 and appears in no error, log line or answer.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::hex;

/// Fewest characters of a key: 16 of base64 are 96 bits, which nobody guesses over a network.
const MIN_KEY: usize = 16;

/// Most characters of a key: longer ones would not fit into a request's head beside everything else.
const MAX_KEY: usize = 1024;

/// Longest name of a key, in characters; it is in every log line.
const MAX_NAME: usize = 64;

/// The name of the API key that a request brought.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyName(pub Arc<str>);

/// The keys that open the server; never empty.
#[derive(Clone)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    name: KeyName,
    digest: [u8; 32],
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.keys.iter().map(|key| &*key.name.0);
        f.debug_list().entries(names).finish()
    }
}

/// What is wrong with a list of keys. Names the place and the rule, never the text there, which may be a key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A line breaks a rule.
    #[error("{origin}, line {line}: {rule}")]
    BadLine {
        /// The file or variable.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// The rule.
        rule: String,
    },
    /// The same key is in both of two lists.
    #[error("one key is that of \"{first}\" and that of \"{second}\": a key is in one list only")]
    InBoth {
        /// Its name in the first.
        first: String,
        /// Its name in the second.
        second: String,
    },
    /// There are only comments and empty lines: a server that wants a key nobody has, or none at all.
    #[error("{origin} holds no key: a line is NAME:KEY or NAME:sha256=DIGEST")]
    Empty {
        /// The file or variable.
        origin: String,
    },
}

impl KeySet {
    /// Reads keys, one a line: `NAME:KEY` or `NAME:sha256=DIGEST`; lines that start with `#` are comments.
    ///
    /// A name may have several keys, so that one can be exchanged while both are valid. `origin` is the file or
    /// variable, for errors.
    ///
    /// # Errors
    /// [`KeysError`] for the first line that breaks a rule, or if there is no key at all.
    pub fn parse(origin: &str, text: &str) -> Result<KeySet, KeysError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refuse = |rule: String| KeysError::BadLine {
                origin: origin.into(),
                line: index + 1,
                rule,
            };
            let key = Key::parse(line).map_err(refuse)?;
            if keys.iter().any(|k| k.digest == key.digest) {
                return Err(refuse("this key is there already".into()));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            let origin = origin.into();
            return Err(KeysError::Empty { origin });
        }
        Ok(KeySet { keys })
    }

    /// Both sets' keys together.
    ///
    /// # Errors
    /// [`KeysError::InBoth`] for a key that both have: it could go under two names.
    pub fn merge(mut self, other: KeySet) -> Result<KeySet, KeysError> {
        for key in other.keys {
            let same = |k: &&Key| k.digest == key.digest;
            if let Some(first) = self.keys.iter().find(same) {
                return Err(KeysError::InBoth {
                    first: first.name.0.to_string(),
                    second: key.name.0.to_string(),
                });
            }
            self.keys.push(key);
        }
        Ok(self)
    }

    /// The names, in the order in which they were read, each once.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for key in &self.keys {
            if !names.contains(&&*key.name.0) {
                names.push(&key.name.0);
            }
        }
        names
    }

    /// The name of the key that these bytes are.
    #[must_use]
    pub fn find(&self, presented: &[u8]) -> Option<KeyName> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        let index = position(self.keys.iter().map(|key| &key.digest), &digest)?;
        Some(self.keys[index].name.clone())
    }
}

/// The position of `wanted`. Takes the same time whichever digest it is, and how much of one agrees: all are compared,
/// to the last byte.
fn position<'a>(digests: impl Iterator<Item = &'a [u8; 32]>, wanted: &[u8; 32]) -> Option<usize> {
    let (mut found, mut position) = (Choice::from(0), 0);
    for (index, digest) in digests.enumerate() {
        let same = digest.ct_eq(wanted);
        position = u64::conditional_select(&position, &(index as u64), same);
        found |= same;
    }
    bool::from(found).then_some(usize::try_from(position).unwrap_or(usize::MAX))
}

impl Key {
    /// # Errors
    /// The rule that the line breaks.
    fn parse(line: &str) -> Result<Key, String> {
        let (name, key) = line
            .split_once(':')
            .ok_or("a line is NAME:KEY or NAME:sha256=DIGEST, there is no ':'")?;
        let (name, key) = (name.trim_end(), key.trim_start());
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(format!(
                "the name before ':' has 1 to {MAX_NAME} letters, digits, '.', '_' or '-'"
            ));
        }
        let digest = match key.strip_prefix("sha256=") {
            Some(digits) => hex::decode(digits)
                .ok_or("the digest after \"sha256=\" has 64 hexadecimal digits".to_owned())?,
            None => {
                // What RFC 6750 allows as a token, so that the key fits into the Authorization header.
                let token = |b: u8| plain(b) || matches!(b, b'~' | b'+' | b'/' | b'=');
                if !key.bytes().all(token) {
                    return Err(
                        "the key after ':' has letters, digits and '-', '.', '_', '~', '+', '/', '='".into(),
                    );
                }
                if !(MIN_KEY..=MAX_KEY).contains(&key.len()) {
                    return Err(format!(
                        "the key after ':' has {} characters, allowed are {MIN_KEY} to {MAX_KEY}",
                        key.len()
                    ));
                }
                Sha256::digest(key).into()
            }
        };
        Ok(Key {
            name: KeyName(name.into()),
            digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "0123456789abcdef";

    #[test]
    fn compare_visits_every_digest_and_finds_the_right_one() {
        let digests: Vec<[u8; 32]> = (0..5).map(|i| [i; 32]).collect();
        for wanted in 0..7 {
            let mut visited = 0;
            let all = digests.iter().inspect(|_| visited += 1);
            let found = position(all, &[wanted; 32]);
            assert_eq!(found, (wanted < 5).then_some(usize::from(wanted)));
            assert_eq!(visited, 5, "looking for {wanted}");
        }
    }

    #[test]
    fn one_different_bit_anywhere_is_another_key() {
        for bit in 0..256 {
            let mut other = [7; 32];
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(position([other].iter(), &[7; 32]), None, "bit {bit}");
        }
    }

    #[test]
    fn list_has_comments_digests_and_several_keys_of_one_name() {
        let digest = "cd12c2dce5ba32f33b6faa1b6ee8e8fa3a9a6e8eb8a6bdc0ffcb2bb7c93b2f0e";
        let text = format!(
            "# the clients\r\n\r\nalice:{ALICE}\r\n alice : {ALICE}+/=~ \nbob:sha256={digest}\n"
        );
        let keys = KeySet::parse("F", &text).expect("it is right");
        assert_eq!(keys.names(), ["alice", "bob"]);
        let name = |key: &str| keys.find(key.as_bytes()).map(|n| n.0.to_string());
        assert_eq!(name(ALICE).as_deref(), Some("alice"));
        assert_eq!(name(&format!("{ALICE}+/=~")).as_deref(), Some("alice"));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", digest] {
            assert_eq!(name(wrong), None);
        }
        let hashed = KeySet::parse(
            "F",
            // echo -n 0123456789abcdef | sha256sum
            "carol:sha256=9F9F5111F7B27A781F1F1DDDE5EBC2DD2B796BFC7365C9C28B548E564176929F",
        )
        .expect("it is right");
        assert_eq!(
            hashed.find(ALICE.as_bytes()).expect("known").0.as_ref(),
            "carol"
        );
    }

    #[test]
    fn errors_name_place_and_rule_but_no_key() {
        let long = "k".repeat(MAX_KEY + 1);
        for (line, rule) in [
            ("secretsecretsecret", "there is no ':'"),
            (":secretsecretsecret", "the name before ':'"),
            ("al ice:secretsecretsecret", "the name before ':'"),
            ("alice:secret", "has 6 characters, allowed are 16 to 1024"),
            ("alice:", "has 0 characters"),
            ("alice:secret secret secret", "has letters, digits and"),
            ("alice:secret,secretsecret", "has letters, digits and"),
            ("alice:sha256=secret", "64 hexadecimal digits"),
            (&format!("alice:{long}"), "has 1025 characters"),
            (&format!("bob:{ALICE}"), "is there already"),
        ] {
            let text = format!("alice:{ALICE}\n#\n{line}\n");
            let error = KeySet::parse("/etc/keys", &text)
                .expect_err(line)
                .to_string();
            assert!(error.starts_with("/etc/keys, line 3: "), "{error}");
            assert!(error.contains(rule), "{line}: {error}");
            assert!(
                !error.contains("secret") && !error.contains(ALICE),
                "{error}"
            );
        }
        let empty = KeySet::parse("/etc/keys", "\n# none yet\n").expect_err("no key");
        assert!(empty.to_string().starts_with("/etc/keys holds no key"));
    }

    #[test]
    fn lists_are_joined_unless_both_have_the_same_key() {
        let set = |text: &str| KeySet::parse("F", text).expect("it is right");
        let (variable, other) = (
            set(&format!("alice:{ALICE}")),
            set("bob:bobs-very-own-key-2"),
        );
        let joined = variable.clone().merge(other).expect("two keys");
        assert_eq!(joined.names(), ["alice", "bob"]);
        for name in ["alice", "carol"] {
            let error = variable
                .clone()
                .merge(set(&format!("{name}:{ALICE}")))
                .expect_err("it is there already")
                .to_string();
            assert!(
                error.contains("\"alice\"") && error.contains(name),
                "{error}"
            );
            assert!(!error.contains(ALICE), "{error}");
        }
    }

    #[test]
    fn debug_output_has_names_only() {
        let keys = KeySet::parse("F", &format!("alice:{ALICE}")).expect("it is right");
        assert_eq!(format!("{keys:?}"), "[\"alice\"]");
    }
}
