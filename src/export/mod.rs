//! Rule files, relabelling and dashboards for other systems.
