//! The whole server as one endpoint: the contract, the docs beside it, and what stands around both.

use std::sync::Arc;

use jraze_openapi::{
    api::{DevicesPort, HealthPort, InternalPort, NotificationsPort},
    spec,
};
use poem::{
    EndpointExt, Response, Route,
    endpoint::{BoxEndpoint, make_sync},
    get,
    http::{HeaderValue, header},
};

use crate::{
    middleware::{admission::Admission, envelope::envelope, trace::Trace},
    random::Random,
};

/// The docs page is one file with its script and style inside.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     img-src 'self' data:; frame-ancestors 'none'; object-src 'none'",
);

/// Mounts everything. From the outside in: [`Trace`], [`envelope`], the router, [`Admission`].
pub(crate) fn endpoint<D, N, I, H>(
    ports: spec::Ports<D, N, I, H>,
    admission: Admission,
    random: Arc<Random>,
) -> BoxEndpoint<'static, Response>
where
    D: DevicesPort,
    N: NotificationsPort,
    I: InternalPort,
    H: HealthPort,
{
    let routes = Route::new()
        .at(
            "/docs",
            get(page(
                "text/html; charset=utf-8",
                spec::docs_html(),
                Some(DOCS_POLICY),
            )),
        )
        .at(
            "/docs/",
            get(page(
                "text/html; charset=utf-8",
                spec::docs_html(),
                Some(DOCS_POLICY),
            )),
        )
        .at("/openapi.yaml", get(page("application/yaml", spec::yaml(), None)))
        .at("/openapi.json", get(page("application/json", spec::json(), None)))
        .nest_no_strip("/", spec::mount(ports, admission));
    Trace::new(envelope(routes), random).boxed()
}

fn page(
    content_type: &'static str,
    body: String,
    policy: Option<HeaderValue>,
) -> impl poem::Endpoint<Output = Response> + 'static {
    // Shared by all answers: the page with the docs is more than a megabyte.
    let body = bytes::Bytes::from(body);
    make_sync(move |_| {
        let mut response = Response::builder().content_type(content_type).body(body.clone());
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(policy) = policy.clone() {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    })
}
