//! The devices that models may be on, found when the node starts.
//!
//! What a person asked for and is not there keeps the node from starting. What nobody asked for and cannot be used is
//! told in the log and left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use steward_inference::{DeviceBudget, DeviceKind, Devices};
use steward_inference_candle::{Gpu, GpuError, MEMORY_MARGIN_BYTES};

use crate::config::{DeviceChoice, DeviceName, NodeConfig};

/// The name of the machine's processors and memory.
const PROCESSOR: &str = "cpu";

/// Devices that are ready.
#[derive(Debug)]
pub(super) struct Opened {
    /// The memory that models may take on each.
    pub(super) devices: Devices,
    /// The cards among them.
    pub(super) gpus: Vec<Arc<Gpu>>,
}

/// Finds and opens the devices that the configuration asks for. A card takes seconds to open the first time.
pub(super) async fn open(config: &NodeConfig) -> anyhow::Result<Opened> {
    let choice = config.devices.clone();
    let gpus = tokio::task::spawn_blocking(move || match choice {
        DeviceChoice::Auto => Ok(found()),
        DeviceChoice::These(names) => asked_for(&names),
    });
    let gpus = gpus.await.context("looking for devices")??;
    let mut budgets = Vec::new();
    if offers_the_processor(&config.devices) {
        budgets.push(DeviceBudget::new(PROCESSOR, mebibytes(config.device_memory_mib)));
    }
    for gpu in &gpus {
        let free_bytes = gpu.memory()?.free_bytes.saturating_sub(MEMORY_MARGIN_BYTES);
        let bytes = config.gpu_memory_mib.map_or(free_bytes, |most| free_bytes.min(mebibytes(most)));
        tracing::info!(device = gpu.device(), card = gpu.model(), bytes, "models may be on a GPU");
        budgets.push(DeviceBudget::of_kind(gpu.device(), DeviceKind::Gpu, bytes));
    }
    Ok(Opened { devices: Devices::new(budgets).context("devices: none is named")?, gpus })
}

fn offers_the_processor(choice: &DeviceChoice) -> bool {
    match choice {
        DeviceChoice::Auto => true,
        DeviceChoice::These(names) => names.contains(&DeviceName::Processor),
    }
}

const fn mebibytes(count: u64) -> u64 {
    count.saturating_mul(1 << 20)
}

/// Every card that can be used.
fn found() -> Vec<Arc<Gpu>> {
    let count = match Gpu::count() {
        Ok(count) => count,
        Err(error @ GpuError::NoDriver { .. }) => {
            tracing::debug!(%error, "models are on the CPU alone");
            return Vec::new();
        }
        Err(error) => {
            tracing::warn!(%error, "the NVIDIA driver is there and cannot be used; models are on the CPU alone");
            return Vec::new();
        }
    };
    let open = |number| match Gpu::open(number) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            tracing::warn!(%error, "a GPU is there and cannot be used; it is left out");
            None
        }
    };
    (0..count).filter_map(open).collect()
}

/// The cards that were asked for, all of them.
fn asked_for(names: &[DeviceName]) -> anyhow::Result<Vec<Arc<Gpu>>> {
    let mut numbers = BTreeSet::new();
    for name in names {
        match name {
            DeviceName::Processor => {}
            DeviceName::Gpu(number) => _ = numbers.insert(*number),
            DeviceName::EveryGpu => match Gpu::count().context("devices: cuda was asked for")? {
                0 => bail!("devices: cuda was asked for, and the NVIDIA driver knows of no GPU"),
                count => numbers.extend(0..count),
            },
        }
    }
    let open = |number| Gpu::open(number).with_context(|| format!("devices: cuda:{number} was asked for"));
    numbers.into_iter().map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(devices: &str) -> NodeConfig {
        NodeConfig { devices: devices.parse().unwrap(), device_memory_mib: 3, ..NodeConfig::default() }
    }

    #[tokio::test]
    async fn the_processor_is_a_device_unless_others_are_named() {
        let opened = open(&config("cpu")).await.unwrap();
        let names: Vec<_> =
            opened.devices.snapshots().into_iter().map(|device| (device.name, device.total_bytes)).collect();
        assert_eq!(names, [("cpu".to_owned(), 3 << 20)]);
        assert!(open(&config("auto")).await.unwrap().devices.named("cpu").is_some());
    }

    /// Also on a machine that has some: none has so many.
    #[tokio::test]
    async fn a_card_that_was_asked_for_and_is_not_there_keeps_the_node_from_starting() {
        let refused = format!("{:#}", open(&config("cpu,cuda:4000")).await.unwrap_err());
        assert!(refused.starts_with("devices: cuda:4000 was asked for: "), "{refused}");
    }
}
