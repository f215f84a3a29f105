//! What no single machine has: a small GPU, strategies that fail, names that a terminal would obey.

use promptd::config::{Config, Model};
use promptd::engine::protocol::GpuDevice;
use promptd::gguf::{Cache, ModelFacts};
use promptd::job::{ModelName, Precision};
use promptd::plan::{
    Bytes, Candidate, DeviceKind, DeviceMemory, DeviceNeed, GpuLayers, Headroom, HostHeadroom, HostNeed, KvType,
    LoadOption, LoadShape, Need, Profile, Strategy, choose,
};
use promptd::service::Gpu;
use serde_json::{Value, json};

use super::report::Report;
use super::show;
use super::survey::{Found, Survey};

const MIB: u64 = 1 << 20;

fn facts(cache: Cache) -> ModelFacts {
    ModelFacts {
        name: Some("Small\u{1b}[2J".to_owned()),
        architecture: "llama".to_owned(),
        file_type: "Q8_0".to_owned(),
        precision: Precision::Int8,
        parameters: 134_515_008,
        weights: Vec::new(),
        n_layer: 30,
        n_embd: 576,
        n_ff: 1536,
        n_head: 9,
        n_head_kv: vec![3; 30],
        key_length: 64,
        value_length: 64,
        n_ctx_train: 2048,
        n_vocab: 49_152,
        sliding_window: None,
        cache,
        chat_template: true,
        pooling: None,
        n_labels: 0,
        causal: true,
    }
}

/// Weights on either side, and a margin of 2 % and 4 MiB on the host.
fn option(context: u32, layers: GpuLayers, host: u64, device: u64) -> LoadOption {
    let shape = LoadShape { context, sequences: 4, kv_type: KvType::F16 };
    let host = HostNeed { weights: Bytes(host * MIB), ..HostNeed::default() };
    let device = DeviceNeed { weights: Bytes(device * MIB), ..DeviceNeed::default() };
    LoadOption { shape, gpu_layers: layers, need: Need::new(host, device) }
}

fn candidates() -> Vec<Candidate> {
    let step = |text: &str, options| Candidate { strategy: Strategy::parse(text).unwrap(), options };
    let gpu = |context, size| option(context, GpuLayers::All, 50, size);
    let cpu = |context, size| option(context, GpuLayers::None, size, 0);
    vec![
        step("gpu:int8", Ok(vec![gpu(2048, 900), gpu(1024, 800)])),
        step("gpu:int4", Err("the child\u{7} ended".to_owned())),
        step("partial:int8", Ok(vec![option(2048, GpuLayers::Some(15), 100, 200)])),
        step("cpu:int8", Ok(vec![cpu(2048, 400), cpu(1024, 200)])),
        step("cpu:int4", Ok(vec![cpu(2048, 100)])),
    ]
}

fn report(kind: DeviceKind, host: HostHeadroom, cache: Cache) -> Report {
    let device = GpuDevice {
        name: "Vulkan0".to_owned(),
        description: "Tiny GPU".to_owned(),
        integrated: kind == DeviceKind::Unified,
        total: Bytes(1024 * MIB),
        free: Bytes(768 * MIB),
    };
    let memory = DeviceMemory { kind, total: device.total, free: device.free };
    let headroom = Headroom { host, device: Some(memory) };
    let candidates = candidates();
    let file = |path: &str, content| Found { path: path.into(), content };
    let survey = Survey {
        measured: true,
        files: vec![
            file("/m/int8.gguf", Ok((Precision::Int8, facts(cache)))),
            file("/m/gone.gguf", Err("cannot read /m/gone.gguf".to_owned())),
        ],
        gpu: Some(Gpu { backend: "vulkan", device, kind }),
        choice: choose(&candidates, &headroom),
        candidates,
        headroom,
    };
    let profile = Profile::default();
    let model = Model::of_file(ModelName::new("fit").unwrap(), "/m/int8.gguf".into(), &profile);
    Report::new(None, &model, &Config::defaults(&profile), survey)
}

fn known(bytes: u64) -> HostHeadroom {
    HostHeadroom::Known { bytes: Bytes(bytes * MIB), limit: "cgroup /promptd".to_owned() }
}

/// What is printed before the table of other shapes.
fn shown(report: &Report) -> String {
    let text = show::text(report);
    text.split("\n\nother shapes of int8 on the CPU, KV cache f16, estimated").next().unwrap().to_owned()
}

