//! What `openapi.json` says, compared with what the router and its handlers take.

use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Deserializer, Visitor, value};
use serde_json::Value;

use super::{rest, sse, work};

const DESCRIPTION: &str = include_str!("../../assets/openapi.json");

/// Neither for clients nor for sessions: the page, the description itself, probes and metrics.
const NOT_DESCRIBED: [&str; 6] = ["/", "/assets/{name}", "/v1/openapi.json", "/healthz", "/readyz", "/metrics"];

/// Path and method of every route, as the router's source has them.
fn routes() -> BTreeSet<(String, String)> {
    let (_, router) = include_str!("mod.rs").split_once("Router::new()").unwrap();
    let (router, _) = router.split_once(".with_state").unwrap();
    let mut routes = BTreeSet::new();
    for route in router.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        for method in ["get", "post", "put", "delete", "patch"] {
            let begins = [format!(" {method}("), format!(").{method}(")];
            if begins.iter().any(|begin| route.contains(begin.as_str())) {
                routes.insert((path.to_owned(), method.to_owned()));
            }
        }
    }
    routes
}

fn description() -> Value {
    serde_json::from_str(DESCRIPTION).unwrap()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let mut expected = routes();
    assert!(expected.len() > 20, "routes are found: {expected:?}");
    let before = expected.len();
    expected.retain(|(path, _)| !NOT_DESCRIBED.contains(&path.as_str()));
    assert_eq!(before - expected.len(), NOT_DESCRIBED.len());
    let mut described = BTreeSet::new();
    for (path, item) in description()["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        described.extend(methods.map(|method| (path.clone(), method.clone())));
    }
    assert_eq!(described, expected);
}

/// Tells the fields of a struct by asking it to be read from nothing.
struct Fields<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
    let mut fields = Vec::new();
    assert!(T::deserialize(Fields(&mut fields)).is_err());
    fields.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_parameter_is_described_and_nothing_else() {
    let description = description();
    let rows = [
        ("/v1/sessions", "get", fields::<rest::ListAsk>()),
        ("/v1/sessions/{session}", "get", fields::<rest::StateAsk>()),
        ("/v1/sessions/{session}/events", "get", fields::<rest::EventsAsk>()),
        ("/v1/sessions/{session}/readers", "get", fields::<rest::ReadersAsk>()),
        ("/v1/dead-letters", "get", fields::<rest::LettersAsk>()),
        ("/v1/sessions/{session}/runs/{run}/output", "post", fields::<work::OutputAsk>()),
        ("/v1/sessions/{session}/stream", "get", of_stream(&["sessions", "list", "user", "limit"])),
        ("/v1/stream", "get", of_stream(&["view"])),
    ];
    let mut asked = BTreeSet::new();
    for (path, method, expected) in rows {
        assert_eq!(query(&description, path, method), expected, "{method} {path}");
        asked.insert((path.to_owned(), method.to_owned()));
    }
    for (path, method) in routes().difference(&asked) {
        assert_eq!(query(&description, path, method), BTreeSet::new(), "{method} {path} takes nothing from the query");
    }
    let body = &description["components"]["schemas"]["Follow"]["properties"];
    let described: BTreeSet<String> = body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(described, of_stream(&[]), "the body of a stream that is asked for by POST");
}

/// What may be asked of a stream, without what only the other kind takes.
fn of_stream(without: &[&str]) -> BTreeSet<String> {
    let mut fields = fields::<sse::Ask>();
    fields.retain(|field| !without.contains(&field.as_str()));
    fields
}

fn query(description: &Value, path: &str, method: &str) -> BTreeSet<String> {
    let parameters = description["paths"][path][method]["parameters"].as_array().into_iter().flatten();
    let query = parameters.filter(|parameter| parameter["in"] == "query");
    query.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
}
