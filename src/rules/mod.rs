//! Recording and alerting rules as one graph.

mod file;
mod graph;
mod load;
mod problem;
mod rule;
mod template;
