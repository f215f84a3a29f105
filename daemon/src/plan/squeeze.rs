//! The shapes that a model may be loaded with, from the wanted one down to the smallest that is still of use.

use serde::{Deserialize, Serialize};

use super::KvType;

/// llama.cpp rounds contexts up to a multiple of this; what lies between takes no less memory.
const STEP: u32 = 256;

/// Most contexts between the wanted one and the smallest. Thirteen steps of 3/4 lead from 32 Ki to below 1 Ki; from further
/// up, the last step is a large one.
const CONTEXTS_MAX: usize = 13;

/// Most numbers of sequences between the wanted one and a single one; llama.cpp's limit of 256 takes seven.
const HALVINGS_MAX: usize = 7;

/// What a model is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LoadShape {
    /// Tokens that one sequence can hold.
    pub context: u32,
    /// Sequences that are decoded together.
    pub sequences: u32,
    /// How keys and values are stored.
    pub kv_type: KvType,
}

/// The shapes to try, best first; each takes less memory than the one before it.
///
/// First `wanted` itself; then smaller contexts, by about a quarter each, down to `min_context`; there fewer sequences, by
/// halves, down to one; at last keys and values in 8 bits, if they were wanted in 16 and `allow_q8` says that it is to be
/// tried. (With more than one sequence it would save nothing: two in 8 bits take as much as one in 16.)
///
/// The list depends on nothing that is measured, so that a place in it means the same at any time. It has at most 24
/// entries. A `min_context` above the wanted context leaves that as it is.
pub fn squeezes(wanted: LoadShape, min_context: u32, allow_q8: bool) -> Vec<LoadShape> {
    let mut shapes = vec![wanted];
    shapes.extend(contexts(wanted.context, min_context).map(|context| LoadShape { context, ..wanted }));
    let least = shapes.last().copied().unwrap_or(wanted);
    shapes.extend(halvings(wanted.sequences).map(|sequences| LoadShape { sequences, ..least }));
    let least = shapes.last().copied().unwrap_or(wanted);
    if allow_q8 && wanted.kv_type == KvType::F16 {
        shapes.push(LoadShape { kv_type: KvType::Q8_0, ..least });
    }
    shapes
}

/// Contexts below `wanted` by falling size; the last is the smallest.
fn contexts(wanted: u32, min_context: u32) -> impl Iterator<Item = u32> {
    let smallest = min_context.max(1).checked_next_multiple_of(STEP).unwrap_or(u32::MAX);
    let smaller = |context: &u32| (context - context.div_ceil(4)) / STEP * STEP;
    // One that is rounded up to the same multiple as the wanted one is no squeeze.
    let below = wanted.max(1).div_ceil(STEP).saturating_sub(1).saturating_mul(STEP);
    let steps = std::iter::successors(Some(wanted), move |context| Some(smaller(context)))
        .skip(1)
        .map(move |context| context.min(below))
        .take_while(move |context| *context > smallest)
        .take(CONTEXTS_MAX);
    steps.chain((smallest <= below).then_some(smallest))
}

/// Numbers of sequences below `wanted` by falling size; the last is one.
fn halvings(wanted: u32) -> impl Iterator<Item = u32> {
    let halves = std::iter::successors(Some(wanted / 2), |sequences| Some(sequences / 2));
    halves.take_while(|sequences| *sequences > 1).take(HALVINGS_MAX).chain((wanted > 1).then_some(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(context: u32, sequences: u32, kv_type: KvType) -> LoadShape {
        LoadShape { context, sequences, kv_type }
    }

    #[test]
    fn context_first_then_sequences_then_keys_and_values() {
        use KvType::{F16, Q8_0};
        let expected = [
            shape(2048, 4, F16),
            shape(1536, 4, F16),
            shape(1024, 4, F16),
            shape(768, 4, F16),
            shape(512, 4, F16),
            shape(512, 2, F16),
            shape(512, 1, F16),
            shape(512, 1, Q8_0),
        ];
        assert_eq!(squeezes(expected[0], 512, true), expected);
        assert_eq!(squeezes(expected[0], 512, false), expected[..7]);
        assert_eq!(squeezes(shape(512, 1, F16), 4096, true), expected[6..]);
        assert_eq!(squeezes(shape(512, 1, Q8_0), 512, true), expected[7..]);
    }

    #[test]
    fn what_rounds_to_the_same_is_no_squeeze() {
        assert_eq!(squeezes(shape(1000, 1, KvType::Q4_0), 900, true), [shape(1000, 1, KvType::Q4_0)]);
        let contexts = |wanted, min_context| {
            let shapes = squeezes(shape(wanted, 1, KvType::Q4_0), min_context, true);
            shapes.into_iter().map(|shape| shape.context).collect::<Vec<_>>()
        };
        assert_eq!(contexts(257, 0), [257, 256]);
        assert_eq!(contexts(1025, 600), [1025, 768]);
        assert_eq!(contexts(1200, 1000), [1200, 1024]);
    }

    proptest! {
        #[test]
        fn shapes_are_few_and_only_get_smaller(
            context in prop_oneof![0_u32..100_000, any::<u32>()],
            sequences in prop_oneof![0_u32..65, any::<u32>()],
            min_context in prop_oneof![0_u32..5000, any::<u32>()],
            kv_type in prop_oneof![Just(KvType::F16), Just(KvType::Q8_0), Just(KvType::Q4_0)],
            allow_q8 in any::<bool>(),
        ) {
            let wanted = shape(context, sequences, kv_type);
            let shapes = squeezes(wanted, min_context, allow_q8);
            prop_assert!(shapes.len() <= 24);
            prop_assert_eq!(shapes[0], wanted);
            let sizes = |shape: &LoadShape| (u64::from(shape.context).div_ceil(256), shape.sequences, shape.kv_type);
            for pair in shapes.windows(2) {
                let (more, less) = (sizes(&pair[0]), sizes(&pair[1]));
                prop_assert!(less.0 <= more.0 && less.1 <= more.1 && less.2 <= more.2, "{:?}", pair);
                prop_assert!(less != more, "{:?}", pair);
            }
            for squeezed in &shapes[1..] {
                prop_assert!(squeezed.context <= context && squeezed.sequences <= sequences.max(1));
                prop_assert!(squeezed.context >= min_context.min(context));
                prop_assert!(allow_q8 || squeezed.kv_type == kv_type);
            }
        }

        #[test]
        fn the_smallest_is_always_tried(
            context in 1_u32..2_000_000,
            min_context in 1_u32..2_000_000,
            sequences in 1_u32..300,
        ) {
            let last = *squeezes(shape(context, sequences, KvType::F16), min_context, true).last().unwrap();
            let smallest = min_context.next_multiple_of(256).min(context.next_multiple_of(256));
            prop_assert_eq!(last.context.next_multiple_of(256), smallest);
            prop_assert_eq!((last.sequences, last.kv_type), (1, KvType::Q8_0));
        }
    }
}
