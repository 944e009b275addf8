//! Metadata by dentry alone: these hooks do not know the mount.