#[test]
fn every_strategy_has_its_verdict() {
    let expected = "\
Small\u{fffd}[2J
  llama with 135 M parameters in Q8_0 (rung int8), 49152 tokens of vocabulary, trained with 2048 tokens of context
  /m/int8.gguf

/m/gone.gguf
  can't be used: cannot read /m/gone.gguf

strategy                 sequences × context  KV                       need                available  verdict
gpu:int8                 4 × 1024             f16  55.0 MiB + 800.0 MiB GPU  300.0 MiB + 512.0 MiB GPU  \
too large: needs 800.0 MiB of 512.0 MiB (GPU)
gpu:int4                 -                    -                           -                          -  \
can't be tried: the child\u{fffd} ended
partial:int8, 15 layers  4 × 2048             f16  106.0 MiB + 200.0 MiB GPU  300.0 MiB + 512.0 MiB GPU  would be used
cpu:int8                 4 × 1024             f16                  208.0 MiB                  300.0 MiB  \
fits, with less than is wanted
cpu:int4                 4 × 2048             f16                  106.0 MiB                  300.0 MiB  fits

need, measured in a dry run    weights  repacked   KV  output  compute  process   margin        GPU   together
gpu:int8                      50.0 MiB       0 B  0 B     0 B      0 B      0 B  5.0 MiB  800.0 MiB  855.0 MiB
partial:int8                 100.0 MiB       0 B  0 B     0 B      0 B      0 B  6.0 MiB  200.0 MiB  306.0 MiB
cpu:int8                     200.0 MiB       0 B  0 B     0 B      0 B      0 B  8.0 MiB        0 B  208.0 MiB
cpu:int4                     100.0 MiB       0 B  0 B     0 B      0 B      0 B  6.0 MiB        0 B  106.0 MiB

300.0 MiB of the host's memory may be taken (limit: cgroup /promptd); 10% of host and cgroups stays free; \
no budget is set
GPU Tiny GPU (Vulkan0, back end vulkan): 512.0 MiB of its 1.0 GiB may be taken
";
    let report = report(DeviceKind::Discrete, known(300), Cache::Attention);
    assert_eq!(squeezed(&shown(&report)), squeezed(expected));
    let json = serde_json::to_value(&report).unwrap();
    let verdicts: Vec<&Value> = json["strategies"].as_array().unwrap().iter().map(|step| &step["verdict"]).collect();
    assert_eq!(verdicts, ["too_large", "impossible", "chosen", "fits", "fits"]);
    assert_eq!((&json["chosen"], &json["gpu"]["available"]), (&json!("partial:int8"), &json!(512 * MIB)));
    assert_eq!(json["strategies"][0]["needed"], 800 * MIB);
    assert_eq!(json["files"][1], json!({"path": "/m/gone.gguf", "error": "cannot read /m/gone.gguf"}));
}

/// Columns apart by one space each: how wide they are is the table's business.
fn squeezed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn memory_that_a_gpu_shares_counts_once() {
    let report = report(DeviceKind::Unified, known(210), Cache::Attention);
    let text = shown(&report);
    let lines = squeezed(&text);
    let line = |start: &str| lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(
        line("gpu:int8"),
        "gpu:int8 4 × 1024 f16 855.0 MiB 210.0 MiB too large: needs 855.0 MiB of 210.0 MiB (cgroup /promptd)"
    );
    assert_eq!(line("cpu:int8"), "cpu:int8 4 × 1024 f16 208.0 MiB 210.0 MiB would be used, with less than is wanted");
    assert!(line("GPU Tiny").ends_with("it shares the host's memory"), "{text}");
}

#[test]
fn nothing_fits_and_nothing_known_are_said() {
    let nothing = shown(&report(DeviceKind::Discrete, known(10), Cache::Attention));
    assert!(nothing.contains("\nnothing fits: the model could not be loaded here now\n"), "{nothing}");
    let unknown = shown(&report(DeviceKind::Discrete, HostHeadroom::Unknown, Cache::Attention));
    assert!(unknown.contains("available can't be read: enough is assumed"), "{unknown}");
    assert!(unknown.contains("106.0 MiB + 200.0 MiB GPU  unknown + 512.0 MiB GPU  would be used"), "{unknown}");
}

#[test]
fn estimates_are_those_of_the_chosen_file_and_say_what_they_lack() {
    let text = |cache| show::text(&report(DeviceKind::Discrete, known(300), cache));
    assert!(!text(Cache::Attention).contains("recurrent"));
    let hybrid = text(Cache::Hybrid);
    assert!(hybrid.contains("estimated; the state of its recurrent layers comes on top:\ncontext"), "{hybrid}");
    // Up to what it was trained with.
    assert!(hybrid.lines().last().unwrap().starts_with("2048 "), "{hybrid}");
}
