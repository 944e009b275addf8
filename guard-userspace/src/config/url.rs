//! The one kind of address that guard sends to.

/// `http://host:port/path`. The host is an address or a name of this host's resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("https:") {
            return Err(format!(
                "`{text}`: guard speaks no TLS; write the http:// address of a collector or proxy on this host"
            ));
        }
        let wrong = || format!("`{text}` is no address: write http://127.0.0.1:4318/v1/logs");
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "80"));
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !plain(host) || !plain(path) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port, path: if path.is_empty() { "/".into() } else { path.into() } })
    }
}
