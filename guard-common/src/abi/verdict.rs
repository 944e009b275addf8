use super::names;

names! {
    /// What is done with a call, laxest first: the order is the order of strictness.
    ///
    /// No single flipped bit turns one number into another.
    pub enum Verdict: u8 {
        /// The call proceeds.
        Allow = 0x1e, "allow";
        /// The call proceeds within a budget, else `EAGAIN`.
        Throttle = 0x2d, "throttle";
        /// The call proceeds and the task lives on under a tighter profile.
        Sandbox = 0x4b, "sandbox";
        /// The call is held until somebody answers.
        Escalate = 0x87, "escalate";
        /// `EPERM`.
        Block = 0xf0, "block";
    }
}

impl Verdict {
    /// Rank in an answer: 1 for allow to 5 for block; 0 is "none".
    #[inline(always)]
    pub const fn code(self) -> u32 {
        match self {
            Self::Allow => 1,
            Self::Throttle => 2,
            Self::Sandbox => 3,
            Self::Escalate => 4,
            Self::Block => 5,
        }
    }

    /// The verdict with this rank; an unknown rank is `Block`, because an unknown value fails closed.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => None,
            1 => Some(Self::Allow),
            2 => Some(Self::Throttle),
            3 => Some(Self::Sandbox),
            4 => Some(Self::Escalate),
            _ => Some(Self::Block),
        }
    }
}

names! {
    /// Whether a policy's verdicts take effect.
    pub enum Mode: u8 {
        /// They do.
        Enforce = 1, "enforce";
        /// They are decided and recorded, and the call is let through.
        Shadow = 2, "shadow";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_turns_one_verdict_into_another() {
        for verdict in Verdict::ALL {
            for bit in 0..8 {
                assert_eq!(Verdict::from_repr(*verdict as u8 ^ 1 << bit), None, "{verdict} bit {bit}");
            }
        }
    }

    #[test]
    fn the_order_is_the_order_of_strictness() {
        assert!(Verdict::ALL.windows(2).all(|w| w[0] < w[1] && w[0].code() + 1 == w[1].code()));
        assert!(Verdict::ALL.iter().all(|v| Verdict::from_code(v.code()) == Some(*v)));
    }
}
