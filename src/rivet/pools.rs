//! Runner pools: which of several entries about pools is meant for one.

/// The entry for a pool: that of its Rivet namespace, else the one for every namespace. A pool whose namespace nobody tells
/// has the only entry of its name, and none where there are several: which of them is meant is unknown.
///
/// `of` gives the pool's name and the namespace of an entry, `None` where it is for all.
pub fn entry_for<'a, T>(
    entries: &'a [T],
    of: impl Fn(&T) -> (&str, Option<&str>),
    pool: &str,
    rivet_namespace: Option<&str>,
) -> Option<&'a T> {
    let named: Vec<&T> = entries.iter().filter(|entry| of(entry).0 == pool).collect();
    let in_namespace = |namespace: Option<&str>| named.iter().find(|entry| of(entry).1 == namespace).copied();
    let only = || match (rivet_namespace, &named[..]) {
        (None, [one]) => Some(*one),
        _ => None,
    };
    in_namespace(rivet_namespace).or_else(|| in_namespace(None)).or_else(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_entry_is_meant_or_none() {
        type Entry = (&'static str, Option<&'static str>, u32);
        let found = |entries: &[Entry], pool, namespace| {
            entry_for(entries, |entry| (entry.0, entry.1), pool, namespace).map(|entry| entry.2)
        };
        let both = [("a", None, 1), ("a", Some("n1"), 2)];
        assert_eq!(["n1", "n2"].map(|n| found(&both, "a", Some(n))), [Some(2), Some(1)]);
        assert_eq!(found(&both, "a", None), Some(1));
        let narrow = [("a", Some("n1"), 1), ("a", Some("n2"), 2), ("b", Some("n1"), 3)];
        assert_eq!(found(&narrow, "a", None), None, "which of two is meant nobody knows");
        assert_eq!((found(&narrow, "a", Some("n3")), found(&narrow, "b", None)), (None, Some(3)));
    }
}
