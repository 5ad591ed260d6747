//! Settings of who may do what: `four_eyes`, `link.*`, `watch.*`, `rate.*`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{ConfigError, duration, raw};
use crate::http::auth::WatchLimits;
use crate::http::links::LinkLimits;

// Limit: a listener begins within the hour.
const LINK_LIFETIME: Duration = Duration::from_secs(3_600);
// Limit: seven days (DESIGN section 7); what is needed for longer is asked for anew.
const LINK_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
// Limit: the longest call that is listened to at one go.
const LINK_SESSION: Duration = Duration::from_secs(4 * 3_600);
const FOUR_EYES_WINDOW: Duration = Duration::from_secs(24 * 3_600);
// Limit: a portal with a wrong token is noticed before that many; who guesses 256 bits gets nowhere with them.
const WATCH_DENIED_MAX: u32 = 300;
const WATCH_WINDOW: Duration = Duration::from_secs(60);
// Limit: a browser makes a dozen requests for each seek; a portal shows a page of a hundred recordings at once.
const RATE_REQUESTS_PER_S: u32 = 200;
const RATE_BURST: u32 = 2_000;

/// Settings that were checked.
#[derive(Clone, Copy, Debug)]
pub struct AccessConfig {
    /// How long what one person has asked for waits for another; `None`: one is enough.
    pub four_eyes: Option<Duration>,
    pub links: LinkLimits,
    pub watch: WatchLimits,
}

impl AccessConfig {
    pub(super) fn check(
        four_eyes: Option<bool>,
        window: Option<&str>,
        link: &raw::Link,
        watch: &raw::Watch,
        rate: &raw::Rate,
    ) -> Result<AccessConfig, ConfigError> {
        let window = some("four_eyes_window", duration("four_eyes_window", window, FOUR_EYES_WINDOW)?)?;
        let lifetime_max = duration("link.lifetime_max", link.lifetime_max.as_deref(), LINK_LIFETIME_MAX)?;
        let lifetime_max = some("link.lifetime_max", lifetime_max)?;
        if lifetime_max > LINK_LIFETIME_MAX {
            return Err(ConfigError("link.lifetime_max: a link lives seven days (168h) at most".into()));
        }
        let lifetime = duration("link.lifetime", link.lifetime.as_deref(), LINK_LIFETIME.min(lifetime_max))?;
        if some("link.lifetime", lifetime)? > lifetime_max {
            return Err(ConfigError("link.lifetime is longer than link.lifetime_max".into()));
        }
        let session = some("link.session", duration("link.session", link.session.as_deref(), LINK_SESSION)?)?;
        let count = |name: &str, value: u32| {
            NonZeroU32::new(value).ok_or_else(|| ConfigError(format!("{name} is a number from 1 on")))
        };
        let watch = WatchLimits {
            denied_max: count("watch.denied_max", watch.denied_max.unwrap_or(WATCH_DENIED_MAX))?,
            window: some("watch.window", duration("watch.window", watch.window.as_deref(), WATCH_WINDOW)?)?,
            requests_per_s: NonZeroU32::new(rate.requests_per_s.unwrap_or(RATE_REQUESTS_PER_S)),
            burst: count("rate.burst", rate.burst.unwrap_or(RATE_BURST))?,
        };
        let links = LinkLimits { lifetime, lifetime_max, session };
        Ok(AccessConfig { four_eyes: four_eyes.unwrap_or(false).then_some(window), links, watch })
    }
}

fn some(name: &str, time: Duration) -> Result<Duration, ConfigError> {
    if time.is_zero() { Err(ConfigError(format!("{name} is longer than nothing"))) } else { Ok(time) }
}
