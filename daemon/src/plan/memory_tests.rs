//! The memory model against llama.cpp's own numbers, and its laws.

use proptest::prelude::*;

use super::*;
use crate::plan::{Bytes, DeviceNeed, HostNeed, Need};

/// The shape of SmolLM2-135M-Instruct, in 4 bits.
fn smollm2() -> ModelShape {
    ModelShape {
        weights: 96_576_768,
        n_vocab: 49_152,
        output_width: 49_152,
        n_embd: 576,
        n_ff: 1536,
        n_head: 9,
        key_length: 64,
        value_length: 64,
        kv_heads: vec![3; 30],
        sliding_window: false,
    }
}

/// The shape of Qwen3 0.6B.
fn qwen3() -> ModelShape {
    ModelShape {
        n_vocab: 151_936,
        output_width: 151_936,
        n_embd: 1024,
        n_ff: 3072,
        n_head: 16,
        key_length: 128,
        value_length: 128,
        kv_heads: vec![8; 28],
        ..smollm2()
    }
}

/// The shape of Gemma 3 270M.
fn gemma3() -> ModelShape {
    ModelShape {
        n_vocab: 262_144,
        output_width: 262_144,
        n_embd: 640,
        n_ff: 2048,
        n_head: 4,
        key_length: 256,
        value_length: 256,
        kv_heads: vec![1; 18],
        sliding_window: true,
        ..smollm2()
    }
}

/// The shape of Llama 3.2 1B.
fn llama3() -> ModelShape {
    ModelShape {
        n_vocab: 128_256,
        output_width: 128_256,
        n_embd: 2048,
        n_ff: 8192,
        n_head: 32,
        kv_heads: vec![8; 16],
        ..smollm2()
    }
}

/// The shape of all-MiniLM-L6-v2, an encoder.
fn minilm() -> ModelShape {
    ModelShape {
        n_vocab: 30_522,
        output_width: 384,
        n_embd: 384,
        n_ff: 1536,
        n_head: 12,
        key_length: 32,
        value_length: 32,
        kv_heads: vec![0; 6],
        ..smollm2()
    }
}

fn context(context_per_sequence: u32, sequences: u32) -> ContextShape {
    ContextShape {
        context_per_sequence,
        sequences,
        kv_type: KvType::F16,
        ubatch: 512,
        outputs_max: 8,
        attention: Attention::Flash,
    }
}

#[test]
fn kv_is_what_llama_cpp_says() {
    let mib = |model: &ModelShape, kv_type, sequences| {
        let context = ContextShape { kv_type, ..context(2000, sequences) };
        kv_bytes(model, &context) as f64 / f64::from(1 << 20)
    };
    let near = |left: f64, right: f64| assert!((left - right).abs() < 0.006, "{left} is not {right}");
    near(mib(&smollm2(), KvType::F16, 1), 45.00);
    near(mib(&smollm2(), KvType::F16, 4), 180.00);
    near(mib(&smollm2(), KvType::Q8_0, 1), 23.91);
    near(mib(&smollm2(), KvType::Q8_0, 4), 95.62);
    near(mib(&smollm2(), KvType::Q4_0, 1), 12.66);
    near(mib(&smollm2(), KvType::Q4_0, 4), 50.62);
    near(mib(&gemma3(), KvType::F16, 1), 36.00);
    near(mib(&minilm(), KvType::F16, 1), 0.0);
}

#[test]
fn layers_count_by_their_own_heads() {
    let model = ModelShape { kv_heads: vec![0, 2, 0, 1], value_length: 32, ..smollm2() };
    assert_eq!(kv_bytes(&model, &context(256, 1)), 256 * 3 * (64 + 32) * 2);
}

#[test]
fn the_context_is_rounded_up() {
    for (asked, rounded) in [(0, 0), (1, 256), (256, 256), (257, 512), (u32::MAX, 1 << 32)] {
        assert_eq!(context(asked, 1).rounded_context(), rounded);
    }
}

