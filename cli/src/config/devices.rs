//! Which devices models may be on.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Which devices a node offers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum DeviceChoice {
    /// The CPU, and every GPU that can be used.
    #[default]
    Auto,
    /// These; the node does not start without one of them.
    These(Vec<DeviceName>),
}

/// One device, or all of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    /// `cpu`.
    Processor,
    /// `cuda:0` and so on.
    Gpu(u32),
    /// `cuda`: every one.
    EveryGpu,
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Processor),
            None if text == "cuda" => Ok(Self::EveryGpu),
            Some(("cuda", number)) => number.parse().map(Self::Gpu).map_err(|_| unknown(text)),
            _ => Err(unknown(text)),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processor => f.write_str("cpu"),
            Self::Gpu(number) => write!(f, "cuda:{number}"),
            Self::EveryGpu => f.write_str("cuda"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.split(',').map(|name| name.trim().parse()).collect::<Result<_, _>>().map(Self::These)
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

fn unknown(text: &str) -> String {
    format!("device {text:?} is none of cpu, cuda, cuda:0, cuda:1 …; `auto` alone takes what is there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_one_by_one_or_left_to_the_node() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        let these = vec![DeviceName::Processor, DeviceName::Gpu(1), DeviceName::EveryGpu];
        assert_eq!("cpu, cuda:1,cuda".parse(), Ok(DeviceChoice::These(these)));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cpu,auto"] {
            assert!(wrong.parse::<DeviceChoice>().unwrap_err().contains("none of cpu"), "{wrong}");
        }
    }
}
