//! The address watch: who is refused too often is not listened to for a while. And how often one token may ask.
//!
//! # Promise
//! A token that is valid is never refused because of what others do from its address: behind one address may stand an attacker
//! and an exchange, whose calls cannot be recorded twice. Uploads are not counted; they have limits of their own.
//! # Limits
//! Each is a leaky bucket (GCRA): so many at once, so many more over the window. Keys are addresses (of IPv6 the network of 64
//! bits, which is what one household has) and tokens; at most [`KEYS_MAX`], beyond which all new ones share one bucket.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::model::{Error, Problem, Result, TokenId};

// Limit: about 10 MB; an attacker with more addresses shares one bucket with whoever is new.
const KEYS_MAX: usize = 100_000;

/// Settings `watch.*` and `rate.*`.
#[derive(Clone, Copy, Debug)]
pub struct WatchLimits {
    /// Refusals from one address, or of one token, at once and in each window.
    pub denied_max: NonZeroU32,
    pub window: Duration,
    /// Requests of one token in a second, in the long run; `None`: any.
    pub requests_per_s: Option<NonZeroU32>,
    /// At once.
    pub burst: NonZeroU32,
}

/// What is counted.
pub struct Watch<C: Clock = MonotonicClock> {
    addresses: Buckets<IpAddr, C>,
    tokens: Buckets<TokenId, C>,
    requests: Option<Buckets<TokenId, C>>,
    /// Requests that were refused with 401 or 403.
    pub denied: AtomicU64,
    /// Requests that were refused with 429.
    pub turned_away: AtomicU64,
}

impl Watch {
    pub fn new(limits: WatchLimits) -> Watch {
        Watch::at(limits, MonotonicClock)
    }
}

impl<C: Clock + Clone> Watch<C> {
    fn at(limits: WatchLimits, clock: C) -> Watch<C> {
        let denials = Quota::with_period(limits.window / limits.denied_max.get())
            .unwrap_or(Quota::per_second(limits.denied_max))
            .allow_burst(limits.denied_max);
        Watch {
            addresses: Buckets::new(denials, clock.clone()),
            tokens: Buckets::new(denials, clock.clone()),
            requests: limits
                .requests_per_s
                .map(|per_s| Buckets::new(Quota::per_second(per_s).allow_burst(limits.burst), clock)),
            denied: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
        }
    }

    /// A refusal as its sender sees it: itself, or that there were too many.
    pub fn denied(&self, address: Option<IpAddr>, token: Option<TokenId>, error: Error) -> Error {
        self.denied.fetch_add(1, Relaxed);
        // A token that is known speaks for itself; only what is not known speaks for its address.
        let waits = match (token, address) {
            (Some(token), _) => self.tokens.fill(Some(token)),
            (None, address) => self.addresses.fill(address.map(network)),
        };
        let Some(wait) = waits else { return error };
        self.turned_away.fetch_add(1, Relaxed);
        tracing::warn!(
            event = "address-watch",
            address = address.map(|address| address.to_string()),
            token.id = token.map(|token| token.to_string()),
            "too many requests were refused; more are turned away for a while"
        );
        let detail = match token {
            Some(_) => "too many requests with this token were refused",
            None => "too many requests from this address came with tokens that are not valid",
        };
        Error::new(Problem::TooManyDenials, detail).after_s(seconds_up(wait))
    }

    /// Counts a request of a token that was let in.
    pub fn admits(&self, token: TokenId) -> Result<()> {
        let wait = self.requests.as_ref().and_then(|requests| requests.fill(Some(token)));
        match wait {
            None => Ok(()),
            Some(wait) => {
                self.turned_away.fetch_add(1, Relaxed);
                Err(Error::new(Problem::TooManyRequests, "this token asks too often").after_s(seconds_up(wait)))
            }
        }
    }
}

/// One leaky bucket for each key, and one for all that find no room.
struct Buckets<K: Hash + Eq + Clone, C: Clock> {
    clock: C,
    buckets: Limiter<Option<K>, C>,
}

