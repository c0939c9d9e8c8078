//! Routes, groups, inhibits, silences and delivers alerts.
