//! When a certificate ends. TLS checks it and does not tell; operators want to know before.
//!
//! Reads just as much DER (ITU-T X.690) as leads to `notAfter` in a certificate (RFC 5280, 4.1).

use rustls::pki_types::CertificateDer;
use steward_types::Timestamp;

const SEQUENCE: u8 = 0x30;
const EXPLICIT_VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of a certificate's validity; none when it cannot be read.
pub(crate) fn ends(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, whole, _) = element(certificate)?;
    let (_, to_be_signed, _) = element(whole)?;
    let (first, _, after_version) = element(to_be_signed)?;
    let serial_on = if first == EXPLICIT_VERSION { after_version } else { to_be_signed };
    // Serial number, signature algorithm and issuer stand before the validity.
    let (_, _, rest) = element(serial_on)?;
    let (_, _, rest) = element(rest)?;
    let (_, _, rest) = element(rest)?;
    let (tag, validity, _) = element(rest)?;
    let (_, _, not_after) = element(validity).filter(|_| tag == SEQUENCE)?;
    let (tag, time, _) = element(not_after)?;
    let text = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    match tag {
        UTC_TIME => {
            // RFC 5280: years from 50 on are of the twentieth century.
            let century = if text.get(..2)? < "50" { "20" } else { "19" };
            timestamp(&format!("{century}{text}"))
        }
        GENERALIZED_TIME => timestamp(text),
        _ => None,
    }
}

/// The first element's tag and content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Reads `YYYYMMDDHHMMSS`, in UTC, by Howard Hinnant's `days_from_civil`.
fn timestamp(text: &str) -> Option<Timestamp> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !fits || text.len() != 14 || year < 1970 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(Timestamp::from_millis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject as _;
    use steward_types::NodeId;

    use super::*;
    use crate::link::ClusterAuthority;

    #[test]
    fn a_time_reads_as_people_write_it() {
        let check = |text: &str, rfc3339: &str| assert_eq!(timestamp(text).unwrap().to_string(), rfc3339);
        check("19700101000000", "1970-01-01T00:00:00.000Z");
        check("20240229235959", "2024-02-29T23:59:59.000Z");
        check("20991231120000", "2099-12-31T12:00:00.000Z");
        for bad in ["", "2024", "20241301000000", "20240229250000", "2024022923595900"] {
            assert_eq!(timestamp(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_issued_certificate_ends_when_it_was_said_to() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        // Years from 2050 on are written in the longer form.
        for days in [30, 365 * 40] {
            let valid_for = Duration::from_secs(days * 24 * 3600);
            let node = NodeId::from_bytes([1; 16]);
            let issued = ClusterAuthority::create(now).unwrap().issue(&node, valid_for, now).unwrap();
            let der = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
            assert_eq!(ends(&der), Some(now.saturating_add(valid_for)));
        }
    }

    #[test]
    fn what_is_cut_short_has_no_end() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let (node, authority) = (NodeId::from_bytes([1; 16]), ClusterAuthority::create(now).unwrap());
        let issued = authority.issue(&node, Duration::from_secs(60), now);
        let der = CertificateDer::from_pem_slice(issued.unwrap().certificate_pem.as_bytes()).unwrap();
        for length in 0..200 {
            assert_eq!(ends(&CertificateDer::from(&der[..length])), None, "{length}");
        }
    }
}
