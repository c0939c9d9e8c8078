//! The admin token: its fingerprint, and how hard it is to guess. The token itself stays where it was read.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// SHA-256 of a token, so that two can be compared without either being shown or kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a token; surrounding white space does not belong to it.
    pub fn of(token: &SecretString) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.expose_secret().trim().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for Fingerprint {
    /// Not even the fingerprint is printed: a weak token could be found from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// How hard a token is to guess.
#[derive(Clone, Debug, PartialEq)]
pub enum Strength {
    /// Guessable, and why.
    Weak(String),
    /// Bits of a random text of this length and these characters: an upper bound, since chance cannot be seen.
    Bits(u32),
}

/// Words that stand in examples and default configurations; one that makes up most of a token gives it away.
const KNOWN_WORDS: [&str; 18] = [
    "admin",
    "change",
    "default",
    "demo",
    "dev",
    "example",
    "here",
    "local",
    "password",
    "placeholder",
    "replace",
    "rivet",
    "root",
    "secret",
    "test",
    "todo",
    "token",
    "your",
];

/// Fewer characters than this are weak whatever they are.
const LENGTH_MIN: usize = 16;

/// Judges a token by what can be seen of it: length, characters, repetition, order, known words.
pub fn strength(token: &SecretString) -> Strength {
    let token = token.expose_secret().trim();
    let length = token.chars().count();
    if length < LENGTH_MIN {
        return Strength::Weak(format!("it has {length} characters, at least {LENGTH_MIN} are needed"));
    }
    let lower = token.to_ascii_lowercase();
    let left = KNOWN_WORDS.iter().fold(lower.clone(), |rest, word| rest.replace(word, ""));
    let random_left = left.chars().filter(char::is_ascii_alphanumeric).count();
    if random_left * 2 < length {
        return Strength::Weak("most of it is words that stand in examples".into());
    }
    let bytes = lower.as_bytes();
    let runs = bytes.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) <= 1).count();
    if runs * 2 > length {
        return Strength::Weak("most of it repeats or counts up".into());
    }
    // A text that repeats holds no more than its period.
    let period = (1..=length / 2).find(|n| lower.chars().zip(lower.chars().skip(*n)).all(|(a, b)| a == b));
    let distinct = {
        let mut seen: Vec<char> = token.chars().collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    };
    let classes = [
        (token.chars().all(|c| c.is_ascii_hexdigit()), 16usize),
        (token.chars().all(|c| c.is_ascii_digit()), 10),
        (token.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), 36),
        (token.chars().all(|c| c.is_ascii_alphanumeric()), 62),
    ];
    let alphabet = classes.iter().filter(|(fits, _)| *fits).map(|(_, size)| *size).min().unwrap_or(64);
    // Few different characters in a long text are no accident.
    let alphabet = if distinct < 8 { distinct.max(1) } else { alphabet };
    let bits = period.unwrap_or(length) as f64 * (alphabet as f64).log2();
    if bits < 64.0 {
        return Strength::Weak("it repeats itself, or has few different characters".into());
    }
    Strength::Bits(bits as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(token: &str) -> Strength {
        strength(&SecretString::from(token))
    }

    #[test]
    fn what_openssl_makes_is_strong() {
        assert_eq!(of("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"), Strength::Bits(256));
        assert!(matches!(of("jH8s2kQz0PmXw7LrTn4VbYc6"), Strength::Bits(bits) if bits > 128));
    }

    #[test]
    fn what_people_type_is_weak() {
        for weak in [
            "dev",
            "changeme",
            "my-secret-admin-token",
            "your-admin-token-here",
            "0123456789abcdef0123456789abcdef",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "a7Xa7Xa7Xa7Xa7Xa7Xa7X",
            "rivet-password-change",
        ] {
            assert!(matches!(of(weak), Strength::Weak(_)), "{weak}: {:?}", of(weak));
        }
    }

    #[test]
    fn fingerprints_compare_tokens_and_print_nothing() {
        let a = Fingerprint::of(&SecretString::from("t0ken\n"));
        assert_eq!(a, Fingerprint::of(&SecretString::from("t0ken")));
        assert_ne!(a, Fingerprint::of(&SecretString::from("other")));
        assert_eq!(format!("{a:?}"), "Fingerprint(…)");
    }
}
