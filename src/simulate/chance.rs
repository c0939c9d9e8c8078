//! Chance from a seed: how many, how long, which one.
//!
//! Always: the same seed and the same questions in the same order give the same answers, on every machine.

/// A latency whose logarithm is normal: most are near the median, a few take far longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// In seconds; half are below.
    pub median: f64,
    /// Standard deviation of the logarithm: 0.5 is even, 1 has a P99 of ten times the median.
    pub spread: f64,
}

impl Latency {
    /// Spread as seen on a healthy engine: a P99 of six times the median.
    pub const fn of(median: f64) -> Self {
        Self { median, spread: 0.77 }
    }

    /// The same with every duration `seconds` longer at the median.
    pub fn plus(self, seconds: f64) -> Self {
        Self { median: self.median + seconds.max(0.0), ..self }
    }

    /// Mean of the distribution, in seconds.
    pub fn mean(&self) -> f64 {
        self.median * (self.spread * self.spread / 2.0).exp()
    }

    /// Share of durations that are not above `seconds`.
    pub fn share_until(&self, seconds: f64) -> f64 {
        if seconds <= 0.0 {
            return 0.0;
        }
        normal_cdf((seconds / self.median).ln() / self.spread)
    }
}

/// Share of a standard normal variable below `x`; Abramowitz and Stegun 26.2.17, error below 1e-7.
fn normal_cdf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let tail =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let above = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * tail;
    if x >= 0.0 { 1.0 - above } else { above }
}

/// A source of chance.
#[derive(Clone, Debug)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A source of its own for a part, so that the draws of one part do not move those of another.
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A number from 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// A number from `low` up to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.0.f64() * (high - low)
    }

    /// An index below `len`, which must not be zero.
    pub fn index(&mut self, len: usize) -> usize {
        self.0.usize(..len)
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.0.f64() < probability
    }

    /// Letters and digits, as Kubernetes names pods.
    pub fn name(&mut self, len: usize) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..len).map(|_| char::from(LETTERS[self.0.usize(..LETTERS.len())])).collect()
    }

    /// Random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.0.u8(..)).collect()
    }

    /// How many of independent events happen when `mean` are to be expected (Poisson).
    pub fn count(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean > 50.0 {
            // Close enough to a bell by then.
            return (mean + self.normal() * mean.sqrt()).round().max(0.0) as u64;
        }
        let limit = (-mean).exp();
        let (mut n, mut product) = (0, self.0.f64());
        while product > limit {
            n += 1;
            product *= self.0.f64();
        }
        n
    }

    /// How many of `n` have a property that each has with this probability (binomial).
    pub fn share(&mut self, n: u64, probability: f64) -> u64 {
        let p = probability.clamp(0.0, 1.0);
        if n == 0 || p == 0.0 {
            return 0;
        }
        if n <= 64 {
            return (0..n).filter(|_| self.0.f64() < p).count() as u64;
        }
        let (mean, variance) = (n as f64 * p, n as f64 * p * (1.0 - p));
        if mean < 20.0 {
            return self.count(mean).min(n);
        }
        (mean + self.normal() * variance.sqrt()).round().clamp(0.0, n as f64) as u64
    }

    /// One duration, in seconds.
    pub fn seconds(&mut self, latency: Latency) -> f64 {
        latency.median * (self.normal() * latency.spread).exp()
    }

    /// A standard normal number (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.0.f64()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.0.f64()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_shares_keep_their_mean_on_both_sides_of_the_approximation() {
        let mut chance = Chance::new(1);
        for mean in [0.3, 5.0, 40.0, 400.0] {
            let sum: u64 = (0..4_000).map(|_| chance.count(mean)).sum();
            let got = sum as f64 / 4_000.0;
            assert!((got - mean).abs() < 0.05 * mean.max(1.0), "{got} for {mean}");
        }
        for (n, p) in [(10, 0.3), (100, 0.01), (1_000, 0.5)] {
            let sum: u64 = (0..4_000).map(|_| chance.share(n, p)).sum();
            let (got, mean) = (sum as f64 / 4_000.0, n as f64 * p);
            assert!((got - mean).abs() < 0.05 * mean.max(1.0), "{got} for {mean}");
        }
        assert_eq!((chance.count(0.0), chance.share(5, 1.0), chance.share(0, 0.5)), (0, 5, 0));
    }

    #[test]
    fn a_latency_has_the_median_and_the_tail_it_says() {
        let latency = Latency::of(0.01);
        assert!((latency.share_until(0.01) - 0.5).abs() < 1e-6);
        let p99 = latency.share_until(0.06);
        assert!((0.985..0.995).contains(&p99), "{p99}");
        let mut chance = Chance::new(2);
        let mut drawn: Vec<f64> = (0..5_000).map(|_| chance.seconds(latency)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[2_500] - 0.01).abs() < 0.001, "{}", drawn[2_500]);
        let mean = drawn.iter().sum::<f64>() / 5_000.0;
        assert!((mean - latency.mean()).abs() < 0.001, "{mean}");
    }

    #[test]
    fn equal_seeds_give_equal_draws() {
        let draw = || {
            let mut chance = Chance::new(7);
            let mut fork = chance.fork();
            (chance.count(3.0), fork.name(5), chance.bytes(4), fork.index(9))
        };
        assert_eq!(draw(), draw());
    }
}
