//! What goes wrong on purpose: probabilities and delays, set by whoever tests against the simulator.

use std::time::Duration;

use serde_json::{Map, Value};

/// The longest delay that can be asked for.
const DELAY_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Faults. Those that concern a message's callbacks are drawn when the message is accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// How likely a request to the API is refused with 429 and has no effect.
    pub rate_limit: f64,
    /// How likely a request to the API fails with 500 and has no effect.
    pub server_error: f64,
    /// How likely a message is accepted and the connection closed without an answer.
    pub accept_then_drop_response: f64,
    /// How likely a callback is never posted.
    pub lose_callback: f64,
    /// How likely a callback is posted twice.
    pub duplicate_callback: f64,
    /// How likely a callback is posted only after the one that should follow it.
    pub reorder_callbacks: f64,
    /// How likely a message is refused with 21611, as its sender's queue is full.
    pub queue_full: f64,
    /// How likely a message is refused with 20005, as the account is suspended; at 1 the account says so itself.
    pub suspended: f64,
    /// How likely a message that is there is not found when it is fetched.
    pub fetch_not_found: f64,
    /// How long it takes until a message that was accepted is in the list of messages.
    pub list_lag: Duration,
    /// How long it takes until the price of a message is known that has come to its end.
    pub price_lag: Duration,
    /// How long the API keeps its answer back, after the request has taken effect.
    pub latency: Duration,
    /// How long a message takes from its acceptance until it is delivered.
    pub delivery: Duration,
    /// What the draws start from; without one they can not be foretold.
    pub seed: Option<u64>,
}

impl Default for Faults {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self {
            rate_limit: 0.0,
            server_error: 0.0,
            accept_then_drop_response: 0.0,
            lose_callback: 0.0,
            duplicate_callback: 0.0,
            reorder_callbacks: 0.0,
            queue_full: 0.0,
            suspended: 0.0,
            fetch_not_found: 0.0,
            list_lag: Duration::ZERO,
            price_lag: Duration::ZERO,
            latency: Duration::ZERO,
            delivery: Duration::from_millis(200),
            seed: None,
        }
    }
}

/// Why a JSON document does not describe faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFaults {
    /// It is no JSON object.
    #[error("the faults are not a JSON object")]
    NotAnObject,
    /// There is no such field.
    #[error("{0:?} is not a fault; the faults are {NAMES}")]
    Unknown(String),
    /// A field's value is not one it can have.
    #[error("{name} must be {expected}")]
    Value {
        /// The field.
        name: String,
        /// What it can be.
        expected: &'static str,
    },
}

const NAMES: &str = "rate_limit, server_error, accept_then_drop_response, lose_callback, duplicate_callback, \
                     reorder_callbacks, queue_full, suspended, fetch_not_found, list_lag_ms, price_lag_ms, latency_ms, \
                     delivery_ms and seed";
const PROBABILITY: &str = "a probability from 0 to 1";
const DELAY: &str = "a whole number of milliseconds, at most a day";
const SEED: &str = "a whole number from 0 to 2^64 - 1";

impl Faults {
    /// Reads faults from JSON; what is left out is as by default.
    pub fn from_json(json: &Value) -> Result<Self, InvalidFaults> {
        let fields: &Map<String, Value> = json.as_object().ok_or(InvalidFaults::NotAnObject)?;
        let mut faults = Self::default();
        for (name, value) in fields {
            faults.set(name, value)?;
        }
        Ok(faults)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), InvalidFaults> {
        let invalid = |expected| InvalidFaults::Value { name: name.to_owned(), expected };
        let probability = || {
            let within = |number: &f64| (0.0..=1.0).contains(number);
            value.as_f64().filter(within).ok_or(invalid(PROBABILITY))
        };
        let delay = || {
            let millis = value.as_u64().filter(|millis| *millis <= DELAY_MS_MAX);
            millis.map(Duration::from_millis).ok_or(invalid(DELAY))
        };
        match name {
            "rate_limit" => self.rate_limit = probability()?,
            "server_error" => self.server_error = probability()?,
            "accept_then_drop_response" => self.accept_then_drop_response = probability()?,
            "lose_callback" => self.lose_callback = probability()?,
            "duplicate_callback" => self.duplicate_callback = probability()?,
            "reorder_callbacks" => self.reorder_callbacks = probability()?,
            "queue_full" => self.queue_full = probability()?,
            "suspended" => self.suspended = probability()?,
            "fetch_not_found" => self.fetch_not_found = probability()?,
            "list_lag_ms" => self.list_lag = delay()?,
            "price_lag_ms" => self.price_lag = delay()?,
            "latency_ms" => self.latency = delay()?,
            "delivery_ms" => self.delivery = delay()?,
            "seed" if value.is_null() => self.seed = None,
            "seed" => self.seed = Some(value.as_u64().ok_or(invalid(SEED))?),
            _ => return Err(InvalidFaults::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_given_is_set_and_the_rest_is_as_by_default() {
        assert_eq!(Faults::from_json(&json!({})), Ok(Faults::default()));
        let json = json!({ "rate_limit": 1, "lose_callback": 0.25, "delivery_ms": 0, "seed": 7 });
        let faults = Faults {
            rate_limit: 1.0,
            lose_callback: 0.25,
            delivery: Duration::ZERO,
            seed: Some(7),
            ..Faults::default()
        };
        assert_eq!(Faults::from_json(&json), Ok(faults));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, complaint) in [
            (json!({ "rate_limit": 1.01 }), "rate_limit must be a probability from 0 to 1"),
            (json!({ "server_error": -0.1 }), "server_error must be a probability from 0 to 1"),
            (json!({ "lose_callback": "1" }), "lose_callback must be a probability from 0 to 1"),
            (
                json!({ "latency_ms": 1.5 }),
                "latency_ms must be a whole number of milliseconds, at most a day",
            ),
            (
                json!({ "delivery_ms": 86_400_001 }),
                "delivery_ms must be a whole number of milliseconds, at most a day",
            ),
            (json!({ "seed": -1 }), "seed must be a whole number from 0 to 2^64 - 1"),
            (json!([]), "the faults are not a JSON object"),
        ] {
            assert_eq!(Faults::from_json(&json).unwrap_err().to_string(), complaint);
        }
        let unknown = Faults::from_json(&json!({ "rate_limits": 1 })).unwrap_err().to_string();
        assert!(
            unknown.starts_with("\"rate_limits\" is not a fault; the faults are rate_limit,"),
            "{unknown}"
        );
    }
}
