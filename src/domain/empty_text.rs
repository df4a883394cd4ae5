//! How stored documents write a text that is not there: as an empty one. For `#[serde(with)]` on fields that were
//! texts from the first version on.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::IntoDeserializer};

/// Writes the value, or an empty text.
pub fn serialize<T: Serialize, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str(""),
    }
}

/// Reads what [`serialize`] writes.
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    match String::deserialize(deserializer)? {
        text if text.is_empty() => Ok(None),
        text => T::deserialize(text.into_deserializer()).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Stored {
        #[serde(with = "super")]
        from: Option<String>,
    }

    #[test]
    fn what_is_not_there_is_stored_as_an_empty_text() {
        for (from, text) in [(None, r#"{"from":""}"#), (Some("ACME".to_owned()), r#"{"from":"ACME"}"#)] {
            let stored = Stored { from };
            assert_eq!(serde_json::to_string(&stored).unwrap(), text);
            assert_eq!(serde_json::from_str::<Stored>(text).unwrap(), stored);
        }
    }
}
