//! Every bound, each with its reason.

/// Words of one arena: 4 MiB, the largest map value that `bpf(2)` can read and write (`KMALLOC_MAX_SIZE`).
pub const ARENA_WORDS: u32 = 1 << 19;
/// Index mask of an arena; the verifier needs a power of two.
pub const ARENA_MASK: u32 = ARENA_WORDS - 1;
/// Longest path the kernel itself hands out (`PATH_MAX`); a longer one is its own reason code and blocks.
pub const PATH_MAX: usize = 4096;
/// Longest file name (`NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// Steps of one path walk: 2,048 components of one byte fill `PATH_MAX`, the rest is for mount crossings.
pub const WALK_STEPS: u32 = 2200;
/// Policies joined on one cgroup, profiles included: each costs one walk of its automaton.
pub const POLICIES_PER_DOMAIN: usize = 4;
/// Domains of one generation; a domain descriptor is [`crate::table::DOMAIN_WORDS`] words of the arena.
pub const DOMAINS: u32 = 1024;
/// Rules of one section of one policy: the rule's index has 14 bits in an answer, four values are reserved.
pub const RULES: usize = (1 << 14) - 4;
/// Profiles of one policy: eight bits in an answer.
pub const PROFILES: usize = 255;
/// Governed cgroups, nested ones included.
pub const CGROUPS: u32 = 65_536;
/// Accounts of what sessions have sent: a power of two, and as many as there can be sessions.
pub const ACCOUNTS: u32 = 65_536;
/// Bits of the filter that spares tasks outside every domain the look-up in the cgroup map.
pub const CGROUP_FILTER_BITS: u32 = 65_536;
/// Bytes of the kernel's event ring.
pub const RING_BYTES: u32 = 4 << 20;
/// Remembered allows of `audit: {allows: first}`.
pub const SEEN: u32 = 65_536;
/// Gateways of all policies together.
pub const GATEWAYS: u32 = 256;
/// Launchers known by inode, and copies of them known by size.
pub const LAUNCHERS: u32 = 64;
/// Living tasks that can have found their storage busy, on kernels where it can be: room for each is set aside.
pub const SPARES: u32 = 1024;
/// Tasks whose scratch space lies ready, eleven kilobytes each: a power of two. Others have theirs in task storage.
pub const BERTHS: u32 = 1024;
/// Processes of several threads that a sandbox has moved.
pub const GROUPS: u32 = 16_384;
/// Threads that can be held at a time; the policies' bounds are lower.
pub const HELD: u32 = 4096;
/// Answers that nobody has taken yet.
pub const RULINGS: u32 = 8192;
/// Budgets that are spent from, one for each session and rule that throttles.
pub const BUDGETS: u32 = 65_536;
/// Operations that were paid for or approved, remembered for what follows from them.
pub const PASSED: u32 = 16_384;
/// System V objects of sessions; of the one that was used longest ago it is forgotten whose it is, and then it is nobody's.
pub const MADE: u32 = 16_384;
