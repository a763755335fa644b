//! `resnet pull`: downloads models of the catalogue, or takes them from a file or mirror, and proves them right.
//!
//! Turns flags into `registry::fetch` and shows what that reports. The file system and the network are `registry`'s.

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};

use super::args::{StoreArgs, find, is_builtin};
use super::output::{UsageError, complain, print};
use crate::registry::{
    Catalog, CatalogEntry, FetchOptions, FetchSource, ModelState, Progress, ProxySettings, Store,
    Verdict, fetch,
};
use crate::table::Table;
use crate::visible::visible;

/// Download models of the catalogue and check their SHA-256
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Names from `resnet ls`, as resnet50
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Take the model, a single one, from this URL or file instead; its SHA-256 must still be the catalogue's
    #[arg(long, value_name = "URL|FILE")]
    from: Option<String>,
    /// Take the model from BASE/<its file name>; http is fine, the SHA-256 decides
    #[arg(long, env = "RESNET_MIRROR", value_name = "BASE")]
    mirror: Option<String>,
    /// Trust the certificates of this PEM file besides Mozilla's, as of a company's TLS proxy
    #[arg(long, env = "RESNET_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Download even if the model is there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command: if one of the names is wrong, nothing is pulled; exit code 1 if one of the models is not there at
/// the end.
///
/// # Errors
/// If a name is unknown, or standard output fails.
pub(crate) fn run(args: &PullArgs) -> anyhow::Result<ExitCode> {
    if args.from.is_some() && args.names.len() > 1 {
        let count = args.names.len();
        let text = format!("--from is one model, {count} were named; --mirror has many");
        return Err(UsageError(text).into());
    }
    let catalog = Catalog::builtin();
    let entry = |name: &String| match is_builtin(name) {
        true => Ok(None),
        false => find(&catalog, name).map(Some),
    };
    let entries = args.names.iter().map(entry);
    let entries = entries.collect::<anyhow::Result<Vec<_>>>()?;
    let mut code = ExitCode::SUCCESS;
    for (name, entry) in args.names.iter().zip(entries) {
        let done = match entry {
            None => Ok(format!(
                "{name} is built in, there is nothing to pull: resnet serve --model {name}\n"
            )),
            Some(entry) => pull(args, name, entry),
        };
        match done {
            Ok(done) => print(&done)?,
            Err(error) => {
                complain(&format!("error: {error:#}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Pulls one model, and says what is there now.
fn pull(args: &PullArgs, name: &str, entry: &CatalogEntry) -> anyhow::Result<String> {
    let store = args.store.needed_store()?;
    if !args.force && is_right(&store, entry)? {
        return Ok(report("is there already", args, name, entry, &store));
    }
    let source = match (&args.from, &args.mirror) {
        (Some(from), _) => FetchSource::from_argument(from),
        (None, Some(base)) => FetchSource::Mirror(base.clone()),
        (None, None) => FetchSource::Catalogue,
    };
    let options = FetchOptions {
        ca_file: args.ca_file.clone(),
        proxies: ProxySettings::from_env(|name| env::var_os(name)),
        ..FetchOptions::default()
    };
    let display = Display::start(entry);
    let fetched = fetch(entry, &source, &store, &options, &mut |progress| {
        display.show(&progress)
    });
    display.end();
    fetched.with_context(|| format!("cannot pull {}", entry.name))?;
    Ok(report("is ready", args, name, entry, &store))
}

/// Whether the store holds the model with the right digest. What it holds instead is said, as it will be replaced.
fn is_right(store: &Store, entry: &CatalogEntry) -> anyhow::Result<bool> {
    let path = store.path_of(entry);
    let wrong = match store
        .state_of(entry)
        .with_context(|| format!("cannot read {}", path.display()))?
    {
        ModelState::Missing | ModelState::Partial { .. } => return Ok(false),
        ModelState::WrongSize { got, expected } => format!("has {got} instead of {expected} bytes"),
        ModelState::Present { .. } => {
            match store
                .verify(entry)
                .with_context(|| format!("cannot read {}", path.display()))?
            {
                Verdict::Match => return Ok(true),
                Verdict::Mismatch { got } => format!("has the sha256 {got}, not the catalogue's"),
            }
        }
    };
    complain(&format!("{} {wrong}; pulling it again", path.display()));
    Ok(false)
}

/// The lines at the end.
fn report(
    outcome: &str,
    args: &PullArgs,
    name: &str,
    entry: &CatalogEntry,
    store: &Store,
) -> String {
    let mut table = Table::of_pairs(11);
    let mut line = |key: &str, value: &str| table.row([&format!("  {key}"), value]);
    line("file", &store.path_of(entry).display().to_string());
    line(
        "size",
        &format!("{} ({} bytes)", DecimalBytes(entry.bytes), entry.bytes),
    );
    line("sha256", &format!("{} ok", entry.sha256));
    line("license", &entry.license);
    if let Some(words) = &entry.note {
        line("note", words);
    }
    line(
        "next",
        &format!("resnet serve --model {name}{}", args.store.as_flag()),
    );
    format!("{} {outcome}\n{table}", entry.name)
}

/// Shows the progress on standard error: a bar on a terminal, a few lines otherwise.
struct Display {
    bar: Option<ProgressBar>,
    name: String,
    size: DecimalBytes,
}

impl Display {
    fn start(entry: &CatalogEntry) -> Display {
        let (name, size) = (entry.name.clone(), DecimalBytes(entry.bytes));
        if !io::stderr().is_terminal() {
            complain(&format!("pulling {name} ({size})"));
            return Display {
                bar: None,
                name,
                size,
            };
        }
        let style = ProgressStyle::with_template(
            "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
        )
        .expect("the template is right; it is the same in every run")
        .progress_chars("=> ");
        let bar = ProgressBar::new(entry.bytes)
            .with_style(style)
            .with_message(name.clone());
        bar.tick();
        Display {
            bar: Some(bar),
            name,
            size,
        }
    }

    fn show(&self, progress: &Progress) {
        let line = match (progress, &self.bar) {
            (Progress::Received { bytes }, Some(bar)) => return bar.set_position(*bytes),
            (Progress::Received { .. }, None) => return,
            (Progress::Verifying, Some(bar)) => {
                return bar.set_message(format!("{}, checking sha256", self.name));
            }
            (Progress::Verifying, None) => "checking the sha256".to_owned(),
            (Progress::Retrying { attempt, reason }, _) => format!("retry {attempt}: {reason}"),
            (Progress::Resuming { bytes }, bar) => {
                if let Some(bar) = bar {
                    bar.set_position(*bytes);
                    // Rate and time left are of this run.
                    bar.reset_eta();
                }
                format!("resuming at {} of {}", DecimalBytes(*bytes), self.size)
            }
        };
        match &self.bar {
            Some(bar) => bar.println(visible(&line)),
            None => complain(&line),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
