//! The instruments in the OpenMetrics text format, which has exemplars.
//!
//! Called by `Metrics::scrape`. The `prometheus` crate writes the older format alone. Source of the rules: OpenMetrics
//! 1.0.0, "Text Format".

use std::borrow::Cow;
use std::fmt::Write as _;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::exemplars::{Exemplar, Exemplars};

/// The end of a counter's name that its samples have and its family has not.
const TOTAL: &str = "_total";

/// All families, with the exemplars of the one that has some.
pub(super) fn encode(families: &[MetricFamily], (name, exemplars): (&str, &Exemplars)) -> String {
    let mut text = String::with_capacity(16 << 10);
    for family in families {
        let exemplars = (family.name() == name).then_some(exemplars);
        write_family(&mut text, family, exemplars);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &MetricFamily, exemplars: Option<&Exemplars>) {
    let (name, kind) = match family.get_field_type() {
        MetricType::COUNTER => {
            let name = family.name();
            (name.strip_suffix(TOTAL).unwrap_or(name), "counter")
        }
        MetricType::GAUGE => (family.name(), "gauge"),
        MetricType::HISTOGRAM => (family.name(), "histogram"),
        MetricType::SUMMARY | MetricType::UNTYPED => return, // of which there are none
    };
    let help = escaped(family.help());
    line(text, format_args!("# TYPE {name} {kind}"));
    line(text, format_args!("# HELP {name} {help}"));
    for metric in family.get_metric() {
        let labels = labels(metric, None);
        match family.get_field_type() {
            MetricType::COUNTER => {
                let value = metric.get_counter().get_value();
                line(text, format_args!("{name}{TOTAL}{labels} {value}"));
            }
            MetricType::GAUGE => {
                let value = Number(metric.get_gauge().get_value());
                line(text, format_args!("{name}{labels} {value}"));
            }
            _ => write_histogram(text, (name, metric), &labels, exemplars),
        }
    }
}

fn write_histogram(
    text: &mut String,
    (name, metric): (&str, &Metric),
    of_all: &str,
    exemplars: Option<&Exemplars>,
) {
    let histogram = metric.get_histogram();
    let exemplars = match (exemplars, metric.get_label()) {
        (Some(all), [first, second]) => all.of([first.value(), second.value()]),
        _ => Vec::new(),
    };
    let bounds = histogram.get_bucket().iter();
    let counts = bounds.map(|b| (b.upper_bound(), b.cumulative_count()));
    let all = (f64::INFINITY, histogram.get_sample_count());
    for (place, (bound, count)) in counts.chain([all]).enumerate() {
        let labels = labels(metric, Some(bound));
        let _ = write!(text, "{name}_bucket{labels} {count}");
        if let Some(Some(exemplar)) = exemplars.get(place) {
            write_exemplar(text, exemplar);
        }
        text.push('\n');
    }
    let (sum, count) = (histogram.get_sample_sum(), histogram.get_sample_count());
    line(text, format_args!("{name}_sum{of_all} {sum}"));
    line(text, format_args!("{name}_count{of_all} {count}"));
}

fn write_exemplar(text: &mut String, exemplar: &Exemplar) {
    let Exemplar { value, time, .. } = exemplar;
    text.push_str(" # {");
    for (place, (name, value)) in exemplar.labels().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{}\"", escaped(value));
    }
    let seconds = time.as_secs_f64();
    let _ = write!(text, "}} {value} {seconds:.3}");
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(line); // a String takes every byte
    text.push('\n');
}

/// The labels of a metric in braces, with the bound of a bucket; nothing if there is neither.
fn labels(metric: &Metric, bound: Option<f64>) -> String {
    let own = metric.get_label().iter();
    let own = own.map(|l| format!("{}=\"{}\"", l.name(), escaped(l.value())));
    let bound = bound.map(|bound| format!("le=\"{}\"", Number(bound)));
    let all: Vec<String> = own.chain(bound).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!("{{{}}}", all.join(",")),
    }
}

/// A number as the format has it: bounds are told by their text, so 1 is always `1.0`.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number:?}"), // which has a point or an exponent
        }
    }
}

/// A text as it stands between quotes, or behind `# HELP`.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"', '\n']) {
        return text.into();
    }
    let text = text.replace('\\', r"\\").replace('"', "\\\"");
    text.replace('\n', r"\n").into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::core::Collector as _;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};

    use super::*;

    #[test]
    fn families_have_their_names_and_samples_theirs() {
        let counter = IntCounterVec::new(Opts::new("a_total", "Of \"a\\b\"."), &["x"]).unwrap();
        counter.with_label_values(&["c\"\n\\"]).inc_by(3);
        let gauge = IntGauge::new("b", "Of b.").unwrap();
        let histogram = HistogramOpts::new("c", "Of c.").buckets(vec![0.5, 1.0]);
        let histogram = HistogramVec::new(histogram, &["y", "z"]).unwrap();
        for value in [0.25, 0.75, 2.0] {
            histogram.with_label_values(&["1", "2"]).observe(value);
        }
        let exemplars = Exemplars::new(vec![0.5, 1.0]);
        exemplars.keep(["1", "2"], 0.75, ("id", None), Duration::from_millis(1500));
        let families = [counter.collect(), gauge.collect(), histogram.collect()].concat();
        let want = r##"# TYPE a counter
# HELP a Of \"a\\b\".
a_total{x="c\"\n\\"} 3
# TYPE b gauge
# HELP b Of b.
b 0.0
# TYPE c histogram
# HELP c Of c.
c_bucket{y="1",z="2",le="0.5"} 1
c_bucket{y="1",z="2",le="1.0"} 2 # {request_id="id"} 0.75 1.500
c_bucket{y="1",z="2",le="+Inf"} 3
c_sum{y="1",z="2"} 3
c_count{y="1",z="2"} 3
# EOF
"##;
        assert_eq!(encode(&families, ("c", &exemplars)), want);
    }
}
