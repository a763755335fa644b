//! Quantiles and a line through points.

/// The value below which this share of the values lies, by nearest rank; `NaN` without values.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}

/// A trend and how sure it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trend {
    /// Change of y for one unit of x.
    pub(crate) slope: f64,
    /// Standard error of the slope.
    pub(crate) error: f64,
}

/// Least squares through the means of ten blocks of neighbours.
///
/// Neighbouring samples of a process's memory are nearly the same, so the plain standard error claims a precision that
/// is not there; means of long blocks are nearly independent.
pub(crate) fn trend(points: &[(f64, f64)]) -> Trend {
    const BLOCKS: usize = 10;
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, n) = values.fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
        sum / n
    };
    let size = points.len().div_ceil(BLOCKS).max(1);
    let blocks: Vec<(f64, f64)> = points
        .chunks(size)
        .map(|c| {
            (
                mean(&mut c.iter().map(|p| p.0)),
                mean(&mut c.iter().map(|p| p.1)),
            )
        })
        .collect();
    let n = blocks.len() as f64;
    let (mx, my) = (
        mean(&mut blocks.iter().map(|p| p.0)),
        mean(&mut blocks.iter().map(|p| p.1)),
    );
    let sxx: f64 = blocks.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let sxy: f64 = blocks.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let slope = sxy / sxx;
    let rest: f64 = blocks
        .iter()
        .map(|p| (p.1 - my - slope * (p.0 - mx)).powi(2))
        .sum();
    Trend {
        slope,
        error: (rest / (n - 2.0).max(1.0) / sxx).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 50.0);
        assert_eq!(quantile(&values, 0.99), 99.0);
        assert_eq!(quantile(&values, 1.0), 100.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn trend_finds_the_slope_and_doubts_a_noisy_one() {
        let clean: Vec<_> = (0..100)
            .map(|i| (f64::from(i), 3.0 * f64::from(i)))
            .collect();
        let found = trend(&clean);
        assert!((found.slope - 3.0).abs() < 1e-9 && found.error < 1e-6);
        let noisy: Vec<_> = (0..100)
            .map(|i| (f64::from(i), f64::from(i * 7919 % 101)))
            .collect();
        let found = trend(&noisy);
        assert!(found.slope.abs() < 3.0 * found.error, "{found:?}");
    }
}
