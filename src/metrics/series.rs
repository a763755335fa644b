//! Which series there are from the start, though nothing was counted yet, and which end with their model.

use prometheus::core::Collector as _;

use super::Metrics;

/// Why a request is refused before a model is known, or whatever the model.
const REFUSALS: [&str; 7] = [
    "body_memory_full",
    "body_timeout",
    "body_too_large",
    "not_ready",
    "shutting_down",
    "stuck",
    "too_many_images",
];

/// Why a request for a model is refused.
const LOAD_REFUSALS: [&str; 8] = [
    "answer_too_large",
    "body_memory_full",
    "client_queue_full",
    "decode_memory_full",
    "out_of_memory",
    "overloaded",
    "queue_full",
    "stuck",
];

impl Metrics {
    /// Makes the series of what is rare. A counter that appears with 1 has not increased for Prometheus.
    pub(super) fn begin_at_zero(&self) {
        for stage in ["decode", "queue"] {
            self.requests_canceled.with_label_values(&[stage]);
            self.requests_expired.with_label_values(&[stage]);
        }
        for reason in REFUSALS {
            self.requests_rejected.with_label_values(&[reason, ""]);
        }
    }

    /// Makes the series of each format that is decoded, by its name, at zero.
    pub fn decode(&self, formats: impl Iterator<Item = &'static str>) {
        for format in formats {
            self.decode_panics.with_label_values(&[format]);
        }
    }

    /// Makes the series of a model that is served from now on, at zero.
    pub fn serve(&self, model: &str) {
        for reason in REFUSALS.iter().chain(&LOAD_REFUSALS) {
            self.requests_rejected.with_label_values(&[reason, model]);
        }
        for route in [
            "/classify",
            "/models/{name}/classify",
            "/predictions/{model}",
            "/predictions/{model}/{version}",
            "/v2/models/{model}/infer",
            "/v2/models/{model}/versions/{version}/infer",
            "/inference.GRPCInferenceService/ModelInfer",
        ] {
            for status in ["500", "504"] {
                self.requests.with_label_values(&[route, model, status]);
            }
        }
    }

    /// Takes away what tells of a model that is served no more. Its counters stay, as counters do.
    pub fn forget(&self, model: &str) {
        let _ = self.model_load_duration.remove_label_values(&[model]);
        let _ = self.estimated_wait.remove_label_values(&[model]);
        let series = self
            .model_info
            .collect()
            .into_iter()
            .chain(self.model_layers.collect())
            .chain(self.queue_depth.collect());
        for labels in series.flat_map(|family| family.get_metric().to_vec()) {
            let labels = labels.get_label().iter().map(|l| (l.name(), l.value()));
            let labels: std::collections::HashMap<&str, &str> = labels.collect();
            if labels.get("model") == Some(&model) {
                // The series is one of these three families; the other two removals find nothing.
                let _ = self.model_info.remove(&labels);
                let _ = self.model_layers.remove(&labels);
                let _ = self.queue_depth.remove(&labels);
            }
        }
    }
}
