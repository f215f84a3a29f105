use super::*;
use crate::plan::KvType;

#[test]
fn tables_merge_key_by_key_and_later_files_win() {
    let config = read(&[
        "[limits]\nmax_tokens = 1\nqueue_jobs = 100\n[node.labels]\na = '1'\nb = '1'",
        "[limits]\nmax_tokens = 2\n[node.labels]\nb = '2'",
        "limits.max_tokens = 3",
    ])
    .unwrap();
    assert_eq!((config.limits.max_tokens, config.limits.queue_jobs), (3, 100));
    let labels: Vec<(&str, &str)> =
        config.node.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("a", "1"), ("b", "2")]);
}

#[test]
fn models_merge_by_name_and_new_ones_follow() {
    let config = read(&[
        MODEL,
        "[[model]]\nname = 'big'\nfiles = [{ path = '/b.gguf' }]\n\
         [[model]]\nname = 'main'\ndefault = true\ncontext = 4096",
        "[[model]]\nname = 'big'\nkv_type = 'q8_0'\nfiles = [{ path = '/c.gguf' }]",
    ])
    .unwrap();
    let [main, big] = config.models.as_slice() else { panic!("{config:?}") };
    assert_eq!((main.name.as_str(), main.context, main.default), ("main", 4096, true));
    assert_eq!(main.files[0].path.to_str(), Some("/m.gguf"));
    assert_eq!((big.name.as_str(), big.kv_type, big.default), ("big", KvType::Q8_0, false));
    assert_eq!(big.files[0].path.to_str(), Some("/c.gguf"));
}

#[test]
fn other_arrays_are_replaced() {
    let config = read(&["mqtt.reply_allow = ['a', 'b']", "mqtt.reply_allow = ['c']"]).unwrap();
    assert_eq!(config.mqtt.reply_allow, ["c"]);
    let model = |keys: &str| format!("[[model]]\nname = 'main'\n{keys}");
    let config = read(&[
        &model("ladder = ['gpu:f16', 'cpu:int8']\nfiles = [{ path = '/a' }, { path = '/b' }]"),
        &model("ladder = ['cpu:f16']\nfiles = [{ path = '/b' }]"),
    ])
    .unwrap();
    let [main] = config.models.as_slice() else { panic!("{config:?}") };
    assert_eq!((main.ladder.as_ref().unwrap().len(), main.files.len()), (1, 1));
}

#[test]
fn two_models_of_one_name_in_a_file_stay_two() {
    let twice = format!("{MODEL}{MODEL}");
    let found = problems(&[MODEL, &twice]);
    assert!(found.iter().any(|problem| problem.starts_with("1.toml:5:8: model[main].name")), "{found:?}");
}

#[test]
fn problems_point_into_the_file_whose_value_counts() {
    let found = problems(&["[limits]\nmax_tokens = 1", "limits.max_tokens = 0"]);
    assert_eq!(found, ["1.toml:1:21: limits.max_tokens = 0: allowed are 1 to 1048576"]);
    assert!(read(&["limits.max_tokens = 0", "limits.max_tokens = 1"]).is_ok());
    assert_eq!(read(&["load.idle_unload = '5m'", "load.idle_unload = 'never'"]).unwrap().load.idle_unload, None);
}

#[test]
fn a_value_of_another_type_replaces() {
    let found = problems(&["[limits]\nmax_tokens = 1", "limits = 3"]);
    assert_eq!(found, ["1.toml:1:10: limits = 3: must be a table: write [limits]"]);
}