type Limiter<K, C> = RateLimiter<K, HashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl<K: Hash + Eq + Clone, C: Clock + Clone> Buckets<K, C> {
    fn new(quota: Quota, clock: C) -> Buckets<K, C> {
        Buckets { buckets: RateLimiter::hashmap_with_clock(quota, clock.clone()), clock }
    }

    /// `Some`: it is full, and this long from now there is room.
    fn fill(&self, key: Option<K>) -> Option<Duration> {
        if self.buckets.len() >= KEYS_MAX {
            self.buckets.retain_recent();
        }
        let key = key.filter(|_| self.buckets.len() < KEYS_MAX);
        self.buckets.check_key(&key).err().map(|full| full.wait_time_from(self.clock.now()))
    }
}

/// What one household has.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn watch(denied_max: u32, requests_per_s: u32, burst: u32) -> (Watch<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let limits = WatchLimits {
            denied_max: NonZeroU32::new(denied_max).expect("a limit"),
            window: Duration::from_secs(60),
            requests_per_s: NonZeroU32::new(requests_per_s),
            burst: NonZeroU32::new(burst).expect("a limit"),
        };
        (Watch::at(limits, clock.clone()), clock)
    }

    fn token(number: u8) -> TokenId {
        TokenId::from_bytes([number; 16])
    }

    fn deny(watch: &Watch<FakeRelativeClock>, address: &str, token: Option<TokenId>) -> Error {
        let address = address.parse().expect("an address");
        watch.denied(Some(address), token, Error::new(Problem::Unauthorized, "no"))
    }

    #[test]
    fn an_address_that_guesses_is_turned_away_until_its_bucket_has_room() {
        let (watch, clock) = watch(6, 1, 1);

        for _ in 0..6 {
            assert_eq!(deny(&watch, "192.0.2.1", None).problem, Problem::Unauthorized);
        }
        let away = deny(&watch, "192.0.2.1", None);
        assert_eq!((away.problem, away.retry_after_s), (Problem::TooManyDenials, Some(10)));
        assert_eq!(deny(&watch, "192.0.2.2", None).problem, Problem::Unauthorized, "another address");

        clock.advance(Duration::from_secs(10));
        assert_eq!(deny(&watch, "192.0.2.1", None).problem, Problem::Unauthorized);
        assert_eq!(deny(&watch, "192.0.2.1", None).problem, Problem::TooManyDenials);
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let (watch, _) = watch(2, 1, 1);

        assert_eq!(deny(&watch, "2001:db8::1", None).problem, Problem::Unauthorized);
        assert_eq!(deny(&watch, "2001:db8::2", None).problem, Problem::Unauthorized);
        assert_eq!(deny(&watch, "2001:db8::3", None).problem, Problem::TooManyDenials);
        assert_eq!(deny(&watch, "2001:db8:0:1::3", None).problem, Problem::Unauthorized);
    }

    #[test]
    fn a_known_token_fills_its_own_bucket_and_not_its_addresss() {
        let (watch, _) = watch(1, 1, 1);

        assert_eq!(deny(&watch, "192.0.2.1", Some(token(1))).problem, Problem::Unauthorized);
        assert_eq!(deny(&watch, "192.0.2.9", Some(token(1))).problem, Problem::TooManyDenials);
        assert_eq!(deny(&watch, "192.0.2.1", Some(token(2))).problem, Problem::Unauthorized);
        assert_eq!(deny(&watch, "192.0.2.1", None).problem, Problem::Unauthorized);
    }

    #[test]
    fn a_token_that_asks_too_often_waits_and_no_other_does() {
        let (watch, clock) = watch(1, 2, 3);

        for _ in 0..3 {
            watch.admits(token(1)).expect("the burst");
        }
        let error = watch.admits(token(1)).expect_err("one too many");
        assert_eq!((error.problem, error.retry_after_s), (Problem::TooManyRequests, Some(1)));
        watch.admits(token(2)).expect("another token");

        clock.advance(Duration::from_millis(500));
        watch.admits(token(1)).expect("two a second");
        watch.admits(token(1)).expect_err("and no more");
    }

    #[test]
    fn more_addresses_than_the_limit_share_one_bucket() {
        let (watch, _) = watch(3, 1, 1);
        for number in 0..KEYS_MAX as u32 {
            watch.addresses.fill(Some(IpAddr::from(number.to_be_bytes())));
        }

        for number in 0..3u32 {
            assert!(watch.addresses.fill(Some(IpAddr::from((u32::MAX - number).to_be_bytes()))).is_none());
        }
        assert!(watch.addresses.fill(Some(IpAddr::from([203, 0, 113, 1]))).is_some());
        assert!(watch.addresses.buckets.len() <= KEYS_MAX + 1);
    }
}
