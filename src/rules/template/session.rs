//! What a template may ask while it renders: the time, the external URL, and the results of queries.
//!
//! Template functions outlive the borrow of the store, so `query` cannot run one. Instead a session
//! holds answers: an unknown query is noted and ends the rendering, the caller answers it and renders
//! again. A template is a function of its inputs, so the second rendering takes the same way, further.

use std::collections::HashMap;

use gotmpl::{TemplateError, Value};
use parking_lot::Mutex;

use crate::model::TimestampMs;

/// The state of one rendering, shared with the template's functions.
#[derive(Default)]
pub struct Session(Mutex<State>);

#[derive(Default)]
struct State {
    now: TimestampMs,
    external_url: String,
    answers: HashMap<String, Result<Value, String>>,
    open: Option<String>,
}

impl Session {
    /// Forgets the last rendering.
    pub fn begin(&self, now: TimestampMs, external_url: &str) {
        *self.0.lock() = State { now, external_url: external_url.to_owned(), ..State::default() };
    }

    /// Called by `query`: the answer, or an error that ends this rendering and leaves the query open.
    pub fn answer(&self, query: &str) -> Result<Value, TemplateError> {
        let mut state = self.0.lock();
        match state.answers.get(query) {
            Some(Ok(value)) => Ok(value.clone()),
            Some(Err(reason)) => Err(TemplateError::Exec(reason.clone())),
            None => {
                state.open = Some(query.to_owned());
                Err(TemplateError::Exec(format!("query `{query}` is not answered yet")))
            }
        }
    }

    /// The query that ended the last rendering, if one did.
    pub fn take_open(&self) -> Option<String> {
        self.0.lock().open.take()
    }

    /// Answers a query for the rest of the session.
    pub fn put_answer(&self, query: String, answer: Result<Value, String>) {
        self.0.lock().answers.insert(query, answer);
    }

    /// The time of evaluation.
    pub fn now(&self) -> TimestampMs {
        self.0.lock().now
    }

    /// Where this agent is reached from outside; empty when unknown.
    pub fn external_url(&self) -> String {
        self.0.lock().external_url.clone()
    }
}
