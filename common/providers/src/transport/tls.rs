//! Whom we trust, and the addresses that we take.

use std::{io, path::Path, path::PathBuf, sync::Arc};

use http::{Uri, uri::Authority};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use thiserror::Error;
use tokio_rustls::TlsConnector;

use super::settings::EndpointSettings;

/// An endpoint that cannot be used.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The address is not `https://host[:port]`.
    #[error("{url:?} is not an address of the form https://host[:port]")]
    Url {
        /// As given.
        url: String,
    },
    /// The CA file cannot be read.
    #[error("the certificate authorities in {} cannot be read", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The CA file holds no usable certificate.
    #[error("{} holds no certificate authority in PEM form", path.display())]
    NoCa {
        /// The file.
        path: PathBuf,
    },
    /// The TLS set-up itself failed.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Where to connect to, ready for use.
#[derive(Clone)]
pub struct Endpoint {
    /// Host as it stands in the address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) server_name: ServerName<'static>,
    pub(super) authority: Authority,
    pub(super) tls: TlsConnector,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&self.authority).finish()
    }
}

impl Endpoint {
    /// Reads the CA file and takes the address apart.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn new(settings: &EndpointSettings) -> Result<Self, EndpointError> {
        let refused = || EndpointError::Url {
            url: settings.base_url.clone(),
        };
        let uri: Uri = settings.base_url.parse().map_err(|_| refused())?;
        let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().cloned().ok_or_else(refused)?;
        if uri.scheme_str() != Some("https") || !plain || authority.as_str().contains('@') {
            return Err(refused());
        }
        // An IPv6 address stands in brackets in an address, and without them everywhere else.
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let server_name = ServerName::try_from(host.clone()).map_err(|_| refused())?;
        let port = authority.port_u16().unwrap_or(443);
        let tls = TlsConnector::from(Arc::new(client_config(settings.ca_file.as_deref())?));
        Ok(Self {
            host,
            port,
            server_name,
            authority,
            tls,
        })
    }

    /// Host and port as they stand in the address.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }
}

/// TLS 1.2 and 1.3 with the public authorities and those of `ca_file`, HTTP/2 only.
fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, EndpointError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca_file {
        for authority in authorities(path)? {
            roots.add(authority).map_err(|_| EndpointError::NoCa {
                path: path.to_owned(),
            })?;
        }
    }
    // The provider is named because the process may hold more than one.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    let pem = std::fs::read(path).map_err(|source| EndpointError::CaFile {
        path: path.to_owned(),
        source,
    })?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .collect();
    if found.is_empty() {
        Err(EndpointError::NoCa {
            path: path.to_owned(),
        })
    } else {
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::new(&EndpointSettings {
            base_url: base_url.into(),
            ca_file: None,
        })
    }

    #[test]
    fn only_https_addresses_without_a_path_are_taken() {
        for url in [
            "http://fcm.googleapis.com",
            "fcm.googleapis.com",
            "https://me:secret@host",
            "https://host/path",
            "https://host?x=1",
            "https://",
            "",
        ] {
            assert!(matches!(endpoint(url), Err(EndpointError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn host_and_port_are_taken_from_the_address() {
        let default = endpoint("https://fcm.googleapis.com").expect("good");
        assert_eq!((default.host.as_str(), default.port), ("fcm.googleapis.com", 443));
        let six = endpoint("https://[::1]:9443/").expect("good");
        assert_eq!((six.host.as_str(), six.port), ("::1", 9443));
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        let empty = tempfile::NamedTempFile::new().expect("temporary file");
        let settings = EndpointSettings {
            base_url: "https://localhost".into(),
            ca_file: Some(empty.path().into()),
        };
        assert!(matches!(
            Endpoint::new(&settings),
            Err(EndpointError::NoCa { .. })
        ));
        let missing = EndpointSettings {
            base_url: "https://localhost".into(),
            ca_file: Some("/nonexistent".into()),
        };
        assert!(matches!(
            Endpoint::new(&missing),
            Err(EndpointError::CaFile { .. })
        ));
    }
}
