//! One line of JSON for each run.

use serde::Serialize;

/// Writes a value as one line.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}
