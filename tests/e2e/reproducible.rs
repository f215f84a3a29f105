//! The same greedy answer alone and under load.

use serde_json::json;

use crate::harness::{Broker, Device, Node, Setup, words};

#[tokio::test]
async fn greedy_output_does_not_depend_on_the_load() {
    let broker = Broker::start().await;
    let setup = Setup { context: 1024, tables: "[engine]\nreproducible = true".into(), ..Setup::default() };
    let _node = Node::ready(&broker, setup).await;
    let mut device = Device::connect(&broker, "dev").await;
    for (name, size) in [("short", 50), ("long", 700)] {
        let request = |id: &str| json!({ "id": id, "prompt": words(size, 3), "max_tokens": 40, "ignore_eos": true });
        let alone = device.answer("generate", request(&format!("{name}-alone"))).await;
        assert!(alone["usage"]["prompt_tokens"].as_u64().unwrap() >= size as u64, "{alone}");
        // Seven others of every length, started before and after it.
        for other in 0..7 {
            let load = json!({
                "id": format!("{name}-load{other}"), "prompt": words(size / 2 + other * 31, 100 + other as u64),
                "max_tokens": 20 + other * 9, "ignore_eos": true,
            });
            device.ask("generate", &load).await;
            if other == 3 {
                device.ask("generate", &request(&format!("{name}-loaded"))).await;
            }
        }
        let loaded = device.outcome(&format!("{name}-loaded")).await;
        assert_eq!(loaded["output"], alone["output"], "{name}");
        assert_eq!(loaded["usage"]["generated_tokens"], 40);
    }
}
