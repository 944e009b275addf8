//! The JSON Schema of the policy language, for editors. Generated from the same tables the parser reads by.

use serde_json::{Map, Value, json};

use super::model::Opened;
use super::words::{Object, POLICY, Shape};

/// The schema as text, as it stands in `policies/schema.json`.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&schema()).unwrap_or_default();
    text.push('\n');
    text
}

fn schema() -> Value {
    let mut root = object(&POLICY);
    if let Value::Object(root) = &mut root {
        root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        root.insert("title".to_owned(), json!("guard policy"));
    }
    root
}

fn object(object: &Object) -> Value {
    let mut properties = Map::new();
    for key in object.keys {
        let mut value = shape(key.shape);
        if let Value::Object(value) = &mut value {
            value.insert("description".to_owned(), json!(key.doc));
        }
        properties.insert(key.name.to_owned(), value);
    }
    let required: Vec<&str> = object.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": object.doc,
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}

fn shape(shape_of: &Shape) -> Value {
    match shape_of {
        // YAML reads an argument or port such as 8080 as a number; the parser takes it as it is written.
        Shape::Text => json!({ "type": ["string", "number"] }),
        Shape::Form(pattern) => json!({ "type": "string", "pattern": pattern }),
        Shape::Words(words) => json!({ "enum": words }),
        Shape::BoundaryItem => json!({ "enum": Opened::all().map(Opened::name).collect::<Vec<_>>() }),
        Shape::Bool => json!({ "type": "boolean" }),
        Shape::Number => json!({ "type": "integer", "minimum": 1 }),
        Shape::List(item) => json!({ "type": "array", "items": shape(item) }),
        Shape::Object(of) => object(of),
        Shape::Named(of) => json!({ "type": "object", "additionalProperties": object(of) }),
    }
}
