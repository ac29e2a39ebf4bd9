//! The credentials that a sandbox hands out: a service account and an APNs signing key.
//!
//! They are made at the first start and written to the state directory in the files that Google and
//! Apple hand out, so that a provider client is pointed at the sandbox by configuration alone. A
//! restart reads the keys back; only `token_uri` is written anew, because the port may differ.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    encoding::AsDer,
    rsa,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use crate::{chance, error::SandboxError, settings::Settings};

/// Public half of a key that clients sign with.
pub(crate) struct Verifier(UnparsedPublicKey<Vec<u8>>);

impl Verifier {
    fn new(algorithm: &'static dyn VerificationAlgorithm, public: &[u8]) -> Self {
        Self(UnparsedPublicKey::new(algorithm, public.to_vec()))
    }

    /// Whether `signature` over `message` was made with the private half.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify(message, signature).is_ok()
    }
}

/// What the sandbox knows of the service account that it gave out.
pub(crate) struct ServiceAccount {
    pub(crate) client_email: String,
    pub(crate) private_key_id: String,
    pub(crate) verifier: Verifier,
    private_key: String,
    path: PathBuf,
}

/// What the sandbox knows of the APNs key that it gave out.
pub(crate) struct SigningKey {
    pub(crate) key_id: String,
    pub(crate) verifier: Verifier,
    pub(crate) path: PathBuf,
}

/// The service-account file, in the shape of Google's.
#[derive(Serialize, Deserialize)]
struct ServiceAccountFile {
    #[serde(rename = "type")]
    kind: String,
    project_id: String,
    private_key_id: String,
    private_key: String,
    client_email: String,
    client_id: String,
    auth_uri: String,
    token_uri: String,
    universe_domain: String,
}

impl ServiceAccount {
    /// Reads the account in the state directory, or makes one.
    pub(crate) fn load(settings: &Settings) -> Result<Self, SandboxError> {
        let path = settings.state_dir.join("service-account.json");
        let project = &settings.fcm.project_id;
        let client_email = format!("firebase-adminsdk-sandbox@{project}.iam.gserviceaccount.com");
        let private_key = match read(&path)? {
            Some(text) => {
                let file: ServiceAccountFile =
                    serde_json::from_str(&text).map_err(|source| SandboxError::State {
                        path: path.clone(),
                        problem: source.to_string(),
                    })?;
                file.private_key
            }
            None => {
                let key = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map_err(no_key)?;
                let der: aws_lc_rs::encoding::Pkcs8V1Der<'static> = key.as_der().map_err(no_key)?;
                pem("PRIVATE KEY", der.as_ref())
            }
        };
        let der = pkcs8(&path, &private_key)?;
        let key =
            rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|source| unusable(&path, source))?;
        let public = key.public_key().as_ref();
        Ok(Self {
            client_email,
            private_key_id: format!("{:016x}{:016x}", chance::hash(1, public), chance::hash(2, public)),
            verifier: Verifier::new(&signature::RSA_PKCS1_2048_8192_SHA256, public),
            private_key,
            path,
        })
    }

    /// Writes the file with the token endpoint of this start.
    pub(crate) fn write(&self, project: &str, token_url: &str) -> Result<PathBuf, SandboxError> {
        let file = ServiceAccountFile {
            kind: "service_account".to_owned(),
            project_id: project.to_owned(),
            private_key_id: self.private_key_id.clone(),
            private_key: self.private_key.clone(),
            client_email: self.client_email.clone(),
            client_id: "100000000000000000000".to_owned(),
            auth_uri: "https://accounts.google.com/o/oauth2/auth".to_owned(),
            token_uri: token_url.to_owned(),
            universe_domain: "googleapis.com".to_owned(),
        };
        let mut text = serde_json::to_string_pretty(&file).map_err(|source| SandboxError::State {
            path: self.path.clone(),
            problem: source.to_string(),
        })?;
        text.push('\n');
        write_secret(&self.path, &text)?;
        Ok(self.path.clone())
    }
}

impl SigningKey {
    /// Reads the key in the state directory, or makes one. Its id is in the file's name
    /// (`AuthKey_<10 characters>.p8`), as with Apple's.
    pub(crate) fn load(settings: &Settings) -> Result<Self, SandboxError> {
        let dir = &settings.state_dir;
        let (path, text) = match find_key(dir)? {
            Some(path) => {
                let text = read(&path)?.unwrap_or_default();
                (path, text)
            }
            None => {
                let document = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                    .and_then(|key| key.to_pkcs8v1())
                    .map_err(no_key)?;
                let text = pem("PRIVATE KEY", document.as_ref());
                let path = dir.join(format!("AuthKey_{}.p8", key_id(document.as_ref())));
                write_secret(&path, &text)?;
                (path, text)
            }
        };
        let der = pkcs8(&path, &text)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
            .map_err(|source| unusable(&path, source))?;
        let key_id = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.strip_prefix("AuthKey_"))
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            key_id,
            verifier: Verifier::new(&signature::ECDSA_P256_SHA256_FIXED, key.public_key().as_ref()),
            path,
        })
    }
}

fn find_key(dir: &Path) -> Result<Option<PathBuf>, SandboxError> {
    let entries = fs::read_dir(dir).map_err(|source| SandboxError::file(dir, source))?;
    let mut found = None;
    for entry in entries {
        let path = entry.map_err(|source| SandboxError::file(dir, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with("AuthKey_") && name.ends_with(".p8")) {
            // With several (someone copied one in), the first by name, so that every start agrees.
            found = found.filter(|other| *other < path).or(Some(path));
        }
    }
    Ok(found)
}

/// Ten characters as Apple's key ids have, from the key itself.
fn key_id(key: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut bits = chance::hash(3, key);
    (0..10)
        .map(|_| {
            let letter = ALPHABET[(bits & 31) as usize];
            bits >>= 5;
            letter as char
        })
        .collect()
}

fn no_key(_: aws_lc_rs::error::Unspecified) -> SandboxError {
    SandboxError::KeyGeneration
}

fn unusable(path: &Path, source: aws_lc_rs::error::KeyRejected) -> SandboxError {
    SandboxError::State {
        path: path.to_owned(),
        problem: format!("the private key cannot be used: {source}"),
    }
}

fn pkcs8(path: &Path, text: &str) -> Result<PrivatePkcs8KeyDer<'static>, SandboxError> {
    PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|source| SandboxError::State {
        path: path.to_owned(),
        problem: format!("no PKCS#8 key in PEM: {source}"),
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// Reads a file; none when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, SandboxError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SandboxError::file(path, source)),
    }
}

/// Writes a file that only the owner may read, whole or not at all.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), SandboxError> {
    write(path, text, 0o600)
}

/// Writes a file that everybody may read, whole or not at all.
pub(crate) fn write_public(path: &Path, text: &str) -> Result<(), SandboxError> {
    write(path, text, 0o644)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), SandboxError> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};

    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| SandboxError::file(path, source))
}
