//! The items on data alone: each on both sides of its threshold, and unknown where nothing was seen.

use super::*;
use crate::checklist::evidence::Told;
use crate::checklist::outcome::Status;
use crate::model::TimestampMs;

fn nothing() -> Evidence {
    Evidence::nothing(TimestampMs(1_795_419_468_000), Told::default())
}

#[test]
fn ids_are_unique_and_in_order_of_their_categories() {
    let mut ids: Vec<&str> = ITEMS.iter().map(|i| i.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), ITEMS.len());
    assert!(ITEMS.is_sorted_by_key(|i| i.category));
}

#[test]
fn nothing_seen_is_never_a_pass() {
    for item in ITEMS {
        let outcome = (item.judge)(&nothing());
        assert_eq!(outcome.status, Status::Unknown, "{}: {outcome:?}", item.id);
        assert!(!outcome.reason.is_empty(), "{}", item.id);
    }
}
