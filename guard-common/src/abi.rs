//! Types that cross the boundary between kernel and host, in one place each, with their layout asserted.

mod action;
mod ask;
mod boundary;
mod config;
mod event;
pub mod offsets;
mod reason;
mod stats;
mod subject;
mod verdict;

pub use action::{Action, Op};
pub use ask::Ask;
pub use boundary::{BoundaryItem, CAPS_KEPT, CAPS_LENT, Capability};
pub use config::{BudgetKey, BudgetWord, Control, GroupKey, Held, InodeKey, Ruling, RulingKey};
pub use event::{Asked, Event, EventFlags, EventKind};
pub use reason::Reason;
pub use stats::Site;
pub use subject::{ACCOUNT_PROBES, CgroupEntry, Label, LabelFlags, Spent, first_account};
pub use verdict::{Mode, Verdict};

/// A closed set of named values that crosses the boundary as a number.
///
/// One line says everything about a value: its variant, its stable name, its number. `ALL` and the
/// conversions derive from it, so a new value cannot be forgotten in one of them.
macro_rules! names {
    ($(#[$meta:meta])* $vis:vis enum $ty:ident: $repr:ident { $($(#[$doc:meta])* $variant:ident = $value:expr, $name:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        $vis enum $ty { $($(#[$doc])* $variant = $value,)* }

        impl $ty {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, as policies, records and people write it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The value with this number.
            pub const fn from_repr(value: $repr) -> Option<Self> {
                match value { $(v if v == Self::$variant as $repr => Some(Self::$variant),)* _ => None }
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }

        impl core::fmt::Display for $ty {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}
pub(crate) use names;