/// Measured: context, sequences, tokens a step, outputs, attention, KV, compute buffer in MiB.
type Measured = (u32, u32, u32, u32, Attention, KvType, f64);

#[test]
fn compute_is_near_what_was_measured() {
    use Attention::{Flash, Plain};
    use KvType::{F16, Q8_0};
    let measured: [(ModelShape, &[Measured]); 4] = [
        (
            smollm2(),
            &[
                (512, 1, 128, 1, Plain, F16, 4.38),
                (8192, 1, 512, 64, Plain, F16, 167.51),
                (2048, 4, 64, 64, Flash, F16, 13.10),
                (2048, 4, 128, 8, Flash, F16, 4.16),
                (4096, 1, 512, 8, Flash, F16, 18.64),
                (512, 1, 32, 1, Flash, Q8_0, 0.98),
                (512, 1, 512, 8, Flash, Q8_0, 15.17),
            ],
        ),
        (
            qwen3(),
            &[
                (512, 1, 128, 1, Plain, F16, 9.75),
                (512, 1, 512, 64, Plain, F16, 52.11),
                (2048, 4, 128, 8, Flash, F16, 7.64),
                (512, 1, 512, 8, Flash, Q8_0, 28.60),
            ],
        ),
        (
            gemma3(),
            &[
                (512, 1, 128, 1, Plain, F16, 5.57),
                (8192, 1, 512, 64, Plain, F16, 108.27),
                (2048, 4, 64, 64, Flash, F16, 65.44),
                (8192, 1, 32, 1, Flash, F16, 2.14),
                (512, 1, 32, 1, Flash, Q8_0, 1.99),
            ],
        ),
        (
            llama3(),
            &[
                (512, 1, 128, 1, Plain, F16, 17.75),
                (8192, 1, 512, 64, Plain, F16, 554.01),
                (2048, 4, 64, 64, Flash, F16, 34.06),
                (512, 1, 512, 8, Flash, Q8_0, 68.55),
            ],
        ),
    ];
    for (model, rows) in &measured {
        for row @ &(cells, sequences, ubatch, outputs_max, attention, kv_type, mib) in *rows {
            let context = ContextShape { kv_type, ubatch, outputs_max, attention, ..context(cells, sequences) };
            let ratio = compute_bytes(model, &context) as f64 / (mib * f64::from(1 << 20));
            assert!((1.0..=1.26).contains(&ratio), "{ratio} of the measured size for {row:?}");
        }
    }
}

#[test]
fn compute_of_an_encoder_is_never_too_little() {
    for (tokens, attention, mib) in [
        (128, Attention::Flash, 1.73),
        (512, Attention::Flash, 7.28),
        (128, Attention::Plain, 2.13),
        (512, Attention::Plain, 18.28),
    ] {
        let context = ContextShape { ubatch: tokens, outputs_max: tokens, attention, ..context(tokens, 8) };
        let ratio = compute_bytes(&minilm(), &context) as f64 / (mib * f64::from(1 << 20));
        assert!((1.0..=2.2).contains(&ratio), "{ratio} of the measured size for {tokens} tokens");
    }
}

#[test]
fn outputs_are_at_least_as_many_as_sequences() {
    let few = ContextShape { outputs_max: 1, ..context(512, 16) };
    assert_eq!(output_bytes(&smollm2(), &few), 16 * 49_152 * 4);
    assert_eq!(output_bytes(&smollm2(), &context(512, 2)), 8 * 49_152 * 4);
}

#[test]
fn the_process_is_at_least_what_was_measured() {
    // Peaks of loading real vocabularies: tokens and KiB, libraries included.
    for (tokens, kib) in [(32_000, 13_560), (49_152, 26_424), (128_256, 73_704), (262_144, 129_984), (250_048, 144_412)]
    {
        assert!(process_bytes(tokens) > kib * 1024, "{tokens} tokens");
    }
}

