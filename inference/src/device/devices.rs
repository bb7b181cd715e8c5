//! The devices of one node, and which of them a model is tried on first.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DeviceBudget, DeviceSnapshot};
use crate::ModelCard;

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A graphics card.
    Gpu,
    /// The machine's processors and memory.
    #[default]
    Processor,
}

impl DeviceKind {
    /// Whether a model can be on it: embedders run on processors.
    pub const fn suits(self, card: &ModelCard) -> bool {
        match self {
            Self::Processor => true,
            Self::Gpu => card.can_generate,
        }
    }
}

/// The devices of one node, at least one.
#[derive(Debug, Clone)]
pub struct Devices(Vec<Arc<DeviceBudget>>);

impl From<Arc<DeviceBudget>> for Devices {
    fn from(device: Arc<DeviceBudget>) -> Self {
        Self(vec![device])
    }
}

impl Devices {
    /// These devices; none when there are none.
    pub fn new(devices: Vec<Arc<DeviceBudget>>) -> Option<Self> {
        (!devices.is_empty()).then_some(Self(devices))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<DeviceBudget>> {
        self.0.iter()
    }

    /// The only one, if there is no choice.
    pub fn only(&self) -> Option<&Arc<DeviceBudget>> {
        match self.0.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<DeviceBudget>> {
        self.0.iter().find(|device| device.name() == name)
    }

    /// Those that work and that a model can be on, the best first: graphics cards before processors, of these the one
    /// with the most room.
    pub fn ranked(&self, card: &ModelCard) -> Vec<&Arc<DeviceBudget>> {
        let is_fit = |device: &&Arc<DeviceBudget>| device.kind().suits(card) && device.failure().is_none();
        let mut suited: Vec<&Arc<DeviceBudget>> = self.0.iter().filter(is_fit).collect();
        suited.sort_by_key(|device| (device.kind(), std::cmp::Reverse(device.snapshot().free_bytes())));
        suited
    }

    /// What the memory of each is used for now.
    pub fn snapshots(&self) -> Vec<DeviceSnapshot> {
        self.0.iter().map(|device| device.snapshot()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, ScriptedModel};

    #[test]
    fn a_generator_is_tried_on_cards_first_the_roomiest_before_the_others_and_an_embedder_on_none() {
        let gpu = |name: &str, bytes| DeviceBudget::of_kind(name, DeviceKind::Gpu, bytes);
        let devices = vec![DeviceBudget::new("cpu", 900), gpu("cuda:0", 100), gpu("cuda:1", 200)];
        let devices = Devices::new(devices).unwrap();
        let ranked = |card: &ModelCard| devices.ranked(card).iter().map(|d| d.name().to_owned()).collect::<Vec<_>>();
        let mut card = ScriptedModel::echo("m".parse().unwrap()).card().clone();
        assert_eq!(ranked(&card), ["cuda:1", "cuda:0", "cpu"]);
        let _taken = devices.named("cuda:1").unwrap().reserve("other", 150).unwrap();
        assert_eq!(ranked(&card), ["cuda:0", "cuda:1", "cpu"]);
        devices.named("cuda:0").unwrap().fail("it fell off the bus");
        assert_eq!(ranked(&card), ["cuda:1", "cpu"]);
        card.can_generate = false;
        assert_eq!(ranked(&card), ["cpu"]);
    }
}
