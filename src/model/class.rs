//! What a copy of a key is for. One recording may be tagged with both audio classes; each has its own wrap and term.

use std::fmt;
use std::str::FromStr;

/// Stored bytes depend on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Recorded because the customer switched recording on.
    Customer = 1,
    /// The provider's own training.
    Training = 2,
    /// The call detail record, for the tenant.
    Cdr = 3,
    /// The call detail record, for invoicing.
    Finance = 4,
}

impl Class {
    /// The classes that audio can have.
    pub const AUDIO: [Class; 2] = [Class::Customer, Class::Training];

    pub fn from_number(number: u8) -> Option<Class> {
        [Class::Customer, Class::Training, Class::Cdr, Class::Finance].into_iter().find(|c| *c as u8 == number)
    }

    /// `customer` or `training`, the classes that an upload or a listener may name.
    pub fn parse_audio(text: &str) -> Option<Class> {
        Class::AUDIO.into_iter().find(|class| class.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Class::Customer => "customer",
            Class::Training => "training",
            Class::Cdr => "cdr",
            Class::Finance => "finance",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Class, String> {
        Class::parse_audio(text).ok_or_else(|| "a recording's class is 'customer' or 'training'".into())
    }
}