#[test]
fn an_estimate_shows_its_parts() {
    let need = Need::estimate(&smollm2(), &context(2048, 4));
    let shown = "340.9 MiB: weights 92.1 MiB, repacked 0 B, KV 180.0 MiB, output 1.5 MiB, compute 18.7 MiB, \
                 process 38.0 MiB, margin 10.6 MiB";
    assert_eq!(need.to_string(), shown);
    assert_eq!(need.expected().to_string(), "330.3 MiB");
    let measured = Need::new(HostNeed { compute: Bytes(0), ..need.parts() }, DeviceNeed::default());
    assert_eq!(measured.expected().0, need.expected().0 - need.parts().compute.0);
}

#[test]
fn names_of_kv_types_are_those_of_the_configuration() {
    for kind in [KvType::Q4_0, KvType::Q8_0, KvType::F16] {
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
    }
}

fn any_model() -> impl Strategy<Value = ModelShape> {
    let numbers = any::<(u64, u32, u32, u32, u32, u32, u32, bool)>();
    let heads = (any::<u32>(), prop::collection::vec(any::<u32>(), 0..80));
    (numbers, heads).prop_map(|(numbers, (value_length, kv_heads))| {
        let (weights, n_vocab, output_width, n_embd, n_ff, n_head, key_length, sliding_window) = numbers;
        ModelShape {
            weights,
            n_vocab,
            output_width,
            n_embd,
            n_ff,
            n_head,
            key_length,
            value_length,
            kv_heads,
            sliding_window,
        }
    })
}

fn any_context() -> impl Strategy<Value = ContextShape> {
    let kv_type = prop_oneof![Just(KvType::Q4_0), Just(KvType::Q8_0), Just(KvType::F16)];
    let attention = prop_oneof![Just(Attention::Flash), Just(Attention::Plain)];
    (any::<(u32, u32, u32, u32)>(), kv_type, attention).prop_map(|(numbers, kv_type, attention)| {
        let (context_per_sequence, sequences, ubatch, outputs_max) = numbers;
        ContextShape { context_per_sequence, sequences, kv_type, ubatch, outputs_max, attention }
    })
}

proptest! {
    #[test]
    fn no_number_is_too_large(model in any_model(), context in any_context()) {
        let need = Need::estimate(&model, &context);
        prop_assert!(need.total() >= need.parts().kv);
    }

    #[test]
    fn more_never_needs_less(model in any_model(), context in any_context(), more in any::<u32>()) {
        let needs = |context: &ContextShape| Need::estimate(&model, context).total();
        let grown = |grow: fn(&mut ContextShape) -> &mut u32| {
            let mut larger = context;
            let number = grow(&mut larger);
            *number = number.saturating_add(more);
            needs(&larger)
        };
        prop_assert!(grown(|context| &mut context.context_per_sequence) >= needs(&context));
        prop_assert!(grown(|context| &mut context.sequences) >= needs(&context));
        prop_assert!(grown(|context| &mut context.ubatch) >= needs(&context));
        prop_assert!(grown(|context| &mut context.outputs_max) >= needs(&context));
    }

    #[test]
    fn wider_kv_takes_more(model in any_model(), context in any_context()) {
        let size = |kv_type| kv_bytes(&model, &ContextShape { kv_type, ..context });
        let sizes = [KvType::Q4_0, KvType::Q8_0, KvType::F16].map(size);
        prop_assert!(sizes.is_sorted());
        let empty = kv_bytes(&model, &ContextShape { sequences: 0, ..context });
        prop_assert_eq!(empty, 0);
    }

    #[test]
    fn rows_are_exact(blocks in 0_u64..1 << 40) {
        prop_assert_eq!(KvType::F16.row_bytes(blocks * 32), blocks * 64);
        prop_assert_eq!(KvType::Q8_0.row_bytes(blocks * 32), blocks * 34);
        prop_assert_eq!(KvType::Q4_0.row_bytes(blocks * 32), blocks * 18);
    }
}
