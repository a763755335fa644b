//! Which photo shows what: a table, or class folders.
//!
//! Called by `resnet eval` and `resnet quantize` in two steps, because the listing is read before the model is loaded:
//! a wrong path must not wait for that. Every refusal is one line that names file, line and value.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::classes::{Claim, Classes, Misfit};
use crate::preprocess::named_as_image;
use crate::registry::Labels;

/// Largest table, in bytes: a million photos with long names.
const MAX_TABLE_BYTES: u64 = 256 << 20;

/// One photo and its class.
#[derive(Debug)]
pub struct Photo {
    /// As the table calls it, or `FOLDER/FILE`.
    pub file: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its class, as a position in the model's output.
    pub class_index: usize,
}

/// The photos of a model's classes.
#[derive(Debug)]
pub struct Labelled {
    /// At least one.
    pub photos: Vec<Photo>,
    /// Photos of classes that the model does not have.
    pub left_out: usize,
}

/// Photos with what is said of their classes, before a model is known.
#[derive(Debug)]
pub struct Listing {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    file: String,
    path: PathBuf,
    claim: Claim,
    /// For messages: `labels.tsv: line 7`, or the folder.
    place: String,
}

impl Listing {
    /// Reads the table; without one, `labels.tsv` in `data`; without that, the folders of `data`.
    ///
    /// # Errors
    /// What cannot be read, or the first line that is wrong.
    pub fn read(data: &Path, labels: Option<&Path>) -> Result<Listing, String> {
        let found = fs::metadata(data).map_err(|e| unreadable(data, &e))?;
        if !found.is_dir() {
            return Err(format!("{}: is not a directory", data.display()));
        }
        let default = data.join("labels.tsv");
        let entries = match labels {
            Some(table) => read_table(table, data)?,
            None if default.exists() => read_table(&default, data)?,
            None => read_folders(data)?,
        };
        Ok(Listing { entries })
    }

    /// Finds each photo's class among the model's.
    ///
    /// # Errors
    /// The first photo whose class is not the model's, unless `known_only` leaves it out; the first contradiction.
    pub fn resolve(
        self,
        model: &str,
        labels: &Labels,
        known_only: bool,
    ) -> Result<Labelled, String> {
        let classes = Classes::new(model, labels);
        let (mut photos, mut left_out) = (Vec::new(), 0);
        for Entry {
            file,
            path,
            claim,
            place,
        } in self.entries
        {
            match classes.find(&claim) {
                Ok(class_index) => photos.push(Photo {
                    file,
                    path,
                    class_index,
                }),
                Err(Misfit::Unknown(_)) if known_only => left_out += 1,
                Err(Misfit::Unknown(what)) => {
                    return Err(format!(
                        "{place}: {what} is none of the {} classes of {model}; --known-only leaves such photos out",
                        labels.len()
                    ));
                }
                Err(Misfit::Wrong(what)) => return Err(format!("{place}: {what}")),
            }
        }
        if photos.is_empty() {
            return Err(format!(
                "none of the {left_out} photos is of a class of {model}"
            ));
        }
        Ok(Labelled { photos, left_out })
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: cannot be read: {error}", path.display())
}

fn read_table(table: &Path, data: &Path) -> Result<Vec<Entry>, String> {
    let name = table.display();
    let meta = fs::metadata(table).map_err(|e| unreadable(table, &e))?;
    if !meta.is_file() {
        return Err(format!("{name}: is not a file"));
    }
    if meta.len() > MAX_TABLE_BYTES {
        return Err(format!(
            "{name}: has {} bytes, allowed are {MAX_TABLE_BYTES}",
            meta.len()
        ));
    }
    let text = fs::read(table).map_err(|e| unreadable(table, &e))?;
    let text = String::from_utf8(text).map_err(|e| format!("{name}: is not UTF-8: {e}"))?;
    let rows = parse_table(&text).map_err(|(line, what)| format!("{name}: line {line}: {what}"))?;
    let photos = data.join("photos");
    let mut found = false;
    let entries = rows
        .into_iter()
        .map(|row| {
            let places = [data.join(&row.file), photos.join(&row.file)];
            let there = places.iter().find(|p| p.is_file());
            found |= there.is_some();
            Entry {
                path: there.unwrap_or(&places[0]).clone(),
                file: row.file,
                claim: row.claim,
                place: format!("{name}: line {}", row.line),
            }
        })
        .collect::<Vec<_>>();
    if !found {
        return Err(format!(
            "{name}: none of its {} files is in {} or {}",
            entries.len(),
            data.display(),
            photos.display()
        ));
    }
    Ok(entries)
}

#[derive(Debug)]
struct Row {
    line: usize,
    file: String,
    claim: Claim,
}

/// Reads a table: a head line that names the columns, then a photo a line. Other columns and empty lines are skipped.
fn parse_table(text: &str) -> Result<Vec<Row>, (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l));
    let head: Vec<&str> = lines
        .next()
        .map_or("", |(_, line)| line)
        .split('\t')
        .map(str::trim)
        .collect();
    let column = |name: &str| head.iter().position(|h| *h == name);
    let (file, wnid, index) = (column("file"), column("wnid"), column("class_index"));
    let (Some(file), true) = (file, wnid.is_some() || index.is_some()) else {
        let what =
            "the head line must name the columns file and wnid or class_index, separated by tabs";
        return Err((1, format!("{what}; it is \"{}\"", head.join("\t"))));
    };
    let mut rows = Vec::new();
    let mut seen = HashMap::new();
    for (line, text) in lines.filter(|(_, l)| !l.trim().is_empty()) {
        let fields: Vec<&str> = text.split('\t').map(str::trim).collect();
        let field = |column: Option<usize>| {
            column
                .and_then(|c| fields.get(c).copied())
                .filter(|f| !f.is_empty())
        };
        let Some(file) = field(Some(file)) else {
            return Err((line, "the file is not named".into()));
        };
        if let Some(first) = seen.insert(file, line) {
            return Err((line, format!("\"{file}\" is already on line {first}")));
        }
        let index = match field(index).map(|f| (f, f.parse::<usize>())) {
            None => None,
            Some((_, Ok(index))) => Some(index),
            Some((text, Err(_))) => {
                return Err((line, format!("class_index is \"{text}\", no whole number")));
            }
        };
        let claim = match (field(wnid), index) {
            (Some(wnid), index) => Claim::Wnid(wnid.to_owned(), index),
            (None, Some(index)) => Claim::Index(index),
            (None, None) => return Err((line, format!("\"{file}\" has no class"))),
        };
        rows.push(Row {
            line,
            file: file.to_owned(),
            claim,
        });
    }
    if rows.is_empty() {
        return Err((1, "no photo follows the head line".into()));
    }
    Ok(rows)
}

