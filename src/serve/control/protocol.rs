//! Requests and answers, see the [module](super).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The version of the protocol.
pub const VERSION: u64 = 1;

/// What can be asked of a run: the table of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// The books as they stand.
    Stats,
    /// Which version of its model a stage serves with.
    Version {
        /// The stage.
        stage: String,
    },
    /// Another model takes the place of the one that a stage serves with.
    Swap {
        /// The stage.
        stage: String,
        /// The model's file, as the pipeline's process sees it.
        file: PathBuf,
        /// The names of its classes, where they are others than before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        classes: Option<Vec<String>>,
    },
    /// A version that served before serves again, as a version of its own.
    Rollback {
        /// The stage.
        stage: String,
        /// Which one; none is the last one before the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u32>,
    },
    /// Tells the learner of a stage what is right.
    Label {
        /// The stage.
        stage: String,
        /// The class by its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
        /// The class by its number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<usize>,
        /// The stream; none is the only one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stream: Option<String>,
        /// The time in it, in seconds; none is that of the newest input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_s: Option<f64>,
    },
    /// The captures stop, what is under way is finished.
    Drain,
    /// The run is cancelled.
    Stop,
}

/// A word of the protocol for what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// Not a line of the protocol.
    BadRequest,
    /// Another version of the protocol.
    Version,
    /// The token is missing or wrong.
    Token,
    /// No stage of that name.
    UnknownStage,
    /// The stage runs nothing that can be exchanged.
    NoModel,
    /// The file cannot take the place of the model.
    DoesNotFit,
    /// The label is not taken.
    NotTaken,
    /// Too many are connected.
    Busy,
    /// A word of a newer percept.
    #[serde(other)]
    Unknown,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The word for it.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    /// Whether whoever sent such a thing is not listened to any longer.
    pub(super) fn closes(&self) -> bool {
        matches!(self.code, Code::BadRequest | Code::Token)
    }
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The version of the protocol.
    pub v: u64,
    /// What the request had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// Whether it was carried out.
    pub ok: bool,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
}

impl Answer {
    pub(super) fn new(id: Option<Value>, result: Result<Value, Refusal>) -> Answer {
        let (result, error) = match result {
            Ok(result) => (Some(result), None),
            Err(error) => (None, Some(error)),
        };
        Answer { v: VERSION, id, ok: error.is_none(), result, error }
    }

    pub(super) fn line(&self) -> String {
        let text = serde_json::to_string(self);
        text.unwrap_or_else(|_| format!("{{\"v\":{VERSION},\"ok\":false}}")) + "\n"
    }
}

/// A line as it came, taken apart but for the request itself.
#[derive(Debug)]
pub(super) struct Envelope {
    pub id: Option<Value>,
    pub token: Option<String>,
    pub v: Option<Value>,
    body: Map<String, Value>,
}

impl Envelope {
    /// Reads a line.
    pub fn read(line: &[u8]) -> Result<Envelope, Refusal> {
        let bad = |what: String| Refusal::new(Code::BadRequest, format!("expected a line of JSON, found {what}"));
        let mut body = match serde_json::from_slice(line) {
            Ok(Value::Object(body)) => body,
            Ok(_) => return Err(bad("something that is no object".to_owned())),
            Err(error) => return Err(bad(format!("what JSON is not ({error})"))),
        };
        let token = match body.remove("token") {
            None | Some(Value::Null) => None,
            Some(Value::String(token)) => Some(token),
            Some(_) => return Err(bad("a `token` that is no string".to_owned())),
        };
        Ok(Envelope { id: body.remove("id"), token, v: body.remove("v"), body })
    }

    /// The request in it.
    pub fn request(self) -> Result<Request, Refusal> {
        if self.v != Some(VERSION.into()) {
            let found = self.v.map_or("none".to_owned(), |v| v.to_string());
            let message = format!("expected version {VERSION} of the protocol in `v`, found {found}");
            return Err(Refusal::new(Code::Version, message));
        }
        serde_json::from_value(Value::Object(self.body))
            .map_err(|error| Refusal::new(Code::BadRequest, format!("no such request: {error}")))
    }
}

