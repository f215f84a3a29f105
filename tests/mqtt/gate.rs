//! A door between a node and its broker that a test can shut.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::node::Node;

pub struct Gate {
    port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
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
        let task = tokio::spawn(serve(listener, broker, Arc::clone(&state)));
        Self { port, state, task }
    }

    pub fn port(&self) -> u16 {
        self.port
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

async fn serve(listener: TcpListener, broker: u16, state: Arc<Mutex<State>>) {
    loop {
        let Ok((node, _)) = listener.accept().await else { return };
        let mut state = state.lock().unwrap();
        if !state.shut {
            state.connections.push(tokio::spawn(carry(node, broker)));
        }
    }
}

async fn carry(mut node: TcpStream, broker: u16) {
    if let Ok(mut broker) = TcpStream::connect(("127.0.0.1", broker)).await {
        node.set_nodelay(true).unwrap();
        broker.set_nodelay(true).unwrap();
        // Ends when one side ends.
        let _ = tokio::io::copy_bidirectional(&mut node, &mut broker).await;
    }
}
