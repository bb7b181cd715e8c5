//! How long an endpoint asks not to be asked: the header `Retry-After` of RFC 9110.

use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::RETRY_AFTER;

/// The time that an answer's headers ask to wait. A date, which the header may hold instead of seconds, is not read.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;

    use super::*;

    #[test]
    fn seconds_are_read_and_nothing_else() {
        let check = |value: &'static str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{value}");
        };
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("-1", None);
        check("1.5", None);
        check("Wed, 21 Oct 2015 07:28:00 GMT", None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
