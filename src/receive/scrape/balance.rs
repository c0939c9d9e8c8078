//! Notices that a target is an address with several instances behind it.
//!
//! In:  per scrape, how many counters fell, and how many of the fallen returned to where they had been.
//! Out: whether the target looks load-balanced.
//! A restart makes counters fall once and climb slowly; behind a load balancer they fall and return, again and
//! again, because each scrape may meet another instance. Such a target gives figures that mean nothing.

use std::collections::VecDeque;

/// Scrapes that are looked back upon.
const WINDOW: usize = 12;

/// Falls and returns that it takes within the window; one of each may be a restart of something quick.
const FALLS_MIN: usize = 2;
const RETURNS_MIN: usize = 2;

/// Counters that must move together, so that one odd counter accuses nobody.
const COUNTERS_MIN: u32 = 3;

/// What one scrape showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Movement {
    /// Counters with a lower value than at the scrape before.
    pub fallen: u32,
    /// Counters that had fallen and are back at or above their value before the fall, by one step.
    pub returned: u32,
}

/// The recent movements of one target.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    recent: VecDeque<Movement>,
    is_balanced: bool,
}

impl Balance {
    /// Takes in a scrape; returns whether the target looks load-balanced now.
    ///
    /// Once it does, it stays so until a whole window passes without a fall.
    pub fn observe(&mut self, movement: Movement) -> bool {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(movement);
        let falls = self.recent.iter().filter(|m| m.fallen >= COUNTERS_MIN).count();
        let returns = self.recent.iter().filter(|m| m.returned >= COUNTERS_MIN).count();
        self.is_balanced = match self.is_balanced {
            false => falls >= FALLS_MIN && returns >= RETURNS_MIN,
            true => falls > 0,
        };
        self.is_balanced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FALL: Movement = Movement { fallen: 100, returned: 0 };
    const RETURN: Movement = Movement { fallen: 0, returned: 100 };
    const STILL: Movement = Movement { fallen: 0, returned: 0 };

    #[test]
    fn turns_of_two_instances_are_noticed_and_forgotten() {
        let mut balance = Balance::default();
        let turns: Vec<bool> = [STILL, FALL, RETURN, FALL, RETURN].map(|m| balance.observe(m)).into();
        assert_eq!(turns, [false, false, false, false, true]);
        let calm: Vec<bool> = (0..WINDOW).map(|_| balance.observe(STILL)).collect();
        assert!(calm[0] && !calm[WINDOW - 1]);
    }

    #[test]
    fn restarts_are_not() {
        let mut balance = Balance::default();
        for _ in 0..20 {
            assert!(!balance.observe(FALL), "a crash loop never returns");
            assert!(!balance.observe(STILL));
        }
    }
}
