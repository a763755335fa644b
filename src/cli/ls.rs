//! `resnet ls`: the models that can be served by name, and which of them lie on this machine.
//!
//! Looks at names and sizes only; reads no model.

use std::path::Path;

use clap::Args;
use indicatif::DecimalBytes;
use serde::Serialize;

use super::args::StoreArgs;
use super::output::print;
use crate::registry::{BUILTINS, Builtin, Catalog, CatalogEntry, ModelState, Store};
use crate::table::{Column, Table};

/// List the models of the catalogue and which of them are on this machine
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
///
/// # Errors
/// If there is no models directory to look into, or standard output fails.
pub(crate) fn run(args: &LsArgs) -> anyhow::Result<()> {
    let store = args.store.needed_store()?;
    let catalog = Catalog::builtin();
    let entries = catalog.entries().iter();
    let rows: Vec<Row<'_>> = BUILTINS
        .iter()
        .map(Row::builtin)
        .chain(entries.map(|entry| Row::new(entry, &store)))
        .collect();
    if args.json {
        let listing = Listing {
            models_dir: store.dir(),
            models: &rows,
        };
        return print(&format!("{}\n", serde_json::to_string_pretty(&listing)?));
    }
    print(&table(&rows, store.dir()))
}

/// The JSON document.
#[derive(Serialize)]
struct Listing<'a> {
    models_dir: &'a Path,
    models: &'a [Row<'a>],
}

/// One model.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    aliases: &'a [String],
    bytes: u64,
    /// Percent; `null` where nothing is published for the whole of ImageNet-1k.
    top1: Option<f32>,
    top5: Option<f32>,
    license: &'a str,
    description: &'a str,
    note: Option<&'a str>,
    state: State,
    /// Bytes of the model that are on disk.
    bytes_on_disk: u64,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    BuiltIn,
    Missing,
    Partial,
    Present,
    WrongSize,
    Unreadable,
}

impl<'a> Row<'a> {
    fn new(entry: &'a CatalogEntry, store: &Store) -> Row<'a> {
        let (state, bytes_on_disk) = match store.state_of(entry) {
            Ok(ModelState::Missing) => (State::Missing, 0),
            Ok(ModelState::Partial { bytes }) => (State::Partial, bytes),
            Ok(ModelState::Present { bytes }) => (State::Present, bytes),
            Ok(ModelState::WrongSize { got, .. }) => (State::WrongSize, got),
            // One unreadable file must not hide the others.
            Err(_) => (State::Unreadable, 0),
        };
        Row {
            name: &entry.name,
            aliases: &entry.aliases,
            bytes: entry.bytes,
            top1: entry.top1,
            top5: entry.top5,
            license: &entry.license,
            description: &entry.description,
            note: entry.note.as_deref(),
            state,
            bytes_on_disk,
        }
    }

    fn builtin(model: &'static Builtin) -> Row<'a> {
        Row {
            name: model.name,
            aliases: &[],
            bytes: model.bytes(),
            top1: None,
            top5: None,
            license: model.license,
            description: model.description,
            note: None,
            state: State::BuiltIn,
            bytes_on_disk: 0,
        }
    }

    fn state_text(&self) -> String {
        match self.state {
            State::BuiltIn => "built in".into(),
            State::Missing => "not pulled".into(),
            State::Partial => format!(
                "{} % pulled",
                self.bytes_on_disk.saturating_mul(100) / self.bytes
            ),
            State::Present => "ready".into(),
            State::WrongSize => "wrong size, pull again".into(),
            State::Unreadable => "unreadable".into(),
        }
    }
}

/// The rows for people.
fn table(rows: &[Row<'_>], dir: &Path) -> String {
    let percent =
        |value: Option<f32>| value.map_or("n/a".to_owned(), |percent| format!("{percent:.2}"));
    let (left, right) = (Column::Left(0), Column::Right(0));
    let mut table = Table::new(&[left, right, right, right, left, left]);
    table.row(["NAME", "SIZE", "TOP-1", "TOP-5", "LICENSE", "STATE"]);
    for row in rows {
        let name = match row.aliases {
            [] => row.name.to_owned(),
            aliases => format!("{} ({})", row.name, aliases.join(", ")),
        };
        table.row([
            &name,
            &DecimalBytes(row.bytes).to_string(),
            &percent(row.top1),
            &percent(row.top5),
            row.license,
            &row.state_text(),
        ]);
    }
    format!("{table}\nmodels directory: {}\n", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_lines_columns_up_and_says_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let catalog = Catalog::builtin();
        let entry = catalog.find("resnet50").unwrap();
        std::fs::write(store.part_path_of(entry), vec![0; 1_025_766]).unwrap();
        let text = table(
            &[Row::builtin(&BUILTINS[0]), Row::new(entry, &store)],
            store.dir(),
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("STATE"), lines[1].find("built in"));
        assert!(
            lines[1].contains("n/a") && lines[1].contains("4.83 MB"),
            "{text}"
        );
        assert!(
            lines[2].starts_with("resnet50-v1-12 (resnet50)") && lines[2].ends_with("1 % pulled"),
            "{text}"
        );
        assert!(
            lines[2].contains("102.58 MB  74.97  92.33  Apache-2.0"),
            "{text}"
        );
    }
}
