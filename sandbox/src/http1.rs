//! HTTP/1.1 for clients that speak nothing else; FCM serves them, APNs does not.
//!
//! There are no streams, so what would happen to a stream happens to the connection.

use std::{convert::Infallible, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
    time::sleep,
};

use crate::{
    server::{Drip, Handler, MAX_BODY, Received, Reply, Verdict},
    stop::Stop,
};

/// The connection was cut on purpose.
#[derive(Debug, thiserror::Error)]
#[error("cut by the script")]
struct Cut;

type Body = BoxBody<Bytes, Cut>;

/// Serves one connection until it ends.
pub(crate) async fn connection<T, H>(
    io: T,
    handler: Arc<H>,
    id: u64,
    mut stop: Stop,
) -> Result<(), hyper::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let session = Mutex::new(handler.session(id));
    let service = hyper::service::service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let (body, oversized) = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => (body.to_bytes(), false),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => (Bytes::new(), true),
            Err(_) => return Err(Cut),
        };
        let received = Received {
            head,
            body,
            oversized,
            stream: 0,
        };
        let Verdict { reply, delay } = handler.handle(&mut *session.lock().await, received);
        sleep(delay).await;
        execute(reply).await
    });
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(hyper_util::rt::TokioTimer::new())
            .serve_connection(TokioIo::new(io), service)
    );
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stop.wait() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn execute(reply: Reply) -> Result<Response<Body>, Cut> {
    match reply {
        Reply::Http(answer)
        | Reply::StreamLimit { answer, .. }
        | Reply::Goaway {
            answer: Some(answer), ..
        } => Ok(answer.map(|body| {
            Full::new(body)
                .map_err(|never: Infallible| match never {})
                .boxed()
        })),
        Reply::HalfBody(mut answer) => {
            let length = answer.body().len();
            answer
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, length.into());
            Ok(answer.map(|body| {
                let half = Ok(Frame::data(body.slice(..length / 2)));
                let cut = async {
                    sleep(Duration::from_millis(30)).await;
                    Err(Cut)
                };
                let frames = stream::StreamExt::chain(stream::iter([half]), stream::once(cut));
                BodyExt::boxed(StreamBody::new(frames))
            }))
        }
        Reply::Drip { pace, answer } => Ok(answer.map(|body| {
            let bits = stream::unfold(Drip::new(pace, body), |mut drip| async {
                sleep(drip.every()).await;
                let bit = drip.take(usize::MAX);
                (!bit.is_empty()).then(|| (Ok(Frame::data(bit)), drip))
            });
            BodyExt::boxed(StreamBody::new(bits))
        })),
        Reply::Stall => pending().await,
        Reply::Reset(_) | Reply::Goaway { .. } | Reply::Close => Err(Cut),
    }
}
