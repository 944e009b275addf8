use super::names;

names! {
    /// Where a helper can fail, something can be lost, or a decision is counted. The kernel adds, `guard
    /// status` reads.
    pub enum Site: u32 {
        Allowed = 0, "allowed";
        Throttled = 1, "throttled";
        Sandboxed = 2, "sandboxed";
        Escalated = 3, "escalated";
        Blocked = 4, "blocked";
        /// A stricter verdict that shadow mode let through.
        ShadowHit = 5, "shadow-hit";
        Labelled = 6, "labelled";
        LabelInherited = 7, "label-inherited";
        LabelFromLeader = 8, "label-from-leader";
        LabelFromCgroup = 9, "label-from-cgroup";
        LabelPending = 10, "label-pending";
        CgroupAdded = 11, "cgroup-added";
        EventsLost = 12, "events-lost";
        /// A task's label could not be stored: the fork or the call was refused.
        LabelFailed = 13, "label-failed";
        /// Task storage was busy: the label was found, or will be, another way.
        LabelBusy = 14, "label-busy";
        ScratchFailed = 15, "scratch-failed";
        CgroupMapFull = 16, "cgroup-map-full";
        WalkFault = 17, "walk-fault";
        WalkRetried = 18, "walk-retried";
        WalkUnstable = 19, "walk-unstable";
        WalkTooLong = 20, "walk-too-long";
        WalkTooDeep = 21, "walk-too-deep";
        WalkDetached = 22, "walk-detached";
        WalkForeign = 23, "walk-foreign";
        NoArena = 24, "no-arena";
        NoDomain = 25, "no-domain";
        ReadFailed = 26, "read-failed";
        SignalFailed = 27, "signal-failed";
        SeenFailed = 28, "seen-failed";
        ArgvFailed = 29, "argv-failed";
        MountSearchFailed = 30, "mount-search-failed";
        /// A socket's approval could not be stored: its next send is decided anew.
        ApprovalFailed = 31, "approval-failed";
        /// Somebody tried to switch off what every LSM program hangs on.
        FtraceVetoed = 32, "ftrace-vetoed";
        /// A packet that got past every other hook.
        PacketBlocked = 33, "packet-blocked";
        /// A budget had no room or no peace: the call counts as over it.
        BudgetFailed = 34, "budget-failed";
        /// A sandbox that could not be entered: the call was refused.
        SandboxFailed = 35, "sandbox-failed";
        /// Calls that were stopped to wait for an answer, each time they were.
        Held = 36, "held";
        WalkOutside = 37, "walk-outside";
        WalkFolds = 38, "walk-folds";
    }
}

impl Site {
    /// Size of the counters' map.
    pub const COUNT: usize = Self::ALL.len();
}
