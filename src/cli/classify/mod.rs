//! `resnet classify PATH…`: the server's answers for files and folders, without a server.
//!
//! Goes through the same `Classifier` as HTTP, by way of `offline`.

mod explain;
mod files;
pub(super) mod form;
mod kept;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use self::explain::Picture;
use self::files::{Files, Skipped};
use self::form::Form;
use self::kept::{Kept, Run};
use self::summary::Summary;
use super::destination::{Destination, check_name};
use super::offline::OfflineArgs;
use super::output::{UsageError, complain};
use super::progress::Progress;
use crate::classifier::{ClassifyOptions, Wish};

/// The flags of `resnet classify`.
#[derive(Debug, Args)]
#[command(after_help = "\
A folder means the images in it and in its folders, sorted by name, links followed. Hidden files are skipped, and so is \
what neither begins as an image nor is named as one.

Examples:
  resnet classify photo.jpg
  resnet classify -k 1 photos --output answers.csv
  resnet classify photos --output answers.csv --resume     after Ctrl-C: the rest
  resnet classify --format jsonl photos | jq .predictions[0].label
  resnet classify photo.jpg --explain why.png              to lay over the photo

docs/COMMANDS.md describes the columns and keys.
Exit code 0: every file has an answer. 1: one has none, or is too large for --explain, or the model failed. 2: wrong \
usage. 130: ended by Ctrl-C; the answers written until then are whole.")]
pub(crate) struct ClassifyArgs {
    /// Image files, and folders of them; - reads one image from standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Classes to print for each image [default: 5, or all if the model has fewer]
    #[arg(long, short = 'k', env = "RESNET_TOP_K", value_parser = parse_count, value_name = "N")]
    top_k: Option<usize>,

    /// How answers are written [default: as the name of --output ends, .csv, .jsonl or .txt; else table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Form>,

    /// Short for --format jsonl
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Write the answers into this file, replacing it, instead of to standard output
    #[arg(long, short, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Keep what the output file has, and add the answers that it lacks; a file that failed counts as answered
    #[arg(long, requires = "output")]
    resume: bool,

    /// Write a picture into this file that shows where the model saw the class: a PNG to lay over the upright photo,
    /// yellow where most speaks for it; of one image
    #[arg(long, value_name = "PNG", conflicts_with = "resume")]
    explain: Option<PathBuf>,

    /// The index of the class that --explain shows [default: the most probable one]
    #[arg(long, requires = "explain", value_parser = parse_count, value_name = "N")]
    explain_class: Option<usize>,

    #[command(flatten)]
    offline: OfflineArgs,
}

impl ClassifyArgs {
    fn form(&self) -> Result<Form, UsageError> {
        match (self.json, self.format, &self.output) {
            (true, ..) => Ok(Form::Jsonl),
            (false, Some(form), _) => Ok(form),
            (false, None, Some(path)) => Form::of_name(path).ok_or_else(|| {
                let name = path.display();
                let text =
                    "no format's: give --format, or a name that ends in .csv, .jsonl or .txt";
                UsageError(format!("the name {name} is {text}"))
            }),
            (false, None, None) => Ok(Form::Table),
        }
    }

    /// Whether failures and counts are told at the end: of a few files that somebody has named they are seen at once.
    fn has_summary(&self) -> bool {
        self.output.is_some() || self.files.iter().any(|path| path.is_dir())
    }
}

