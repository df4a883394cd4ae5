//! Describes requests in the API's document, from the declarations of their fields.

use serde_json::{Map, Value, json};
use utoipa::openapi::{
    RefOr, Schema,
    path::{Parameter, ParameterIn},
};

use super::{
    Context, Declared, Fields, Read, Request,
    fields::{Faulty, Kind, Need, Presence},
    names::{Named, Names, typed},
};

/// A field as the document describes it.
struct Property {
    name: &'static str,
    meaning: &'static str,
    need: Need,
    schema: Value,
}

/// Takes fields and remembers how they were declared.
struct Describing {
    context: Context,
    properties: Vec<Property>,
    names: Names,
}

impl Describing {
    fn of<T: Declared>(names: Names) -> Self {
        let mut describing = Self { context: Context::default(), properties: Vec::new(), names };
        // Nothing was given, so that there is nothing to read.
        let _: Read<T> = T::declare(&mut describing);
        describing
    }
}

impl Fields for Describing {
    fn context(&self) -> &Context {
        &self.context
    }

    fn take<K: Kind>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        need: Need,
        kind: K,
    ) -> Read<Presence<K::Value>> {
        let schema = kind.schema(&mut self.names);
        self.properties.push(Property { name, meaning, need, schema });
        Err(Faulty)
    }

    fn fault(&mut self, _: &str, _: impl Into<String>) {}
}

/// The schema of `T` as an object, with the schemas that it refers to.
pub fn object<T: Request>(names: &mut Names) -> Value {
    let Describing { properties, names: described, .. } = Describing::of::<T>(std::mem::take(names));
    *names = described;
    let required: Vec<_> = properties
        .iter()
        .filter(|property| matches!(property.need, Need::Required))
        .map(|property| property.name)
        .collect();
    let mut members = Map::new();
    for Property { name, meaning, need, schema } in properties {
        let mut schema = match need {
            Need::Required | Need::NotNull => schema,
            Need::Optional => nullable(schema),
            Need::Default(default) => with(nullable(schema), "default", default),
        };
        schema["description"] = meaning.into();
        members.insert(name.to_owned(), schema);
    }
    let object = json!({
        "type": "object",
        "description": T::MEANING,
        "properties": members,
        "additionalProperties": false,
    });
    let object = if required.is_empty() { object } else { with(object, "required", json!(required)) };
    T::example().into_iter().fold(object, |object, example| with(object, "example", example))
}

/// The schema of the request body `T`.
pub fn body_schema<T: Request>() -> RefOr<Schema> {
    typed(object::<T>(&mut Names::collecting()))
}

/// The schemas that the request body `T` refers to.
pub fn referred<T: Request>() -> Named {
    let mut names = Names::collecting();
    object::<T>(&mut names);
    names.into_collected()
}

/// The fields of `T` as parameters of `location`.
pub fn parameters_of<T: Declared>(location: &ParameterIn) -> Vec<Parameter> {
    let described = Describing::of::<T>(Names::default()).properties.into_iter();
    let parameters = described.map(|Property { name, meaning, need, schema }| {
        let is_required = matches!(need, Need::Required);
        let schema = match need {
            Need::Default(default) => with(schema, "default", default),
            Need::Required | Need::Optional | Need::NotNull => schema,
        };
        let parameter = json!({
            "name": name, "in": location, "description": meaning, "required": is_required, "schema": schema,
        });
        serde_json::from_value(parameter).expect("what describes a parameter is one")
    });
    parameters.collect()
}

/// Lets the document describe a request body.
macro_rules! request_body {
    ($($request:ty),+ $(,)?) => {$(
        impl ::utoipa::PartialSchema for $request {
            fn schema() -> ::utoipa::openapi::RefOr<::utoipa::openapi::Schema> {
                $crate::http::contract::schema::body_schema::<Self>()
            }
        }

        impl ::utoipa::ToSchema for $request {
            fn name() -> ::std::borrow::Cow<'static, str> {
                <Self as $crate::http::contract::Request>::NAME.into()
            }

            fn schemas(schemas: &mut $crate::http::contract::names::Named) {
                schemas.extend($crate::http::contract::schema::referred::<Self>());
            }
        }
    )+};
}

/// Lets the document describe the parameters of a query, a path or a header.
macro_rules! parameters {
    ($location:ident: $($parameters:ty),+ $(,)?) => {$(
        impl ::utoipa::IntoParams for $parameters {
            fn into_params(
                _: impl Fn() -> Option<::utoipa::openapi::path::ParameterIn>,
            ) -> Vec<::utoipa::openapi::path::Parameter> {
                $crate::http::contract::schema::parameters_of::<Self>(
                    &::utoipa::openapi::path::ParameterIn::$location,
                )
            }
        }
    )+};
}

pub(crate) use {parameters, request_body};

/// `schema`, or null.
fn nullable(mut schema: Value) -> Value {
    if let Some(forms) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        forms.push(json!({ "type": "null" }));
        schema
    } else if schema["type"].is_string() && schema.get("enum").is_none() {
        schema["type"] = json!([schema["type"], "null"]);
        schema
    } else {
        json!({ "oneOf": [schema, { "type": "null" }] })
    }
}

fn with(mut schema: Value, name: &str, value: Value) -> Value {
    schema[name] = value;
    schema
}
