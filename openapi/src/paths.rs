//! Literal paths: `:add`, `notification:add` and the slash of `/devices/` as they are written.
//!
//! poem reads a colon anywhere in a pattern as the start of a parameter, and poem-openapi drops an
//! empty last segment. So operations write a literal colon as `%3A` and a last slash as a segment
//! `~`; [`LiteralPaths`] restores both, in the document and in the router, and [`normalise`] brings
//! the colons of an incoming path into the same form. (Regular expressions in patterns would be the
//! other way; poem 3.1.12 misplaces them beside a sibling with the same prefix.)
//!
//! The wrapper is also where the server hooks in: every operation's endpoint passes through
//! [`Around::around`] after routing and before any of the body is read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use poem::{
    Endpoint, EndpointExt, Request,
    endpoint::{BoxEndpoint, make_sync},
    http::{Method, Uri, uri::PathAndQuery},
};
use poem_openapi::{
    OpenApi,
    registry::{MetaApi, MetaPath, Registry},
};

use crate::dto::ApiError;

/// An operation of the contract, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id in the document, like `launch_notification`.
    pub id: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path as the document shows it.
    pub path: String,
    /// The names of the security schemes that it declares; empty for the open ones.
    pub security: Vec<&'static str>,
}

/// What the server puts around each operation.
pub trait Around: Send + Sync + 'static {
    /// Wraps the operation's endpoint.
    fn around(&self, operation: Operation, endpoint: BoxEndpoint<'static>) -> BoxEndpoint<'static>;
}

/// Nothing around.
#[derive(Debug, Clone, Copy)]
pub struct Bare;

impl Around for Bare {
    fn around(&self, _: Operation, endpoint: BoxEndpoint<'static>) -> BoxEndpoint<'static> {
        endpoint
    }
}

/// An API whose paths are literal.
pub struct LiteralPaths<A> {
    api: A,
    around: Arc<dyn Around>,
}

impl<A> LiteralPaths<A> {
    /// Wraps an API.
    pub fn new(api: A, around: impl Around) -> Self {
        Self {
            api,
            around: Arc::new(around),
        }
    }
}

/// The path in the document: `/a/%3Aadd` is `/a/:add`, `/a/~` is `/a/`.
fn document_path(path: &str) -> String {
    with_last_slash(&path.replace("%3A", ":"))
}

/// The pattern for the router: colons stay encoded, because a plain one would be a parameter.
fn with_last_slash(path: &str) -> String {
    match path.strip_suffix("/~") {
        Some(parent) => format!("{parent}/"),
        None => path.to_owned(),
    }
}

/// A router pattern in the document's spelling: `/a/:id/%3Aadd` is `/a/{id}/:add`.
fn pattern_to_document(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| match segment.strip_prefix(':') {
        Some(name) => format!("{{{name}}}"),
        None => segment.to_owned(),
    });
    document_path(&segments.collect::<Vec<_>>().join("/"))
}

