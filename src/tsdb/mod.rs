//! Keeps the points: in-memory head, write-ahead log, retention.
