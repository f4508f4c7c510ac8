//! What the rules ask for, so that nothing is collected that nobody needs.

/// What is to be found out about the sockets of a pass before it can be judged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wants {
    /// The cookies of sockets whose `tcp_info` is wanted; at most [`super::Thresholds::max_info`].
    pub info: Vec<u64>,
    /// The cookies of sockets whose holders are wanted, in their order.
    pub holders: Vec<u64>,
    /// Namespaces whose counters and sysctls are wanted; at most [`super::Thresholds::max_namespaces`].
    pub namespaces: Vec<u32>,
    /// Listeners whose [`super::evidence::Listener`] is wanted, by cookie.
    pub listeners: Vec<u64>,
}