/// A path with the names of its parameters blanked; the router and the document name them
/// differently.
fn shape(path: &str) -> String {
    let segments = path
        .split('/')
        .map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// Every operation of an API, by the document.
#[must_use]
pub fn operations<A: OpenApi>() -> Vec<Operation> {
    let paths = LiteralPaths::<A>::meta().into_iter().flat_map(|api| api.paths);
    paths
        .flat_map(|path| {
            let MetaPath { path, operations } = path;
            operations.into_iter().map(move |operation| Operation {
                id: operation.operation_id.unwrap_or_default(),
                method: operation.method,
                path: path.clone(),
                security: operation
                    .security
                    .iter()
                    .flat_map(|one| one.keys().copied())
                    .collect(),
            })
        })
        .collect()
}

impl<A: OpenApi> OpenApi for LiteralPaths<A> {
    fn meta() -> Vec<MetaApi> {
        // Several APIs may share a path; two equal keys in the document would hide one of them.
        let mut merged: Vec<MetaPath> = Vec::new();
        for mut path in A::meta().into_iter().flat_map(|api| api.paths) {
            path.path = document_path(&path.path);
            match merged.iter_mut().find(|known| known.path == path.path) {
                Some(known) => known.operations.append(&mut path.operations),
                None => merged.push(path),
            }
        }
        vec![MetaApi { paths: merged }]
    }

    fn register(registry: &mut Registry) {
        A::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        let known = operations::<A>();
        let mut own = HashMap::new();
        self.api.add_routes(&mut own);
        for (pattern, methods) in own {
            let path = shape(&pattern_to_document(&pattern));
            let mut wrapped: BTreeMap<String, BoxEndpoint<'static>> = BTreeMap::new();
            for (method, endpoint) in methods {
                let operation = known
                    .iter()
                    .find(|one| shape(&one.path) == path && one.method == method)
                    .expect("the macro writes every route into the document as well");
                let endpoint = self.around.around(operation.clone(), endpoint);
                wrapped.insert(method.to_string(), endpoint);
            }
            let slot = routes.entry(with_last_slash(&pattern)).or_default();
            slot.extend(refusals(&wrapped.keys().cloned().collect::<Vec<_>>()));
            slot.extend(
                wrapped
                    .into_iter()
                    .filter_map(|(method, endpoint)| Some((method.parse().ok()?, endpoint))),
            );
        }
    }
}

/// The methods that the router knows.
const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

/// For the methods that a path does not have: 405 that names those it has. (poem's own 405 does
/// not.)
fn refusals(has: &[String]) -> Vec<(Method, BoxEndpoint<'static>)> {
    let mut allow = has.to_vec();
    if has.iter().any(|method| method == "GET") {
        allow.push("HEAD".to_owned()); // poem answers HEAD with the GET endpoint
    }
    let missing = METHODS
        .into_iter()
        .filter(|method| !allow.iter().any(|has| has == method.as_str()));
    missing
        .map(|method| {
            let error = ApiError::method_not_allowed(Some(allow.join(", ")));
            (method, make_sync(move |_| error.to_response()).boxed())
        })
        .collect()
}

/// Brings the colons of a path into the one form that the router knows, drops a last slash that the
/// contract does not ask for, and takes every unknown method for one that no path has. Goes in front of the router.
///
/// # Errors
///
/// 400 when the path cannot be written as a URI again.
pub async fn normalise(mut request: Request) -> poem::Result<Request> {
    if !METHODS.contains(request.method()) {
        // Of a word that is no method of anybody the router would not say what there is instead.
        request.set_method(Method::TRACE);
    }
    let path = request.uri().path();
    let trimmed = match path.strip_suffix('/') {
        Some(parent) if !parent.is_empty() && path != "/devices/" => parent,
        _ => path,
    };
    if trimmed.len() == path.len() && !path.contains(':') && !path.contains("%3a") {
        return Ok(request);
    }
    let mut text = trimmed.replace("%3a", "%3A").replace(':', "%3A");
    if let Some(query) = request.uri().query() {
        text.push('?');
        text.push_str(query);
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).map_err(unreadable)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(unreadable)?;
    Ok(request)
}

fn unreadable<E>(_: E) -> poem::Error {
    ApiError::bad_request("invalid_path", "the path is not a valid URI").into()
}

/// The contract's routes as one endpoint, with the paths normalised in front.
pub(crate) fn in_front(routes: impl Endpoint + 'static) -> BoxEndpoint<'static> {
    routes.before(normalise).map_to_response().boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn normalised(uri: &'static str) -> String {
        let request = Request::builder().uri(uri.parse().unwrap()).finish();
        normalise(request).await.unwrap().uri().to_string()
    }

    #[tokio::test]
    async fn a_colon_is_the_same_however_it_is_written() {
        for written in ["/a/:add?x=1:2", "/a/%3aadd?x=1:2", "/a/%3Aadd?x=1:2"] {
            assert_eq!(normalised(written).await, "/a/%3Aadd?x=1:2");
        }
        assert_eq!(normalised("/devices/a%2Fb").await, "/devices/a%2Fb");
    }

    #[tokio::test]
    async fn a_last_slash_is_dropped_except_the_one_of_the_contract() {
        assert_eq!(
            normalised("/notifications/?size=1").await,
            "/notifications?size=1"
        );
        assert_eq!(normalised("/devices/").await, "/devices/");
        assert_eq!(normalised("/").await, "/");
    }

    #[test]
    fn patterns_and_document_paths_are_the_same_path() {
        assert_eq!(pattern_to_document("/a/:id/%3Aadd"), "/a/{id}/:add");
        assert_eq!(pattern_to_document("/devices/~"), "/devices/");
        assert_eq!(shape("/a/{id}/:add"), "/a/{}/:add");
    }
}
