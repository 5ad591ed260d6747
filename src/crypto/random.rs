//! The only place that asks the machine for randomness.

/// `N` bytes from the operating system's generator.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be sealed then, and going on would be worse.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
