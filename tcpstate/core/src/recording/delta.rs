//! What changed from one time to the next: most of what is looked up again and again stays as it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that is looked at more than once.
pub(super) trait Repeated: Clone {
    /// Whether `later`, the given ns after, is what was to be expected if nothing happened.
    fn is_same(&self, later: &Self, elapsed_ns: u64) -> bool;

    /// How it is the given ns later, if nothing happened.
    fn later(&self, elapsed_ns: u64) -> Self;
}

/// What changed. Everything else that was there is as it was.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Delta<V> {
    /// What is new or has changed.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) set: BTreeMap<u64, V>,
    /// What is not there any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<u64>,
}

impl<V> Default for Delta<V> {
    fn default() -> Self {
        Self { set: BTreeMap::new(), gone: Vec::new() }
    }
}

impl<V> Delta<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.gone.is_empty()
    }
}

/// What was last written or read, each with the time at which that was, monotonic ns.
#[derive(Debug)]
pub(super) struct Memory<V>(BTreeMap<u64, (u64, V)>);

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V: Repeated> Memory<V> {
    /// Remembers one thing. Returns whether it is new or has changed.
    pub(super) fn put(&mut self, at_ns: u64, key: u64, value: &V) -> bool {
        let known = self.0.get(&key);
        let same = known.is_some_and(|(then_ns, then)| then.is_same(value, at_ns.saturating_sub(*then_ns)));
        if !same {
            self.0.insert(key, (at_ns, value.clone()));
        }
        !same
    }

    /// Forgets what does not pass.
    pub(super) fn retain(&mut self, mut passes: impl FnMut(u64, &V) -> bool) {
        self.0.retain(|key, (_, value)| passes(*key, value));
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.0.remove(&key);
    }

    /// Everything, as it is at this time if nothing happened.
    pub(super) fn at(&self, at_ns: u64) -> impl Iterator<Item = (u64, V)> {
        self.0.iter().map(move |(key, (then_ns, value))| (*key, value.later(at_ns.saturating_sub(*then_ns))))
    }

    /// How all of it differs from what was last there.
    pub(super) fn delta(&mut self, at_ns: u64, all: BTreeMap<u64, V>) -> Delta<V> {
        let mut gone = Vec::new();
        self.retain(|key, _| {
            let stays = all.contains_key(&key);
            gone.extend((!stays).then_some(key));
            stays
        });
        let set = all.into_iter().filter(|(key, value)| self.put(at_ns, *key, value)).collect();
        Delta { set, gone }
    }

    /// The same backwards: all of it.
    pub(super) fn apply(&mut self, at_ns: u64, delta: Delta<V>) -> impl Iterator<Item = (u64, V)> {
        for key in delta.gone {
            self.remove(key);
        }
        for (key, value) in delta.set {
            self.0.insert(key, (at_ns, value));
        }
        self.at(at_ns)
    }
}
