//! What a run found out.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// One run of one scenario against one server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    pub(crate) server: String,
    pub(crate) scenario: String,
    pub(crate) kind: String,
    pub(crate) connections: usize,
    /// Messages in flight: per connection in an echo, in all in a fan-out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<usize>,
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Echoes, deliveries or connections in that time.
    pub(crate) count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Percentiles>,
    /// CPU of the server for each of `count`, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu: Option<f64>,
    /// The kernel's share of it, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<f64>,
    /// How busy the server was, 0 to 1 for each core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) busy: Option<f64>,
    /// CPU of the load generator for each of `count`, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) load_cpu: Option<f64>,
    /// How long server and load generator waited for a core that others had, as a share of the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disturbed: Option<f64>,
    /// Bytes that a client received, and sent, for each of `count`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wire: Option<(f64, f64)>,
    /// Resident bytes of the server for each connection: idle, and after traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resident: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resident_after: Option<f64>,
    /// Round trips until a client is connected, and until the first echo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_trips: Option<(f64, f64)>,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Outcome {
    /// How many of `count` a second.
    pub(crate) fn throughput(&self) -> f64 {
        if self.seconds > 0.0 {
            self.count as f64 / self.seconds
        } else {
            0.0
        }
    }
}

impl Percentiles {
    /// Of a histogram of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        Some(Self {
            p50: micros(histogram.value_at_quantile(0.5)),
            p90: micros(histogram.value_at_quantile(0.9)),
            p99: micros(histogram.value_at_quantile(0.99)),
            max: micros(histogram.max()),
        })
    }
}
