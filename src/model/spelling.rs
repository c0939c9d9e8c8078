//! What somebody may have meant by a name that does not exist.

/// More than this is another word.
const EDITS_MAX: usize = 3;

/// The known name that differs least from `name`, where it differs by little: at most three letters inserted, left out
/// or changed, and fewer than the name has.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (edits, best) = known.into_iter().map(|known| (edits(name, known), known)).min()?;
    (edits <= EDITS_MAX && edits < name.chars().count()).then_some(best)
}

/// Letters to insert, leave out or change to make `b` of `a` (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let known = ["RivetEngineDown", "RivetCpuHigh", "up"];
        for (name, meant) in [
            ("RivetEngineDwon", Some("RivetEngineDown")),
            ("RivetCpuHigh", Some("RivetCpuHigh")),
            ("RivetCpuHighest", Some("RivetCpuHigh")),
            ("RivetMemoryHigh", None),
            ("xy", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
