//! Recording and alerting rules as one graph.

mod template;
