//! How much room is left.
