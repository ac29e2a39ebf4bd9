use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use h2::client::{self, SendRequest};
use tokio::io::{DuplexStream, ReadBuf, duplex};

use super::*;

/// Counts writes; behind TLS each of them would be a record, and a packet.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Does what the path says.
struct ByPath;

impl Handler for ByPath {
    type Session = ();

    fn streams(&self) -> StreamLimit {
        StreamLimit {
            before_auth: 100,
            after_auth: 100,
        }
    }

    fn session(&self, _: u64) {}

    fn is_authenticated(&self, (): &()) -> bool {
        true
    }

    fn handle(&self, (): &mut (), request: Received) -> Verdict {
        let reply = match request.head.uri.path() {
            "/close" => Reply::Close,
            _ => Reply::Http(Response::new(Bytes::from_static(b"taken"))),
        };
        Verdict {
            reply,
            delay: Duration::ZERO,
        }
    }
}

type Answers = Vec<Result<u16, h2::Error>>;

/// What becomes of requests to `paths` that are all there before the connection is looked at, and in how many
/// writes it is told.
async fn at_once(paths: &[&str]) -> (Answers, usize) {
    let (ours, theirs) = duplex(1 << 20);
    let writes = Arc::new(AtomicUsize::new(0));
    let plan = WirePlan::default();
    let wire = Wire::new(Counted(theirs, Arc::clone(&writes)), plan.clone());
    let (client, server) = tokio::join!(client::handshake(ours), h2::server::handshake(wire));
    let (mut sender, connection): (SendRequest<Bytes>, _) = client.expect("shook hands");
    tokio::spawn(connection);
    let mut driver = Driver::new(server.expect("shook hands"), Arc::new(ByPath), 1, plan);
    let mut drive = async |until: Duration| {
        let round = poll_fn(|cx| driver.poll(cx));
        tokio::time::timeout(until, round).await.is_ok()
    };
    // Until both have taken note of the other's settings.
    assert!(!drive(Duration::from_millis(20)).await, "it goes on");
    let answers: Vec<_> = paths
        .iter()
        .map(|path| {
            let request = Request::post(format!("https://push.example{path}")).body(());
            sender
                .send_request(request.expect("a request"), true)
                .expect("sent")
                .0
        })
        .collect();
    // The client's task writes them.
    sleep(Duration::from_millis(20)).await;
    writes.store(0, Ordering::Relaxed);
    drive(Duration::from_millis(50)).await;
    let written = writes.load(Ordering::Relaxed);
    drop(driver);
    let told = join_all(answers).await.into_iter();
    (
        told.map(|answer| answer.map(|answer| answer.status().as_u16()))
            .collect(),
        written,
    )
}

#[tokio::test]
async fn answers_of_what_came_together_leave_in_one_write() {
    let (answers, writes) = at_once(&["/send"; 20]).await;
    assert!(
        answers.iter().all(|answer| matches!(answer, Ok(200))),
        "{answers:?}"
    );
    assert_eq!(writes, 1);
}

#[tokio::test]
async fn a_close_comes_behind_the_answers_before_it_and_answers_nobody_after_it() {
    let (answers, _) = at_once(&["/send", "/send", "/close", "/send"]).await;
    let is_told: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(is_told, [true, true, false, false], "{answers:?}");
}
