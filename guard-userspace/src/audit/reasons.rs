//! What a reason code means, in a sentence, for records whose rule gives no reason of its own.

use guard_common::abi::Reason;

/// Why, in words.
pub const fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Rule => "a rule of the policy says so",
        Reason::Default => "no rule matches, and this is the default",
        Reason::Baseline => "guard's own baseline, which no policy opens",
        Reason::Gateway => "the policy's gateway",
        Reason::OverBudget => "over the budget that the rule allows",
        Reason::BytesSpent => "all the bytes that may leave have left",
        Reason::Held => "held until somebody answers",
        Reason::Denied => "the approver said no",
        Reason::Timeout => "nobody answered in time",
        Reason::QueueFull => "too many calls are held already",
        Reason::NoDaemon => "there is no daemon to hold the call",
        Reason::Approved => "the approver said yes",
        Reason::CannotHold => "this call cannot be held, because it could not be restarted",
        Reason::GatewayDown => "the gateway does not answer",
        Reason::SameSession => "between tasks of one session",
        Reason::Changed => "what was to be run is not what was approved",
        Reason::PathTooLong => "the path is longer than 4096 bytes",
        Reason::PathTooDeep => "the path has too many components",
        Reason::PathDetached => "the file lies on a mount that is in no mount namespace",
        Reason::PathForeignMount => "the file lies on a mount of another mount namespace",
        Reason::PathUnstable => "renames or mounts kept changing the path while it was read",
        Reason::PathFault => "the path could not be read from kernel memory",
        Reason::NoPath => "the file has no path",
        Reason::PathDeleted => "the file has been deleted",
        Reason::PathOutside => "the file lies in a directory that was moved out of what the mount shows",
        Reason::PathFolds => {
            "the file system takes one name for another, so that no name says which file it is"
        }
        Reason::NoMemory => "the kernel had no memory for guard's own state",
        Reason::NoRoom => "there was no room for the record",
        Reason::NoPolicy => "the domain has no policy in the live generation",
        Reason::HelperFailed => "a kernel helper failed",
        Reason::UnknownAddress => "an address of a family or length that guard does not know",
        Reason::ArgvTooLong => "argv is longer than guard reads, and a rule asks for it",
        Reason::OtherRules => "the move would change which rules apply; copying is judged file by file",
        Reason::NoSandbox => "the sandbox that the rule names cannot be entered from here",
        Reason::Boundary => "this would break the boundary, and the policy does not open it",
        Reason::Capability => "a capability that the domain does not keep",
    }
}
