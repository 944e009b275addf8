//! Every diagnostic there is, once: number, severity, and the mistake in a sentence.

use super::Severity;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal, $severity:ident;)+) => {
        /// Stable: scripts and editors may refer to a number. Numbers are never used twice.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }

            /// The mistake in a sentence.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

codes! {
    /// The file cannot be opened or read.
    Unreadable = "P001", Error;
    /// The file is a device, FIFO, socket or directory.
    NotAFile = "P002", Error;
    /// The file is larger than a policy can be.
    TooLarge = "P003", Error;
    /// The file is not UTF-8.
    NotUtf8 = "P004", Error;
    /// The file holds a NUL or another control character.
    ControlCharacter = "P005", Error;
    /// The file is not YAML.
    Syntax = "P006", Error;
    /// The document nests deeper, or holds more values, than a policy can.
    TooDeep = "P007", Error;
    /// An anchor, alias, tag or directive.
    HiddenData = "P008", Error;
    /// More than one document in a file.
    SecondDocument = "P009", Error;
    /// A key that the language does not have at this place.
    UnknownKey = "P010", Error;
    /// A key written twice.
    DuplicateKey = "P011", Error;
    /// A value of the wrong kind.
    WrongType = "P012", Error;
    /// A key that must be there is not.
    MissingKey = "P013", Error;
    /// A version of the language that this guard does not speak.
    UnknownVersion = "P014", Error;
    /// A name with characters that would be trouble in logs and commands.
    BadName = "P015", Error;
    /// A rule, profile or test name used twice.
    DuplicateName = "P016", Error;
    /// A word that is none of the choices.
    UnknownWord = "P017", Error;
    /// A verdict that does not exist.
    UnknownVerdict = "P018", Error;
    /// exec, connect or write without a default.
    MissingDefault = "P019", Error;
    /// A default that needs a rule to carry it.
    BadDefault = "P020", Error;
    /// A rule that names nothing to match.
    EmptyRule = "P021", Error;
    /// A pattern that is not well formed or can match no path.
    BadGlob = "P022", Error;
    /// An address or network that is not one.
    BadAddress = "P023", Error;
    /// A port or port range that is not one.
    BadPort = "P024", Error;
    /// A rate that is not a count per time.
    BadRate = "P025", Error;
    /// A time that is not one.
    BadDuration = "P026", Error;
    /// A number or size that is not one, or out of range.
    BadNumber = "P027", Error;
    /// A verdict without the key that it needs.
    VerdictNeedsKey = "P028", Error;
    /// A key that has no effect with this verdict.
    UselessKey = "P029", Error;
    /// A profile that is not defined.
    UnknownProfile = "P030", Error;
    /// Profiles that lead into each other.
    ProfileCycle = "P031", Error;
    /// A boundary item that does not exist.
    UnknownBoundaryItem = "P032", Error;
    /// Something escalates and there is no time-out.
    EscalationWithoutTimeout = "P033", Error;
    /// A gateway that is not one address and one port.
    BadGateway = "P034", Error;
    /// A selector that is neither a cgroup nor a unit.
    BadSelector = "P035", Error;
    /// A test that asks nothing, or more than one thing.
    BadTest = "P036", Error;
    /// A test expects a rule that does not exist.
    UnknownRule = "P037", Error;
    /// An except that leaves nothing of its rule.
    ExceptSwallowsRule = "P038", Error;
    /// A rule that no request can match.
    NeverMatches = "P039", Error;
    /// A rule that a stricter one always beats.
    NeverWins = "P040", Error;
    /// A candidate for itself.
    BadCandidate = "P041", Error;
    /// Two files with one policy name.
    DuplicatePolicy = "P042", Error;
    /// Rules that together cannot be decided in one walk over a path.
    CannotCompile = "P043", Error;

    /// A rule names a path that is not on this host.
    MissingPath = "P101", Warning;
    /// A rule names a symlink, and rules match what it resolves to.
    SymlinkPath = "P102", Warning;
    /// The boundary is opened.
    BoundaryOpened = "P103", Warning;
    /// Everything that no rule names is allowed.
    DefaultAllow = "P104", Warning;
    /// What can be written can also be run.
    WriteAndExec = "P105", Warning;
    /// The gateway is not on this host.
    GatewayNotLoopback = "P106", Warning;
    /// A denial that does not say why.
    NoReason = "P107", Warning;
    /// A profile that no rule leads into.
    UnusedProfile = "P108", Warning;
    /// A policy that tests nothing.
    NoTests = "P109", Warning;
    /// Records may be lost without a word.
    LossAllowed = "P110", Warning;
    /// An allow where everything is allowed.
    ChangesNothing = "P111", Warning;
    /// Arguments would be in the log as text.
    ArgvInLog = "P112", Warning;
    /// A protected directory that can itself be replaced.
    ReplaceableDirectory = "P113", Warning;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ascend() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].id() < pair[1].id()));
    }
}
