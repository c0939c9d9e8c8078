//! Recording and alerting rules as one graph.

mod file;
mod problem;
mod template;
