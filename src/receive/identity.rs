//! Who a source is: job, instance and the labels that go on everything.
