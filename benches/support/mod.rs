//! What benches share: a client that costs little, processes to measure, what they are sent, and the file that keeps figures.

#![allow(dead_code)] // Each bench uses its part of it.

pub mod http;
pub mod page;
pub mod peers;
pub mod results;
pub mod sender;
