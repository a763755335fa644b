//! What an output file has already: which files' answers, and where the last whole one ends.
//!
//! Used by `classify --resume`. A run that was cut may have left half of an answer; everything before it is kept.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use csv::ByteRecord;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::form::{COLUMNS, Form};

/// The run whose answers an output must have, so that the run can go on with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    /// The form of the answers.
    pub(super) form: Form,
    /// Name of the model.
    pub(super) model: &'a str,
    /// The number of classes for each file.
    pub(super) top_k: usize,
}

/// The answers that are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Files by name, and how often each has been answered or refused.
    pub(super) files: HashMap<String, usize>,
    /// Files without an answer.
    pub(super) failed: usize,
    /// Bytes from the file's start to the end of the last whole answer.
    pub(super) length: u64,
}

impl Kept {
    /// Reads an output from its start. A table has no form that could be read.
    ///
    /// # Errors
    /// The first line that is not of such a run, in words.
    pub(super) fn read(mut output: impl Read + Seek, run: Run<'_>) -> Result<Kept, String> {
        let unreadable = |e: io::Error| format!("cannot be read: {e}");
        let length = output.seek(SeekFrom::End(0)).map_err(unreadable)?;
        output.rewind().map_err(unreadable)?;
        match run.form {
            Form::Table => Ok(Kept::default()),
            Form::Jsonl => read_jsonl(BufReader::new(output), run),
            Form::Csv => read_csv(output, length, run),
        }
    }

    /// Takes the answer for a file, which ends there.
    fn take(&mut self, file: String, failed: bool, end: u64) {
        *self.files.entry(file).or_default() += 1;
        self.failed += usize::from(failed);
        self.length = end;
    }
}

impl Run<'_> {
    /// Refuses the answers of another model.
    fn check_model(&self, line: u64, model: &str) -> Result<(), String> {
        match model == self.model {
            true => Ok(()),
            false => Err(format!(
                "line {line} is of the model {model}, this run's is {}",
                self.model
            )),
        }
    }

    /// The message for an answer with another number of classes.
    fn other_number(&self, line: u64, classes: usize) -> String {
        format!(
            "line {line} belongs to an answer of {classes} classes, this run's have {}: --top-k must be the same",
            self.top_k
        )
    }
}

fn unknown(line: u64) -> String {
    format!("line {line} is none that `resnet classify` writes in this format")
}

/// How every line of JSON begins.
const JSON_BEGIN: &[u8] = b"{\"file\":\"";

#[derive(Deserialize)]
struct JsonLine {
    file: String,
    model: String,
    predictions: Option<Vec<IgnoredAny>>,
}

fn read_jsonl(mut output: impl BufRead, run: Run<'_>) -> Result<Kept, String> {
    let (mut kept, mut text, mut end) = (Kept::default(), Vec::new(), 0);
    for line in 1.. {
        text.clear();
        let length = output
            .read_until(b'\n', &mut text)
            .map_err(|e| format!("cannot be read: {e}"))?;
        if !text.ends_with(b"\n") {
            break; // the end, or half of a line
        }
        end += length as u64;
        let JsonLine {
            file,
            model,
            predictions,
        } = serde_json::from_slice(&text).map_err(|_| unknown(line))?;
        run.check_model(line, &model)?;
        let classes = predictions.as_ref().map(Vec::len);
        if let Some(classes) = classes.filter(|&classes| classes != run.top_k) {
            return Err(run.other_number(line, classes));
        }
        kept.take(file, predictions.is_none(), end);
    }
    match kept.length > 0 || agree(&text, JSON_BEGIN) {
        true => Ok(kept),
        false => Err(unknown(1)),
    }
}

/// Whether the shorter of the two is the beginning of the other.
fn agree(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// The fields of a line of CSV that tell what it belongs to.
struct CsvLine<'a> {
    file: &'a str,
    model: &'a str,
    /// The rank; none in the only line of a file without an answer.
    rank: Option<usize>,
}

