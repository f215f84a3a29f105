//! A broker that does exactly what the test says.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::client::PATIENCE;

/// How long silence has to last to count as silence.
const SILENCE: Duration = Duration::from_millis(100);

pub struct Script {
    listener: TcpListener,
}

pub struct Connection {
    stream: TcpStream,
    /// Of MQTT: 4 is MQTT 3.1.1.
    pub version: u8,
    pub clean_start: bool,
    pub client_id: String,
}

impl Script {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection with its CONNECT; connections that send nothing are probes.
    pub async fn accept(&mut self) -> Connection {
        loop {
            let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("a connection").unwrap();
            stream.set_nodelay(true).unwrap();
            let mut connection = Connection { stream, version: 0, clean_start: false, client_id: String::new() };
            if let Some((0x10, connect)) = connection.read().await {
                // After the name "MQTT" with its length.
                connection.version = connect[6];
                connection.clean_start = connect[7] & 0x02 != 0;
                // After the keep-alive, and in MQTT 5 less than 128 bytes of properties with their length.
                let id = if connection.version == 5 { 11 + usize::from(connect[10]) } else { 10 };
                let length = usize::from(u16::from_be_bytes([connect[id], connect[id + 1]]));
                connection.client_id = String::from_utf8(connect[id + 2..id + 2 + length].to_vec()).unwrap();
                return connection;
            }
        }
    }
}

impl Connection {
    /// Accepts the connection and its subscriptions.
    pub async fn serve(&mut self, connack: &[u8]) {
        self.send(connack).await;
        let subscribe = self.packet(0x82).await;
        // Two filters, both at QoS 1.
        self.send(&[0x90, 5, subscribe[0], subscribe[1], 0, 1, 1]).await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The body of the next packet, which has to be of this kind.
    pub async fn packet(&mut self, kind: u8) -> Vec<u8> {
        let (found, body) = timeout(PATIENCE, self.read()).await.expect("a packet in time").expect("a connection");
        assert_eq!(found, kind);
        body
    }

    /// The packet id of the next PUBLISH at QoS 1.
    pub async fn publish_id(&mut self) -> u16 {
        let body = self.packet(0x32).await;
        let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
        u16::from_be_bytes([body[2 + topic], body[3 + topic]])
    }

    pub async fn nothing_more(&mut self) {
        assert!(timeout(SILENCE, self.stream.peek(&mut [0])).await.is_err(), "something came");
    }

    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    }
}

/// With properties, if any.
pub fn connack(properties: &[u8]) -> Vec<u8> {
    let length = u8::try_from(properties.len()).unwrap();
    [&[0x20, 3 + length, 0, 0, length], properties].concat()
}

pub fn disconnect(reason: u8) -> Vec<u8> {
    vec![0xE0, 2, reason, 0]
}

pub fn puback(id: u16) -> Vec<u8> {
    [&[0x40, 2], &id.to_be_bytes()[..]].concat()
}

pub fn publish_qos1(topic: &[u8], id: u16, payload: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let body = [&length(topic), topic, &id.to_be_bytes(), &[0], payload].concat();
    [&[0x32, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}
