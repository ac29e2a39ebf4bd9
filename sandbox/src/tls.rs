//! TLS: one certificate authority per state directory, one fresh server certificate per start.
//!
//! Clients trust the authority (`ca.pem`), which a restart keeps, so that nothing has to be
//! configured again. The server certificate is for `localhost`, the loopback addresses, the listening
//! address and the names in the settings.

use std::{net::IpAddr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::{
    credentials::{read, write_public, write_secret},
    error::SandboxError,
    settings::Settings,
};

/// The sandbox's certificate authority and its server certificate.
pub(crate) struct Identity {
    pub(crate) ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// Reads the authority in the state directory, or makes one; then makes a server certificate.
    pub(crate) fn load(settings: &Settings) -> Result<Self, SandboxError> {
        let key_path = settings.state_dir.join("ca-key.pem");
        let pem_path = settings.state_dir.join("ca.pem");
        let params = authority();
        let (key, ca_pem) = match (read(&key_path)?, read(&pem_path)?) {
            (Some(key), Some(pem)) => (KeyPair::from_pem(&key)?, pem),
            _ => {
                let key = KeyPair::generate()?;
                let pem = params.self_signed(&key)?.pem();
                write_secret(&key_path, &key.serialize_pem())?;
                write_public(&pem_path, &pem)?;
                (key, pem)
            }
        };
        // The issuer is rebuilt from the same parameters and key as the stored certificate, so names
        // and key identifiers agree without parsing it.
        let issuer = Issuer::new(params, key);

        let mut names = vec!["localhost".to_owned()];
        names.extend(settings.names.iter().cloned());
        let mut leaf = CertificateParams::new(names)?;
        for address in [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]),
            settings.listen,
        ] {
            let name = SanType::IpAddress(address);
            if !leaf.subject_alt_names.contains(&name) {
                leaf.subject_alt_names.push(name);
            }
        }
        leaf.distinguished_name.push(DnType::CommonName, "jraze sandbox");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &issuer)?;
        Ok(Self {
            ca_pem,
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }

    /// A TLS configuration that offers `protocols` by ALPN.
    pub(crate) fn server_config(&self, protocols: &[&str]) -> Result<Arc<ServerConfig>, SandboxError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), PrivateKeyDer::Pkcs8(self.key.clone_key()))?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "jraze sandbox CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