impl<'a> CsvLine<'a> {
    fn new(record: &'a ByteRecord) -> Option<CsvLine<'a>> {
        let text = |field: usize| std::str::from_utf8(record.get(field)?).ok();
        let rank = match text(2)? {
            "" => None,
            rank => Some(rank.parse().ok()?),
        };
        (record.len() == COLUMNS.len()).then_some(CsvLine {
            file: text(0)?,
            model: text(1)?,
            rank,
        })
    }
}

/// An answer of which some lines have been read.
struct Begun {
    file: String,
    ranks: usize,
}

fn read_csv(mut output: impl Read + Seek, length: u64, run: Run<'_>) -> Result<Kept, String> {
    check_columns(&mut output, &run.form.head())?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(LastByte::new(output));
    let (mut kept, mut begun) = (Kept::default(), None::<Begun>);
    let mut record = ByteRecord::new();
    loop {
        let line = reader.position().line();
        let more = reader
            .read_byte_record(&mut record)
            .map_err(|e| format!("cannot be read: {e}"))?;
        let end = reader.position().byte();
        let is_last = end >= length;
        if !more || is_last && reader.get_ref().byte != b'\n' {
            return Ok(kept); // half of a line
        }
        if kept.length == 0 {
            kept.length = end; // the names of the columns
            continue;
        }
        let Some(CsvLine { file, model, rank }) = CsvLine::new(&record) else {
            match is_last {
                true => return Ok(kept), // cut at a line's end within quotes
                false => return Err(unknown(line)),
            }
        };
        run.check_model(line, model)?;
        begun = match (rank, begun.take()) {
            (None, None) => {
                kept.take(file.to_owned(), true, end);
                None
            }
            (Some(1), None) => Some(Begun {
                file: file.to_owned(),
                ranks: 1,
            }),
            (Some(rank), Some(begun)) if begun.file == file && rank == begun.ranks + 1 => {
                Some(Begun {
                    ranks: rank,
                    ..begun
                })
            }
            (Some(rank), None) => return Err(run.other_number(line, rank)),
            (_, Some(begun)) => return Err(run.other_number(line - 1, begun.ranks)),
        };
        if let Some(whole) = begun.take_if(|begun| begun.ranks == run.top_k) {
            kept.take(whole.file, false, end);
        }
    }
}

/// Refuses what does not begin with the names of the columns, as far as it goes; reading begins anew behind this.
fn check_columns(mut output: impl Read + Seek, head: &str) -> Result<(), String> {
    let mut begin = Vec::new();
    let read = output
        .by_ref()
        .take(head.len() as u64)
        .read_to_end(&mut begin)
        .and_then(|_| output.rewind());
    read.map_err(|e| format!("cannot be read: {e}"))?;
    match head.as_bytes().starts_with(&begin) {
        true => Ok(()),
        false => Err(format!(
            "line 1 does not name the columns {}",
            head.trim_end()
        )),
    }
}

/// Remembers the last byte that was read.
struct LastByte<R> {
    inner: R,
    byte: u8,
}

impl<R> LastByte<R> {
    fn new(inner: R) -> LastByte<R> {
        LastByte { inner, byte: 0 }
    }
}

impl<R: Read> Read for LastByte<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        if let Some(last) = read.checked_sub(1) {
            self.byte = buf[last];
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    const RUN: Run<'static> = Run {
        form: Form::Csv,
        model: "m",
        top_k: 2,
    };

    const HEAD: &str = "file,model,rank,class_index,wnid,label,probability,error\n";

    /// Two answers and a failure; the first file's name has a line end and quotes.
    const ROWS: [&str; 5] = [
        "\"a\n\"\"b\"\"\",m,1,7,n1,x,0.5,\n",
        "\"a\n\"\"b\"\"\",m,2,8,n2,\"y, z\",0.25,\n",
        "c,m,,,,,,cannot be read\n",
        "d,m,1,7,n1,x,0.5,\n",
        "d,m,2,8,n2,x,0.5,\n",
    ];

    fn read(text: &str, run: Run<'_>) -> Result<Kept, String> {
        Kept::read(Cursor::new(text.as_bytes()), run)
    }

