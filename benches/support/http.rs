//! A client for HTTP/1.1 over one kept connection, so small that what is timed is the server.
//!
//! In:  requests, one after the other.   Out: status and body, chunked or of known length.
//! Limits: nothing that the measured servers do not send: no redirects, no compression, no trailers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection.
pub struct Client {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Client {
    /// Connects; Nagle's algorithm is off, as in every real client.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self { address, stream: BufReader::with_capacity(1 << 16, stream), body: Vec::new() })
    }

    /// Sends `GET path` and reads the answer.
    ///
    /// # Errors
    /// The connection broke, or what came is not HTTP.
    pub fn get(&mut self, path: &str) -> io::Result<(u16, &[u8])> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.answer()
    }

    /// Sends `POST path` with headers, each ended by `\r\n`, and reads the answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> io::Result<(u16, &[u8])> {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n{headers}\r\n", self.address);
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<(u16, &[u8])> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad(&status))?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                None if line.is_empty() => break,
                Some(("content-length", value)) => length = value.trim().parse().map_err(|_| bad(&line))?,
                Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
                _ => {}
            }
        }
        self.body.clear();
        if !chunked {
            self.read(length)?;
        }
        while chunked {
            let line = self.line()?;
            let length = usize::from_str_radix(&line, 16).map_err(|_| bad(&line))?;
            self.read(length)?;
            self.line()?;
            chunked = length > 0;
        }
        Ok((status, &self.body))
    }

    fn read(&mut self, length: usize) -> io::Result<()> {
        let begin = self.body.len();
        self.body.resize(begin + length, 0);
        self.stream.read_exact(&mut self.body[begin..])
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: `{what}`"))
}

/// Percent-encodes what may not stand in a query string.
pub fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
