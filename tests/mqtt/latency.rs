//! What the link adds to the broker's own time.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::client::Client;
use crate::node::{Node, config, publication};

const ROUNDS: usize = 500;

#[tokio::test]
async fn an_echo_at_qos_1_takes_less_than_a_millisecond_at_the_median() {
    let broker = Broker::open();
    let port = broker.port();
    // The node on its own thread and runtime, as in the daemon.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut node = Node::connected(config(port)).await;
            node.link.set_retained("availability", "online");
            loop {
                let message = node.message().await;
                node.link.try_reserve().unwrap().publish(publication("out", message.payload.to_vec()));
                node.link.ack(message.ack.unwrap());
            }
        });
    });
    let mut client = Client::connect(port, "client").await;
    client.subscribe("availability").await;
    client.next().await;
    client.subscribe("out").await;
    let echo = median(&mut client, "in/a").await;
    // Without a node: the broker alone, to ourselves.
    let direct = median(&mut client, "out").await;
    eprintln!("median round trip at QoS 1, 200 bytes: {echo:?} through the link, {direct:?} to oneself");
    assert!(echo < direct + Duration::from_millis(1), "{echo:?} against {direct:?}");
}

async fn median(client: &mut Client, topic: &str) -> Duration {
    let mut times = Vec::new();
    for round in 0..ROUNDS + 50 {
        let start = Instant::now();
        client.send(topic, vec![b'x'; 200]).await;
        client.next().await;
        // The first ones warm up.
        if round >= 50 {
            times.push(start.elapsed());
        }
    }
    times.sort_unstable();
    times[ROUNDS / 2]
}
