//! The variables that stand for flags: those that count as unset, those that nobody reads, and errors that name them.
//!
//! Used by `cli` before and after a command. A variable comes from a file that its author may have written long ago, so
//! a flag that nobody has typed is not what an error should speak of.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

use crate::config::API_KEYS_VARIABLE;
use crate::registry::nearest;

const PREFIX: &str = "RESNET_";

/// Read besides those that stand for flags.
const OTHERS: &[&str] = &[
    API_KEYS_VARIABLE,
    // by build.rs, and so set where cargo runs what it has built
    "RESNET_COMMIT",
    #[cfg(feature = "fail-points")]
    "RESNET_FAULTS",
];

/// Treats a variable as not set where its value cannot be meant.
pub(super) fn ignore_meaningless(arg: Arg) -> Arg {
    let value = arg.get_env().and_then(env::var_os);
    match value {
        Some(value) if is_meaningless(&value) => arg.env(None::<&'static str>),
        _ => arg,
    }
}

/// Whether a value cannot be meant: an empty one, as compose's `${X:-}` gives, and the `RESNET_PORT=tcp://…` that
/// Kubernetes gives to pods beside a Service named resnet.
fn is_meaningless(value: &OsStr) -> bool {
    value.is_empty() || value.to_string_lossy().starts_with("tcp://")
}

/// Flags and the variables that stand for them, of all commands.
pub(super) struct Variables {
    /// The variables by flag, as `--port`.
    flags: BTreeMap<String, Variable>,
}

/// The variable that stands for a flag.
struct Variable {
    name: String,
    /// The flag's letter, as `-k`.
    short: Option<String>,
}

impl Variables {
    /// The variables of a command and all below it.
    pub(super) fn of(command: &Command) -> Variables {
        let mut flags = BTreeMap::new();
        collect(command, &mut flags);
        Variables { flags }
    }

    /// A sentence for each variable of our prefix that no command reads.
    pub(super) fn unknown(&self) -> Vec<String> {
        let known: BTreeSet<&str> = self.flags.values().map(|v| v.name.as_str()).collect();
        let known: Vec<&str> = known.into_iter().chain(OTHERS.iter().copied()).collect();
        let ours = env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            (name.starts_with(PREFIX) && !is_of_a_service(&name, &value)).then_some(name)
        });
        let sentence = |name: String| {
            let words = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
            let hint = nearest(&name[PREFIX.len()..], words)
                .map(|near| format!("; did you mean {PREFIX}{near}?"))
                .unwrap_or_default();
            format!("the variable {name} is unknown and changes nothing{hint}")
        };
        let unknown = ours.filter(|name| !known.contains(&name.as_str()));
        unknown.map(sentence).collect()
    }

    /// The text with each flag that `args` does not have, and whose variable is set, called by its variable.
    pub(super) fn named(&self, text: &str, args: &[OsString]) -> String {
        let mut text = text.to_owned();
        for (flag, variable) in &self.flags {
            let value = env::var_os(&variable.name);
            let is_set = value.is_some_and(|value| !is_meaningless(&value));
            if is_set && text.contains(flag.as_str()) && !variable.is_beside(flag, args) {
                text = replaced(&text, flag, &variable.name);
            }
        }
        text
    }

    /// The same for the argument that an error of clap's is about.
    pub(super) fn name_argument(&self, error: &mut clap::Error, args: &[OsString]) {
        if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) {
            let named = ContextValue::String(self.named(argument, args));
            error.insert(ContextKind::InvalidArg, named);
        }
    }
}

impl Variable {
    /// Whether the flag itself was given, and so the variable was not read.
    fn is_beside(&self, flag: &str, args: &[OsString]) -> bool {
        args.iter().any(|arg| {
            let arg = arg.to_string_lossy();
            let is_long = arg
                .strip_prefix(flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
            let short = self.short.as_deref();
            is_long || short.is_some_and(|short| arg.starts_with(short))
        })
    }
}

fn collect(command: &Command, flags: &mut BTreeMap<String, Variable>) {
    for arg in command.get_arguments() {
        if let (Some(flag), Some(variable)) = (arg.get_long(), arg.get_env()) {
            let variable = Variable {
                name: variable.to_string_lossy().into_owned(),
                short: arg.get_short().map(|letter| format!("-{letter}")),
            };
            flags.insert(format!("--{flag}"), variable);
        }
    }
    for command in command.get_subcommands() {
        collect(command, flags);
    }
}

/// Whether Kubernetes or Docker sets it, for a service whose name begins with resnet.
fn is_of_a_service(name: &str, value: &OsString) -> bool {
    let value = value.to_string_lossy();
    name.contains("_SERVICE_") || name.contains("_PORT_") || value.starts_with("tcp://")
}

/// Puts the variable in the place of the flag, and of the name of its value behind it.
fn replaced(text: &str, flag: &str, variable: &str) -> String {
    let mut parts = text.split(flag);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-') {
            // another flag, which begins the same
            whole.push_str(flag);
            whole.push_str(part);
            continue;
        }
        whole.push_str(variable);
        let value = part.strip_prefix(" <").and_then(|p| p.split_once('>'));
        whole.push_str(value.map_or(part, |(_, rest)| rest));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_takes_the_place_of_the_flag_and_its_value() {
        let named = |text: &str| replaced(text, "--model", "RESNET_MODEL");
        assert_eq!(named("bad --model <MODEL>"), "bad RESNET_MODEL");
        assert_eq!(named("--model is \"x\""), "RESNET_MODEL is \"x\"");
        assert_eq!(
            named("--models-dir or --model"),
            "--models-dir or RESNET_MODEL"
        );
    }

    #[test]
    fn variable_is_not_read_beside_its_flag_in_any_spelling() {
        let variable = |short: Option<&str>| Variable {
            name: "RESNET_X".to_owned(),
            short: short.map(str::to_owned),
        };
        let args = ["serve", "--models-dir", "--port=1", "-k5"].map(OsString::from);
        for (flag, short, is) in [
            ("--model", None, false),
            ("--models-dir", None, true),
            ("--port", None, true),
            ("--top-k", Some("-k"), true),
            ("--output", Some("-o"), false),
        ] {
            assert_eq!(variable(short).is_beside(flag, &args), is, "{flag}");
        }
    }

    #[test]
    fn values_that_cannot_be_meant_are_those_of_compose_and_kubernetes() {
        for (value, is) in [("", true), ("tcp://10.0.0.1:80", true), ("8080", false)] {
            assert_eq!(is_meaningless(OsStr::new(value)), is, "{value}");
        }
    }

    #[test]
    fn variables_of_a_service_are_nobodys_typing_error() {
        for (name, value) in [
            ("RESNET_SERVICE_HOST", "10.0.0.1"),
            ("RESNET_SERVICE_PORT_HTTP", "80"),
            ("RESNET_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("RESNET_GPU_PORT", "tcp://10.0.0.1:80"),
        ] {
            assert!(is_of_a_service(name, &value.into()), "{name}");
        }
        assert!(!is_of_a_service("RESNET_PROT", &"80".into()));
    }
}
