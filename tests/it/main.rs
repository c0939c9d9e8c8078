//! The integration tests, one binary so that they link once; each module is one subject.

mod alertmanager_api;
mod notify_config;
mod notify_delivery;
mod notify_fakes;
mod notify_property;
