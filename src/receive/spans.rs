//! Turns engine spans into request rate, errors and latency.