fn read_folders(data: &Path) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (name, folder) in sorted(data)? {
        // A hidden folder is a program's, not a class.
        if name.starts_with('.') || !folder.is_dir() {
            continue;
        }
        for (file, path) in sorted(&folder)? {
            if named_as_image(&path) && !file.starts_with('.') {
                entries.push(Entry {
                    file: format!("{name}/{file}"),
                    path,
                    claim: Claim::Folder(name.clone()),
                    place: folder.display().to_string(),
                });
            }
        }
    }
    if entries.is_empty() {
        return Err(format!(
            "{}: has neither labels.tsv nor folders of photos, each named after a class",
            data.display()
        ));
    }
    Ok(entries)
}

/// What a directory holds, by name.
fn sorted(dir: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| unreadable(dir, &e))? {
        let entry = entry.map_err(|e| unreadable(dir, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.push((name, entry.path()));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_may_come_from_windows_with_other_columns_and_empty_lines() {
        let text =
            "\u{feff}author\tfile\twnid\r\nA\ta b.jpg\tn01443537\r\n\r\nB\tc.jpg\t n02123045 \r\n";
        let rows = parse_table(text).expect("a table");
        let got: Vec<_> = rows.iter().map(|r| (r.line, &*r.file, &r.claim)).collect();
        assert!(
            matches!(
                &got[..],
                [(2, "a b.jpg", Claim::Wnid(a, None)), (4, "c.jpg", Claim::Wnid(b, None))]
                    if a == "n01443537" && b == "n02123045"
            ),
            "{got:?}"
        );
    }

    #[test]
    fn wrong_line_is_told_by_number_and_value() {
        let head = "file\tclass_index\twnid\n";
        for (text, line, words) in [
            ("", 1, "must name the columns"),
            ("a.jpg\t3\n", 1, "it is \"a.jpg\t3\""),
            ("file\tlabel\n", 1, "wnid or class_index"),
            (head, 1, "no photo follows"),
            (&format!("{head}\t3\t\n"), 2, "not named"),
            (&format!("{head}a.jpg\t\t\n"), 2, "\"a.jpg\" has no class"),
            (&format!("{head}a.jpg\n"), 2, "\"a.jpg\" has no class"),
            (&format!("{head}a.jpg\t-1\t\n"), 2, "class_index is \"-1\""),
            (
                &format!("{head}a.jpg\t1\t\nb.jpg\t2\t\na.jpg\t1\t\n"),
                4,
                "already on line 2",
            ),
        ] {
            let (at, what) = parse_table(text).expect_err(words);
            assert!(at == line && what.contains(words), "{at}: {what}");
        }
    }
}
