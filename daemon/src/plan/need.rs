//! What one model needs in one context, part by part, on the host and on a GPU.

use std::fmt;

use serde::Serialize;

use super::memory::tables_bytes;
use super::{Bytes, ContextShape, ModelShape, compute_bytes, kv_bytes, output_bytes, process_bytes};

/// The margin's share of the host's parts: 1/50. It covers what grows with them: page tables (1/512 of what is mapped,
/// eight bytes for each page of 4 KiB), the padding of buffers, and gaps in the heap.
const MARGIN_SHARE: u64 = 50;

/// The margin's fixed part: 4 MiB. It covers what no part counts: stacks of the compute threads, frames on the socket,
/// the texts of the jobs in hand.
const MARGIN_FIXED: u64 = 4 << 20;

/// What is kept of prompts takes this part of the keys and values at most.
const PREFIXES_SHARE: u64 = 4;

/// What a model needs of the host's memory, without the margin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct HostNeed {
    /// Weights that are read from the model's file where it is mapped.
    pub weights: Bytes,
    /// Weights that a back end keeps in a layout of its own, in anonymous memory. Their pages of the file are not needed
    /// any more: they count here and not among the weights.
    pub repack: Bytes,
    /// Keys and values.
    pub kv: Bytes,
    /// Outputs.
    pub output: Bytes,
    /// The step's intermediate results.
    pub compute: Bytes,
    /// The process around it: libraries and vocabulary.
    pub process: Bytes,
}

/// What a model needs of a GPU's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DeviceNeed {
    /// The weights of the layers that lie there.
    pub weights: Bytes,
    /// Their keys and values.
    pub kv: Bytes,
    /// Outputs.
    pub output: Bytes,
    /// The step's intermediate results.
    pub compute: Bytes,
}

/// What one model needs in one context. In JSON the host's parts stand beside `margin`, and `device` is left out where
/// nothing lies on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Need {
    #[serde(flatten)]
    host: HostNeed,
    margin: Bytes,
    #[serde(skip_serializing_if = "DeviceNeed::is_nothing")]
    device: DeviceNeed,
}

impl HostNeed {
    fn sum(&self) -> u64 {
        let Self { weights, repack, kv, output, compute, process } = self;
        sum([weights, repack, kv, output, compute, process])
    }
}

impl DeviceNeed {
    fn sum(&self) -> u64 {
        let Self { weights, kv, output, compute } = self;
        sum([weights, kv, output, compute])
    }

    fn is_nothing(&self) -> bool {
        self.sum() == 0
    }
}

impl Need {
    /// The need of these parts. The margin is added here and nowhere else; a discrete GPU's is
    /// [`DEVICE_MARGIN`](super::DEVICE_MARGIN).
    pub fn new(host: HostNeed, device: DeviceNeed) -> Self {
        let margin = (host.sum() / MARGIN_SHARE).saturating_add(MARGIN_FIXED);
        Self { host, margin: Bytes(margin), device }
    }

    /// The same with room for the tables of constrained output, which are built when the first job needs them: they are no part of
    /// what the loaded model is expected to take.
    #[must_use]
    pub fn with_tables(self, n_vocab: u32) -> Self {
        Self { margin: Bytes(self.margin.0.saturating_add(tables_bytes(n_vocab))), ..self }
    }

    /// What may be kept of prompts, where the configuration allows so much: a quarter of what contexts hold at most, so that it never
    /// takes more than it can be worth.
    pub fn prefixes(&self, most: Bytes) -> Bytes {
        most.min(Bytes(self.host.kv.0.saturating_add(self.device.kv.0) / PREFIXES_SHARE))
    }

    /// The same with room for what is kept of prompts, which is filled when there are such prompts.
    #[must_use]
    pub fn with_prefixes(self, most: Bytes) -> Self {
        Self { margin: Bytes(self.margin.0.saturating_add(self.prefixes(most).0)), ..self }
    }

    /// Every part from the numbers of model and context, all on the CPU, before anything was measured. For parts that
    /// were, make a new need of [`parts`](Self::parts).
    pub fn estimate(model: &ModelShape, context: &ContextShape) -> Self {
        let host = HostNeed {
            weights: Bytes(model.weights),
            repack: Bytes(0),
            kv: Bytes(kv_bytes(model, context)),
            output: Bytes(output_bytes(model, context)),
            compute: Bytes(compute_bytes(model, context)),
            process: Bytes(process_bytes(model.n_vocab)),
        };
        Self::new(host, DeviceNeed::default())
    }

    /// The parts on the host, without the margin.
    pub fn parts(&self) -> HostNeed {
        self.host
    }

    /// The parts on a GPU.
    pub fn device_parts(&self) -> DeviceNeed {
        self.device
    }

    /// What is added to the host's parts: 2 % and 4 MiB, the tables of constrained output, and what is kept of prompts.
    pub fn margin(&self) -> Bytes {
        self.margin
    }

