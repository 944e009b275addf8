use super::names;

names! {
    /// What a policy has a section for. The first six are decided by an automaton, the last by a list.
    pub enum Action: u8 {
        /// Run a file.
        Exec = 0, "exec";
        /// Map a file executable.
        Load = 1, "load";
        /// Send anything to anybody: TCP, UDP, unix sockets.
        Connect = 2, "connect";
        /// Let somebody in.
        Listen = 3, "listen";
        /// Change a file's bytes, name or metadata.
        Write = 4, "write";
        /// Read a file.
        Read = 5, "read";
        /// Everything else that can break the boundary.
        Boundary = 6, "boundary";
    }
}

impl Action {
    /// How many actions have an automaton.
    pub const WITH_AUTOMATON: usize = 6;
}

names! {
    /// How the action was tried: which of the many calls that come to the same.
    pub enum Op: u8 {
        None = 0, "none";
        Open = 1, "open";
        Create = 2, "create";
        Truncate = 3, "truncate";
        Mkdir = 4, "mkdir";
        Rmdir = 5, "rmdir";
        Unlink = 6, "unlink";
        RenameFrom = 7, "rename-from";
        RenameTo = 8, "rename-to";
        LinkFrom = 9, "link-from";
        LinkTo = 10, "link-to";
        Symlink = 11, "symlink";
        Mknod = 12, "mknod";
        Chmod = 13, "chmod";
        Chown = 14, "chown";
        Times = 15, "times";
        Xattr = 16, "xattr";
        Acl = 17, "acl";
        Attributes = 18, "attributes";
        Ioctl = 19, "ioctl";
        Mmap = 20, "mmap";
        Mprotect = 21, "mprotect";
        Receive = 22, "receive";
        Inherited = 23, "inherited";
        Exec = 24, "exec";
        Interpreter = 25, "interpreter";
        Script = 26, "script";
        Argv = 27, "argv";
        Connect = 28, "connect";
        Send = 29, "send";
        Bind = 30, "bind";
        Listen = 31, "listen";
        Accept = 32, "accept";
        Socket = 33, "socket";
        SetOption = 34, "setsockopt";
        Packet = 35, "packet";
        Fork = 36, "fork";
        Signal = 37, "signal";
        Trace = 38, "trace";
        Mount = 39, "mount";
        Capability = 40, "capability";
        Namespace = 41, "namespace";
        Other = 42, "other";
    }
}
