//! A door between a node and its broker that a test can shut.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::node::Node;

pub struct Gate {
    port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
    /// Bytes that went from the node towards the broker.
    carried: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    shut: bool,
    connections: Vec<JoinHandle<()>>,
}

impl Gate {
    pub async fn to(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let carried = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(serve(listener, broker, Arc::clone(&state), Arc::clone(&carried)));
        Self { port, state, task, carried }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes that went from the node towards the broker so far.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Ends every connection, and each new one at once, until [`Gate::open`].
    pub fn shut(&self) {
        let mut state = self.state.lock().unwrap();
        state.shut = true;
        state.connections.drain(..).for_each(|connection| connection.abort());
    }

    pub fn open(&self) {
        self.state.lock().unwrap().shut = false;
    }

    /// Ends the node's connection as a broken network does: the next attempt fails too.
    pub async fn cut(&self, node: &mut Node) {
        self.shut();
        node.disconnected().await;
        node.disconnected().await;
        self.open();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
        self.shut();
    }
}

async fn serve(listener: TcpListener, broker: u16, state: Arc<Mutex<State>>, carried: Arc<AtomicU64>) {
    loop {
        let Ok((node, _)) = listener.accept().await else { return };
        let mut state = state.lock().unwrap();
        if !state.shut {
            state.connections.push(tokio::spawn(carry(node, broker, Arc::clone(&carried))));
        }
    }
}

async fn carry(node: TcpStream, broker: u16, carried: Arc<AtomicU64>) {
    if let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)).await {
        node.set_nodelay(true).unwrap();
        broker.set_nodelay(true).unwrap();
        let (mut from_node, mut to_node) = node.into_split();
        let (mut from_broker, mut to_broker) = broker.into_split();
        let outwards = async {
            let mut buffer = [0; 16 * 1024];
            while let Ok(read @ 1..) = from_node.read(&mut buffer).await {
                carried.fetch_add(read as u64, Ordering::Relaxed);
                if to_broker.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        };
        // Ends when one side ends.
        tokio::select! {
            () = outwards => {}
            _ = tokio::io::copy(&mut from_broker, &mut to_node) => {}
        }
    }
}
