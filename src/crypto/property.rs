//! Runs property tests: drawn from a seed, which a failure prints.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use super::random::random;

/// Draws `cases` values and checks each. The least failing one that was found, and the seed, stand in the panic.
pub fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    // The default reads `PROPTEST_RNG_SEED`.
    let mut config = Config { cases, failure_persistence: None, ..Config::default() };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => u64::from_be_bytes(random()),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let checked = TestRunner::new(config).run(&strategy, |value| {
        test(value);
        Ok::<(), TestCaseError>(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}\nrun it again with PROPTEST_RNG_SEED={seed}"));
}
