//! What benches share: a client that costs little, processes to measure, and the file that keeps figures.

pub mod http;
pub mod peers;
pub mod results;
