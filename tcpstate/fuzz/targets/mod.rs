//! The targets, one file each; the test in it has the target's name.

mod cgroup;
mod mountinfo;
mod netlink;
mod params;
mod proc_net;
mod procfs;
mod recording;
mod ring;
mod slots;
