//! Queries made of others, by cutting and joining their tokens and by changing bytes; and the smallest that still
//! fails.

use super::Entropy;

/// Pieces that have a meaning.
const PIECES: [&str; 34] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "@",
    "-",
    "^",
    "1",
    "5m",
    "\"",
    "'",
    "`",
    "\\",
    " by ",
    " on ",
    " offset ",
    " bool ",
    "sum",
    "rate",
    "=~",
    "!=",
    "0x",
    "1e309",
    "\n",
    "#",
    "ü",
    "\u{0}",
    " group_left ",
    " anchored ",
    "start()",
];

/// One of the queries with some changes, or a mixture of two.
pub fn mutated(entropy: &mut Entropy, corpus: &[String]) -> String {
    let mut tokens = cut(&corpus[entropy.below(corpus.len())]);
    for _ in 0..=entropy.below(4) {
        let at = entropy.below(tokens.len() + 1);
        match entropy.below(7) {
            0 if at < tokens.len() => drop(tokens.remove(at)),
            1 => tokens.insert(at, entropy.pick(&PIECES).to_owned()),
            2 if !tokens.is_empty() => {
                let other = entropy.below(tokens.len());
                let at = at.min(tokens.len() - 1);
                tokens.swap(at, other);
            }
            3 => {
                let other = cut(&corpus[entropy.below(corpus.len())]);
                let from = entropy.below(other.len() + 1);
                tokens.splice(at.., other[from..].iter().cloned());
            }
            4 => {
                let until = (at + entropy.below(5)).min(tokens.len());
                let again: Vec<String> = tokens[at..until].to_vec();
                tokens.splice(at..at, again);
            }
            5 if at < tokens.len() => tokens[at] = changed(entropy, &tokens[at]),
            _ => {
                let other = cut(&corpus[entropy.below(corpus.len())]);
                if let (Some(mine), false) = (tokens.get_mut(at), other.is_empty()) {
                    mine.clone_from(&other[entropy.below(other.len())]);
                }
            }
        }
    }
    tokens.concat()
}

/// A token with one character changed.
fn changed(entropy: &mut Entropy, token: &str) -> String {
    let mut chars: Vec<char> = token.chars().collect();
    let at = entropy.below(chars.len().max(1));
    let new = char::from_u32(entropy.below(128) as u32).unwrap_or('x');
    match chars.get_mut(at) {
        Some(c) => *c = new,
        None => chars.push(new),
    }
    chars.into_iter().collect()
}

/// Words, runs of blanks, and single signs; not what the lexer takes for tokens, so that bugs of the lexer show.
fn cut(text: &str) -> Vec<String> {
    let kind = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' || c == '.' => 0,
        c if c.is_whitespace() => 1,
        _ => 2,
    };
    let mut tokens: Vec<String> = Vec::new();
    let mut last = 2;
    for c in text.chars() {
        match tokens.last_mut() {
            Some(token) if kind(c) == last && last < 2 => token.push(c),
            _ => tokens.push(c.to_string()),
        }
        last = kind(c);
    }
    tokens
}

/// The smallest text found for which `fails` holds, by leaving out ever smaller runs of tokens.
pub fn smallest(text: &str, fails: impl Fn(&str) -> bool) -> String {
    let mut tokens = cut(text);
    let mut run = tokens.len() / 2;
    while run > 0 {
        let mut at = 0;
        while at < tokens.len() {
            let shorter: Vec<String> =
                tokens[..at].iter().chain(&tokens[(at + run).min(tokens.len())..]).cloned().collect();
            if fails(&shorter.concat()) {
                tokens = shorter;
            } else {
                at += run;
            }
        }
        run /= 2;
    }
    tokens.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_keeps_what_makes_it_fail() {
        let found = smallest("sum by (a) (rate(x[5m])) + topk(1, y offset 5m)", |text| text.contains("topk(1"));
        assert_eq!(found, "topk(1");
    }

    #[test]
    fn the_same_seed_gives_the_same_query() {
        let corpus = vec!["sum(a)".to_owned(), "rate(b[5m])".to_owned()];
        let draw = || mutated(&mut Entropy::new(7), &corpus);
        assert_eq!(draw(), draw());
    }
}
