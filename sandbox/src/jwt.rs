//! Reading a JWT: three parts, a header, claims and a signature.
//!
//! Only what both providers need. Lifetimes are judged by the caller against the sandbox's own clock,
//! which may have been moved.

use base64::{Engine, engine::general_purpose::URL_SAFE, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};

use crate::credentials::Verifier;

/// The header of a JWT.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Header {
    #[serde(default)]
    pub(crate) alg: String,
    #[serde(default)]
    pub(crate) kid: Option<String>,
}

/// A JWT taken apart, its signature not yet checked.
pub(crate) struct Jwt<'a, C> {
    pub(crate) header: Header,
    pub(crate) claims: C,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a, C: DeserializeOwned> Jwt<'a, C> {
    /// Takes `text` apart; none when it is no JWT with such claims.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: serde_json::from_slice(&decode(header)?).ok()?,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// Whether it was signed with the private half of `verifier`.
    pub(crate) fn signed_by(&self, verifier: &Verifier) -> bool {
        verifier.verify(self.signed.as_bytes(), &self.signature)
    }
}

/// base64url, with or without padding: Apple and Google take both, and some clients pad.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}
