//! How many sends the sandbox takes, and what each costs it.
//!
//! One thread runs the sandbox, another sends to it over one TLS connection with 100 streams (FCM) or
//! 1000 (APNs): `cargo run -p jraze-sandbox --example throughput [sends]`.

use std::{collections::VecDeque, error::Error, fs, sync::Arc, thread, time::Instant};

use bytes::Bytes;
use h2::client::ResponseFuture;
use http::Request;
use jraze_sandbox::{Sandbox, Settings};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, runtime::Builder, sync::oneshot};

type Failure = Box<dyn Error + Send + Sync>;

/// What the client has to know of the sandbox.
struct Target {
    fcm: String,
    apns: String,
    topic: String,
    kid: String,
    team: String,
    ca: String,
    account: Value,
    key: Vec<u8>,
    /// Where Linux says how long the sandbox's thread has run.
    schedstat: String,
}

fn main() -> Result<(), Failure> {
    let sends: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 200_000,
    };
    let (ready, target) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = thread::spawn(move || -> Result<(), Failure> {
        let dir = std::env::temp_dir().join(format!("sandbox-throughput-{}", std::process::id()));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let sandbox = Sandbox::start(Settings::ephemeral(&dir)).await?;
            let thread = fs::read_link("/proc/thread-self")?;
            let _ = ready.send(Target {
                fcm: sandbox.fcm_base_url().to_owned(),
                apns: sandbox.apns_base_url().to_owned(),
                topic: sandbox.apns_topic().to_owned(),
                kid: sandbox.apns_key_id().to_owned(),
                team: sandbox.apns_team_id().to_owned(),
                ca: sandbox.ca_pem().to_owned(),
                account: serde_json::from_slice(&fs::read(sandbox.service_account_file())?)?,
                key: fs::read(sandbox.apns_key_file())?,
                schedstat: format!("/proc/{}/schedstat", thread.display()),
            });
            let _ = stopped.await;
            sandbox.shutdown().await;
            fs::remove_dir_all(&dir)?;
            Ok(())
        })
    });
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let target = target.await?;
        fcm(&target, sends).await?;
        apns(&target, sends).await
    })?;
    let _ = stop.send(());
    server.join().map_err(|_| "the sandbox panicked")?
}

async fn connect(target: &Target, url: &str) -> Result<h2::client::SendRequest<Bytes>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(target.ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(url.trim_start_matches("https://")).await?;
    tcp.set_nodelay(true)?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("127.0.0.1")?, tcp)
        .await?;
    let (send, connection) = h2::client::handshake(tls).await?;
    tokio::spawn(connection);
    Ok(send)
}

fn now_s() -> i64 {
    use jraze_runtime::clock::{Clock, SystemClock};
    SystemClock.now().timestamp()
}

async fn fcm(target: &Target, sends: usize) -> Result<(), Failure> {
    let mut client = connect(target, &target.fcm).await?;
    let account = &target.account;
    let claims = json!({"iss": account["client_email"], "aud": account["token_uri"], "iat": now_s(), "exp": now_s() + 3600,
        "scope": "https://www.googleapis.com/auth/firebase.messaging"});
    let key = account["private_key"].as_str().unwrap_or_default();
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(key.as_bytes())?;
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    let assertion = jsonwebtoken::encode(&header, &claims, &key)?;
    let body = format!("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion={assertion}");
    let request = Request::post(format!("{}/token", target.fcm)).body(())?;
    let (response, mut stream) = client.send_request(request, false)?;
    stream.send_data(body.into(), true)?;
    let mut body = response.await?.into_body();
    let mut token = Vec::new();
    while let Some(data) = body.data().await {
        token.extend_from_slice(&data?);
    }
    let token: Value = serde_json::from_slice(&token)?;
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap_or_default());
    let url = format!("{}/v1/projects/jraze-sandbox/messages:send", target.fcm);
    let make = |n: usize| {
        let request = Request::post(&url)
            .header("authorization", &bearer)
            .header("content-type", "application/json")
            .body(())?;
        let body = format!(
            r#"{{"message":{{"token":"dGhpcyBpcyBhIHRva2VuIG9mIHVzdWFsIGxlbmd0aA:APA91bF{n:0100}","notification":{{"title":"Autumn sale","body":"Twenty percent off everything until Sunday."}},"android":{{"collapse_key":"n42","ttl":"86400s","notification":{{"tag":"n42"}}}},"data":{{"notification_id":"42","deep_link":"app://sale"}}}}}}"#
        );
        Ok((request, Bytes::from(body)))
    };
    run("FCM", target, client, sends, 100, make).await
}

async fn apns(target: &Target, sends: usize) -> Result<(), Failure> {
    let client = connect(target, &target.apns).await?;
    let key = jsonwebtoken::EncodingKey::from_ec_pem(&target.key)?;
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some(target.kid.clone());
    let claims = json!({"iss": target.team, "iat": now_s()});
    let bearer = format!("bearer {}", jsonwebtoken::encode(&header, &claims, &key)?);
    let payload = Bytes::from_static(
        br#"{"aps":{"alert":{"title":"Autumn sale","body":"Twenty percent off everything until Sunday."}}}"#,
    );
    let make = |n: usize| {
        let request = Request::post(format!("{}/3/device/{n:064x}", target.apns))
            .header("authorization", &bearer)
            .header("apns-topic", &target.topic)
            .header("apns-push-type", "alert")
            .header("apns-priority", "10")
            .header("apns-collapse-id", "n42")
            .body(())?;
        Ok((request, payload.clone()))
    };
    run("APNs", target, client, sends, 1000, make).await
}

async fn run(
    name: &str,
    target: &Target,
    client: h2::client::SendRequest<Bytes>,
    sends: usize,
    at_once: usize,
    make: impl Fn(usize) -> Result<(Request<()>, Bytes), Failure>,
) -> Result<(), Failure> {
    let cpu = || -> Result<f64, Failure> {
        let text = fs::read_to_string(&target.schedstat)?;
        Ok(text.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9)
    };
    let (begin, cpu_before) = (Instant::now(), cpu()?);
    let mut flying: VecDeque<ResponseFuture> = VecDeque::with_capacity(at_once);
    let mut refused = 0;
    let mut client = client.ready().await?;
    for n in 0..sends {
        if flying.len() >= at_once
            && let Some(response) = flying.pop_front()
        {
            refused += usize::from(response.await?.status() != 200);
        }
        client = client.ready().await?;
        let (request, body) = make(n)?;
        let (response, mut stream) = client.send_request(request, false)?;
        stream.send_data(body, true)?;
        if n == 0 {
            // APNs allows one stream until it has seen a good token.
            refused += usize::from(response.await?.status() != 200);
        } else {
            flying.push_back(response);
        }
    }
    for response in flying {
        refused += usize::from(response.await?.status() != 200);
    }
    let (wall, cpu) = (begin.elapsed().as_secs_f64(), cpu()? - cpu_before);
    let each = cpu / sends as f64 * 1e6;
    println!(
        "{name}: {sends} sends in {wall:.2} s, {:.0}/s; the sandbox used {each:.2} us each, so {:.0}/s on a core of its own; {refused} refused",
        sends as f64 / wall,
        1e6 / each
    );
    Ok(())
}
