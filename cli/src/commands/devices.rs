//! `steward devices`: the devices of every node, and the models on them.

use steward_api::proto::v1;

use super::{Session, tell_missing};

/// Runs `devices`.
///
/// # Errors
/// What the node refused.
pub async fn run(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let listed = session.client.operations().nodes(v1::NodesRequest {}).await?.into_inner();
    let reports = || listed.nodes.iter().filter_map(|node| Some((&node.id, node.report.as_ref()?)));
    if output.is_json() {
        for (node, report) in reports() {
            for device in &report.devices {
                let mut value = crate::output::message_json("NodeDevice", device)?;
                value["node"] = node.as_str().into();
                output.line(value.to_string());
            }
        }
        tell_missing(output, &listed.missing);
        return Ok(());
    }
    let megabytes = |bytes: u64| format!("{} MB", bytes >> 20);
    let devices = reports().flat_map(|(node, report)| report.devices.iter().map(move |device| (node, device)));
    let rows = devices.map(|(node, device)| {
        let [memory, used, peak] = [device.total_bytes, device.used_bytes, device.peak_bytes].map(megabytes);
        let (state, cause) = (device.state.clone(), device.failure.clone());
        vec![node.clone(), device.name.clone(), memory, used, peak, state, cause]
    });
    output.table(&["node", "device", "memory", "used", "peak", "state", "cause"], rows.collect(), "no device");
    let models = reports().flat_map(|(node, report)| report.models.iter().map(move |model| (node, model)));
    let rows = models
        .map(|(node, model)| vec![node.clone(), model.name.clone(), model.state.clone(), model.cause.clone()])
        .collect();
    output.table(&["node", "model", "state", "cause"], rows, "no model");
    tell_missing(output, &listed.missing);
    Ok(())
}
