//! A way to a broker on which the broker's acknowledgements can get lost, as if it accepted nothing any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Broker;

/// The type of a PUBACK, in the upper half of a packet's first byte.
const PUBACK: u8 = 4;

/// A port that leads to the broker; closed when it is dropped.
pub struct Tap {
    pub port: u16,
    state: Arc<State>,
    /// Connections end when it changes.
    mended: watch::Sender<()>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    swallows: AtomicBool,
    swallowed: AtomicU64,
}

impl Tap {
    /// Lets everything through, for now.
    pub async fn start(broker: &Broker) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, broker) = (Arc::<State>::default(), broker.port);
        let (mended, end) = watch::channel(());
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, broker, Arc::clone(&shared), end.clone()));
            }
        });
        Self { port, state, mended, task }
    }

    /// From now on no PUBACK comes through.
    pub fn swallow(&self) {
        self.state.swallows.store(true, Ordering::Relaxed);
    }

    /// Everything comes through again, on connections that are made anew.
    pub fn mend(&self) {
        self.state.swallows.store(false, Ordering::Relaxed);
        self.mended.send_replace(());
    }

    /// Acknowledgements that have got lost.
    pub fn swallowed(&self) -> u64 {
        self.state.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, broker: u16, state: Arc<State>, mut end: watch::Receiver<()>) {
    end.mark_unchanged();
    let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)).await else { return };
    for stream in [&client, &broker] {
        stream.set_nodelay(true).unwrap();
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let down = async {
        let mut buffer = Vec::new();
        while from_broker.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
            while let Some(size) = packet(&buffer) {
                let packet: Vec<u8> = buffer.drain(..size).collect();
                if packet[0] >> 4 == PUBACK && state.swallows.load(Ordering::Relaxed) {
                    state.swallowed.fetch_add(1, Ordering::Relaxed);
                } else if to_client.write_all(&packet).await.is_err() {
                    return;
                }
            }
        }
    };
    // The end of one way is the end of both.
    tokio::select! {
        _ = copy(&mut from_client, &mut to_broker) => {}
        () = down => {}
        _ = end.changed() => {}
    }
}

/// The size of the first packet, if it has come as a whole: a byte, the length in groups of seven bits, and the rest.
fn packet(bytes: &[u8]) -> Option<usize> {
    let mut rest = 0;
    for (place, byte) in bytes.iter().skip(1).take(4).enumerate() {
        rest |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let size = 2 + place + rest;
            return (bytes.len() >= size).then_some(size);
        }
    }
    None
}
