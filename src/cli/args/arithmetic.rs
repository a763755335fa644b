//! The flags for instructions, precision and threads as the engine's options.
//!
//! Used by every command that loads a model; what this CPU cannot do is refused here, before anything is loaded.

use std::sync::Arc;

use crate::cli::output::UsageError;
use crate::config::{ArithmeticConfig, CpuBudget, EngineConfig};
use crate::engine::EngineOptions;
use kernels::Features;
use kernels::nn::{Arithmetic, Precision, Team};

/// The instructions that `--isa` allows.
///
/// # Errors
/// A usage error if this CPU lacks them.
pub(crate) fn features(config: ArithmeticConfig) -> Result<Features, UsageError> {
    let Some(name) = config.isa.name() else {
        return Ok(Features::detect());
    };
    let named = Features::named(name).filter(|f| f.is_supported());
    named.ok_or_else(|| {
        let have: Vec<&str> = Features::supported().map(Features::name).collect();
        UsageError(format!("--isa is {name}, this CPU has {}", have.join(", ")))
    })
}

/// The precision that `--precision` demands, none for `auto`.
///
/// # Errors
/// A usage error if `features` have no instructions for it.
pub(crate) fn precision(
    config: ArithmeticConfig,
    features: Features,
) -> Result<Option<Precision>, UsageError> {
    let Some(name) = config.precision.name() else {
        return Ok(None);
    };
    let precision = Precision::ALL.into_iter().find(|p| p.name() == name);
    let precision = precision.expect("both lists have the same names; a unit test compares them");
    if precision != Precision::F32 && Arithmetic::new(precision, features).is_none() {
        let best = match config.isa.name() {
            None => format!("the best of this CPU is {}", features.name()),
            Some(isa) => format!("--isa is {isa}"),
        };
        let needed = match precision {
            Precision::Int8 => "AVX2",
            _ => "AVX512-BF16 or AMX",
        };
        return Err(UsageError(format!(
            "--precision is {name}, which needs {needed}; {best}"
        )));
    }
    Ok(Some(precision))
}

/// The engine's options for the flags; the team of threads is new, so a process asks once.
///
/// # Errors
/// A usage error if this CPU cannot do what the flags demand.
pub(crate) fn engine_options(
    config: &EngineConfig,
    budget: &CpuBudget,
) -> Result<EngineOptions, UsageError> {
    let threads_per_worker = config.threads(budget).per_worker;
    let options = options(config.arithmetic, budget.cpus.max(threads_per_worker))?;
    Ok(EngineOptions {
        threads_per_worker,
        max_batch: config.max_batch_size,
        ..options
    })
}

/// Options for one inference at a time, of one image, on a team of so many threads.
///
/// # Errors
/// As [`engine_options`].
pub(crate) fn options(
    config: ArithmeticConfig,
    threads: usize,
) -> Result<EngineOptions, UsageError> {
    let features = features(config)?;
    Ok(EngineOptions {
        features,
        precision: precision(config, features)?,
        team: Arc::new(Team::new(threads)),
        threads_per_worker: threads,
        max_batch: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{IsaChoice, PrecisionChoice};
    use clap::ValueEnum;

    #[test]
    fn flags_and_kernels_have_the_same_names() {
        let named = |name: Option<&str>| name.map(str::to_owned);
        let flags: Vec<_> = IsaChoice::value_variants()
            .iter()
            .map(|v| named(v.name()))
            .collect();
        let ladder = Features::LADDER.map(|f| named(Some(f.name())));
        assert_eq!(flags[1..], ladder);
        let flags: Vec<_> = PrecisionChoice::value_variants()
            .iter()
            .map(|v| named(v.name()))
            .collect();
        let precisions = Precision::ALL.map(|p| named(Some(p.name())));
        assert_eq!(flags[1..], precisions);
        for value in IsaChoice::value_variants() {
            let shown = value.to_possible_value().expect("none is hidden");
            assert_eq!(shown.get_name(), value.name().unwrap_or("auto"));
        }
        for value in PrecisionChoice::value_variants() {
            let shown = value.to_possible_value().expect("none is hidden");
            assert_eq!(shown.get_name(), value.name().unwrap_or("auto"));
        }
    }

    #[test]
    fn lower_isa_leaves_no_bf16() {
        let config = ArithmeticConfig {
            precision: PrecisionChoice::Bf16,
            isa: IsaChoice::Scalar,
        };
        let error = options(config, 1)
            .expect_err("plain code has no bf16")
            .to_string();
        assert_eq!(
            error,
            "--precision is bf16, which needs AVX512-BF16 or AMX; --isa is scalar"
        );
    }
}
