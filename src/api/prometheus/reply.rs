//! Answers that take long to work out or to write: in a slot, before a deadline, off the async threads, sent in pieces.
//!
//! In:  work that gives something to write.   Out: a response, or an error as long as nothing has been sent.
//! Always: the slot is taken until the last piece is written; who leaves ends the work, and so does who takes no piece for as
//! long as a query may take; an answer that breaks off is no whole answer to the client either.
//! Limits: [`PIECES_AHEAD`] pieces wait for the client, so that an answer of any size takes the memory of a few.

use std::future::ready;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::answer::ApiError;
use crate::api::State;
use crate::promql::{Cancel, QueryError};

/// From how many bytes on something is sent before all is there.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = 2;

/// What the work is told of its turn.
pub struct Turn {
    /// Set once nobody waits any more.
    pub cancel: Cancel,
    /// How long it has waited for its slot.
    pub queued: Duration,
}

/// Nobody takes the answer any more.
#[derive(Debug)]
pub struct Gone;

/// Where an answer is written to.
pub struct Pieces {
    out: Vec<u8>,
    client: Option<Client>,
}

/// The way to the client.
struct Client {
    begun: Option<oneshot::Sender<Result<Begun, ApiError>>>,
    rest: Option<mpsc::Sender<Piece>>,
    /// How long it may leave what is ready for it.
    patience: Duration,
    handle: Handle,
}

struct Begun {
    first: Vec<u8>,
    rest: Option<mpsc::Receiver<Piece>>,
}

enum Piece {
    Bytes(Vec<u8>),
    /// Without it the answer is not whole.
    End,
}

impl Pieces {
    /// An answer that is kept as a whole.
    pub fn unsent() -> Self {
        Self { out: Vec::new(), client: None }
    }

    /// What the next bytes are written to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends what was written where it is enough for a piece; to be called wherever the answer may be cut.
    ///
    /// # Errors
    /// Nobody takes it.
    pub fn cut(&mut self) -> Result<(), Gone> {
        match &mut self.client {
            Some(client) if self.out.len() >= PIECE_BYTES => client.piece(&mut self.out),
            _ => Ok(()),
        }
    }
}

impl Client {
    fn piece(&mut self, out: &mut Vec<u8>) -> Result<(), Gone> {
        let bytes = std::mem::replace(out, Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 4));
        match &self.rest {
            Some(rest) => self.handle.block_on(rest.send_timeout(Piece::Bytes(bytes), self.patience)).map_err(|_| Gone),
            None => {
                let (to, from) = mpsc::channel(PIECES_AHEAD);
                self.rest = Some(to);
                self.begin(Begun { first: bytes, rest: Some(from) })
            }
        }
    }

    fn begin(&mut self, begun: Begun) -> Result<(), Gone> {
        let to = self.begun.take().ok_or(Gone)?;
        to.send(Ok(begun)).map_err(|_| Gone)
    }

    fn end(&mut self, mut out: Vec<u8>) -> Result<(), Gone> {
        if self.rest.is_none() {
            return self.begin(Begun { first: out, rest: None });
        }
        self.piece(&mut out)?;
        let rest = self.rest.as_ref().ok_or(Gone)?;
        self.handle.block_on(rest.send_timeout(Piece::End, self.patience)).map_err(|_| Gone)
    }
}

/// Sets the flag when it goes out of scope: the client left, or its time is over.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs `work` within `timeout`, the wait for a slot included, and sends what it writes, as JSON unless the caller says otherwise. With `at_once` it runs on
/// the thread of the caller, for work that is over before another thread wakes.
///
/// # Errors
/// There was no slot in time, the time is over, or the work gives an error or panics.
pub async fn reply<W>(
    state: &State,
    timeout: Duration,
    at_once: bool,
    work: impl FnOnce(&Turn) -> Result<W, ApiError> + Send + 'static,
) -> Result<Response, ApiError>
where
    W: FnOnce(&mut Pieces) -> Result<(), Gone>,
{
    let late = || ApiError::timeout(QueryError::TimedOut.to_string());
    let failed = |why: &str| ApiError::internal(format!("the query failed inside the evaluator: {why}"));
    let asked = Instant::now();
    let deadline = asked + timeout;
    if timeout.is_zero() {
        return Err(late());
    }
    let permit = tokio::time::timeout_at(deadline, state.query_slots.clone().acquire_owned())
        .await
        .map_err(|_| late())?
        .map_err(|_| ApiError::internal("the agent is stopping".into()))?;
    let turn = Turn { cancel: Cancel::default(), queued: asked.elapsed() };
    if at_once {
        let mut pieces = Pieces::unsent();
        let done = catch_unwind(AssertUnwindSafe(|| work(&turn).map(|write| write(&mut pieces))));
        return match done.map_err(|_| failed("it panicked"))?? {
            Ok(()) => Ok(whole(pieces.out)),
            Err(Gone) => Err(failed("it was not written")),
        };
    }
    let guard = CancelOnDrop(turn.cancel.clone());
    let (begun, begins) = oneshot::channel();
    let mut client =
        Client { begun: Some(begun), rest: None, patience: state.query.timeout.0, handle: Handle::current() };
    let running = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let write = match work(&turn) {
            Ok(write) => write,
            Err(error) => {
                if let Some(begun) = client.begun.take() {
                    // Who left needs no answer.
                    let _ = begun.send(Err(error));
                }
                return;
            }
        };
        let mut pieces = Pieces { out: Vec::new(), client: Some(client) };
        if write(&mut pieces).is_ok()
            && let Some(mut client) = pieces.client
        {
            // Likewise.
            let _ = client.end(pieces.out);
        }
    });
    match tokio::time::timeout_at(deadline, begins).await {
        Err(_) => Err(late()),
        Ok(Ok(Ok(Begun { first, rest: None }))) => Ok(whole(first)),
        Ok(Ok(Ok(Begun { first, rest: Some(rest) }))) => Ok(streamed(first, rest, guard)),
        Ok(Ok(Err(error))) => Err(error),
        // It ended without a word.
        Ok(Err(_)) => {
            Err(failed(&running.await.map_or_else(|panic| panic.to_string(), |()| "it gave no answer".into())))
        }
    }
}

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

fn whole(body: Vec<u8>) -> Response {
    (JSON, body).into_response()
}

fn streamed(first: Vec<u8>, rest: mpsc::Receiver<Piece>, guard: CancelOnDrop) -> Response {
    let rest = stream::unfold(Some((rest, guard)), |state| async {
        let (mut rest, guard) = state?;
        match rest.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(Bytes::from(bytes)), Some((rest, guard)))),
            Some(Piece::End) => None,
            None => Some((Err(io::Error::other("the answer was not written to its end")), None)),
        }
    });
    // Compression asks once more after the end.
    let body = stream::once(ready(Ok(Bytes::from(first)))).chain(rest).fuse();
    (JSON, Body::from_stream(body)).into_response()
}