/// A request as a line.
pub(super) fn line(request: &Request, token: Option<&str>) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(request)?;
    if let Value::Object(body) = &mut value {
        body.insert("v".to_owned(), VERSION.into());
        if let Some(token) = token {
            body.insert("token".to_owned(), token.into());
        }
    }
    Ok(value.to_string() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_comes_back_from_its_line() {
        for (request, text) in [
            (Request::Stats, r#"{"do":"stats","v":1}"#),
            (Request::Version { stage: "a".into() }, r#"{"do":"version","stage":"a","v":1}"#),
            (
                Request::Swap { stage: "a".into(), file: "x.onnx".into(), classes: None },
                r#"{"do":"swap","stage":"a","file":"x.onnx","v":1}"#,
            ),
            (
                Request::Swap { stage: "a".into(), file: "x.onnx".into(), classes: Some(vec!["b".into()]) },
                r#"{"do":"swap","stage":"a","file":"x.onnx","classes":["b"],"v":1}"#,
            ),
            (Request::Rollback { stage: "a".into(), to: None }, r#"{"do":"rollback","stage":"a","v":1}"#),
            (Request::Rollback { stage: "a".into(), to: Some(3) }, r#"{"do":"rollback","stage":"a","to":3,"v":1}"#),
            (
                Request::Label {
                    stage: "a".into(),
                    label: Some("b".into()),
                    class: None,
                    stream: Some("c".into()),
                    at_s: Some(1.5),
                },
                r#"{"do":"label","stage":"a","label":"b","stream":"c","at_s":1.5,"v":1}"#,
            ),
            (Request::Drain, r#"{"do":"drain","v":1}"#),
            (Request::Stop, r#"{"do":"stop","v":1}"#),
        ] {
            assert_eq!(line(&request, None).unwrap().trim_end(), text);
            let envelope = Envelope::read(line(&request, Some("t")).unwrap().as_bytes()).unwrap();
            assert_eq!(envelope.token.as_deref(), Some("t"));
            assert_eq!(envelope.request().unwrap(), request);
        }
    }

    #[test]
    fn bad_lines() {
        for (text, code) in [
            ("", Code::BadRequest),
            ("GET / HTTP/1.1", Code::BadRequest),
            ("[]", Code::BadRequest),
            ("{\"v\":1,\"token\":5,\"do\":\"stop\"}", Code::BadRequest),
            ("{\"do\":\"stop\"}", Code::Version),
            ("{\"v\":2,\"do\":\"stop\"}", Code::Version),
            ("{\"v\":1}", Code::BadRequest),
            ("{\"v\":1,\"do\":\"explode\"}", Code::BadRequest),
            ("{\"v\":1,\"do\":\"version\"}", Code::BadRequest),
            ("{\"v\":1,\"do\":\"version\",\"stage\":\"a\",\"more\":1}", Code::BadRequest),
            ("{\"v\":1,\"do\":\"swap\",\"stage\":\"a\",\"file\":7}", Code::BadRequest),
        ] {
            let refusal = Envelope::read(text.as_bytes()).and_then(Envelope::request).unwrap_err();
            assert_eq!(refusal.code, code, "{text}: {}", refusal.message);
        }
    }

    #[test]
    fn an_answer_says_what_came_of_it() {
        let good = Answer::new(Some(7.into()), Ok("x".into()));
        assert_eq!(good.line(), "{\"v\":1,\"id\":7,\"ok\":true,\"result\":\"x\"}\n");
        let bad = Answer::new(None, Err(Refusal::new(Code::NoModel, "m")));
        assert_eq!(bad.line(), "{\"v\":1,\"ok\":false,\"error\":{\"code\":\"no_model\",\"message\":\"m\"}}\n");
        let newer: Answer = serde_json::from_str(r#"{"v":1,"ok":false,"error":{"code":"new","message":"m"}}"#).unwrap();
        assert_eq!(newer.error.unwrap().code, Code::Unknown);
    }
}