/// Classifies the files in order; exit code 1 if one of them has no answer.
///
/// # Errors
/// If the model cannot be served or the answers cannot be written.
pub(crate) fn run(args: &ClassifyArgs) -> anyhow::Result<ExitCode> {
    let form = args.form()?;
    if args.resume && form == Form::Table {
        return Err(UsageError("--resume needs --format csv or jsonl".into()).into());
    }
    if let Some(path) = &args.explain {
        check_name("--explain", path, &["png"])?;
    }
    let mut destination = match (&args.output, args.resume) {
        (Some(path), true) => Destination::reopen(path)?,
        (output, _) => Destination::open(output.as_deref())?,
    };
    destination.refuse_inputs(args.files.iter().map(PathBuf::as_path))?;
    let mut picture = args.explain.as_deref().map(Picture::open).transpose()?;
    if let Some(picture) = &picture {
        picture.check(&args.files, &destination)?;
    }
    let offline = args.offline.start("classify")?;
    let info = &offline.model.info;
    let explain = match &picture {
        Some(_) => Some(explain::wish(info, args.explain_class)?),
        None => None,
    };
    let options = ClassifyOptions {
        top_k: top_k(args.top_k, info.labels.len())?,
        exif: args.offline.exif.mode(),
        wish: Wish {
            explain,
            ..Wish::default()
        },
        ..ClassifyOptions::default()
    };
    let run = Run {
        form,
        model: &info.name,
        top_k: options.top_k,
    };
    let kept = match args.resume {
        true => kept(&mut destination, run)?,
        false => Kept::default(),
    };
    destination.cut(kept.length)?;
    if kept.length == 0 {
        form.write_to(&mut destination, &form.head())?;
    }
    let mut summary = Summary::after(kept.failed);
    let skipped = Arc::new(Skipped::default());
    // On a terminal the answers themselves show how far it is.
    let progress = match destination.is_terminal() {
        true => Progress::none(),
        false => Progress::start(|| Files::count(&args.files)),
    };
    let files = Files::new(
        args.files.clone(),
        destination.real_path(),
        kept.files,
        Arc::clone(&skipped),
        progress.clone(),
    );
    let tells_at_once = form == Form::Table && !args.has_summary();
    let mut too_large = None;
    let ran = offline.run(files, options, |file, answer| {
        progress.step();
        match &answer {
            Ok(_) => summary.count(),
            Err(error) => summary.count_failure(&file, &error.to_string()),
        }
        match &answer {
            Err(error) if tells_at_once => {
                progress.say(&format!("{file}: {error}"));
            }
            _ => form.write_to(&mut destination, &form.answer(&file, &info.name, &answer)?)?,
        }
        if let (Some(picture), Ok(answer)) = (&mut picture, &answer) {
            let drawn = picture.write(info, answer)?;
            too_large = drawn.err().map(|error| format!("{file}: {error}"));
        }
        Ok(())
    });
    progress.end();
    let stopped = ran?;
    if args.has_summary() {
        summary
            .lines(&skipped)
            .iter()
            .for_each(|line| complain(line));
    }
    if let Some(line) = &too_large {
        complain(line);
    }
    Ok(match stopped {
        Some(signal) => {
            complain(&format!("ended by {}{}", signal.name(), rest(args, form)));
            ExitCode::from(signal.exit_code())
        }
        None if summary.has_failures() || too_large.is_some() => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

/// What the output has already.
fn kept(destination: &mut Destination, run: Run<'_>) -> anyhow::Result<Kept> {
    let Destination::File { file, path } = destination else {
        return Ok(Kept::default());
    };
    let refused = |what| format!("--resume cannot go on with {}: {what}", path.display());
    Kept::read(file, run).map_err(|what| UsageError(refused(what)).into())
}

/// How to get the rest of the answers after a signal.
fn rest(args: &ClassifyArgs, form: Form) -> String {
    match &args.output {
        Some(path) if form != Form::Table && path != Path::new("-") => {
            "; the same command with --resume goes on".to_owned()
        }
        _ => String::new(),
    }
}

/// Reads a number of classes; the model's comes later.
fn parse_count(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no whole number"))
}

/// The number of classes to print.
fn top_k(asked: Option<usize>, classes: usize) -> Result<usize, UsageError> {
    match asked {
        None => Ok(ClassifyOptions::default().top_k.min(classes)),
        Some(k) if (1..=classes).contains(&k) => Ok(k),
        Some(k) => Err(UsageError(format!(
            "--top-k is {k}, allowed are 1 to {classes}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_classes_is_lowered_only_where_nobody_asked() {
        assert_eq!(top_k(None, 1000).expect("fine"), 5);
        assert_eq!(top_k(None, 3).expect("fine"), 3);
        assert_eq!(top_k(Some(3), 3).expect("fine"), 3);
        for (asked, classes) in [(5, 3), (0, 3), (4, 3), (1001, 1000)] {
            let error = top_k(Some(asked), classes).expect_err("there are not so many");
            assert!(
                error
                    .to_string()
                    .contains(&format!("is {asked}, allowed are 1 to {classes}")),
                "{error}"
            );
        }
    }
}
