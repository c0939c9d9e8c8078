//! An error and its causes as one line.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{says}")]
    struct Layer {
        says: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn causes_follow_and_what_was_said_is_not_said_again() {
        let layer = |says, source: Option<Layer>| Layer { says, source: source.map(Box::new) };
        let error =
            layer("failed to read `a`: no such file", Some(layer("no such file", Some(layer("os error 2", None)))));
        assert_eq!(chain(&error), "failed to read `a`: no such file: os error 2");
    }
}
