//! `steward doctor`: what is wrong with the cluster, and what to do.

use steward_api::proto::v1;

use super::Session;
use crate::output::Tone;

/// Runs `doctor`.
///
/// # Errors
/// What the node refused; also that it found something critical, so that scripts notice.
pub async fn run(audit: bool, session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let found = session.client.operations().doctor(v1::DoctorRequest { audit }).await?.into_inner();
    let critical = found.findings.iter().filter(|finding| finding.severity == "critical").count();
    if output.is_json() {
        output.message("DoctorResponse", &found)?;
        anyhow::ensure!(critical == 0, "{critical} critical findings");
        return Ok(());
    }
    for finding in &found.findings {
        let tone = match finding.severity.as_str() {
            "critical" => Tone::Bad,
            "warning" => Tone::Warning,
            _ => Tone::Faint,
        };
        let severity = output.paint(tone, format!("{:<8}", finding.severity));
        output.line(format!("{severity} {}: {}: {}", finding.check, finding.about, finding.what));
        output.line(format!("         {}", finding.remedy));
    }
    let bad = |check: &&String| found.findings.iter().any(|finding| finding.check == **check);
    let well: Vec<&str> = found.checks.iter().filter(|check| !bad(check)).map(String::as_str).collect();
    if !well.is_empty() {
        output.line(format!("{}       {}", output.paint(Tone::Good, "ok"), well.join(", ")));
    }
    anyhow::ensure!(critical == 0, "{critical} critical findings");
    Ok(())
}
