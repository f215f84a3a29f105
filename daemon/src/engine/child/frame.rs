//! Frames over the blocking end of the socket.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::protocol::FRAME_MAX;

/// Reads one frame; none at the end of the stream.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(invalid(format!("a frame of {length} bytes; the limit is {FRAME_MAX}")));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    postcard::from_bytes(&payload).map(Some).map_err(|e| invalid(format!("not a frame of this protocol: {e}")))
}

/// Writes one frame with one system call.
pub fn write(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut frame = postcard::to_extend(message, vec![0; 4]).map_err(|e| invalid(e.to_string()))?;
    let length = frame.len() - 4;
    if length > FRAME_MAX {
        return Err(invalid(format!("a frame of {length} bytes; the limit is {FRAME_MAX}")));
    }
    let prefix = u32::try_from(length).map_err(|e| invalid(e.to_string()))?;
    frame[..4].copy_from_slice(&prefix.to_be_bytes());
    stream.write_all(&frame)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::protocol::Hello;

    #[test]
    fn a_frame_comes_back_and_the_end_is_no_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Hello::own()).unwrap();
        let mut stream = bytes.as_slice();
        assert_eq!(read::<Hello>(&mut stream).unwrap(), Some(Hello::own()));
        assert_eq!(read::<Hello>(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_memory_is_taken() {
        let error = read::<Hello>(&mut [0xff; 8].as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "a frame of 4294967295 bytes; the limit is 8388608");
    }

    #[test]
    fn a_cut_or_foreign_frame_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Hello::own()).unwrap();
        assert!(read::<Hello>(&mut &bytes[..bytes.len() - 1]).is_err());
        assert!(read::<Hello>(&mut [0, 0, 0, 1, 0xff].as_slice()).is_err());
    }
}