    fn names(kept: &Kept) -> Vec<&str> {
        let mut names: Vec<&str> = kept.files.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn csv_cut_anywhere_keeps_exactly_its_whole_answers() {
        let text = format!("{HEAD}{}", ROWS.concat());
        let ends = [
            0,
            HEAD.len(),
            HEAD.len() + ROWS[..2].concat().len(),
            HEAD.len() + ROWS[..3].concat().len(),
            text.len(),
        ];
        for cut in 0..=text.len() {
            let kept = read(&text[..cut], RUN).expect("a cut file");
            let whole = ends.iter().rposition(|&end| end <= cut).expect("0 is one");
            assert_eq!(kept.length, ends[whole] as u64, "cut at {cut}");
            assert_eq!(kept.files.len(), whole.saturating_sub(1), "cut at {cut}");
            assert_eq!(kept.failed, usize::from(whole >= 3), "cut at {cut}");
        }
        let kept = read(&text, RUN).expect("whole");
        assert_eq!(names(&kept), ["a\n\"b\"", "c", "d"]);
    }

    #[test]
    fn jsonl_cut_anywhere_keeps_exactly_its_whole_lines() {
        let run = Run {
            form: Form::Jsonl,
            ..RUN
        };
        let lines = [
            "{\"file\":\"é\",\"model\":\"m\",\"predictions\":[{},{}]}\n",
            "{\"file\":\"b\",\"model\":\"m\",\"error\":\"no\"}\n",
        ];
        let text = lines.concat();
        for cut in 0..=text.len() {
            let kept = Kept::read(Cursor::new(&text.as_bytes()[..cut]), run).expect("cut");
            let whole = [0, lines[0].len(), text.len()];
            let whole = whole.iter().rposition(|&end| end <= cut).expect("0 is one");
            assert_eq!(kept.files.len(), whole, "cut at {cut}");
            assert_eq!(kept.failed, usize::from(whole == 2), "cut at {cut}");
        }
    }

    #[test]
    fn file_without_a_line_end_is_ours_only_if_it_begins_as_ours() {
        let run = |form| Run { form, ..RUN };
        for text in ["", "{", "{\"fi", "{\"file\":\"", "{\"file\":\"a\",\"mo"] {
            assert_eq!(read(text, run(Form::Jsonl)), Ok(Kept::default()), "{text}");
        }
        for text in ["{\"precious\":1}", "[", "\u{feff}{", "{\"files\":1}", "x"] {
            let error = read(text, run(Form::Jsonl)).expect_err(text);
            assert!(error.contains("line 1 is none"), "{error}");
        }
        for text in ["", "fi", "file,model", HEAD.trim_end()] {
            assert_eq!(read(text, run(Form::Csv)), Ok(Kept::default()), "{text}");
        }
        for text in ["a,b,c", "\"", "file;model", "{\"file\":", "file,model,x"] {
            let error = read(text, run(Form::Csv)).expect_err(text);
            assert!(error.contains("line 1 does not name"), "{error}");
        }
    }

    #[test]
    fn file_that_was_answered_twice_is_kept_twice() {
        let text = format!("{HEAD}{}{}", ROWS[2], ROWS[2]);
        let kept = read(&text, RUN).expect("whole");
        assert_eq!((kept.files["c"], kept.failed), (2, 2));
    }

    #[test]
    fn other_files_models_and_numbers_of_classes_are_named() {
        let rows = ROWS.concat();
        for (text, run, words) in [
            (
                "a photo\nis no table\n".to_owned(),
                RUN,
                "line 1 does not name the columns",
            ),
            (format!("{HEAD}a,b\n{rows}"), RUN, "line 2 is none"),
            (
                format!("{HEAD}a,m,first,,,,,\n{rows}"),
                RUN,
                "line 2 is none",
            ),
            (
                format!("{HEAD}{rows}"),
                Run { model: "n", ..RUN },
                "is of the model m, this run's is n",
            ),
            (
                format!("{HEAD}{rows}"),
                Run { top_k: 1, ..RUN },
                "an answer of 2 classes, this run's have 1",
            ),
            (
                format!("{HEAD}{rows}"),
                Run { top_k: 3, ..RUN },
                "an answer of 2 classes, this run's have 3",
            ),
            (
                "{\"file\":\"a\"}\n".to_owned(),
                Run {
                    form: Form::Jsonl,
                    ..RUN
                },
                "line 1 is none",
            ),
            (
                "{\"file\":\"a\",\"model\":\"m\",\"predictions\":[]}\n".to_owned(),
                Run {
                    form: Form::Jsonl,
                    ..RUN
                },
                "an answer of 0 classes",
            ),
        ] {
            let error = read(&text, run).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
