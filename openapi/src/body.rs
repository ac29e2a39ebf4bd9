//! Request bodies: JSON read by serde with the place of a mistake, and NDJSON as a stream.

use futures_util::{StreamExt, stream::BoxStream};
use poem::{FromRequest, Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry},
    types::Type,
};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::dto::{ApiError, ImportLine};

/// A JSON body.
///
/// poem-openapi's own `Json` builds a tree of values first and reports no place; this reads straight
/// into the type. The body's size is bounded before it comes here, by the server's middleware.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(request_meta("application/json", T::schema_ref()))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if !is_media_type(request, is_json) {
            return Err(ApiError::unsupported_media_type("application/json").into());
        }
        let bytes = <Vec<u8> as FromRequest>::from_request(request, body).await?;
        Ok(parse(&bytes).map(Self)?)
    }
}

/// A JSON body that may be left out. Only an empty one is absent, whatever its media type.
#[derive(Debug)]
pub struct OptionalBody<T>(pub Option<T>);

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for OptionalBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            required: false,
            ..request_meta("application/json", T::schema_ref())
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = <Vec<u8> as FromRequest>::from_request(request, body).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_media_type(request, is_json) {
            return Err(ApiError::unsupported_media_type("application/json").into());
        }
        Ok(Self(Some(parse(&bytes)?)))
    }
}

/// A body of one JSON object a line, as it arrives.
pub struct NdjsonBody(pub BoxStream<'static, std::io::Result<bytes::Bytes>>);

impl<'a> ApiExtractor<'a> for NdjsonBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <ImportLine as Type>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(request_meta("application/x-ndjson", ImportLine::schema_ref()))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if !is_media_type(request, |subtype| {
            matches!(subtype, "x-ndjson" | "ndjson" | "jsonl" | "x-jsonlines")
        }) {
            return Err(ApiError::unsupported_media_type("application/x-ndjson").into());
        }
        Ok(Self(body.take()?.into_bytes_stream().boxed()))
    }
}

fn request_meta(content_type: &'static str, schema: MetaSchemaRef) -> MetaRequest {
    MetaRequest {
        description: None,
        required: true,
        content: vec![MetaMediaType { content_type, schema }],
    }
}

fn is_json(subtype: &str) -> bool {
    subtype == "json" || subtype.ends_with("+json")
}

fn is_media_type(request: &Request, accepts: impl Fn(&str) -> bool) -> bool {
    let content_type = request.content_type().unwrap_or_default().to_ascii_lowercase();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.strip_prefix("application/").is_some_and(accepts)
}

/// Reads a JSON document, with the place of a mistake.
///
/// # Errors
///
/// `malformed_json` (400) when it is not JSON, `invalid_body` (400, with a pointer) when it is not
/// of the expected shape.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // serde would read `[..]` as an object's fields in their order; nobody means that.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(ApiError::invalid(
            "invalid_body",
            "",
            "expected an object, not a list",
        ));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let cause = error.into_inner();
        if cause.is_data() {
            ApiError::invalid("invalid_body", pointer, without_position(&cause))
        } else {
            ApiError::bad_request("malformed_json", format!("the body is not JSON: {cause}"))
        }
    })?;
    deserializer
        .end()
        .map_err(|cause| ApiError::bad_request("malformed_json", format!("the body is not JSON: {cause}")))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// serde_json appends " at line 1 column 12"; the pointer says it better.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    shortened(text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]))
}

/// serde_json repeats what it did not expect, however long that is, and an import keeps a thousand
/// messages. The beginning says what came, the end what was expected.
fn shortened(text: &str) -> String {
    const ENDS: usize = 200;
    let head = text.char_indices().nth(ENDS).map(|(at, _)| at);
    let tail = text.char_indices().nth_back(ENDS).map(|(at, _)| at);
    match (head, tail) {
        (Some(head), Some(tail)) if head < tail => format!("{} ... {}", &text[..head], &text[tail..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dto::{PropertiesAdd, SentIncrease};

    #[test]
    fn a_mistake_is_reported_with_its_place() {
        let error = parse::<PropertiesAdd>(br#"{"properties":[{"key":"a","value":1},{"key":2,"value":1}]}"#)
            .unwrap_err();
        assert_eq!(error.code, "invalid_body");
        assert_eq!(error.fields[0].pointer, "/properties/1/key");
        assert!(!error.reason.contains("line"), "{}", error.reason);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error = parse::<SentIncrease>(br#"{"iso": 3}"#).unwrap_err();
        assert_eq!(error.code, "invalid_body");
        assert!(error.reason.contains("iso"), "{}", error.reason);
    }

    #[test]
    fn a_long_name_of_a_field_is_not_sent_back_whole() {
        let body = format!(r#"{{"{}": 3}}"#, "ü".repeat(30_000));
        let error = parse::<SentIncrease>(body.as_bytes()).unwrap_err();
        assert!(error.reason.starts_with("unknown field `üüü"), "{}", error.reason);
        assert!(error.reason.contains("`batches`"), "{}", error.reason);
        assert!(error.reason.len() < 1_024);
    }

    #[test]
    fn a_negative_count_is_refused() {
        let error = parse::<SentIncrease>(br#"{"ios": -3}"#).unwrap_err();
        assert_eq!(error.fields[0].pointer, "/ios");
    }

    #[test]
    fn what_is_not_json_is_told_apart_from_what_is_not_expected() {
        for text in ["", "{", "{} {}", "nonsense"] {
            assert_eq!(
                parse::<SentIncrease>(text.as_bytes()).unwrap_err().code,
                "malformed_json",
                "{text}"
            );
        }
        assert_eq!(parse::<SentIncrease>(b"[]").unwrap_err().code, "invalid_body");
    }
}
