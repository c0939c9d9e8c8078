//! Wires the rooms together and stops them in order.

pub mod clock;
mod metrics;

use std::error::Error;

/// An error and its causes in one line, outermost first; a cause that the text before it already says is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
