//! The command line: a scenario and what all of them share.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// The binary under test.
    pub(crate) server: PathBuf,
    /// The model it serves; the built-in `resnet18-tiny` if there is none.
    pub(crate) model: Option<String>,
    /// The load comes from a CPU that the server has not.
    pub(crate) apart: bool,
    /// The CPUs of the server, in that case.
    pub(crate) server_cpus: Option<String>,
    /// One line of JSON instead of tables.
    pub(crate) json: bool,
    /// Length of one measurement; each scenario has its own default.
    pub(crate) seconds: Option<f64>,
    /// Time within which an accepted request must be answered.
    pub(crate) deadline: Duration,
    /// Arrivals of `overload`, as multiples of the capacity; its own where none are given.
    pub(crate) loads: Vec<f64>,
    /// Connections of `idle`, starts of `drain`, clients of `retry`.
    pub(crate) count: Option<usize>,
    /// Where `soak` writes its samples.
    pub(crate) csv: Option<PathBuf>,
    /// The repository's `tests/fixtures`.
    pub(crate) fixtures: PathBuf,
    /// A folder of more photos; may be absent.
    pub(crate) photos: PathBuf,
    /// Further arguments of `resnet serve`, after `--`.
    pub(crate) rest: Vec<String>,
}

/// The text of `--help`.
pub(crate) const USAGE: &str = "\
Usage: resnet-load SCENARIO [OPTIONS] [-- FLAGS OF resnet serve]

Scenarios: each starts the server, loads it, prints a table with its bound, and exits with 1 if the bound is broken
  overload  open-loop arrivals at 0.5, 0.8, 1, 2, 4, 10 and 30 times the measured capacity
  burst     ten times the base rate for 5 seconds, and the way back
  fair      two addresses, one of which sends 20 times as much
  huge      5 % photos of 45 megapixels among small ones
  leave     half of the clients leave after 200 ms
  retry     1,000 clients that obey Retry-After
  idle      10,000 connections that send nothing
  slow      slow heads, bodies and readers, one-byte chunks, header floods
  drain     SIGTERM under load, 50 times
  memory    large progressive JPEGs, idle connections and overload together
  quota     cgroup quotas of 0.5, 1 and 1.5 CPUs
  soak      mixed load with faults for an hour

Options:
  --server PATH    the binary [default: target/release/resnet]
  --model NAME     as of resnet serve [default: resnet18-tiny]
  --seconds S      length of one measurement [default: by scenario]
  --loads LIST     arrivals of overload, as multiples of the capacity, separated by commas
  --count N        connections of idle, starts of drain, clients of retry [default: by scenario]
  --deadline S     time within which an accepted request must be answered [default: 10]
  --photos DIR     more photos for the mix [default: ../shared/eval/photos beside the repository, if it is there]
  --csv FILE       where soak writes its samples [default: target/soak.csv]
  --apart          the load comes from the last CPU, and the server has the others: what the load costs is not the server's
  --json           one line of JSON instead of tables";

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// A sentence that names the argument and what is allowed.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut args = Args {
            scenario: String::new(),
            server: repository.join("target/release/resnet"),
            model: None,
            apart: false,
            server_cpus: None,
            json: false,
            seconds: None,
            deadline: Duration::from_secs(10),
            loads: Vec::new(),
            count: None,
            csv: None,
            fixtures: repository.join("tests/fixtures"),
            photos: repository.join("../shared/eval/photos"),
            rest: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--server" => args.server = value()?.into(),
                "--model" => args.model = Some(value()?),
                "--apart" => args.apart = true,
                "--json" => args.json = true,
                "--seconds" => args.seconds = Some(positive(&word, &value()?)?),
                "--deadline" => {
                    args.deadline = Duration::from_secs_f64(positive(&word, &value()?)?);
                }
                "--loads" => {
                    let list = value()?;
                    let loads = list.split(',').map(|text| positive(&word, text));
                    args.loads = loads.collect::<Result<_, _>>()?;
                }
                "--count" => args.count = Some(positive(&word, &value()?)? as usize),
                "--csv" => args.csv = Some(value()?.into()),
                "--photos" => args.photos = value()?.into(),
                "--" => args.rest = words.by_ref().collect(),
                _ if args.scenario.is_empty() && !word.starts_with('-') => args.scenario = word,
                _ => return Err(format!("there is no argument {word}\n\n{USAGE}")),
            }
        }
        Ok(args)
    }

    /// The length of a measurement.
    pub(crate) fn seconds_or(&self, default: f64) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(default))
    }
}

fn positive(name: &str, text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n| (0.1..=1e6).contains(n));
    number.ok_or(format!(
        "{name} is {text}, allowed are numbers from 0.1 to 1000000"
    ))
}
