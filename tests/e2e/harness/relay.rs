//! A link to a broker that counts, and that may be slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Interval, interval};

use super::Broker;

/// Bytes that are under way at once: the buffers of a slow link are small.
const CHUNK: usize = 1024;

/// A port that leads to the broker; closed when it is dropped.
pub struct Relay {
    pub port: u16,
    received: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// `rate` is in bytes a second towards the client; none is as fast as it goes.
    pub fn start(broker: &Broker, rate: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener: TcpListener = socket.listen(8).unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::<AtomicU64>::default();
        let (broker, counter) = (broker.port, Arc::clone(&received));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, broker, rate, Arc::clone(&counter)));
            }
        });
        Self { port, received, task }
    }

    /// Bytes that clients have got.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ticks as often as a link of so many bytes a second has carried a chunk.
fn pace(rate: u32) -> Interval {
    interval(Duration::from_secs_f64(CHUNK as f64 / f64::from(rate)))
}

async fn carry(client: TcpStream, broker: u16, rate: Option<u32>, received: Arc<AtomicU64>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(u32::try_from(16 * CHUNK).unwrap()).unwrap();
    // Without a broker the client is turned away, as by the broker's own port.
    let Ok(broker) = socket.connect(([127, 0, 0, 1], broker).into()).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    let up = async { _ = copy(&mut from_client, &mut to_broker).await };
    let down = async {
        let mut buffer = [0; CHUNK];
        let mut pace = rate.map(pace);
        while let Ok(count @ 1..) = from_broker.read(&mut buffer).await {
            if let Some(pace) = &mut pace {
                pace.tick().await;
            }
            received.fetch_add(count as u64, Ordering::Relaxed);
            if to_client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    // The end of one way is the end of both.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
