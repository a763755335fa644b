//! `GET /metrics`: what Prometheus asks, in the format that it wants.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::accept;
use crate::classifier::{Classifier, Frequent, ServedModel};
use crate::desk::Desk;
use crate::metrics::{Metrics, TextFormat};

/// Classes of which the images are told one by one.
const FREQUENT_CLASSES: usize = 20;

pub(super) async fn metrics(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    let format = match accept::prefers(&headers, "application/openmetrics-text", "text/plain") {
        true => TextFormat::OpenMetrics,
        false => TextFormat::Prometheus,
    };
    let text = desk.metrics().scrape(format, |metrics| {
        let bodies = desk.body_memory_in_use();
        metrics.body_memory.set(gauge(bodies));
        if let Ok(classifier) = desk.classifier() {
            refresh(metrics, &classifier);
        }
    });
    let kind = [(header::CONTENT_TYPE, format.content_type())];
    (accept::VARIES, kind, text).into_response()
}

/// Sets what a classifier has at the moment.
fn refresh(metrics: &Metrics, classifier: &Classifier) {
    let memory = classifier.decode_memory_in_use();
    metrics.decode_memory.set(gauge(memory));
    metrics.recent_predictions.reset();
    for model in classifier.models() {
        let name = model.info.name.as_str();
        let (to_decode, to_infer) = classifier.queue_depth(model);
        for (stage, depth) in [("decode", to_decode), ("infer", to_infer)] {
            let queue = metrics.queue_depth.with_label_values(&[name, stage]);
            queue.set(gauge(depth as u64));
        }
        let wait = metrics.estimated_wait.with_label_values(&[name]);
        wait.set(classifier.estimated_wait(model).as_secs_f64());
        tell_classes(metrics, model);
    }
}

fn tell_classes(metrics: &Metrics, model: &ServedModel) {
    let recent = model.recent_classes();
    let Frequent { classes, others } = recent.frequent(FREQUENT_CLASSES, Instant::now());
    let tell = |index: &str, class: &str, images| {
        let labels = [model.info.name.as_str(), index, class];
        let recent = metrics.recent_predictions.with_label_values(&labels);
        recent.set(gauge(images));
    };
    for (class, images) in classes {
        let label = model.info.labels.get(class);
        let label = label.map_or("", |label| &label.label);
        tell(&class.to_string(), label, images);
    }
    tell("", "other", others);
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
