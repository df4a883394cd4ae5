//! Schemas that the document lists by name and refers to.

use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};

/// Schemas of the document that have a name.
pub type Named = Vec<(String, RefOr<Schema>)>;

/// Where schemas that have a name go.
#[derive(Default)]
pub struct Names {
    /// Into the document's list of schemas; or, for a parameter, of which the document collects no schemas, nowhere.
    collected: Option<Named>,
}

impl Names {
    /// For a body, of which the document collects the schemas.
    pub fn collecting() -> Self {
        Self { collected: Some(Named::new()) }
    }

    /// Those that were referred to.
    pub fn into_collected(self) -> Named {
        self.collected.unwrap_or_default()
    }

    /// The schema of something called `name`: a reference to it, or the schema itself where there are no references.
    pub fn refer(&mut self, name: &str, schema: impl FnOnce(&mut Self) -> Value) -> Value {
        let schema = schema(self);
        let Some(collected) = &mut self.collected else { return schema };
        collected.push((name.to_owned(), typed(schema)));
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

/// A schema as the document keeps it.
pub fn typed(schema: Value) -> RefOr<Schema> {
    serde_json::from_value(schema).expect("what describes a value is a schema")
}
