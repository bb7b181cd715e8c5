//! URL patterns: which requests an agent's manifest allows. Pure; nothing is resolved here.

use url::{Host, Url};

/// The patterns of one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    scheme: String,
    host: HostPattern,
    port: PortPattern,
    /// The path that must lead, `/` for any.
    path: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exact(Host<String>),
    /// Names below this one, not itself.
    Below(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortPattern {
    Exact(u16),
    Any,
}

impl AllowList {
    /// Reads patterns such as `https://api.example.com/v1/`, `https://*.example.com` and `http://127.0.0.1:*`.
    ///
    /// # Errors
    /// The pattern that cannot be read, and why.
    pub fn parse(patterns: &[String]) -> Result<Self, String> {
        let read = |text: &String| Pattern::parse(text).map_err(|reason| format!("the pattern {text:?}: {reason}"));
        patterns.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a pattern allows this URL: scheme, host and port are the same, and its path leads the URL's.
    pub fn permits(&self, url: &Url) -> bool {
        self.0.iter().any(|pattern| pattern.permits(url))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("write scheme://host")?;
        if !matches!(scheme, "http" | "https") {
            return Err(format!("{scheme:?} is no scheme: use http or https"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (authority, any_port) = match authority.strip_suffix(":*") {
            Some(authority) => (authority, true),
            None => (authority, false),
        };
        let (authority, below) = match authority.strip_prefix("*.") {
            Some(authority) => (authority, true),
            None => (authority, false),
        };
        if authority.contains(['*', '@', '?', '#']) {
            return Err("a `*` stands for a port, or for names below one, as in *.example.com".to_owned());
        }
        let url = Url::parse(&format!("{scheme}://{authority}{path}")).map_err(|error| error.to_string())?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a pattern has no query and no fragment".to_owned());
        }
        let host = url.host().ok_or("there is no host")?.to_owned();
        let port = if any_port { PortPattern::Any } else { PortPattern::Exact(port_of(&url)) };
        let host = match (below, host) {
            (false, host) => HostPattern::Exact(host),
            (true, Host::Domain(name)) => HostPattern::Below(name),
            (true, _) => return Err("an address has no names below it".to_owned()),
        };
        Ok(Self { scheme: scheme.to_owned(), host, port, path: url.path().to_owned() })
    }

    fn permits(&self, url: &Url) -> bool {
        let host = match (&self.host, url.host()) {
            (HostPattern::Exact(allowed), Some(host)) => *allowed == host.to_owned(),
            (HostPattern::Below(above), Some(Host::Domain(name))) => {
                name.strip_suffix(above.as_str()).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            _ => false,
        };
        let port = match self.port {
            PortPattern::Any => true,
            PortPattern::Exact(port) => port_of(url) == port,
        };
        self.scheme == url.scheme() && host && port && self.permits_path(url.path())
    }

    /// `/v1` allows `/v1` and `/v1/x`, not `/v10`. An encoded slash is refused below a path, since servers read it
    /// in two ways.
    fn permits_path(&self, path: &str) -> bool {
        if self.path == "/" {
            return true;
        }
        let lower = path.to_ascii_lowercase();
        if ["%2f", "%5c", "%2e", "\\"].iter().any(|odd| lower.contains(odd)) {
            return false;
        }
        match path.strip_prefix(self.path.as_str()) {
            Some(rest) => rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'),
            None => false,
        }
    }
}

fn port_of(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_allows_its_scheme_host_port_and_what_lies_below_its_path() {
        let check = |pattern: &str, url: &str, allowed: bool| {
            let list = AllowList::parse(&[pattern.to_owned()]).unwrap();
            assert_eq!(list.permits(&Url::parse(url).unwrap()), allowed, "{pattern} {url}");
        };
        check("https://api.example.com", "https://api.example.com/any?q=1", true);
        check("https://api.example.com", "https://API.example.com:443/", true);
        check("https://api.example.com", "http://api.example.com/", false);
        check("https://api.example.com", "https://api.example.com:444/", false);
        check("https://api.example.com", "https://api.example.com.evil.test/", false);
        check("https://api.example.com", "https://evil.test/https://api.example.com", false);
        check("https://api.example.com/v1/", "https://api.example.com/v1/x", true);
        check("https://api.example.com/v1", "https://api.example.com/v1", true);
        check("https://api.example.com/v1", "https://api.example.com/v10", false);
        check("https://api.example.com/v1", "https://api.example.com/v1/../admin", false);
        check("https://api.example.com/v1/", "https://api.example.com/v1/..%2fadmin", false);
        check("https://api.example.com/v1/", "https://api.example.com/v1/%2e%2e/admin", false);
        check("https://*.example.com", "https://a.b.example.com/", true);
        check("https://*.example.com", "https://example.com/", false);
        check("https://*.example.com", "https://evilexample.com/", false);
        check("http://127.0.0.1:*", "http://127.0.0.1:8080/", true);
        check("http://127.0.0.1:*", "http://0x7f.1:8080/", true);
        check("http://127.0.0.1:*", "http://127.0.0.2:8080/", false);
        check("http://[::1]:*", "http://[::1]:9/", true);
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_named_with_its_reason() {
        for bad in [
            "example.com",
            "ftp://a.b",
            "http://*",
            "http://a*b/",
            "http://u@a.b/",
            "http://a.b/?q",
            "http://*.1.2.3.4",
        ] {
            let reason = AllowList::parse(&[bad.to_owned()]).unwrap_err();
            assert!(reason.contains(bad), "{reason}");
        }
    }
}