    /// What must be free on the host, margin included.
    pub fn host(&self) -> Bytes {
        Bytes(self.host.sum().saturating_add(self.margin.0))
    }

    /// What must be free on the GPU.
    pub fn device(&self) -> Bytes {
        Bytes(self.device.sum())
    }

    /// Host and GPU together, margin included: what must be free where they share memory.
    pub fn total(&self) -> Bytes {
        Bytes(self.host().0.saturating_add(self.device().0))
    }

    /// Host and GPU together without the margin: what the loaded model is expected to take. This is the number to compare
    /// with what it really takes.
    pub fn expected(&self) -> Bytes {
        Bytes(self.host.sum().saturating_add(self.device.sum()))
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostNeed { weights, repack, kv, output, compute, process } = self.host;
        let (total, margin) = (self.total(), self.margin);
        write!(f, "{total}: weights {weights}, repacked {repack}, KV {kv}, output {output}, compute {compute}")?;
        write!(f, ", process {process}, margin {margin}")?;
        if !self.device.is_nothing() {
            let DeviceNeed { weights, kv, output, compute } = self.device;
            write!(f, ", on the GPU weights {weights}, KV {kv}, output {output}, compute {compute}")?;
        }
        Ok(())
    }
}

fn sum<const N: usize>(parts: [&Bytes; N]) -> u64 {
    parts.into_iter().fold(0, |sum, part| sum.saturating_add(part.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn host() -> HostNeed {
        let [weights, repack, kv, output, compute, process] = [100, 50, 30, 2, 8, 10].map(|mib| Bytes(mib * MIB));
        HostNeed { weights, repack, kv, output, compute, process }
    }

    fn device() -> DeviceNeed {
        let [weights, kv, output, compute] = [400, 60, 1, 39].map(|mib| Bytes(mib * MIB));
        DeviceNeed { weights, kv, output, compute }
    }

    #[test]
    fn the_margin_is_two_percent_and_four_mebibytes() {
        let need = Need::new(host(), device());
        assert_eq!(need.margin(), Bytes(8 * MIB));
        assert_eq!(need.host(), Bytes(208 * MIB));
        assert_eq!(need.device(), Bytes(500 * MIB));
        assert_eq!(need.total(), Bytes(708 * MIB));
        assert_eq!(need.expected(), Bytes(700 * MIB));
    }

    #[test]
    fn tables_for_later_are_kept_free_and_not_expected() {
        let need = Need::new(host(), device());
        let later = need.with_tables(49_152);
        assert_eq!(later.host().0 - need.host().0, 49_152 * 350);
        assert_eq!(later.expected(), need.expected());
    }

    #[test]
    fn what_is_kept_of_prompts_has_room_and_is_a_quarter_of_what_contexts_hold_at_most() {
        let need = Need::new(host(), device());
        assert_eq!(need.prefixes(Bytes(64 * MIB)), Bytes(90 * MIB / 4));
        assert_eq!(need.with_prefixes(Bytes(2 * MIB)).margin(), Bytes(10 * MIB));
        assert_eq!(need.with_prefixes(Bytes(2 * MIB)).expected(), need.expected());
    }

    #[test]
    fn documents_show_every_part() {
        let json = serde_json::to_value(Need::new(host(), device())).unwrap();
        assert_eq!(json["kv"], 30 * MIB);
        assert_eq!(json["margin"], 8 * MIB);
        assert_eq!(json["device"]["weights"], 400 * MIB);
        let json = serde_json::to_value(Need::new(host(), DeviceNeed::default())).unwrap();
        assert!(json.get("device").is_none());
    }

    #[test]
    fn reads_well() {
        let cpu = Need::new(host(), DeviceNeed::default()).to_string();
        assert!(cpu.starts_with("208.0 MiB: weights 100.0 MiB, repacked 50.0 MiB, KV 30.0 MiB"), "{cpu}");
        assert!(cpu.ends_with("process 10.0 MiB, margin 8.0 MiB"), "{cpu}");
        let gpu = Need::new(host(), device()).to_string();
        assert!(gpu.ends_with("on the GPU weights 400.0 MiB, KV 60.0 MiB, output 1.0 MiB, compute 39.0 MiB"), "{gpu}");
    }

    proptest! {
        #[test]
        fn no_part_is_too_large(host in any::<[u64; 6]>(), device in any::<[u64; 4]>()) {
            let [weights, repack, kv, output, compute, process] = host.map(Bytes);
            let on_host = HostNeed { weights, repack, kv, output, compute, process };
            let [weights, kv, output, compute] = device.map(Bytes);
            let need = Need::new(on_host, DeviceNeed { weights, kv, output, compute });
            prop_assert!(host.into_iter().all(|part| need.host().0 >= part));
            prop_assert!(device.into_iter().all(|part| need.device().0 >= part));
            prop_assert!(need.total() >= need.host().max(need.device()));
            prop_assert!(need.total() >= need.expected());
        }
    }
}
