use super::names;

names! {
    /// Why: stable for ever, never reused. Below 100 the policy said so, from 100 guard could not tell,
    /// from 200 the boundary.
    pub enum Reason: u16 {
        /// A rule of the policy.
        Rule = 1, "rule";
        /// No rule matched; the section's default.
        Default = 2, "default";
        /// guard's built-in baseline.
        Baseline = 3, "baseline";
        /// The policy's gateway.
        Gateway = 4, "gateway";
        /// Over a throttle's budget.
        OverBudget = 5, "over-budget";
        /// Over `limits: max_bytes_out`.
        BytesSpent = 6, "bytes-spent";
        /// Held for an answer.
        Held = 7, "held";
        /// An approver said no.
        Denied = 8, "denied";
        /// Nobody answered in time.
        Timeout = 9, "timeout";
        /// Too many calls are held already.
        QueueFull = 10, "queue-full";
        /// Nobody is there to hold for.
        NoDaemon = 11, "no-daemon";
        /// An approver said yes.
        Approved = 12, "approved";
        /// What cannot be restarted cannot be held.
        CannotHold = 13, "cannot-hold";
        /// The gateway does not answer.
        GatewayDown = 14, "gateway-down";
        /// Between tasks of one session.
        SameSession = 15, "same-session";
        /// What was to be run is not what was approved.
        Changed = 16, "changed";

        /// The path is longer than PATH_MAX.
        PathTooLong = 100, "path-too-long";
        /// The path has more components than the walk takes.
        PathTooDeep = 101, "path-too-deep";
        /// The file lies on a mount that is in no mount namespace.
        PathDetached = 102, "path-detached";
        /// The file lies on a mount of another mount namespace.
        PathForeignMount = 103, "path-foreign-mount";
        /// Renames or mounts kept changing the path while it was read.
        PathUnstable = 104, "path-unstable";
        /// Kernel memory could not be read.
        PathFault = 105, "path-fault";
        /// The file has no path: a memfd, an anonymous inode.
        NoPath = 106, "no-path";
        /// The file has been deleted.
        PathDeleted = 107, "path-deleted";
        /// The file lies in a directory that was moved out of what the mount shows.
        PathOutside = 108, "path-outside-mount";
        /// The file system takes one name for another, as those do that do not tell upper from lower case.
        PathFolds = 109, "path-folds-case";
        /// No memory for the label or the scratch space.
        NoMemory = 110, "no-memory";
        /// The event ring is full and the policy says `on_loss: block`.
        NoRoom = 111, "no-room";
        /// The domain has no policy in the live generation.
        NoPolicy = 112, "no-policy";
        /// A helper failed.
        HelperFailed = 113, "helper-failed";
        /// An address family or length that guard does not know.
        UnknownAddress = 114, "unknown-address";
        /// argv is longer than guard reads, and a rule asks for it.
        ArgvTooLong = 115, "argv-too-long";
        /// The move would put what is below the directory, or the file, under laxer rules; the errno is EXDEV,
        /// upon which programs copy, and each file is decided by itself.
        OtherRules = 116, "other-rules";
        /// The profile has no room beside the policies that are joined already, or the kernel has no room for the move.
        NoSandbox = 117, "no-sandbox";

        /// One of the boundary's items; the record names it.
        Boundary = 200, "boundary";
        /// A capability the domain does not keep.
        Capability = 201, "capability";
    }
}
