//! Reads a request's body within its limits: bytes, time, and the bytes of all requests together.
//!
//! Always: the limit holds for the decompressed size, and is checked while decompressing, not after.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;

use super::reject::Reject;

/// What a sender is told to wait when too much is being worked on.
const RETRY_AFTER_MS: u64 = 1_000;

/// Bytes before a gRPC message: one for compression, four for its length.
const GRPC_PREFIX_BYTES: usize = 5;

/// Compressed bodies above this are decompressed on a blocking thread.
const OFFLOAD_BYTES: usize = 8 << 10;

/// The bytes of all requests being worked on.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A request's share of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Reject> {
        self.bytes += bytes;
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used <= self.budget.limit {
            return Ok(());
        }
        let what = format!("{used} bytes of requests are being worked on, the limit is {}", self.budget.limit);
        Err(Reject::Overloaded { what, retry_after_ms: RETRY_AFTER_MS })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Collects a body of at most `limit` bytes.
pub(super) async fn read(mut body: Body, limit: usize, share: &mut Share) -> Result<Bytes, Reject> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Reject::BrokenOff) };
        let Ok(data) = frame.into_data() else { continue };
        share.grow(data.len())?;
        if first.len() + rest.len() + data.len() > limit {
            return Err(Reject::TooLarge { limit });
        }
        // Most bodies are one frame, which needs no copy.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// Takes a gRPC body apart: the one message of a unary call, and whether it is compressed.
pub(super) fn unframe(mut body: Bytes, limit: usize) -> Result<(Bytes, bool), Reject> {
    if body.len() < GRPC_PREFIX_BYTES {
        return Err(Reject::Frame { why: "it is shorter than its prefix of five bytes" });
    }
    let is_compressed = match body.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(Reject::Frame { why: "its compression flag is neither 0 nor 1" }),
    };
    let len = body.get_u32() as usize;
    if len > limit {
        return Err(Reject::TooLarge { limit });
    }
    match body.len() {
        n if n < len => Err(Reject::BrokenOff),
        n if n > len => Err(Reject::Frame { why: "more than one message was sent" }),
        _ => Ok((body, is_compressed)),
    }
}

/// A message as a gRPC frame, not compressed.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(GRPC_PREFIX_BYTES + message.len());
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(message.len()).expect("answers are short").to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

/// Decompresses gzip to at most `limit` bytes.
pub(super) async fn gunzip(body: Bytes, limit: usize, share: &mut Share) -> Result<Bytes, Reject> {
    let unpacked = if body.len() <= OFFLOAD_BYTES {
        gunzip_now(&body, limit)
    } else {
        tokio::task::spawn_blocking(move || gunzip_now(&body, limit)).await.unwrap_or(Err(Reject::Closed))
    }?;
    share.grow(unpacked.len())?;
    Ok(unpacked.into())
}

fn gunzip_now(body: &[u8], limit: usize) -> Result<Vec<u8>, Reject> {
    let mut unpacked = Vec::with_capacity((body.len() * 4).min(limit));
    let more_than_allowed = limit as u64 + 1;
    flate2::read::MultiGzDecoder::new(body)
        .take(more_than_allowed)
        .read_to_end(&mut unpacked)
        .map_err(|source| Reject::Compression { encoding: "gzip", source })?;
    if unpacked.len() > limit {
        return Err(Reject::TooLarge { limit });
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_small_body_that_unpacks_beyond_the_limit_is_refused() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 10_000);
        assert!(matches!(gunzip_now(&bomb, 1 << 16), Err(Reject::TooLarge { limit }) if limit == 1 << 16));
        assert_eq!(gunzip_now(&bomb, 1 << 20).unwrap().len(), 1 << 20);
        assert!(matches!(gunzip_now(&bomb[..500], 1 << 20), Err(Reject::Compression { .. })));
    }

    #[test]
    fn grpc_frames_are_checked() {
        let parts = unframe(frame(b"abc"), 3).unwrap();
        assert_eq!(parts, (Bytes::from_static(b"abc"), false));
        let reasons = [&b"\0\0"[..], b"\x02\0\0\0\0", b"\0\0\0\0\x04abc", b"\0\0\0\0\x02abc", b"\0\0\xff\0\0abc"]
            .map(|bytes| Reject::REASONS[unframe(Bytes::copy_from_slice(bytes), 100).unwrap_err().reason()]);
        assert_eq!(reasons, ["frame", "frame", "broken_off", "frame", "too_large"]);
    }

    #[test]
    fn the_budget_is_given_back() {
        let budget = Budget::new(10);
        let mut first = Share::new(&budget);
        first.grow(8).unwrap();
        let mut second = Share::new(&budget);
        assert!(matches!(second.grow(8), Err(Reject::Overloaded { .. })));
        drop((first, second));
        assert_eq!(budget.used(), 0);
    }
}
