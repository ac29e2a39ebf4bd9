//! What a caller presents. Declared here for the document, judged by the server.
//!
//! The extractors never refuse: a missing key is `None`, and the one place that answers 401 is the
//! server's authentication. Both types keep the credential out of `Debug`.

use std::fmt;

use poem::{Request, RequestBody, http::HeaderMap};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

/// The header of the API's keys; `Authorization: Bearer` works as well.
pub const API_KEY_HEADER: &str = "X-Api-Key";
/// The header of the internal endpoints' key.
pub const SERVER_KEY_HEADER: &str = "X-Server-Key";
/// The header in which a client key shows the secret of its device.
pub const DEVICE_SECRET_HEADER: &str = "X-Device-Secret";
/// The header that makes a request safe to repeat.
pub const IDEMPOTENCY_KEY_HEADER: &str = "Idempotency-Key";
/// The header of an answer to a request that was carried out before, under the same key.
pub const IDEMPOTENT_REPLAYED_HEADER: &str = "Idempotent-Replayed";

/// What a request that may be repeated makes carries these 16 bytes, so that the repetition finds it.
/// The server puts it among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestIdentity(pub [u8; 16]);

/// What a caller of the API presents.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The key, from `X-Api-Key` or else from `Authorization: Bearer`.
    pub key: Option<String>,
    /// The secret of the device that a client key speaks for.
    pub device_secret: Option<String>,
    /// The identity of a request that may be repeated.
    pub identity: Option<RequestIdentity>,
}

impl Caller {
    /// What the headers of a request present.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self {
            key: text(headers, API_KEY_HEADER).or_else(|| bearer(headers)),
            device_secret: text(headers, DEVICE_SECRET_HEADER),
            identity: None,
        }
    }
}

/// What a caller of the internal endpoints presents.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct InternalCaller {
    /// The key, from `X-Server-Key`.
    pub key: Option<String>,
}

impl InternalCaller {
    /// What the headers of a request present.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self {
            key: text(headers, SERVER_KEY_HEADER),
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, "Authorization")?;
    let (scheme, key) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| key.trim().to_owned())
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Caller")
            .field("key", &self.key.as_ref().map(|_| "***"))
            .field("device_secret", &self.device_secret.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for InternalCaller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("InternalCaller")
            .field("key", &self.key.as_ref().map(|_| "***"))
            .finish()
    }
}

const API_KEY: &str = "ApiKey";
const BEARER: &str = "Bearer";
const SERVER_KEY: &str = "ServerKey";

impl<'a> ApiExtractor<'a> for Caller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            API_KEY,
            header_scheme(
                API_KEY_HEADER,
                "A key of kind admin or server. A client key works for its own device only and \
                 also shows `X-Device-Secret`.",
            ),
        );
        registry.create_security_scheme(
            BEARER,
            MetaSecurityScheme {
                ty: "http",
                description: Some("The same key as `Authorization: Bearer`."),
                name: None,
                key_in: None,
                scheme: Some("bearer"),
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![API_KEY, BEARER]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self {
            identity: request.extensions().get().copied(),
            ..Self::from_headers(request.headers())
        })
    }
}

impl<'a> ApiExtractor<'a> for InternalCaller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        registry.create_security_scheme(
            SERVER_KEY,
            header_scheme(SERVER_KEY_HEADER, "A key of kind internal, held by the workers."),
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SERVER_KEY]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::from_headers(request.headers()))
    }
}

fn header_scheme(name: &'static str, description: &'static str) -> MetaSecurityScheme {
    MetaSecurityScheme {
        ty: "apiKey",
        description: Some(description),
        name: Some(name),
        key_in: Some("header"),
        scheme: None,
        bearer_format: None,
        flows: None,
        openid_connect_url: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_key_is_read_from_its_header_or_from_the_bearer_token() {
        let key = |pairs| Caller::from_headers(&headers(pairs)).key;
        assert_eq!(key(&[("x-api-key", "a")]).as_deref(), Some("a"));
        assert_eq!(key(&[("authorization", "bearer  b")]).as_deref(), Some("b"));
        assert_eq!(
            key(&[("x-api-key", "a"), ("authorization", "Bearer b")]).as_deref(),
            Some("a")
        );
        assert_eq!(key(&[("authorization", "Basic YTpi")]), None);
        assert_eq!(key(&[("x-server-key", "c")]), None);
    }

    #[test]
    fn debug_never_shows_a_credential() {
        let caller = Caller::from_headers(&headers(&[
            ("x-api-key", "jz_adm_1"),
            ("x-device-secret", "ds_2"),
        ]));
        let shown = format!("{caller:?}");
        assert!(!shown.contains("jz_adm_1") && !shown.contains("ds_2"), "{shown}");
    }
}
