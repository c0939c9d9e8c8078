//! Files of our own and those of Prometheus, through the whole runner.
