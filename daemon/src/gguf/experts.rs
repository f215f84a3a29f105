//! The numbers of a mixture of experts.

use super::GgufError;
use super::exact::out_of_range;
use super::hyper::Hyper;

/// llama.cpp's `LLAMA_MAX_EXPERTS`.
const EXPERTS_MAX: u32 = 1024;

/// The highest number of llama.cpp's `llama_expert_gating_func_type`.
const GATING_MAX: u32 = 4;

/// Checks what `llama-model.cpp` asserts of them.
pub(super) fn check(hyper: &Hyper<'_>) -> Result<(), GgufError> {
    let experts = hyper.at_most("expert_count", EXPERTS_MAX)?.unwrap_or_default();
    // llama.cpp forgets the experts of these two when there is only one.
    let lone = experts <= 1 && hyper.is_one_of(&["hunyuan-dense", "hunyuan_vl"]);
    let used = used(hyper)?;
    let groups = hyper.u32("expert_group_count")?.unwrap_or_default();
    let groups_used = hyper.u32("expert_group_used_count")?.unwrap_or_default();
    hyper.at_most("expert_gating_func", GATING_MAX)?;

    let used_range = if lone || experts == 0 { 0..=0 } else { 1..=experts };
    if !lone && !used_range.contains(&used) {
        let allowed = format!("{} to {} of {experts} experts", used_range.start(), used_range.end());
        return Err(out_of_range(&hyper.key("expert_used_count"), used, allowed));
    }
    let experts = if lone { 0 } else { experts };
    let bad_groups = groups > 0 && (groups >= experts || (groups > 1 && !experts.is_multiple_of(groups)));
    if bad_groups {
        let allowed = format!("less than and a divisor of the {experts} experts");
        return Err(out_of_range(&hyper.key("expert_group_count"), groups, allowed));
    }
    if groups > 1 && !(1..groups).contains(&groups_used) {
        let allowed = format!("1 to {} of {groups} groups", groups - 1);
        return Err(out_of_range(&hyper.key("expert_group_used_count"), groups_used, allowed));
    }
    Ok(())
}

/// How many experts the layer with the most of them uses.
pub(super) fn used(hyper: &Hyper<'_>) -> Result<u32, GgufError> {
    Ok(hyper.per_layer("expert_used_count")?.unwrap_or_default().into_iter().max().unwrap_or_default())
}
