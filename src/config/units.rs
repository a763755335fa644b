//! Numbers, and durations and sizes with their units, as people write them.
//!
//! Used by the flags of `config` and of the commands.

use std::time::Duration;

/// Longest duration accepted: a day.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// Largest size accepted, in bytes: 1 GiB.
const MAX_BYTES: u64 = 1 << 30;

/// Reads a whole number within bounds.
///
/// # Errors
/// The parser's: a sentence naming the value and what is allowed.
pub fn whole_number<T: TryFrom<u64>>(
    min: u64,
    max: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|n| (min..=max).contains(n));
        let number = number.and_then(|n: u64| T::try_from(n).ok());
        number.ok_or_else(|| format!("`{text}` is none of the whole numbers from {min} to {max}"))
    }
}

/// Reads `500ms`, `5s`, `2m`, or a bare number of seconds.
///
/// # Errors
/// A sentence naming the value and what is allowed.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}` is no duration, allowed are 0s to 24h as in 500ms, 5s, 2m or 1h");
    let (number, unit) = split_unit(text);
    let scale = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let duration = Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())?;
    if duration > MAX_DURATION {
        Err(wrong())
    } else {
        Ok(duration)
    }
}

/// [`parse_duration`] for what must be given some time.
///
/// # Errors
/// A sentence naming the value and what is allowed.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        time if time < Duration::from_millis(1) => Err(format!(
            "`{text}` is no time to finish anything in, allowed are 1ms to 24h"
        )),
        time => Ok(time),
    }
}

/// Reads `20MiB`, `512KiB`, `20MB`, or a bare number of bytes.
///
/// # Errors
/// A sentence naming the value and what is allowed.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is no size, allowed are 1 byte to 1GiB as in 20MiB, 512KiB, 20MB or 1048576"
        )
    };
    let (number, unit) = split_unit(text);
    let scale: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(scale))
        .ok_or_else(wrong)?;
    if (1..=MAX_BYTES).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(wrong())
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_within_their_bounds() {
        let parse = whole_number::<u16>(1, 1000);
        assert_eq!((parse("1"), parse("1000")), (Ok(1), Ok(1000)));
        for wrong in [
            "",
            "0",
            "1001",
            "-1",
            "1.5",
            "1e2",
            "many",
            " 1",
            "99999999999999999999",
        ] {
            let error = parse(wrong).expect_err(wrong);
            assert_eq!(
                error,
                format!("`{wrong}` is none of the whole numbers from 1 to 1000")
            );
        }
    }

    #[test]
    fn timeouts_are_not_zero() {
        assert_eq!(parse_timeout("1ms"), Ok(Duration::from_millis(1)));
        for wrong in ["0s", "0", "0.5ms"] {
            assert!(
                parse_timeout(wrong)
                    .expect_err(wrong)
                    .contains(&format!("`{wrong}`")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5 s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "-1s", "5 parsecs", "25h", "1e400", "NaN"] {
            assert!(
                parse_duration(wrong).expect_err(wrong).contains(wrong),
                "{wrong}"
            );
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("20MiB"), Ok(20 << 20));
        assert_eq!(parse_bytes("1 kB"), Ok(1000));
        assert_eq!(parse_bytes("7"), Ok(7));
        for wrong in ["", "0", "1.5MiB", "2GiB", "-1", "99999999999999999999"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
